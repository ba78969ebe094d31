"""What `init` is going to do: which rule won each tensor, what will fill it. Nothing is drawn."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import UsageError
from paramcli.save.sharing import stored_tensors
from paramcli.schemes import registry
from paramcli.schemes.draws import DTYPES as DRAWN
from paramcli.schemes.law import Constant, Given, Whole
from paramcli.schemes.roles import subjects
from paramcli.schemes.rules import assign, written
from paramcli.schemes.stream import STREAM
from paramcli.sharing import share
from paramcli.verbs.initialize.layout import cast_to, check_plain, fresh, kept_of, viewed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.owners import Owner
    from paramcli.schemes.law import Law
    from paramcli.schemes.recipe import Recipe
    from paramcli.schemes.rules import Rule
    from paramcli.schemes.subject import Subject
    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo

__all__ = ["Item", "Plan", "Planned", "make_plan"]

_SHOWN = 3


class Planned(NamedTuple):
    """One tensor with bytes of its own, and what will fill it.

    `info` is as it will be: row-major, a storage to itself, its type cast. Where `kept` is a tensor
    of the checkpoint `source` whose values stand, there are no rule and no law. `others` are the
    names tied to it, and views of it.
    """

    info: TensorInfo
    subject: Subject
    rule: Rule | None
    law: Law | None
    kept: TensorInfo | None
    source: Checkpoint | None
    others: tuple[TensorInfo, ...]

    @property
    def words(self) -> str:
        """What fills it, shortly."""
        if self.law is not None:
            return self.law.words
        return f"kept from {self.source.origin}" if self.source is not None else ""

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
    function wrote, by name; `modules` and `narrow` are what roles and fans were told by.
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
    check_plain(checkpoint)
    stored = [
        (fresh(info, number, cast), tuple(viewed(other, info, number, cast) for other in others))
        for cast in [cast_to(dtype)]
        for number, (info, others) in enumerate(stored_tensors(checkpoint))
    ]
    narrow = narrow or {}
    described = {
        name: one._replace(base=narrow.get(one.name)) for name, one in subjects(checkpoint).items()
    }
    kept, notes = kept_of(stored, base)
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
    tensors = [
        _planned(info, others, described[info.name], won, kept.get(info.name))
        for info, others in stored
    ]
    if checkpoint.format != "module":
        tensors = _own_buffers(tensors, checkpoint)
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
        tensors=tuple(tensors),
        groups=groups,
        recipe=recipe._replace(seed=seed, dtype=dtype),
        rules=tuple(rule for rule in recipe.rules if rule in used),
        seed=seed,
        dtype=dtype,
        modules=checkpoint.modules,
        touched=touched or {},
        narrow=narrow,
        notes=notes,
    )


def _planned(
    info: TensorInfo,
    others: tuple[TensorInfo, ...],
    subject: Subject,
    won: Mapping[str, Rule],
    kept: tuple[TensorInfo, Checkpoint] | None,
) -> Planned:
    subject = subject._replace(dtype=info.dtype)
    if kept is not None:
        return Planned(info, subject, None, None, *kept, others)
    rule = won[subject.name]
    try:
        law = _scheme(rule.scheme).law(subject)
        _check(law, info.dtype.name)
    except UsageError as error:
        name = "" if info.name in str(error) else f"{info.name}: "
        hint = error.hint or f"give it a rule of its own: --rule '{info.name}=zeros'"
        raise UsageError(f"{name}{error} (rule {written(rule)})", hint=hint) from None
    except ArithmeticError as error:  # of fans and groups that no model has
        raise UsageError(f"{info.name}: {written(rule)} has no value: {error}") from None
    return Planned(info, subject, rule, law, None, None, others)


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


def _own_buffers(tensors: Sequence[Planned], checkpoint: Checkpoint) -> list[Planned]:
    """Keep the buffers that a constructor gave once, as a file has them; nothing else gives them.

    Raises UsageError for other values that only a constructor gives.
    """
    there = {info.name: info for info in checkpoint}
    found, lost = [], []
    for one in tensors:
        own = there[one.info.name]
        if one.given and own.storage.file and one.subject.role == "buffer":
            found.append(one._replace(rule=None, law=None, kept=own, source=checkpoint))
        else:
            found.append(one)
            lost += [one] * one.given
    if lost:
        names = ", ".join(one.info.name for one in lost[:_SHOWN])
        raise UsageError(
            f"{names}: only a model class has values of its own (role {lost[0].subject.role})",
            hint=f"name the class, or give a rule: --rule '{lost[0].info.name}=zeros'",
        )
    return found
