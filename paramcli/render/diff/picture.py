"""The picture of a change: modules down, layers across, each cell shaded by how far it moved.

That only the last two blocks of a model moved is seen at a glance. Where there are more layers
than cells, several share a cell, which shows the one that moved most.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.render.diff.words import CHANGE, DANGER
from paramcli.render.numbers import short
from paramcli.render.page import GAP
from paramcli.render.text import plural, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from paramcli.render.page import Page
    from paramcli.verbs.diff.report import DiffReport, Module

__all__ = ["picture", "shade"]

_ROWS = 24
_OUTSIDE = 10
_SHADES = ((1e-4, "░"), (1e-2, "▒"), (1e-1, "▓"), (math.inf, "█"))
_UNKNOWN, _EQUAL, _BLOCK = "!", "·", "█"
_LEGEND = "· equal  ░ <1e-4  ▒ <1e-2  ▓ <1e-1  █ more  ! NaN, unknown"
_UNMEASURED = "· equal  ! changed"
_TICK = 5  # cells from one number to the next
_AMOUNT = 12  # cells of a shade and a number behind a gap
_FEWEST = 10  # cells across, whatever the room


class _Grid(NamedTuple):
    """How layers are laid: `each` of them to a cell, a cell `wide` characters."""

    layers: Sequence[int]
    each: int
    wide: int

    @property
    def gap(self) -> str:
        """What stands between a label and its cells; wide ones begin with a space."""
        return GAP if self.wide == 1 else " "

    @classmethod
    def fitting(cls, layers: Sequence[int], room: int) -> _Grid:
        """Give every layer a cell under its number where there is room, else one character."""
        wide = len(str(layers[-1])) + 1
        if len(layers) * wide <= room:
            return cls(layers, 1, wide)
        return cls(layers, -(-len(layers) // max(room, _FEWEST)), 1)

    def header(self) -> str:
        """Lay the numbers of the layers, as many as there is room for, over their cells."""
        if self.wide > 1:
            return "".join(f"{layer:{self.wide}}" for layer in self.layers)
        first, *others = self.layers[:: self.each]
        line = str(first)
        for cell, layer in enumerate(others, 1):
            mark = str(layer)
            if cell % _TICK == 0 and len(line) < cell <= len(others) + 1 - len(mark):
                line = line.ljust(cell) + mark
        return line

    def row(self, modules: dict[int, Module], page: Page) -> str:
        """Lay the cells of one module in all layers."""
        cells = []
        for start in range(0, len(self.layers), self.each):
            there = [
                modules[layer]
                for layer in self.layers[start : start + self.each]
                if layer in modules
            ]
            mark = shade(max(there, key=_moved)) if there else " "
            filled = mark * max(1, self.wide - 1) if mark in "░▒▓█" else mark
            cells.append(_painted(mark, filled.rjust(self.wide), page))
        return "".join(cells)


def picture(report: DiffReport, page: Page, room: int) -> Iterator[str]:
    """Yield lines no wider than `room` cells; nothing where no module changed."""
    modules = report.modules
    if not any(module.changed for module in modules):
        return
    measured = any(change.metrics for change in report.values)
    title = "Relative L2 by layer" if measured else "Changed by layer"
    yield "\n" + page.style("bold", title) + "\n"
    rows: dict[str, dict[int, Module]] = {}
    for module in modules:
        if module.layer is not None:
            rows.setdefault(module.name, {})[module.layer] = module
    if rows:
        yield from _layers(rows, page, room)
    yield from _outside([one for one in modules if one.layer is None and one.changed], page, room)
    legend = _LEGEND if measured else _UNMEASURED
    yield from (page.style("dim", line) + "\n" for line in page.wrap(legend, room))


def _layers(rows: dict[str, dict[int, Module]], page: Page, room: int) -> Iterator[str]:
    """Draw the modules of numbered layers, those that moved most where there are too many."""
    kept = sorted(rows, key=lambda name: max(map(_moved, rows[name].values())), reverse=True)[
        :_ROWS
    ]
    stem = _stem(rows)
    labels = {name: safe(name[len(stem) :]) for name in rows if name in kept}
    title = safe(stem.removesuffix(".")) or "Layer"
    left = min(max(page.cells(label) for label in [*labels.values(), title]), room * 2 // 5)
    layers = sorted({layer for row in rows.values() for layer in row})
    grid = _Grid.fitting(layers, room - left - len(GAP))
    yield page.style("bold", f"{_padded(title, left, page)}{grid.gap}{grid.header()}") + "\n"
    for name, label in labels.items():
        cells = grid.row(rows[name], page)
        yield f"{_padded(label, left, page)}{grid.gap}{cells}".rstrip() + "\n"
    yield from _more(len(rows) - len(labels), page, room)
    if grid.each > 1:
        text = f"{grid.each} layers to a cell, which shows the one that changed most"
        yield from (line + "\n" for line in page.wrap(text, room))


def _stem(names: Iterable[str]) -> str:
    """Find what all names begin with, up to the number of the layer: `blocks.*.`."""
    stems = {name[: name.find("*.") + 2] for name in names}
    stem = stems.pop()
    return "" if stems or not stem.endswith("*.") else stem


def _outside(changed: Sequence[Module], page: Page, room: int) -> Iterator[str]:
    """Draw the changed modules that belong to no layer, a line each."""
    kept = sorted(changed, key=_moved, reverse=True)[:_OUTSIDE]
    labels = {one: safe(one.name) for one in changed if one in kept}
    left = min(max(map(page.cells, labels.values()), default=0), room - _AMOUNT)
    for module, label in labels.items():
        mark = shade(module)
        amount = "" if mark == _UNKNOWN else f" {short(module.rel_l2, 2)}"
        yield f"{_padded(label, left, page)}{GAP}{_painted(mark, mark, page)}{amount}\n"
    yield from _more(len(changed) - len(kept), page, room)


def _more(count: int, page: Page, room: int) -> Iterator[str]:
    if count:
        text = f"… and {plural(count, 'module')} that changed less"
        yield from (line + "\n" for line in page.wrap(text, room))


def shade(module: Module) -> str:
    """Return the character that stands for how far a module moved."""
    if not module.changed:
        return _EQUAL
    if math.isnan(module.rel_l2):
        return _UNKNOWN
    return next((mark for limit, mark in _SHADES if module.rel_l2 < limit), _BLOCK)


def _moved(module: Module) -> tuple[bool, bool, float]:
    unknown = math.isnan(module.rel_l2)
    return bool(module.changed), unknown, 0.0 if unknown else module.rel_l2


def _padded(label: str, room: int, page: Page) -> str:
    text = page.shorten(label, room)
    return text + " " * (room - page.cells(text))


def _painted(mark: str, text: str, page: Page) -> str:
    if mark in (" ", _EQUAL):
        return text
    return page.style(DANGER if mark == _UNKNOWN else CHANGE, text)
