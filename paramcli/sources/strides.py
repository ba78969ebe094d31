"""Fields of records that are all alike: taken out of every record at once, at the speed of C."""

from __future__ import annotations

__all__ = ["fields"]


def fields(records: bytes, at: int, stride: int, width: int, room: int = 0) -> bytes:
    """Return the `width` bytes at `at` of each record, one after another.

    Records are `stride` bytes long. Each field is followed by zeros up to `room` bytes.
    """
    room = room or width
    found = bytearray(len(records) // stride * room)
    for byte in range(width):
        found[byte::room] = records[at + byte :: stride]
    return bytes(found)
