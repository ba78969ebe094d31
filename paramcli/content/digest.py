"""One number for the bytes of a stretch, where comparing every pair would take too long.

SHA-256 by the processor's own instructions is as fast as SHA-1 and twice as fast as BLAKE2; CRC-32
is faster still, and proves nothing. `memcmp` is four times as fast, so it comes first: `equal`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from paramcli.content.equal import WINDOW
from paramcli.files import open_file

if TYPE_CHECKING:
    from paramcli.content.places import Stretch

__all__ = ["digest"]


def digest(place: Stretch) -> bytes:
    """Return the SHA-256 of a stretch. Raises SourceError where the file ends early."""
    made, buffer = sha256(), memoryview(bytearray(WINDOW))
    with open_file(place.file) as file:
        file.expect(place.offset, place.nbytes)
        for done in range(0, place.nbytes, WINDOW):
            piece = buffer[: place.nbytes - done]
            file.fill(piece, place.offset + done)
            made.update(piece)
    return made.digest()
