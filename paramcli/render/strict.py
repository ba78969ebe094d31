"""What the JSON of every verb is laid from: values that any parser takes, one item to a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from paramcli.render.text import chunks, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import DTypeTotal, Totals

__all__ = ["array", "counted", "described", "dumped", "fields", "plain", "tensor_fields"]

_quote = json.JSONEncoder().encode


def dumped(value: object) -> str:
    """Write a value as JSON on one line, pure ASCII: RFC 8259, which knows no NaN."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):  # something in it is not finite, or complex
        return json.dumps(plain(value), allow_nan=False)


def plain(value: object) -> object:
    """Turn NaN and infinities into "nan", "inf", "-inf", complex numbers into [re, im]."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(float(value))
    if isinstance(value, complex):
        return [plain(value.real), plain(value.imag)]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def fields(values: Mapping[str, object]) -> str:
    """Write the fields of the document itself, each on a line of its own."""
    return ",\n".join(f'  "{key}": {dumped(value)}' for key, value in values.items())


def array(key: str, items: Iterable[str]) -> Iterator[str]:
    """Yield an array of items already written, each on a line of its own."""
    opening = f'  "{key}": ['
    before = "\n    "
    for chunk in chunks(f"{item},\n    " for item in items):
        yield opening + before + chunk[:-6]
        opening, before = "", ",\n    "
    yield f"{opening}],\n" if opening else "\n  ],\n"


def counted(totals: Totals | DTypeTotal) -> dict[str, object]:
    """Name the fields as the contract does, which says `count` where torch says `numel`."""
    return {key.replace("numel", "count"): value for key, value in totals._asdict().items()}


def described(info: TensorInfo) -> tuple[str, str, str]:
    """Write shape and dtype, count and bytes, stride and an unusual layout; null what is open."""
    if info.open:
        return _open(info)
    layout = f', "layout": {json.dumps(info.layout)}' if info.layout != "strided" else ""
    return (
        f'"shape": {shape_text(info.shape)}, "dtype": "{info.dtype.name}"',
        f'"count": {info.numel}, "bytes": {info.nbytes}',
        f'"stride": {shape_text(info.stride)}{layout}',
    )


def _open(info: TensorInfo) -> tuple[str, str, str]:
    sizes: list[int | None] | None = [size if size >= 0 else None for size in info.shape]
    written = dict(info.facts)["dims"]
    if "..." in written:
        sizes = None  # not even how many there are
    return (
        f'"shape": {json.dumps(sizes)}, "dtype": "{info.dtype.name}"',
        '"count": null, "bytes": null',
        f'"stride": null, "layout": "open", "dims": {json.dumps(written)}',
    )


def tensor_fields(name: str, info: TensorInfo, facts: tuple[str, str, str], group: str) -> str:
    """Write what is said of a tensor wherever one is; `facts` are `described`, `group` is JSON."""
    what, size, stride = facts
    return (
        f'"name": {_quote(name)}, {what}, "kind": "{info.kind}", {size}, '
        f'"group": {group}, "offset": {info.offset}, {stride}'
    )
