"""What `diff` finds, whole before anything is drawn: frozen, and of plain values alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Ambiguous", "Cause", "DTypeChange", "DiffReport", "FactChange", "Fused", "Metrics", "Module",
    "Renamed", "ShapeChange", "TieChange", "Transposed", "ValueChange", "Violation",
]  # fmt: skip

Shape = tuple[int | None, ...]


class ShapeChange(NamedTuple):
    """One name with two shapes; a size that a lock leaves open is None.

    `transposed` says that the bytes of either are those of the other's transpose, `why` what a
    lock makes of it in words.
    """

    name: str
    a: Shape
    b: Shape
    transposed: bool = False
    why: str = ""


class DTypeChange(NamedTuple):
    """One name with two element types."""

    name: str
    a: str
    b: str


class FactChange(NamedTuple):
    """One name of which both sides state something else: its kind, layout or scale."""

    name: str
    fact: str
    a: str
    b: str


class Renamed(NamedTuple):
    """A tensor that is called otherwise in B, and what shows it.

    `by` is "prefix" where names agree without a leading module path, "rewrite" where parts of the
    path are consistently called otherwise, and "bytes" where the content alone tells. `rules` are
    what is replaced by what, as `--rename` takes it: ("module.", "") or ("h", "layers").
    """

    a: str
    b: str
    by: Literal["prefix", "rewrite", "bytes"]
    rules: tuple[tuple[str, str], ...] = ()


class Fused(NamedTuple):
    """Tensors of one side that make one of the other, stacked along an axis; the bytes prove it.

    With `transposed` it is their transposes that are stacked along that axis of the whole.
    """

    whole: str
    parts: tuple[str, ...]
    axis: int
    side: Literal["a", "b"]
    transposed: bool = False


class Transposed(NamedTuple):
    """A tensor of A whose transpose B holds, under whatever name; the bytes prove it."""

    a: str
    b: str


class Ambiguous(NamedTuple):
    """Names that could be each other, where nothing tells which is which."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    why: str


class Metrics(NamedTuple):
    """How far two tensors lie apart, in float64.

    `max_rel` and `rel_l2` are relative to A. `changed` counts elements. What a NaN or an infinity
    on one side makes meaningless is NaN or infinite; see `ValueChange.finite`.
    """

    max_abs: float
    max_rel: float
    l2: float
    rel_l2: float
    cosine: float | None
    changed: int
    changed_fraction: float


class ValueChange(NamedTuple):
    """A tensor with other values.

    `metrics` are None where they were not asked for, or the elements are no numbers. `nan` and
    `infinite` count changed elements with a NaN, or an infinity, on one side; where there are
    some, `finite` has the metrics of all other elements.
    """

    name: str
    metrics: Metrics | None
    nan: int = 0
    infinite: int = 0
    finite: Metrics | None = None
    shape: Shape | None = None


class TieChange(NamedTuple):
    """Groups of names that share bytes on one side and not on the other."""

    only_a: tuple[tuple[str, ...], ...] = ()
    only_b: tuple[tuple[str, ...], ...] = ()


class Violation(NamedTuple):
    """A rule of a lock that the other side breaks."""

    rule: str
    message: str
    line: int | None


class Module(NamedTuple):
    """A module of one numbered layer (None outside of layers) with the change of all below it."""

    layer: int | None
    name: str
    tensors: int
    changed: int
    rel_l2: float


class Cause(NamedTuple):
    """What probably made nearly all of the difference, and the option that sets it aside."""

    text: str
    option: str | None


class DiffReport(NamedTuple):
    """What changed from A to B.

    `same` is the verdict: nothing counted differs. `equal` counts names whose values were found
    equal, `compared_by` says how ("bytes", "crc32", or "nothing" where values were not read), and
    `not_compared` counts names whose values were not looked at. Names are those of A where a
    tensor is on both sides. `lines` map names to the lines of a lock that speak of them.
    """

    a: str
    b: str
    same: bool
    equal: int
    not_compared: int
    compared_by: str
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    shape: tuple[ShapeChange, ...]
    dtype: tuple[DTypeChange, ...]
    facts: tuple[FactChange, ...]
    renamed: tuple[Renamed, ...]
    fused: tuple[Fused, ...]
    transposed: tuple[Transposed, ...]
    ambiguous: tuple[Ambiguous, ...]
    values: tuple[ValueChange, ...]
    ties: TieChange
    rules: tuple[Violation, ...]
    modules: tuple[Module, ...]
    cause: Cause | None
    ignored: tuple[str, ...]
    lines: Mapping[str, int]
    lock: str | None

    def assert_same(self) -> None:
        """Raise AssertionError where anything that counts differs, with what it is in words."""
        if not self.same:
            from paramcli.verbs.diff.assertion import in_words

            raise AssertionError(in_words(self))
