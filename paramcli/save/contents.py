"""The bytes of a checkpoint for a writer: copied, unpacked, gathered by strides, or drawn."""

from __future__ import annotations

import zlib
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from paramcli.errors import SourceError, UsageError
from paramcli.files import File, open_file
from paramcli.save.checksums import joined
from paramcli.save.drawing import drawn
from paramcli.save.output import PIECE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from paramcli.checkpoint import Checkpoint
    from paramcli.save.drawing import Drawn
    from paramcli.save.output import Output
    from paramcli.tensors import DType, Place, Storage, TensorInfo

    Summed = Callable[[int], None]

__all__ = ["Contents", "Stretch", "Watch", "stretch", "swap_width"]

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
    """Bytes of each number of an element."""
    return max(dtype.bits // 8 // dtype.parts, 1)


def stretch(checkpoint: Checkpoint, info: TensorInfo) -> Stretch:
    """Return the stretch that holds a tensor's elements in row-major order, without marks."""
    start, _ = info.extent
    width = _number_width(info.dtype) if checkpoint.byteorder == "big" else 1
    plain = info.contiguous and not info.marks and info.offset * info.dtype.bits % 8 == 0
    return Stretch(info.storage, start, info.nbytes, width, None if plain else info)


class Watch(Protocol):
    """Who looks at computed bytes as they are drawn."""

    def look(self, storage: Storage, piece: memoryview) -> object:
        """See a piece, in whichever process draws it; it is whole elements."""

    def tell(self, storage: Storage, seen: object) -> None:
        """Take what was seen of the next piece of a storage, in this process."""


class _Room(NamedTuple):
    """Where a stretch that is still to be drawn will stand, and who wants to know its CRC-32."""

    stretch: Stretch
    position: int
    summed: Summed | None


class Contents:
    """The bytes of a checkpoint, put into outputs; computed ones only when they are settled.

    Raises SourceError where the checkpoint holds no bytes, before anything is asked for where
    that is known then.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        stretches: Sequence[Stretch],
        workers: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._draw = checkpoint.draw
        if self._draw is not None:
            checkpoint = replace(checkpoint, locate=lambda _: None)
        elif any(item.nbytes and not item.storage.file for item in stretches):
            raise SourceError(
                "it holds names and shapes, but no values", path=checkpoint.origin,
                hint="give it values first, with init say",
            )  # fmt: skip
        self._checkpoint = checkpoint
        self._workers = workers
        self._watch = watch
        self._rooms: list[_Room] = []
        self._told: set[Storage] = set()
        self._file: File | None = None
        self._buffer = memoryview(bytearray(PIECE))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._reopen(None)

    def put(self, item: Stretch, output: Output, summed: Summed | None = None) -> None:
        """Write a stretch into an output, by the kernel where it can copy it.

        One that is computed gets its room there, and its bytes when the output is settled.
        `summed` is told the CRC-32 of its bytes, then or now.
        """
        if self._draw is not None and item.view is None:
            self._rooms.append(_Room(item, output.skip(item.nbytes), summed))
            return
        place = self._checkpoint.locate(item.storage) if item.nbytes and not item.view else None
        if place and self._file is not None and self._file.path != place.file:
            output.flush()  # what it has still to copy is in a file that will be closed
        if place and item.width == 1 and summed is None:
            output.copy(self._opened(place), place.offset + item.start, item.nbytes)
            return
        crc = 0
        for piece in self._pieces(item, place):
            output.write(piece)
            crc = zlib.crc32(piece, crc) if summed else 0
        if summed:
            summed(crc)

    def settle(self, output: Output) -> None:
        """Draw what has its room in an output."""
        rooms, self._rooms = self._rooms, []
        sums = [0] * len(rooms)
        watch = self._watch

        def use(piece: Drawn, content: memoryview) -> tuple[int, object]:
            item, position, summed = rooms[piece.stretch]
            output.put(content, position + piece.start)
            seen = watch.look(item.storage, content) if watch else None
            return zlib.crc32(content) if summed else 0, seen

        if rooms:
            output.flush()
            assert self._draw is not None
            stretches = [room.stretch for room in rooms]
            whole = self._checkpoint.whole
            for piece, (crc, seen) in drawn(self._draw, stretches, use, self._workers, whole=whole):
                number = piece.stretch
                sums[number] = joined(sums[number], crc, piece.nbytes)
                if watch:
                    watch.tell(rooms[number].stretch.storage, seen)
                output.count(piece.nbytes)
        for room, crc in zip(rooms, sums, strict=True):
            if room.summed:
                room.summed(crc)

    def whole(self, info: TensorInfo) -> bytearray:
        """Return the elements of a tensor in row-major order, little-endian."""
        item = stretch(self._checkpoint, info)
        content = bytearray()
        if self._draw is None or item.view is not None:
            place = self._checkpoint.locate(item.storage) if not item.view else None
            for piece in self._pieces(item, place):
                content += piece
            return content
        content = bytearray(item.nbytes)
        for start in range(0, item.nbytes, PIECE):
            piece = memoryview(content)[start : start + PIECE]
            self._draw(item.storage, item.start + start, piece)
            if self._watch and item.storage not in self._told:
                self._watch.tell(item.storage, self._watch.look(item.storage, piece))
        self._told.add(item.storage)
        return content

    def _pieces(self, item: Stretch, place: Place | None) -> Iterator[memoryview]:
        """Yield the bytes of a stretch in pieces, each valid until the next is asked for."""
        if place:
            yield from self._read(item, place)
        elif item.view is not None:
            from paramcli.numeric.gather import Gathered

            for piece in Gathered(self._checkpoint, item.view).pieces():
                yield memoryview(_turned(piece, item.width))
        else:
            for done in range(0, item.nbytes, PIECE):
                piece = self._buffer[: item.nbytes - done]
                self._checkpoint.fill(item.storage, item.start + done, piece)
                yield memoryview(_turned(piece, item.width))

    def _read(self, item: Stretch, place: Place) -> Iterator[memoryview]:
        file = self._opened(place)
        file.expect(place.offset + item.start, item.nbytes)
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
        self._file = None if path is None else open_file(path)


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
