"""Shapes as a lock writes them: `[vocab, 4*d + 1, *, ...]`, each dim a sum of products."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["LARGEST", "Dim", "Dims", "Malformed", "parse_dims"]

LARGEST = (1 << 63) - 1
"""The largest size of a dim, as in torch."""

_TOKEN = re.compile(r"(?P<number>[0-9]+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[-+*])")
_DIGITS = 19  # those of LARGEST
_LONGEST = 1_000


class Malformed(ValueError):  # noqa: N818 - not an error of the user's, but what one is made of
    """Text that does not follow its grammar: what is wrong, and at which character (from 0)."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class Dim(NamedTuple):
    """One dim: a sum of terms, each a coefficient times names; `*`, which is any, has None.

    Equal names are in one term, and no term is zero: `3*d - d + 1` is `((("d",), 2), ((), 1))`.
    """

    text: str
    terms: tuple[tuple[tuple[str, ...], int], ...] | None

    @property
    def names(self) -> tuple[str, ...]:
        """The names in it, each once, in order."""
        return tuple(dict.fromkeys(name for names, _ in self.terms or () for name in names))

    def value(self, sizes: Mapping[str, int]) -> int | None:
        """Its size where all its names have one, else None; None for `*`. It may be negative."""
        if self.terms is None or not all(name in sizes for name in self.names):
            return None
        return sum(number * prod(map(sizes.__getitem__, names)) for names, number in self.terms)

    def linear(self, name: str, sizes: Mapping[str, int]) -> tuple[int, int] | None:
        """The factor and the rest, where it is `factor * name + rest` and all else is known."""
        factor = rest = 0
        for names, number in self.terms or ():
            others = [other for other in names if other != name]
            if len(names) - len(others) > 1 or not all(other in sizes for other in others):
                return None
            amount = number * prod(map(sizes.__getitem__, others))
            if len(others) < len(names):
                factor += amount
            else:
                rest += amount
        return factor, rest


class Dims(NamedTuple):
    """The dims of one tensor; `rest` is how many of them stand before a `...`, None without it.

    `text` is `[…]` with single spaces, the same for what means the same token by token.
    """

    text: str
    dims: tuple[Dim, ...]
    rest: int | None

    @property
    def literal(self) -> bool:
        """Whether it says nothing but numbers."""
        return self.rest is None and not any(dim.terms is None or dim.names for dim in self.dims)

    def fits_rank(self, rank: int) -> bool:
        """Whether a tensor of so many dims can have this shape."""
        return rank == len(self.dims) if self.rest is None else rank >= len(self.dims)

    def pairs(self, shape: Sequence[int]) -> Iterator[tuple[int, Dim, int]]:
        """Yield axis, dim and size of what a shape of a fitting rank has for each dim."""
        skipped = len(shape) - len(self.dims)
        for number, dim in enumerate(self.dims):
            axis = number + (skipped if self.rest is not None and number >= self.rest else 0)
            yield axis, dim, shape[axis]

    def shape(self, sizes: Mapping[str, int], rank: int | None = None) -> tuple[int | None, ...]:
        """The shape it stands for, None for each dim that is open.

        A `...` is as many None as make up `rank`; one where the rank is not known or too small.
        """
        known = [dim.value(sizes) for dim in self.dims]
        if self.rest is None:
            return tuple(known)
        more = 1 if rank is None else max(1, rank - len(known))
        if rank == len(known):
            more = 0
        return (*known[: self.rest], *[None] * more, *known[self.rest :])


def parse_dims(text: str) -> Dims:
    """Read what stands between the brackets. Raises `Malformed`."""
    if len(text) > _LONGEST:
        raise Malformed(f"a shape of more than {_LONGEST:,} characters", _LONGEST)
    if not text.strip():
        return Dims("[]", (), None)
    dims: list[Dim] = []
    written: list[str] = []
    rest: int | None = None
    start = 0
    for piece in text.split(","):
        at = start + len(piece) - len(piece.lstrip())
        start += len(piece) + 1
        match piece.strip():
            case "":
                raise Malformed("a dim is missing here", at)
            case "...":
                if rest is not None:
                    raise Malformed("a second ... in one shape", at)
                rest = len(dims)
                written.append("...")
                continue
            case "*":
                dim = Dim("*", None)
            case expression:
                dim = _parse_dim(expression, at)
        dims.append(dim)
        written.append(dim.text)
    return Dims(f"[{', '.join(written)}]", tuple(dims), rest)


def _parse_dim(text: str, at: int) -> Dim:
    """Read a sum of products of numbers and names."""
    tokens = [*_tokens(text, at)]
    _check_turns(tokens, at + len(text))
    terms: dict[tuple[str, ...], int] = {}
    number, names, written = 1, list[str](), ""
    for turn, (position, kind, word) in enumerate([*tokens, (at, "sign", "+")]):
        if kind == "name":
            names.append(word)
        elif kind == "number":
            if len(word) > _DIGITS or abs(number * int(word)) > LARGEST:
                raise Malformed("a number too large for a size", position)
            number *= int(word)
        elif word != "*":  # a term ends here, if one has begun
            if turn:
                key = tuple(sorted(names))
                terms[key] = terms.get(key, 0) + number
            number, names = (-1 if word == "-" else 1), []
        written += f" {word} " if word in ("+", "-") and turn else word
    found = tuple((names, number) for names, number in terms.items() if number)
    if not any(names for names, _ in found) and sum(number for _, number in found) < 0:
        raise Malformed("a size cannot be negative", at)
    return Dim(written.removesuffix(" + "), found)


def _check_turns(tokens: Sequence[tuple[int, str, str]], end: int) -> None:
    """See that operands and operators take turns, but for a minus before them all."""
    operand = True  # wanted next
    for turn, (position, kind, word) in enumerate(tokens):
        if not turn and word == "-":
            continue
        if operand and kind == "sign":
            raise Malformed("a number or a name should stand here", position)
        if not operand and kind != "sign":
            raise Malformed("an operator is missing here: +, - or *", position)
        operand = not operand
    if operand:
        raise Malformed("a number or a name should stand here", end)


def _tokens(text: str, at: int) -> Iterator[tuple[int, str, str]]:
    """Yield position, kind and text of each token."""
    position = 0
    while position < len(text):
        if text[position] in " \t":
            position += 1
            continue
        token = _TOKEN.match(text, position)
        if token is None:
            hint = "; write products out" if text[position] in "()" else ""
            message = f"{text[position]!r} has no place in a dim{hint}"
            raise Malformed(message, at + position)
        yield at + position, str(token.lastgroup), token[0]
        position = token.end()
