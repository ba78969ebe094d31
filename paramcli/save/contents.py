"""The bytes of a checkpoint for a writer: copied, unpacked, gathered by strides, or drawn."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self

from paramcli.errors import SourceError, UsageError
from paramcli.save.drawing import Drawing
from paramcli.save.output import PIECE
from paramcli.sources.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from paramcli.checkpoint import Checkpoint, DType, Place, Storage, TensorInfo
    from paramcli.save.output import Output

__all__ = ["Contents", "Stretch", "stretch", "swap_width"]

_CODES = {2: "H", 4: "I", 8: "Q"}


class Stretch(NamedTuple):
    """`nbytes` of a storage from byte `start` on, or the elements of `view` in row-major order.

    Numbers of `width` bytes are turned from big-endian to little; 1 leaves all as it is.
    """

    storage: Storage
    start: int
    nbytes: int
    width: int = 1
    view: TensorInfo | None = None


def _number_width(dtype: DType) -> int:
    """Bytes of each number of an element; a complex one has two."""
    parts = 2 if dtype.name.startswith("complex") else 1
    return max(dtype.bits // 8 // parts, 1)


def stretch(checkpoint: Checkpoint, info: TensorInfo) -> Stretch:
    """Return the stretch that holds a tensor's elements in row-major order, without marks."""
    start, _ = info.extent
    width = _number_width(info.dtype) if checkpoint.byteorder == "big" else 1
    plain = info.contiguous and not info.marks and info.offset * info.dtype.bits % 8 == 0
    return Stretch(info.storage, start, info.nbytes, width, None if plain else info)


class Contents:
    """The bytes of stretches, asked for one after another in the order given.

    Raises SourceError where the checkpoint holds no bytes, before anything is asked for where
    that is known then.
    """

    def __init__(
        self, checkpoint: Checkpoint, stretches: Sequence[Stretch], workers: int | None = None
    ) -> None:
        if checkpoint.draw is not None:
            checkpoint = replace(checkpoint, locate=lambda _: None)
        self._checkpoint = checkpoint
        self._file: File | None = None
        self._buffer = memoryview(bytearray(PIECE))
        self._drawing: Drawing | None = None
        if checkpoint.draw is not None:
            drawn = [item for item in stretches if item.view is None]
            self._drawing = Drawing(checkpoint.draw, drawn, workers)
        elif any(item.nbytes and not item.storage.file for item in stretches):
            raise SourceError(
                "it holds names and shapes, but no values", path=checkpoint.origin,
                hint="give it values first, with init say",
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._drawing:
            self._drawing.close()
        self._reopen(None)

    def put(self, item: Stretch, output: Output) -> None:
        """Write the next stretch into an output, by the kernel where it can copy it."""
        place = None
        if item.nbytes and item.view is None and self._drawing is None:
            place = self._checkpoint.locate(item.storage)
        if place and self._file is not None and self._file.path != place.file:
            output.flush()  # what it has still to copy is in a file that will be closed
        if place and item.width == 1:
            output.copy(self._opened(place), place.offset + item.start, item.nbytes)
        else:
            for piece in self.pieces(item):
                output.write(piece)

    def pieces(self, item: Stretch) -> Iterator[memoryview]:
        """Yield the bytes of the next stretch in pieces, each valid until the next is asked for."""
        if not item.nbytes:
            return
        if item.view is None and self._drawing:
            yield from self._drawing.pieces(item)
        elif item.view is None and (place := self._checkpoint.locate(item.storage)):
            yield from self._read(item, place)
        else:
            yield memoryview(_turned(self._whole(item), item.width))

    def _whole(self, item: Stretch) -> bytes | bytearray:
        if item.view is not None:
            from paramcli.numeric.blocks import gather

            return gather(self._checkpoint, item.view)
        content = self._checkpoint.read(item.storage)[item.start : item.start + item.nbytes]
        if len(content) < item.nbytes:
            raise SourceError("a storage is shorter than it states", path=self._checkpoint.origin)
        return content

    def _read(self, item: Stretch, place: Place) -> Iterator[memoryview]:
        file = self._opened(place)
        for done in range(0, item.nbytes, PIECE):
            piece = self._buffer[: item.nbytes - done]
            file.fill(piece, place.offset + item.start + done)
            yield memoryview(_turned(piece, item.width))

    def _opened(self, place: Place) -> File:
        if self._file is None or self._file.path != place.file:
            self._reopen(place.file)
        assert self._file is not None
        return self._file

    def _reopen(self, path: str | None) -> None:
        if self._file is not None:
            self._file.__exit__(None, None, None)
        self._file = None if path is None else File(path)


def _turned(content: bytes | bytearray | memoryview, width: int) -> bytes | bytearray | memoryview:
    if width == 1:
        return content
    numbers = array(_CODES[width], bytes(content))
    numbers.byteswap()
    return numbers.tobytes()


def swap_width(storage: Storage, views: Sequence[TensorInfo]) -> int:
    """Width of the numbers in a storage of a big-endian file, which its views must agree on."""
    widths = {_number_width(info.dtype) for info in views}
    if len(widths) > 1:
        names = ", ".join(repr(info.name) for info in views[:2])
        raise UsageError(f"{names} view big-endian bytes of {storage.file} as different types")
    return widths.pop()
