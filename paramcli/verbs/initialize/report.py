"""What `init` reports: what each tensor gets and what to expect of it, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.schemes.rules import written
from paramcli.verbs.initialize.sampling import Scores, scores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paramcli.checkpoint import Checkpoint
    from paramcli.numeric.moments import Moments
    from paramcli.numeric.summary import Summary
    from paramcli.save.drawing import Drawn
    from paramcli.sharing import Group
    from paramcli.tensors import Storage, TensorInfo
    from paramcli.verbs.initialize.plan import Item, Plan

__all__ = ["InitReport", "Initialized", "Measured", "Measuring", "measure_drawn", "report"]


class Measured(NamedTuple):
    """Mean and population standard deviation of a tensor; None where they are no numbers."""

    mean: float | None = None
    std: float | None = None


class Initialized(NamedTuple):
    """One name: what fills it, and why; what is expected of it, and what was measured.

    `scheme` are words: "normal(std=0.02)". `first` is the name that it is tied to, or a view of,
    None for a tensor with bytes of its own. `rule` is the one that won it, "" where its values are
    kept. `memory` are the bytes that it takes to make where it must be made as a whole, else 0.
    `actual` and `z` are None where nothing was drawn; `flagged` what lies beyond sampling error.
    """

    info: TensorInfo
    scheme: str
    rule: str
    role: str
    why: str
    fan_in: int | None
    fan_out: int | None
    group: str | None
    first: str | None
    expected: Measured
    actual: Measured | None
    z: Scores | None
    flagged: bool
    memory: int


class InitReport(NamedTuple):
    """A whole run. `drawn` is False for a plan alone; `output` is None for that and a preview.

    `numel` and `bytes` count shared ones once, `kept` the tensors whose values stand; `memory` is
    the most that one tensor takes.
    """

    target: str
    format: str
    key: str | None
    tensors: tuple[Initialized, ...]
    groups: tuple[Group, ...]
    recipe: str
    seed: int
    dtype: str | None
    stream: str
    numel: int
    bytes: int
    memory: int
    kept: int
    drawn: bool
    output: str | None
    notes: tuple[str, ...]

    @property
    def flagged(self) -> tuple[str, ...]:
        """Names whose measured numbers lie beyond sampling error."""
        return tuple(one.info.name for one in self.tensors if one.flagged and one.first is None)


def report(
    plan: Plan, measured: Mapping[str, Measured] | None = None, output: str | None = None
) -> InitReport:
    """Report a plan, and what was measured of it if anything was, by name."""
    return InitReport(
        target=plan.target,
        format=plan.format,
        key=plan.key,
        tensors=tuple(_row(plan, item, measured) for item in plan.items),
        groups=plan.groups,
        recipe=plan.recipe.name,
        seed=plan.seed,
        dtype=plan.dtype,
        stream=plan.stream,
        numel=sum(one.info.numel for one in plan.tensors),
        bytes=plan.nbytes,
        memory=plan.memory,
        kept=sum(one.kept is not None for one in plan.tensors),
        drawn=measured is not None,
        output=output,
        notes=plan.notes,
    )


def _row(plan: Plan, item: Item, measured: Mapping[str, Measured] | None) -> Initialized:
    one, law = item.of, item.of.law
    actual = None if measured is None else measured.get(one.info.name)
    z = None
    if actual is not None and law is not None:
        z = scores(law, one.info.dtype, one.info.numel, *actual)
    name = one.info.name
    return Initialized(
        info=item.info,
        scheme=_words(plan, item),
        rule=written(one.rule) if one.rule is not None else "",
        role=one.subject.role,
        why=one.subject.why,
        fan_in=one.subject.fan_in,
        fan_out=one.subject.fan_out,
        group=item.group,
        first=None if item.info.name == name else name,
        expected=Measured(law.mean, law.std) if law is not None else Measured(),
        actual=actual,
        z=z,
        flagged=z is not None and z.beyond,
        memory=one.memory,
    )


def _words(plan: Plan, item: Item) -> str:
    """What fills a tensor, in words; what an applied function wrote more than once, by whom."""
    one = item.of
    touched = plan.touched.get(one.info.name, ()) if one.given else ()
    if not touched:
        return one.words
    function = plan.recipe.apply.rpartition(":")[2]
    if len(touched) == 1:
        return function
    return f"{function}({', then '.join(path or 'the model' for path in touched)})"


class Measuring:
    """Measures the tensors of a plan as they are drawn; see `paramcli.save.contents.Watch`."""

    def __init__(self, plan: Plan) -> None:
        from paramcli.numeric.summary import measurable

        self._tensors = [one.info for one in plan.tensors]
        self._measurable = [measurable(info) for info in self._tensors]
        self._parts: dict[int, list[object]] = {
            number: [] for number, asked in enumerate(self._measurable) if asked
        }

    def look(self, storage: Storage, piece: memoryview) -> object:
        """Measure a piece."""
        from paramcli.numeric.summary import measure_piece

        number = int(storage.key)
        if not self._measurable[number]:
            return None
        return measure_piece(self._tensors[number].dtype.name, piece)

    def tell(self, storage: Storage, seen: object) -> None:
        """Keep what was measured of a piece."""
        if int(storage.key) in self._parts:
            self._parts[int(storage.key)].append(seen)

    def measured(self) -> dict[str, Measured]:
        """What was found of each tensor that can be measured, by name."""
        from paramcli.numeric.summary import of_pieces

        return {
            self._tensors[number].name: _measured(
                of_pieces(self._tensors[number].dtype.name, parts)
            )
            for number, parts in self._parts.items()
        }


def measure_drawn(
    plan: Plan,
    checkpoint: Checkpoint,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Measured]:
    """Draw the tensors of a plan and measure them as they go by; nothing of them is held."""
    from paramcli.save.contents import stretch
    from paramcli.save.drawing import drawn

    assert checkpoint.draw is not None
    measuring, total = Measuring(plan), plan.nbytes
    stretches = [stretch(checkpoint, one.info) for one in plan.tensors]

    def use(piece: Drawn, content: memoryview) -> object:
        return measuring.look(stretches[piece.stretch].storage, content)

    for piece, seen in drawn(checkpoint.draw, stretches, use, workers, whole=checkpoint.whole):
        measuring.tell(stretches[piece.stretch].storage, seen)
        if progress is not None:
            progress(piece.nbytes, total)
    return measuring.measured()


def _measured(summary: Summary) -> Measured:
    """Mean and std, None for what is complex, empty or not all finite."""
    moments: Moments = summary.real
    if summary.imaginary is not None or not moments.n or not moments.finite:
        return Measured()
    return Measured(moments.mean, moments.std)
