"""What `tie` finds and does, whole before anything is drawn: frozen, and of plain values alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from paramcli.verbs.survey import Totals

__all__ = [
    "Change", "Equal", "Evidence", "Form", "LeftOut", "Probed", "Stated", "Survival", "Tie",
    "TieReport",
]  # fmt: skip

Form = Literal[
    "same", "transposed", "reshaped", "recast", "strided", "nested", "overlap", "interleaved"
]
"""How the names of a group lie to each other. "same" is one view. Of the same bytes, in another
order of dimensions, shape or element type: "transposed", "reshaped", "recast". Within one that has
them all: "strided" where some skip elements, "nested" where none does. "overlap" is any other, and
"interleaved" are those whose stretches cross without a byte in common (columns of one matrix)."""


class Evidence(NamedTuple):
    """One thing that shows that names share.

    `kind` says what: one module, one tensor, one storage, the metadata of a file, a lock, a config,
    where a view lies, or that the command itself tied them.
    """

    kind: Literal["module", "tensor", "storage", "metadata", "lock", "config", "view", "command"]
    text: str


class Tie(NamedTuple):
    """One sharing group. `bytes` are the shared ones, `saved` what they would cost more untied."""

    id: str
    names: tuple[str, ...]
    relation: Literal["same", "overlap"]
    form: Form
    bytes: int
    saved: int
    dtype: str
    shape: tuple[int, ...]
    evidence: tuple[Evidence, ...]


class Stated(NamedTuple):
    """What a model's config.json says of its word embeddings, and whether the file agrees.

    `input` and `output` are the names of the embedding and of the head, "" where there is none.
    """

    path: str
    tied: bool
    input: str
    output: str
    agrees: bool
    text: str


class Equal(NamedTuple):
    """Names that are not tied and hold the same bytes, or those of the other's transpose.

    `saved` are the bytes that a tie would save.
    """

    names: tuple[str, ...]
    relation: Literal["same", "transposed"]
    dtype: str
    shape: tuple[int, ...]
    saved: int


class LeftOut(NamedTuple):
    """Of how many tensors `--find-equal` says nothing: tiny, or one number over and over."""

    tiny: int = 0
    constant: int = 0


class Change(NamedTuple):
    """What was done to `names`: tied to `kept`, given bytes of their own, or added beside it."""

    kind: Literal["tied", "untied", "added"]
    names: tuple[str, ...]
    kept: str = ""


class Survival(NamedTuple):
    """Whether a tie outlives an operation; "weakened" leaves one storage under two Parameters."""

    operation: str
    outcome: Literal["kept", "weakened", "lost", "failed"]
    text: str = ""


class Probed(NamedTuple):
    """What was seen of one group while its model ran. None is for what could not be looked at.

    `max_error` is the largest difference, in any element, of the shared gradient and the sum of
    those of untied copies; `scale` the largest element of that sum, `precision` the element type.
    """

    group: str
    names: tuple[str, ...]
    write_visible: bool | None
    gradient_is_sum: bool | None
    max_error: float | None
    scale: float | None
    precision: str
    text: str
    survival: tuple[Survival, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing was seen that a tie must not do."""
        return self.write_visible is not False and self.gradient_is_sum is not False


class TieReport(NamedTuple):
    """The groups of a checkpoint, as it is or would be, with all that was asked about them.

    `equal`, `left_out` and `probe` are None where they were not asked for; `output` is what was
    written, `saved` the sum of the bytes that groups save.
    """

    target: str
    format: str
    key: str | None
    groups: tuple[Tie, ...]
    totals: Totals
    config: Stated | None = None
    equal: tuple[Equal, ...] | None = None
    left_out: LeftOut | None = None
    probe: tuple[Probed, ...] | None = None
    changes: tuple[Change, ...] = ()
    output: str | None = None

    @property
    def saved(self) -> int:
        """Bytes that the groups save together."""
        return self.totals.bytes - self.totals.unique_bytes
