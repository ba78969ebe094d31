"""`list --check safe`: what loading the file would do to others, and who reads it otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from paramcli.files import is_remote, open_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from paramcli.checkpoint import Checkpoint, Pickle

__all__ = ["Finding", "SafetyReport", "check_safe", "warnings"]

_SHOWN = 5
_EXPLAINED = "see docs/security.md"


class Finding(NamedTuple):
    """One reason for a file not to be safe: a global of its pickles, or two readers' disagreement.

    `name` is the global's, or the file's that is read in two ways.
    """

    kind: Literal["dangerous", "unfamiliar", "disagreement"]
    name: str
    message: str


class SafetyReport(NamedTuple):
    """Everything that was found; a file without findings is safe as far as can be told."""

    findings: tuple[Finding, ...]

    @property
    def safe(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


_MEANS = {
    "dangerous": "loading this file with pickle can run code, or reach files or the network",
    "unfamiliar": "loading this file with pickle imports it, and runs what it does",
}


def check_safe(checkpoint: Checkpoint) -> SafetyReport:
    """Look at the globals of pickles; ask the safetensors package how it reads its own files."""
    found = [*_globals(checkpoint.pickle)] if checkpoint.pickle else []
    if checkpoint.format in ("safetensors", "sharded-safetensors"):
        found += _disagreements(checkpoint)
    return SafetyReport(tuple(found))


def warnings(pickle: Pickle) -> list[str]:
    """Say in a line for each kind of global what it means, the dangerous first."""
    by_kind: dict[str, list[str]] = {}
    for finding in _globals(pickle):
        by_kind.setdefault(finding.kind, []).append(finding.name)
    lines = []
    for kind, names in sorted(by_kind.items()):
        listed = ", ".join(names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        lines.append(f"{kind}: {listed}{more}: {_MEANS[kind]}; {_EXPLAINED}")
    return lines


def _globals(pickle: Pickle) -> Iterator[Finding]:
    if not pickle.inert:
        return
    from paramcli.sources.pickles.globals import danger

    for path in pickle.inert:
        kind = danger(path)
        if kind:
            yield Finding(kind, path, _MEANS[kind])


def _disagreements(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Read each file by both readers; only names, types and shapes are compared, and metadata.

    The reference reader has no way to another machine.
    """
    files = dict.fromkeys(view.storage.file for info in checkpoint for view in info.views())
    for path in files or ([checkpoint.origin] if checkpoint.format == "safetensors" else []):
        message = "" if is_remote(path) else _other_reading(path)
        if message:
            yield Finding("disagreement", path, message)


def _other_reading(path: str) -> str:
    """How the reference reader's answer differs from ours, "" where it does not."""
    from safetensors import SafetensorError, safe_open

    from paramcli.sources.safetensors import SAFETENSORS_DTYPES, read_header

    with open_file(path) as file:
        header = read_header(file)
    written_as = {dtype.name: name for name, dtype in SAFETENSORS_DTYPES.items()}
    ours = {info.name: (written_as[info.dtype.name], [*info.shape]) for info in header.entries}
    try:
        with safe_open(path, "np") as other:
            parts = {name: other.get_slice(name) for name in other.keys()}  # noqa: SIM118 - it is no dictionary
            theirs = {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}
            metadata = other.metadata() or {}
    except (SafetensorError, OSError) as error:
        return f"the safetensors package refuses it: {error}"
    if metadata != dict(header.metadata):
        return "the safetensors package reads other metadata"
    name = next((name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)), None)
    return f"the safetensors package reads {name!r} otherwise" if name is not None else ""
