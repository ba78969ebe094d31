"""Keys and words: their definition written once more in plain Python, and what tells keys apart."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from paramcli.schemes.arrays import NumpyArrays, TorchArrays
from paramcli.schemes.stream import STREAM, Key, Words, key

ALL = (1 << 64) - 1


def defined(of: Key, place: int) -> int:
    """Return a word as docs/stream.md defines it."""
    z = (of.start + place * 0x9E3779B97F4A7C15) & ALL
    z ^= z >> 30
    z = (z + of.salt) * 0xBF58476D1CE4E5B9 & ALL
    z ^= z >> 27
    z = z * 0x94D049BB133111EB & ALL
    return z ^ (z >> 31)


def test_a_key_is_the_hash_of_its_parts() -> None:
    parts = [STREAM.encode(), b"-0x5", "é\ud800".encode("utf-8", "surrogatepass"), b"rows"]
    text = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    both = hashlib.blake2b(text, digest_size=16).digest()
    start, salt = (int.from_bytes(both[at : at + 8], "little") for at in (0, 8))
    assert key(-5, "é\ud800", "rows") == Key(start, salt)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "a"), ((1 << 32) + 1, "a")),
        ((1, "a"), ((1 << 64) + 1, "a")),
        ((1, "a"), (-1, "a")),
        ((1, "a"), (1, "b")),
        ((1, "a"), (1, "a", "rows")),
        ((1, "ab", "c"), (1, "a", "bc")),
        ((1, "a", ""), (1, "", "a")),
        ((11, "a"), (1, "1a")),
    ],
)
def test_other_parts_make_another_key(one: tuple[int, str], other: tuple[int, str]) -> None:
    ours, theirs = key(*one), key(*other)
    assert ours.start != theirs.start
    assert ours.salt != theirs.salt


@pytest.mark.parametrize("arrays", [NumpyArrays(), TorchArrays()], ids=["numpy", "torch"])
@pytest.mark.parametrize("first", [0, 1, 12345, 1 << 40, (1 << 63) - 3])
def test_words_are_as_defined(arrays: NumpyArrays | TorchArrays, first: int) -> None:
    of = key(7, "weight")
    words = Words(arrays, 100)
    drawn = [word & ALL for word in words.draw(of, first, 60, 40).tolist()]
    assert drawn == [defined(of, first + place) for place in range(60)]


def test_a_word_depends_on_both_halves_of_the_key() -> None:
    words = Words(NumpyArrays(), 64)
    drawn = [words.draw(Key(*of), 0, 64).copy() for of in ((5, 6), (5, 7), (4, 6))]
    flipped = [np.unpackbits((drawn[0] ^ other).view(np.uint8)).mean() for other in drawn[1:]]
    # 4,096 bits each, of which half should differ: within five standard deviations.
    assert all(abs(share - 0.5) < 5 * 0.5 / 64 for share in flipped)
