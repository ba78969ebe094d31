"""What `--input` says: the type, shape and range of a tensor that a model is given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import UsageError
from paramcli.tensors import DTYPES

if TYPE_CHECKING:
    from paramcli.tensors import DType

__all__ = ["Input", "parse_input"]

_FORM = re.compile(
    r"(?:(?P<dtype>\w+)\[(?P<dims>[\d, ]*)\]|(?P<bare>\d[\d, ]*))(?:<(?P<bound>\d+))?"
)
_MOST = 1 << 30


class Input(NamedTuple):
    """A tensor to be made: standard normal, or integers from 0 up to but not including `bound`."""

    dtype: DType
    shape: tuple[int, ...]
    bound: int | None = None


def parse_input(text: str) -> Input:
    """Read `2,4`, `float32[2,4]` or `int64[2,16]<100`. Raises UsageError where it is malformed."""
    hint = "for example 2,4 or 'float32[2,4]' or 'int64[2,16]<100'"
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--input {text!r} is no shape", hint=hint)
    name = found["dtype"] or ("int64" if found["bound"] else "float32")
    dtype = DTYPES.get(name)
    whole = re.fullmatch("u?int(8|16|32|64)", name) is not None
    if dtype is None or not (whole or name.startswith(("float", "bfloat")) or name == "bool"):
        raise UsageError(f"--input {text!r}: {name} is no type of numbers", hint=hint)
    bound = int(found["bound"]) if found["bound"] else None
    if whole and not bound:
        raise UsageError(
            f"--input {text!r}: integers need a bound that is positive",
            hint=f"for example '{text.partition('<')[0]}<100', all below it allowed",
        )
    if bound is not None and not whole:
        raise UsageError(f"--input {text!r}: only integers have a bound", hint=hint)
    sizes = [part.strip() for part in (found["dims"] or found["bare"] or "").split(",")]
    if sizes == [""]:
        sizes = []
    if "" in sizes:
        raise UsageError(f"--input {text!r} lacks a size", hint=hint)
    shape, count = tuple(map(int, sizes)), 1
    for size in shape:
        count *= size
    if count > _MOST:
        raise UsageError(f"--input {text!r} has {count:,} elements")
    return Input(dtype, shape, bound)
