"""What `init` is going to do: which rule won each tensor, what will fill it. Nothing is drawn."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from paramcli.checkpoint import DTYPES, Storage, share
from paramcli.errors import UsageError
from paramcli.save.sharing import stored_tensors
from paramcli.schemes import registry
from paramcli.schemes.draws import DTYPES as DRAWN
from paramcli.schemes.law import Constant, Given, Whole
from paramcli.schemes.roles import subjects
from paramcli.schemes.rules import assign, written
from paramcli.schemes.stream import STREAM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.checkpoint import Checkpoint, DType, Group, TensorInfo
    from paramcli.owners import Owner
    from paramcli.schemes.law import Law
    from paramcli.schemes.recipe import Recipe
    from paramcli.schemes.rules import Rule
    from paramcli.schemes.subject import Subject

__all__ = ["Item", "Plan", "Planned", "make_plan"]

_SHOWN = 3


class Planned(NamedTuple):
    """One tensor with bytes of its own, and what will fill it.

    `info` is as it will be: row-major, a storage to itself, its type cast. Where `kept` is the
    tensor of BASE whose values stand, there are no rule and no law. `others` are the names tied to
    it, and views of it.
    """

    info: TensorInfo
    subject: Subject
    rule: Rule | None
    law: Law | None
    kept: TensorInfo | None
    others: tuple[TensorInfo, ...]

    @property
    def words(self) -> str:
        """What fills it, shortly."""
        return self.law.words if self.law is not None else "kept"

    @property
    def given(self) -> bool:
        """Whether its values are those that the model's constructor gives."""
        return self.law is not None and any(
            isinstance(piece.fill, Given) for piece in self.law.pieces
        )

    @property
    def memory(self) -> int:
        """Bytes that drawing it takes at once, where it cannot be drawn piece by piece."""
        pieces = self.law.pieces if self.law is not None else ()
        return max((one.fill.memory for one in pieces if isinstance(one.fill, Whole)), default=0)


class Item(NamedTuple):
    """A name of the result: the tensor that holds its bytes, itself or another, and its group."""

    info: TensorInfo
    of: Planned
    group: str | None


class Plan(NamedTuple):
    """All that determines the result, in the order of the target's names.

    `recipe` is what was asked for, `rules` those of it that won a tensor, `touched` what an applied
    function wrote, by name. `cannot` says why values are not there that the model's constructor
    would give, "" where they are. `base` is the checkpoint whose values are kept.
    """

    target: str
    format: str
    key: str | None
    items: tuple[Item, ...]
    tensors: tuple[Planned, ...]
    groups: tuple[Group, ...]
    recipe: Recipe
    rules: tuple[Rule, ...]
    seed: int
    dtype: str | None
    modules: Mapping[str, Owner]
    touched: Mapping[str, tuple[str, ...]]
    base: Checkpoint | None
    narrow: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]
    stream: str = STREAM

    @property
    def nbytes(self) -> int:
        """Bytes that will be written, shared ones once."""
        return sum(one.info.nbytes for one in self.tensors)

    @property
    def memory(self) -> int:
        """Most bytes that a tensor takes that must be made as a whole, 0 where none must."""
        return max((one.memory for one in self.tensors), default=0)

    @property
    def given(self) -> bool:
        """Whether the model's own constructor must be asked for values."""
        return any(one.given for one in self.tensors)

    @property
    def constructed(self) -> bool:
        """Whether its parameters are among them, which it must draw then."""
        return any(one.given and one.info.kind != "buffer" for one in self.tensors)


