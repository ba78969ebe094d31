"""`show`: the file itself, or some of its tensors with facts, statistics and values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import SourceError, UsageError
from paramcli.select import compile_pattern, near, select
from paramcli.sources.pickles.nodes import describe
from paramcli.verbs.survey import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint, Pickle, Tree
    from paramcli.numeric.moments import Moments
    from paramcli.numeric.summary import Summary
    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import Totals

__all__ = [
    "FileReport", "Finite", "ShowReport", "Shown", "Stats", "check_finite", "show_file",
    "show_tensors",
]  # fmt: skip

_SHOWN = 20
"""Most names that a tensor is said to share bytes with."""


class Finite(NamedTuple):
    """The same statistics over the finite elements alone, where others are among them."""

    mean: float | tuple[float, float] | None
    std: float | None
    min: float | None
    max: float | None


class Stats(NamedTuple):
    """Statistics of one tensor, in float64; a complex mean is (real, imaginary).

    NaN and infinities count as IEEE 754 has it: one NaN makes the mean NaN. What an empty tensor
    or an unordered (complex) one does not have is None. `std` is the population's. `percentiles`
    map "1", "5", … "99" to values, exact ones, or to None. `histogram` counts finite elements in
    equal bins from the least of them to the greatest.
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


def show_tensors(  # noqa: PLR0913 - what to show, each apart
    checkpoint: Checkpoint,
    patterns: Sequence[str],
    *,
    statistics: bool = True,
    values: bool = False,
    part: str | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> ShowReport:
    """Show the tensors that any pattern picks, in the checkpoint's order.

    One pattern that names a module shows that module's own state dict, names without the path.
    `part` is a slice in NumPy's grammar, taken of each tensor's values. Raises UsageError where a
    pattern picks nothing, and SourceError where values are wanted that are not there.
    """
    picked, module = _picked(checkpoint, patterns)
    found = _statistics(checkpoint, picked, device, progress) if statistics else {}
    if values and not any(map(_has_numbers, picked)):
        raise SourceError(_no_values(picked), path=checkpoint.origin)
    prefix = len(module) + 1 if module else 0
    shown = []
    for one in _described(checkpoint, picked, found):
        with_values = one._replace(name=one.name[prefix:])
        if values and _has_numbers(one.info):
            with_values = _with_values(checkpoint, with_values, part)
        shown.append(with_values)
    target, form, key = checkpoint.origin, checkpoint.format, checkpoint.key
    return ShowReport(target, form, key, module, tuple(shown), None)


def check_finite(
    checkpoint: Checkpoint,
    patterns: Sequence[str],
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ShowReport, int]:
    """Look for NaN and infinities: a report of the tensors that have some, and how many were read.

    Each of them has its `first_bad` index; of a composite (a sparse tensor, say) that is an index
    into the first of its parts that has some, whose statistics are reported.
    """
    from paramcli.numeric.values import first_bad

    picked, _ = _picked(checkpoint, patterns or ["*"])
    views = [view for info in picked for view in info.views()]
    found = _statistics(checkpoint, views, device, progress, percentiles=False)
    read = 0
    bad: dict[str, TensorInfo] = {}
    for info in picked:
        known = [view for view in info.views() if view.view in found]
        read += bool(known)
        infinite = [view for view in known if _infinite(found[view.view])]
        if infinite:
            bad[info.name] = infinite[0]
    full = _statistics(checkpoint, tuple(bad.values()), device, None)
    shown = [
        one._replace(
            stats=full[bad[one.info.name].view],
            first_bad=first_bad(checkpoint, bad[one.info.name]),
        )
        for one in _described(checkpoint, [info for info in picked if info.name in bad], full)
    ]
    target, form, key = checkpoint.origin, checkpoint.format, checkpoint.key
    return ShowReport(target, form, key, None, tuple(shown), None), read


def _described(
    checkpoint: Checkpoint, picked: Sequence[TensorInfo], found: Mapping[object, Stats]
) -> Iterator[Shown]:
    """Facts and statistics of tensors under their whole names."""
    groups = {name: group for group in checkpoint.groups() for name in group.names}
    for info in picked:
        group = groups.get(info.name)
        yield Shown(
            name=info.name, info=info, group=group.id if group else None,
            stats=found.get(info.view), values=None, sliced=None, facts=_facts(info, group),
            first_bad=None,
        )  # fmt: skip


def _with_values(checkpoint: Checkpoint, shown: Shown, part: str | None) -> Shown:
    from paramcli.numeric.values import nested, sliced

    view = shown.info if part is None else sliced(shown.info, part)
    return shown._replace(values=nested(checkpoint, view), sliced=view.shape)


def show_file(checkpoint: Checkpoint, size: int | None) -> FileReport:
    """Show what a target holds beside its tensors. `size` is that of the file in bytes."""
    survey_ = survey(checkpoint)
    return FileReport(
        target=checkpoint.origin,
        format=checkpoint.format,
        size=size,
        producer=checkpoint.producer,
        byteorder=checkpoint.byteorder,
        key=checkpoint.key,
        trees=checkpoint.trees,
        values=tuple((path, describe(value)) for path, value in checkpoint.values),
        metadata=checkpoint.metadata,
        totals=survey_.totals,
        groups=len(survey_.groups),
        pickle=checkpoint.pickle,
        problems=checkpoint.problems,
    )


def _picked(
    checkpoint: Checkpoint, patterns: Sequence[str]
) -> tuple[tuple[TensorInfo, ...], str | None]:
    """The tensors that any pattern picks, and the module if the one pattern names one."""
    names = [info.name for info in checkpoint.entries]
    compiled = [compile_pattern(text) for text in patterns]
    for pattern in compiled:
        if not any(map(pattern.matches, names)):
            close = near(pattern.text, names)
            hint = f"did you mean {' or '.join(close)}?" if close else "paramcli list shows all"
            raise UsageError(f"no tensor or module matches {pattern.text}", hint=hint)
    picked = select(checkpoint.entries, compiled)
    only = patterns[0] if len(patterns) == 1 else ""
    below = only and only not in names and all(n.name.startswith(f"{only}.") for n in picked)
    return picked, only if below else None


def _has_numbers(info: TensorInfo) -> bool:
    """Whether a tensor's elements are numbers, and there."""
    from paramcli.numeric.summary import measurable

    return bool(info.storage.file or not info.numel) and measurable(info)


def _no_values(picked: Sequence[TensorInfo]) -> str:
    """Say why none of some tensors has values to show."""
    for info in picked:
        if any(view.storage.file for view in info.views()):
            what = info.dtype.name if info.layout == "strided" else f"{info.layout} tensors"
            return f"{info.name!r} has values, but those of {what} cannot be shown"
    return "it holds names and shapes, but no values"


def _statistics(
    checkpoint: Checkpoint,
    picked: Sequence[TensorInfo],
    device: str,
    progress: Callable[[int, int], None] | None,
    *,
    percentiles: bool = True,
) -> dict[object, Stats]:
    """Statistics by view, of what has values that are numbers. Tied tensors are measured once."""
    from paramcli.numeric.summary import summarize

    wanted = {info.view: info for info in reversed(picked) if _has_numbers(info)}
    infos = tuple(reversed(wanted.values()))
    summaries = summarize(
        checkpoint, infos, percentiles=percentiles, device=device, progress=progress
    )
    return dict(zip((info.view for info in infos), map(_stats, summaries), strict=True))


def _infinite(stats: Stats) -> bool:
    return bool(stats.nan or stats.positive_inf or stats.negative_inf)


def _stats(summary: Summary) -> Stats:
    """What is reported of a measurement, with NaN and infinities counted as IEEE 754 does."""
    from paramcli.numeric.quantiles import empty

    real, imaginary = summary.real, summary.imaginary
    finite = real if imaginary is None else None
    if not real.n and real.finite:
        plain = Finite(None, None, None, None)
        l2: float | None = 0.0
    elif imaginary is not None:
        plain, l2 = _complex(real, imaginary)
    else:
        plain, l2 = _ieee(real)
    within = None
    if finite is not None and not finite.finite and finite.n:
        within = Finite(finite.mean, finite.std, finite.min, finite.max)
    return Stats(
        *plain, l2, real.zeros, real.negative_zeros, real.nan, real.positive_inf,
        real.negative_inf, summary.percentiles or empty(), summary.histogram, within,
    )  # fmt: skip


def _ieee(m: Moments) -> tuple[Finite, float]:
    if m.finite:
        return Finite(m.mean, m.std, m.min, m.max), m.l2
    if m.nan:
        return Finite(math.nan, math.nan, math.nan, math.nan), math.nan
    both = m.positive_inf and m.negative_inf
    mean = math.nan if both else math.inf if m.positive_inf else -math.inf
    low = -math.inf if m.negative_inf else (m.min if m.n else math.inf)
    high = math.inf if m.positive_inf else (m.max if m.n else -math.inf)
    return Finite(mean, math.nan, low, high), math.inf


def _complex(real: Moments, imaginary: Moments) -> tuple[Finite, float]:
    if not real.finite:
        return Finite(math.nan, math.nan, None, None), math.nan
    spread = math.hypot(real.std, imaginary.std)
    mean = (real.mean, imaginary.mean)
    return Finite(mean, spread, None, None), math.hypot(real.l2, imaginary.l2)


def _others(group: Group, name: str) -> str:
    """The other names of a group, some of them where thousands view one storage."""
    shown = [other for other in group.names[: _SHOWN + 1] if other != name][:_SHOWN]
    more = len(group.names) - 1 - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def _facts(info: TensorInfo, group: Group | None) -> dict[str, str]:
    facts = dict(info.facts)
    if group is not None:
        facts["shared with"] = _others(group, info.name)
    if info.layout == "quantized":
        facts["values"] = "the integers that are stored"
    if info.layout != "strided":
        facts["layout"] = info.layout
    for part in info.parts:
        facts[part.name] = f"{part.dtype.name}{list(part.shape)}"
    return facts
