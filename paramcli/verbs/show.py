"""`show`: the file itself, or some of its tensors with facts, statistics and values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramcli.checkpoint import Pickle, TensorInfo, Tree
    from paramcli.verbs.survey import Totals

__all__ = ["FileReport", "Finite", "ShowReport", "Shown", "Stats"]


class Finite(NamedTuple):
    """The same statistics over the finite elements alone, where others are among them."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None


class Stats(NamedTuple):
    """Statistics of one tensor, in float64; a complex mean is (real, imaginary).

    NaN and infinities count as IEEE 754 has it: one NaN makes the mean NaN. What an empty tensor
    or an unordered (complex) one does not have is None. `std` is the population's. `percentiles`
    map "1", "5", … "99" to values, and `error` is how far off they can be, relative to the value
    (0.0: exact). `histogram` counts finite elements in equal bins from `finite.min` (or `min`) to
    the maximum.
    """

    mean: float | tuple[float, float] | None
    std: float | None
    min: float | None
    max: float | None
    l2: float | None
    zeros: int
    negative_zeros: int
    nan: int
    positive_inf: int
    negative_inf: int
    percentiles: Mapping[str, float | None]
    method: str
    error: float
    histogram: tuple[int, ...]
    finite: Finite | None


class Shown(NamedTuple):
    """One tensor: `name` as it is called within `ShowReport.module`, and `info` with all facts.

    `values` are nested lists (None where not asked for), `sliced` the shape they have, `facts`
    further lines (scale and zero point of a quantized tensor, layout and parts of a composite),
    `first_bad` the index of the first NaN or infinity, None where all are finite.
    """

    name: str
    info: TensorInfo
    group: str | None
    stats: Stats | None
    values: object
    sliced: tuple[int, ...] | None
    facts: Mapping[str, str]
    first_bad: tuple[int, ...] | None


class ShowReport(NamedTuple):
    """Some tensors of a target. `module` is the module path asked for, None for patterns."""

    target: str
    format: str
    key: str | None
    module: str | None
    tensors: tuple[Shown, ...]
    note: str | None


class FileReport(NamedTuple):
    """The file itself: `values` are dotted paths of what is no tensor with short texts."""

    target: str
    format: str
    size: int | None
    producer: str | None
    byteorder: str
    key: str | None
    trees: tuple[Tree, ...]
    values: tuple[tuple[str, str], ...]
    metadata: Mapping[str, str]
    totals: Totals
    groups: int
    pickle: Pickle | None
    problems: tuple[str, ...]
