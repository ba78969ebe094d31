"""Numbers of bytes as they are written on a command line."""

from __future__ import annotations

import re

from paramcli.errors import UsageError

__all__ = ["parse_size"]

_UNITS = {"": 1, "b": 1} | {
    f"{letter}{form}": (1024 if form == "ib" else 1000) ** power
    for power, letter in enumerate("kmgt", 1)
    for form in ("", "b", "ib")
}
_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read `5GB` (decimal), `512MiB` (binary) or `1000000`. Raises UsageError for anything else."""
    found = _FORM.fullmatch(text.strip())
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise UsageError(f"{text!r} is no number of bytes", hint="for example 5GB or 512MiB")
    return int(float(found[1]) * unit) if "." in found[1] else int(found[1]) * unit
