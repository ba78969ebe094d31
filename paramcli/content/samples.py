"""A few of a tensor's bytes, read to tell cheaply which tensors may hold the same."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from paramcli.content.places import stretch
from paramcli.files import File, open_file

if TYPE_CHECKING:
    from types import TracebackType

    from paramcli.checkpoint import Checkpoint
    from paramcli.content.places import Stretch
    from paramcli.tensors import TensorInfo

__all__ = ["Sampler"]

_PIECE = 4096


class Sampler:
    """Reads pieces of tensors, each file opened once."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: dict[str, File] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def read(self, place: Stretch, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a stretch from its byte `start` on."""
        file = self._files.get(place.file)
        if file is None:
            file = self._files[place.file] = self._stack.enter_context(open_file(place.file))
        return file.read(place.offset + start, min(size, place.nbytes - start))

    def piece(self, checkpoint: Checkpoint, info: TensorInfo, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a contiguous tensor from its byte `start` on.

        Nothing where its bytes do not lie in one piece, or end before.
        """
        place = stretch(checkpoint, info)
        if place is None or not info.contiguous or start >= place.nbytes:
            return b""
        return self.read(place, start, size)

    def sample(self, place: Stretch, width: int) -> bytes:
        """Return the first, middle and last bytes of a stretch, of elements so many bytes wide.

        All of them where they are few.
        """
        size = place.nbytes
        if size <= 3 * _PIECE:
            return self.read(place, 0, size)
        starts = {0, (size // 2) // width * width, max(0, size - _PIECE) // width * width}
        return b"".join(self.read(place, at, _PIECE) for at in sorted(starts))

    def print(self, checkpoint: Checkpoint, info: TensorInfo) -> bytes | None:
        """Return a digest of a contiguous tensor's first, middle and last bytes.

        None where they cannot be read so, or are one element over and over, which proves nothing.
        """
        from hashlib import blake2b  # which takes longer to import than to compare shapes

        place = stretch(checkpoint, info) if info.contiguous else None
        width = max(1, info.dtype.bits // 8)
        content = self.sample(place, width) if place is not None and place.nbytes else b""
        if content == content[:width] * (len(content) // width):
            return None
        return blake2b(content, digest_size=16).digest()
