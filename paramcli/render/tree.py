"""`list --tree`: modules with their subtotals, layers that agree folded into one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.render.footer import footer
from paramcli.render.page import Page
from paramcli.render.text import binary, chunks, decimal, safe, shape_of, spans

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from paramcli.render.page import Layout
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

__all__ = ["tree"]

_DEEPEST = 64  # components of a name that nest; the rest of a deeper name stays one label
_BAR = 10
_INDEX = re.compile("0|[1-9][0-9]{0,8}")
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


class _Module(dict[str, "_Module"]):
    """A module by its children's names, made as they are looked up; `info` if it is a tensor."""

    __slots__ = ("alike", "bytes", "count", "info", "tensors")

    def __init__(self) -> None:
        self.info: TensorInfo | None = None
        self.tensors = self.count = self.bytes = 0
        self.alike = 0

    def __missing__(self, name: str) -> _Module:
        child = self[name] = _Module()
        return child

    def weigh(self, known: dict[Hashable, int]) -> None:
        """Add up what is below, and number what it looks like: equal subtrees, equal `alike`."""
        look: Hashable = None
        if self.info is not None:
            nbytes = self.info.nbytes
            look = self.info.dtype, self.info.shape, nbytes, self.info.open and self.info.facts
            self.tensors, self.count, self.bytes = 1, self.info.numel, nbytes
        for child in self.values():
            child.weigh(known)
            self.tensors += child.tensors
            self.count += child.count
            self.bytes += child.bytes
        below = frozenset((name, child.alike) for name, child in self.items())
        self.alike = known.setdefault((look, below), len(known))


_TITLES = ("Module", "Type", "Tensors", "Count", "Bytes", "")
_EXPENDABLE = ("Type", "Tensors", "", "Bytes")
_READABLE = 40  # cells that hold a name behind the guides of a usual depth
_NUMBERS = frozenset({"Tensors", "Count", "Bytes"})


def tree(
    report: ListReport,
    *,
    width: int | None = None,
    depth: int | None = None,
    color: bool = False,
    cut: bool = True,
) -> Iterator[str]:
    """Yield the tree in chunks of whole lines, `depth` levels below the root.

    Without a width it is for a pipe: nothing is cut, nothing coloured. Subtotals are by name, as
    in the table, so that parts add up; a folded line stands for the sum of its layers.
    """
    page = Page() if width is None else _screen(width, color=color, cut=cut)
    root = _Module()
    for info in report.tensors:
        module = root
        for part in info.name.split(".", _DEEPEST):
            module = module[part]
        module.info = info
    root.weigh({})
    modules = [(safe(report.target), root, 1)]
    modules += _walk(root, _DEEPEST + 1 if depth is None else depth)
    rows = [(label, *_facts(module, times, root.bytes)) for label, module, times in modules]
    rooms = {
        cells[0]: max(map(page.cells, cells))
        for cells in zip(_TITLES, *rows, strict=True)
        if any(cells[1:])
    }
    layout = page.arrange(rooms.pop("Module"), rooms, _EXPENDABLE, _READABLE)
    yield page.style("bold", _row(_TITLES, page, layout)[:-1]) + "\n" + page.rule(layout)
    yield from chunks(_row(row, page, layout) for row in rows)
    yield page.rule(layout)
    yield from footer(report, page)


def _screen(width: int, *, color: bool, cut: bool) -> Page:
    from paramcli.render.terminal import Screen  # a pipe does without Rich

    return Screen(width, color=color, cut=cut)


def _walk(
    module: _Module, levels: int, guide: str = "", times: int = 1
) -> Iterator[tuple[str, _Module, int]]:
    """Yield label, module, and how many equal ones it stands for, from the top down."""
    children = _folded(module) if levels > 0 else []
    for number, (label, child, copies) in enumerate(children, 1):
        corner, below = ("└─ ", "   ") if number == len(children) else ("├─ ", "│  ")
        yield guide + corner + label, child, times * copies
        if child:
            yield from _walk(child, levels - 1, guide + below, times * copies)


def _folded(module: _Module) -> list[tuple[str, _Module, int]]:
    """List label, module and how many it stands for; numbered children that look alike are one."""
    alike: dict[str | int, list[str]] = {}
    for name, child in module.items():
        alike.setdefault(child.alike if _INDEX.fullmatch(name) else name, []).append(name)
    return [(_label(names), module[names[0]], len(names)) for names in alike.values()]


def _label(names: list[str]) -> str:
    if len(names) == 1:
        return safe(names[0])
    runs = spans(sorted(map(int, names)))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _facts(module: _Module, times: int, whole: int) -> tuple[str, str, str, str, str]:
    """Lay what stands right of a label: type, tensors, count, bytes, and their bar."""
    info, nbytes = module.info, times * module.bytes
    of = f"{info.dtype.name}{shape_of(info)}" if info else ""
    count, size = decimal(times * module.count), binary(nbytes)
    if info and info.open and not module:
        count = size = "?"
    return of, f"{times * module.tensors:,}", count, size, _bar(nbytes, whole)


def _bar(nbytes: int, whole: int) -> str:
    """Draw a share of the whole in eighths of a cell."""
    eighths = round(8 * _BAR * nbytes / whole) if whole else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8]


def _row(row: Sequence[str], page: Page, layout: Layout) -> str:
    texts = dict(zip(_TITLES[1:], row[1:], strict=True))
    return page.row(row[0], layout, page.columns(texts, layout, right=_NUMBERS))