def make_plan(  # noqa: PLR0913 - all that determines the result
    checkpoint: Checkpoint,
    recipe: Recipe,
    *,
    seed: int | None = None,
    dtype: str | None = None,
    base: Checkpoint | None = None,
    narrow: Mapping[str, tuple[int, ...]] | None = None,
    touched: Mapping[str, tuple[str, ...]] | None = None,
) -> Plan:
    """Plan the initialization of a checkpoint. Neither reads nor draws values.

    `seed` and `dtype` go before those of the recipe; a seed that nobody gives is 0. What `base`
    has is kept, by any name of a tie. `narrow` are the shapes of the model that muP was tuned on.
    Raises UsageError where a tensor has no rule or a rule no
    tensor, and for what a scheme cannot fill.
    """
    seed = seed if seed is not None else recipe.seed or 0
    dtype = (dtype or recipe.dtype or "").removeprefix("torch.") or None
    _check_open(checkpoint)
    stored = [
        (_fresh(info, number, cast), tuple(_viewed(other, info, number, cast) for other in others))
        for cast in [_cast(dtype)]
        for number, (info, others) in enumerate(stored_tensors(checkpoint))
    ]
    narrow = narrow or {}
    described = {
        name: one._replace(base=narrow.get(one.name)) for name, one in subjects(checkpoint).items()
    }
    kept, notes = _kept(stored, base)
    drawn = [
        described[info.name]._replace(dtype=info.dtype)
        for info, _ in stored
        if info.name not in kept
    ]
    aliases = {
        described[info.name].name: [info.name, *(other.name for other in others)]
        for info, others in stored
    }
    won = assign(recipe.rules, drawn, aliases, recipe.needed)
    tensors = tuple(
        _planned(info, others, described[info.name], won, kept.get(info.name))
        for info, others in stored
    )
    _check_given(tensors, checkpoint)
    used = {one.rule for one in tensors}
    of = {info.name: one for one in tensors for info in (one.info, *one.others)}
    views = {info.name: info for one in tensors for info in (one.info, *one.others)}
    groups = share(views[info.name] for info in checkpoint)
    group = {name: each.id for each in groups for name in each.names}
    return Plan(
        target=checkpoint.origin,
        format=checkpoint.format,
        key=checkpoint.key,
        items=tuple(
            Item(views[info.name], of[info.name], group.get(info.name)) for info in checkpoint
        ),
        tensors=tensors,
        groups=groups,
        recipe=recipe._replace(seed=seed, dtype=dtype),
        rules=tuple(rule for rule in recipe.rules if rule in used),
        seed=seed,
        dtype=dtype,
        modules=checkpoint.modules,
        touched=touched or {},
        base=base,
        narrow=narrow,
        notes=notes,
    )


def _check_open(checkpoint: Checkpoint) -> None:
    for info in checkpoint:
        if info.open:
            raise UsageError(
                f"{info.name}: the lock leaves its shape open",
                hint="give its sizes in [dims], or name a class or a checkpoint",
            )
        if info.layout != "strided":
            raise UsageError(
                f"{info.name} is {info.layout.replace('_', ' ')}; only plain tensors can be filled"
            )


def _cast(name: str | None) -> DType | None:
    if name is None:
        return None
    if name not in DRAWN:
        raise UsageError(f"--dtype {name} cannot be drawn", hint=f"there are {', '.join(DRAWN)}")
    return DTYPES[name]


def _typed(info: TensorInfo, cast: DType | None) -> DType:
    floating = info.dtype.name.startswith(("float", "bfloat"))
    return cast if cast is not None and floating else info.dtype


def _fresh(info: TensorInfo, number: int, cast: DType | None) -> TensorInfo:
    """Give a tensor a storage to itself, its elements in rows."""
    dtype = _typed(info, cast)
    stride, step = [], 1
    for size in reversed(info.shape):
        stride.append(step)
        step *= max(size, 1)
    return info._replace(
        dtype=dtype,
        stride=tuple(reversed(stride)) if not info.contiguous else info.stride,
        offset=0,
        storage=Storage(DRAWN_FILE, number, dtype.nbytes(info.numel)),
        marks=(),
        facts=(),
    )


DRAWN_FILE = "drawn"
"""The `file` of storages whose bytes are computed."""


