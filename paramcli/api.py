"""The verbs as functions, for tests and notebooks: what the command does, without the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.checkpoint import Checkpoint
from paramcli.sources import open as open_

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from paramcli.verbs.diff import DiffReport

__all__ = ["diff"]


def diff(  # noqa: PLR0913 - the options of the command
    a: str | os.PathLike[str] | Checkpoint,
    b: str | os.PathLike[str] | Checkpoint,
    *,
    shapes: bool = False,
    atol: float | None = None,
    rtol: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    ignore_dtype: bool = False,
    ignore_ties: bool = False,
    subset: bool = False,
) -> DiffReport:
    """Compare two targets or checkpoints; `diff(a, b).assert_same()` is a test.

    `shapes` reads no values. `atol` and `rtol` set what counts as equal as `torch.allclose(a, b)`
    has it; by default the bytes do. `rename` maps what A's names say to what B's say, as
    `--rename` does. Raises what `paramcli.open` raises.
    """
    from paramcli.numeric.change import Tolerance
    from paramcli.verbs.diff import How, Options
    from paramcli.verbs.diff import diff as compare
    from paramcli.verbs.diff.names import parse_rename

    tolerance = None
    if atol is not None or rtol is not None:
        tolerance = Tolerance(atol or 0.0, rtol or 0.0)
    options = Options(
        shapes=shapes,
        how=How(tolerance=tolerance),
        include=include,
        exclude=exclude,
        renames=[parse_rename(f"{old}={new}") for old, new in (rename or {}).items()],
        ignore_dtype=ignore_dtype,
        ignore_ties=ignore_ties,
        subset=subset,
    )
    one, other = (side if isinstance(side, Checkpoint) else open_(side) for side in (a, b))
    return compare(one, other, options)
