"""What the names of dims stand for throughout one checkpoint, and which tensors then fit."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from paramcli.lock.model import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paramcli.lock.dims import Dim
    from paramcli.lock.model import Line, Lock

    Solve = Callable[["Equation", str, Mapping[str, int]], int | None]

__all__ = ["Fit", "Resolution", "resolve", "unsettled"]


class Fit(NamedTuple):
    """How one tensor compares with its line.

    `shape` is the one expected, None for a dim left open; `fits` is None where that cannot be
    said: the tensor is not there, or nothing that is there settles a name. `why` says why not.
    """

    line: Line
    shape: tuple[int | None, ...]
    fits: bool | None
    why: str


class Resolution(NamedTuple):
    """What each name stands for, by whom, and a `Fit` for each name in the lock, in its order."""

    sizes: Mapping[str, Size]
    fits: Mapping[str, Fit]


class Equation(NamedTuple):
    """A dim and the size that a tensor has for it."""

    dim: Dim
    size: int
    line: Line


def resolve(lock: Lock, shapes: Mapping[str, tuple[int, ...]]) -> Resolution:
    """Hold the shapes of a checkpoint, by name, against a lock.

    Given sizes come first. Then dims with one unknown name, in it once, are solved, whichever
    stands first in the file first, until no more can be; the first to settle a name wins, and
    the lines that disagree do not fit.
    """
    sizes = dict(lock.dims)
    _settle([*_equations(lock.lines, shapes)], sizes, _solved)
    values = {name: size.value for name, size in sizes.items()}
    known: dict[tuple[str, tuple[int, ...] | None], tuple[tuple[int | None, ...], bool | None, str]]
    known = {}
    fits: dict[str, Fit] = {}
    for line in lock.lines:
        shape = shapes.get(line.name)
        key = line.dims.text, shape
        if key not in known:
            expected = line.dims.shape(values, None if shape is None else len(shape))
            known[key] = expected, *_compared(line, shape, sizes, values)
        fits[line.name] = Fit(line, *known[key])
    return Resolution(sizes, fits)


def unsettled(lock: Lock) -> tuple[Line, str] | None:
    """The first line with a name that no checkpoint can settle, and that name."""
    equations = []
    for line in {line.dims.text: line for line in reversed(lock.lines)}.values():
        equations += [Equation(dim, 0, line) for dim in line.dims.dims if dim.names]
    equations.sort(key=lambda equation: equation.line.number)
    sizes = dict(lock.dims)
    _settle(equations, sizes, _structure)
    for equation in equations:
        for name in equation.dim.names:
            if name not in sizes:
                return equation.line, name
    return None


def _equations(lines: Iterable[Line], shapes: Mapping[str, tuple[int, ...]]) -> Iterable[Equation]:
    seen: set[tuple[str, tuple[int, ...]]] = set()
    for line in lines:
        shape = shapes.get(line.name)
        if shape is None or (line.dims.text, shape) in seen:
            continue
        seen.add((line.dims.text, shape))
        if line.dims.fits_rank(len(shape)):
            for _, dim, size in line.dims.pairs(shape):
                if dim.names:
                    yield Equation(dim, size, line)


def _settle(equations: Sequence[Equation], sizes: dict[str, Size], solve: Solve) -> None:
    """Solve what has one unknown, the first of them first, and see what that makes solvable."""
    values = {name: size.value for name, size in sizes.items()}
    unknown = [set(equation.dim.names).difference(values) for equation in equations]
    waiting: dict[str, list[int]] = {}
    for number, names in enumerate(unknown):
        for name in names:
            waiting.setdefault(name, []).append(number)
    ready = [number for number, names in enumerate(unknown) if len(names) == 1]
    heapify(ready)
    while ready:
        number = heappop(ready)
        if not unknown[number]:
            continue
        [name] = unknown[number]
        value = solve(equations[number], name, values)
        if value is None:
            continue
        line = equations[number].line
        sizes[name], values[name] = Size(value, line.name, line.number), value
        for other in waiting[name]:
            unknown[other].discard(name)
            if len(unknown[other]) == 1:
                heappush(ready, other)


def _solved(equation: Equation, name: str, values: Mapping[str, int]) -> int | None:
    linear = equation.dim.linear(name, values)
    if linear is None or not linear[0]:
        return None
    value, left = divmod(equation.size - linear[1], linear[0])
    return None if left or value < 0 else value


def _structure(equation: Equation, name: str, _: Mapping[str, int]) -> int | None:
    """Say whether a name could be solved for; which size it would have does not matter."""
    terms = equation.dim.terms or ()
    return 1 if all(names.count(name) <= 1 for names, _ in terms) else None


def _compared(
    line: Line,
    shape: tuple[int, ...] | None,
    sizes: Mapping[str, Size],
    values: Mapping[str, int],
) -> tuple[bool | None, str]:
    """Say whether a shape is the one expected, and why not."""
    if shape is None:
        return None, ""
    dims = line.dims
    if not dims.fits_rank(len(shape)):
        least = "at least " if dims.rest is not None else ""
        count = len(dims.dims)
        plural = "" if count == 1 else "s"
        return False, f"{dims.text} has {least}{count} dim{plural}, not {len(shape)}"
    fits: bool | None = True
    wrong: list[str] = []
    for axis, dim, size in dims.pairs(shape):
        said = _disagreement(dim, size, sizes, values)
        if said is None:
            fits = None if fits else fits
            said = f"nothing settles {_words(n for n in dim.names if n not in sizes)}"
        elif said:
            fits, said = False, f"dim {axis} is {size}, but {said}"
        if said:
            wrong.append(said)
    return fits, "; ".join(wrong)


def _disagreement(
    dim: Dim, size: int, sizes: Mapping[str, Size], values: Mapping[str, int]
) -> str | None:
    """Say what a dim should be, "" where it is that, None where that is not known."""
    if dim.terms is None:
        return ""
    unknown = [name for name in dim.names if name not in sizes]
    if unknown:
        linear = dim.linear(unknown[0], values) if len(unknown) == 1 else None
        no = f"no size of {unknown[0]} makes {dim.text} that"
        return None if linear is None else "" if linear == (0, size) else no
    value = dim.value(values)
    if value == size:
        return ""
    known = _words(
        f"{name} is {sizes[name].value} by {sizes[name].by} (line {sizes[name].line})"
        for name in dim.names
    )
    if dim.text in sizes:
        return known
    return f"{dim.text} is {value}, since {known}" if known else f"should be {value}"


def _words(items: Iterable[str]) -> str:
    *most, last = [*items] or [""]
    return f"{', '.join(most)} and {last}" if most else last