def _viewed(view: TensorInfo, stored: TensorInfo, number: int, cast: DType | None) -> TensorInfo:
    """Put a view of a tensor into its new storage."""
    if cast is not None and view.dtype != stored.dtype:
        raise UsageError(
            f"{view.name} views {stored.name} as another type, so they cannot be cast",
            hint="leave --dtype out",
        )
    bits = view.offset * view.dtype.bits - stored.offset * stored.dtype.bits
    dtype = _typed(stored, cast)
    return view._replace(
        dtype=_typed(view, cast),
        offset=bits // view.dtype.bits,
        storage=Storage(DRAWN_FILE, number, dtype.nbytes(stored.numel)),
    )


def _kept(
    stored: Sequence[tuple[TensorInfo, Sequence[TensorInfo]]], base: Checkpoint | None
) -> tuple[dict[str, TensorInfo], tuple[str, ...]]:
    """The tensors of a base that stand for those of the result, and what else is to be said."""
    if base is None:
        return {}, ()
    there = {info.name: info for info in base}
    kept: dict[str, TensorInfo] = {}
    wrong = []
    for info, others in stored:
        names = [info.name, *(other.name for other in others if other.shape == info.shape)]
        found = next((there[name] for name in names if name in there), None)
        if found is None:
            continue
        if found.shape != info.shape or found.layout != "strided":
            wrong.append(f"{found.name} {list(found.shape)} for {list(info.shape)}")
        kept[info.name] = found
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise UsageError(
            f"{base.origin} has other shapes: {', '.join(wrong[:_SHOWN])}{more}",
            hint="take these out of it first",
        )
    wanted = {one.name for info, others in stored for one in (info, *others)}
    extra = [name for name in there if name not in wanted]
    if not extra:
        return kept, ()
    listed = ", ".join(extra[:_SHOWN]) + (", …" if len(extra) > _SHOWN else "")
    return kept, (f"{len(extra)} of {base.origin} are not in the target: {listed}",)


def _planned(
    info: TensorInfo,
    others: tuple[TensorInfo, ...],
    subject: Subject,
    won: Mapping[str, Rule],
    kept: TensorInfo | None,
) -> Planned:
    subject = subject._replace(dtype=info.dtype)
    if kept is not None:
        return Planned(info, subject, None, None, kept, others)
    rule = won[subject.name]
    try:
        law = _scheme(rule.scheme).law(subject)
        _check(law, info.dtype.name)
    except UsageError as error:
        hint = error.hint or f"give it a rule of its own: --rule '{info.name}=zeros'"
        raise UsageError(
            f"the rule {written(rule)} cannot fill {info.name}: {error}", hint=hint
        ) from None
    return Planned(info, subject, rule, law, None, others)


@cache
def _scheme(text: str) -> registry.Scheme:
    return registry.parse(text)


def _check(law: Law, dtype: str) -> None:
    """Raise UsageError for a type that a law cannot fill."""
    for piece in law.pieces:
        if isinstance(piece.fill, Constant):
            _check_constant(piece.fill.value, dtype)
        elif not isinstance(piece.fill, Given) and dtype not in DRAWN:
            raise UsageError(f"{dtype} cannot be drawn", hint=f"what can: {', '.join(DRAWN)}")


@cache
def _check_constant(value: float, dtype: str) -> None:
    import numpy as np

    from paramcli.schemes.fill import encode

    encode(np.array([value]), dtype)


def _check_given(tensors: Sequence[Planned], checkpoint: Checkpoint) -> None:
    if checkpoint.format == "module":
        return
    lost = [one for one in tensors if one.given]
    if lost:
        names = ", ".join(one.info.name for one in lost[:_SHOWN])
        raise UsageError(
            f"{names}: only a model class has values of its own (role {lost[0].subject.role})",
            hint=f"name the class, or give a rule: --rule '{lost[0].info.name}=zeros'",
        )
