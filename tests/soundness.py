"""What every reader of a checkpoint relies on, whatever the file was."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from paramcli.errors import SourceError

if TYPE_CHECKING:
    from paramcli.checkpoint import Checkpoint


def assert_sound(checkpoint: Checkpoint) -> None:
    """Assert that names, views, groups and places of a checkpoint make sense."""
    names = [info.name for info in checkpoint]
    assert len(set(names)) == len(names)
    assert set(names) >= {name for group in checkpoint.groups() for name in group.names}
    for info in checkpoint:
        for view in info.views():
            assert len(view.shape) == len(view.stride)
            known = (size for size in view.shape if size >= 0 or not view.open)
            assert min((*known, *view.stride, view.offset, info.nbytes)) >= 0
            start, end = view.extent
            assert 0 <= start <= end
            assert end <= view.storage.nbytes or not view.storage.file or start == end
            place = checkpoint.locate(view.storage)
            if place is not None:
                assert place.offset + view.storage.nbytes <= Path(place.file).stat().st_size
            with suppress(SourceError):
                assert len(checkpoint.read(view.storage)) == view.storage.nbytes
    if checkpoint.pickle is not None:
        assert "\n" not in checkpoint.pickle.summary()
