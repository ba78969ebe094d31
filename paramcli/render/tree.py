"""`list --tree`: modules with their subtotals, layers that agree folded into one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.render.footer import footer
from paramcli.render.page import GAP, Page
from paramcli.render.text import binary, chunks, decimal, safe, shape_text, spans

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from paramcli.checkpoint import TensorInfo
    from paramcli.render.page import Layout
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
            look = self.info.dtype, self.info.shape, nbytes
            self.tensors, self.count, self.bytes = 1, self.info.count, nbytes
        for child in self.values():
            child.weigh(known)
            self.tensors += child.tensors
            self.count += child.count
            self.bytes += child.bytes
        below = frozenset((name, child.alike) for name, child in self.items())
        self.alike = known.setdefault((look, below), len(known))


Line = tuple[str, str, str, str, str]
_TITLES: Line = ("Module", "Tensors", "Count", "Bytes", "")
_EXPENDABLE = ("", "Tensors", "Bytes")


def tree(
    report: ListReport, *, width: int | None = None, depth: int | None = None, color: bool = False
) -> Iterator[str]:
    """Yield the tree in chunks of whole lines, `depth` levels below the root.

    Without a width it is for a pipe: nothing is cut, nothing coloured. Subtotals are by name, as
    in the table, so that parts add up; a folded line stands for the sum of its layers.
    """
    page = _page(width, color=color)
    root = _Module()
    for info in report.tensors:
        module = root
        for part in info.name.split(".", _DEEPEST):
            module = module[part]
        module.info = info
    root.weigh({})
    modules = [(safe(report.target), root, 1)]
    modules += _walk(root, _DEEPEST + 1 if depth is None else depth)
    lines = [_line(label, module, times, root.bytes) for label, module, times in modules]
    rooms = [max(map(page.cells, cells)) for cells in zip(_TITLES, *lines, strict=True)]
    columns = dict(zip(_TITLES[1:], rooms[1:], strict=True))
    layout = page.arrange(rooms[0], columns, _EXPENDABLE)
    yield page.style("bold", _laid(_TITLES, page, layout)) + "\n" + page.rule(layout.width)
    yield from chunks(_laid(line, page, layout) + "\n" for line in lines)
    yield page.rule(layout.width)
    yield from footer(report, page)


def _page(width: int | None, *, color: bool) -> Page:
    if width is None:
        return Page()
    from paramcli.render.terminal import Screen  # noqa: PLC0415 - a pipe does without Rich

    return Screen(width, color=color)


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


def _line(label: str, module: _Module, times: int, whole: int) -> Line:
    if module.info is not None:
        label += f"{GAP}{module.info.dtype.name}{shape_text(module.info.shape)}"
    tensors, count, nbytes = (
        times * number for number in (module.tensors, module.count, module.bytes)
    )
    return label, f"{tensors:,}", decimal(count), binary(nbytes), _bar(nbytes, whole)


def _bar(nbytes: int, whole: int) -> str:
    """Draw a share of the whole in eighths of a cell."""
    eighths = round(8 * _BAR * nbytes / whole) if whole else 0
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8]


def _laid(line: Line, page: Page, layout: Layout) -> str:
    cells = [
        text.rjust(layout.columns[title]) if title else text
        for title, text in zip(_TITLES[1:], line[1:], strict=True)
        if title in layout.columns
    ]
    return GAP.join([page.fit(line[0], layout.names), *cells]).rstrip()
