"""A state dict as the pickle that torch.save makes of it, written opcode by opcode, without torch.

The bytes are those of `pickle.Pickler` at protocol 2: globals, constants and keys are written once
and then taken from the memo, in which every tuple and tensor has a slot, asked for again or not.
Source: `torch/_tensor.py` (`_reduce_ex_internal`), `torch/serialization.py` (`_save`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paramcli.tensors import TensorInfo

__all__ = ["UNTYPED", "StoredTensor", "state_dict"]

UNTYPED = "torch.storage.UntypedStorage"
_BATCH = 1000
_TUPLES = {1: b"\x85", 2: b"\x86", 3: b"\x87"}


class StoredTensor(NamedTuple):
    """A tensor and the storage that it views, by key: of a class such as `torch.FloatStorage`.

    `numel` counts the storage's elements. An untyped storage counts bytes, and its tensors name
    their own element type.
    """

    info: TensorInfo
    key: str
    storage_class: str
    numel: int


def state_dict(tensors: Sequence[StoredTensor]) -> bytes:
    """Return the pickle of an OrderedDict of plain tensors."""
    pickle = _Pickle()
    pickle.called("collections.OrderedDict")
    for start in range(0, len(tensors), _BATCH):
        batch = tensors[start : start + _BATCH]
        if len(batch) > 1:
            pickle.code += b"("
        for item in batch:
            pickle.text(item.info.name)
            pickle.tensor(item)
        pickle.code += b"u" if len(batch) > 1 else b"s"
    pickle.code += b"."
    return bytes(pickle.code)


class _Pickle:
    """Opcodes so far, and the memo slots of what is written once."""

    def __init__(self) -> None:
        self.code = bytearray(b"\x80\x02")
        self._slots: dict[str, int] = {}
        self._used = 0

    def tensor(self, item: StoredTensor) -> None:
        """`_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`, or v3."""
        info, code = item.info, self.code
        untyped = item.storage_class == UNTYPED
        self.name(f"torch._utils._rebuild_tensor_v{3 if untyped else 2}")
        code += b"(("
        self.constant("storage")
        self.name(item.storage_class)
        self.constant(item.key, "key")
        self.constant("cpu")
        self.number(item.numel)
        code += b"t"
        self.put()
        code += b"Q"
        self.number(info.offset)
        self.numbers(info.shape)
        self.numbers(info.stride)
        code += b"\x89"
        self.called("collections.OrderedDict")
        if untyped:
            self.name(f"torch.{info.dtype.name}")
        if info.marks:
            self.marks(info.marks)
        code += b"t"
        self.put()
        code += b"R"
        self.put()

    def marks(self, marks: Sequence[str]) -> None:
        """`{"conj": True}` and the like, as torch notes what it has not carried out."""
        self.code += b"}"
        self.put()
        if len(marks) > 1:
            self.code += b"("
        for mark in marks:
            self.text(mark)
            self.code += b"\x88"
        self.code += b"u" if len(marks) > 1 else b"s"

    def called(self, path: str) -> None:
        """Call a global without arguments."""
        self.name(path)
        self.code += b")R"
        self.put()

    def name(self, path: str) -> None:
        """Push a global."""
        if not self._again(path, "global"):
            module, _, name = path.rpartition(".")
            self.code += f"c{module}\n{name}\n".encode()
            self.put()

    def constant(self, text: str, kind: str = "constant") -> None:
        """Push text that is one object wherever it stands."""
        if not self._again(text, kind):
            self.text(text)

    def text(self, text: str) -> None:
        """Push text."""
        content = text.encode()
        self.code += b"X" + len(content).to_bytes(4, "little") + content
        self.put()

    def numbers(self, values: Sequence[int]) -> None:
        """Push a tuple of numbers."""
        if len(values) > 3:
            self.code += b"("
        for value in values:
            self.number(value)
        self.code += b")" if not values else b"t" if len(values) > 3 else _TUPLES[len(values)]
        if values:
            self.put()

    def number(self, value: int) -> None:
        """Push a number that is not negative, in the shortest way."""
        if value < 1 << 8:
            self.code += b"K" + value.to_bytes(1, "little")
        elif value < 1 << 16:
            self.code += b"M" + value.to_bytes(2, "little")
        elif value < 1 << 31:
            self.code += b"J" + value.to_bytes(4, "little")
        else:
            size = value.bit_length() // 8 + 1
            self.code += b"\x8a" + size.to_bytes(1, "little") + value.to_bytes(size, "little")

    def put(self) -> None:
        """Give what was just pushed the next slot of the memo."""
        slot, self._used = self._used, self._used + 1
        if slot < 1 << 8:
            self.code += b"q" + slot.to_bytes(1, "little")
        else:
            self.code += b"r" + slot.to_bytes(4, "little")

    def _again(self, text: str, kind: str) -> bool:
        """Push what the memo has, or note that it gets the next slot."""
        slot = self._slots.setdefault(f"{kind} {text}", self._used)
        if slot == self._used:
            return False
        if slot < 1 << 8:
            self.code += b"h" + slot.to_bytes(1, "little")
        else:
            self.code += b"j" + slot.to_bytes(4, "little")
        return True
