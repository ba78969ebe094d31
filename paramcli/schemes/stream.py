"""The stream: from a seed and a name to random bits, any stretch of them alone.

Word `w` of a tensor is a hash of its key and of `w`, so nothing depends on what was drawn before:
the output of SplitMix64 (Steele, Lea, Flood 2014; Stafford's mix 13), whose sequence starts at the
key's first half, while the second half is added between the rounds. So where the sequences of two
tensors happen to overlap, the words do not.
"""

from __future__ import annotations

import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import ParamcliError

if TYPE_CHECKING:
    from paramcli.schemes.arrays import Array, Arrays

__all__ = ["STREAM", "Key", "Words", "key"]

STREAM = "paramcli-1"
"""Id and version of all that is drawn: bits, formulas and rounding. New bytes need a new one."""

_STEP = 0x9E3779B97F4A7C15
_FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ALL = (1 << 64) - 1


class Key(NamedTuple):
    """128 bits, in two words, that stand for a seed, a name and a purpose."""

    start: int
    salt: int


def key(seed: int, name: str, purpose: str = "") -> Key:
    """Hash a seed (any integer, all its bits count), a canonical name and a purpose.

    Purposes keep apart what one tensor needs several streams for. Each part is preceded by its
    length, so that no two triples read the same.
    """
    digest = blake2b(digest_size=16)
    for part in (STREAM, hex(seed), name, purpose):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    both = digest.digest()
    return Key(int.from_bytes(both[:8], "little"), int.from_bytes(both[8:], "little"))


class Words:
    """Draws stretches of words into memory that is used again for the next ones."""

    def __init__(self, arrays: Arrays, most: int) -> None:
        """`most` is how many words are in use at once."""
        if sys.byteorder != "little":
            raise ParamcliError("the stream is defined for little-endian machines alone")
        self._arrays = arrays
        self._steps = arrays.steps(_STEP, most)
        self._words = arrays.empty("uint64", most)
        self._shifted = arrays.empty("uint64", most)

    def draw(self, key: Key, first: int, count: int, place: int = 0) -> Array:
        """Words `first` to `first + count` of a key, as 64-bit integers, at `place` in memory."""
        do = self._arrays
        words, shifted = self._words[place : place + count], self._shifted[:count]
        do.add(self._steps[:count], do.word((key.start + first * _STEP) & _ALL), words)
        do.shift(words, 30, shifted)
        do.xor(words, shifted, words)
        do.add(words, do.word(key.salt), words)
        do.multiply(words, do.word(_FACTORS[0]), words)
        do.shift(words, 27, shifted)
        do.xor(words, shifted, words)
        do.multiply(words, do.word(_FACTORS[1]), words)
        do.shift(words, 31, shifted)
        do.xor(words, shifted, words)
        return words
