"""What each opcode does to the machine: tables from the opcode's byte to a small function.

The names beside the bytes are those of CPython's `Lib/pickletools.py`.
"""

from __future__ import annotations

from codecs import escape_decode
from struct import Struct
from typing import TYPE_CHECKING
from warnings import catch_warnings

from paramcli.sources.pickles.nodes import Dict, Record, Set
from paramcli.tensors import TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.sources.pickles.machine import Machine

    Value = tuple[object, int]
    """What an opcode pushes, and the position after it."""

__all__ = ["GETS", "MARKED", "OTHERS", "PUTS", "U32", "VALUES", "WEIGHTS_ONLY"]

_U16, U32, _I32, _U64 = (Struct(form).unpack_from for form in ("<H", "<I", "<i", "<Q"))
_F64 = Struct(">d").unpack_from
WEIGHTS_ONLY = frozenset(b"cRb\x81aesu(t\x85\x86\x87N\x88\x89)]}\x8fJKMGXUQhjqr\x8a\x80.")
"""The opcodes that `torch.load(weights_only=True)` follows."""


# --- the memo: read the slot that an opcode writes or reads --------------------------------------


def _decimal(data: bytes, pos: int, _: int) -> tuple[int, int]:
    end = data.find(b"\n", pos, pos + 20)
    if end < 0 or not data[pos:end].isdigit():
        raise ValueError("a memo slot that is no number")
    return int(data[pos:end]), end + 1


PUTS: dict[int, Callable[[bytes, int, int], tuple[int, int]]] = {
    0x72: lambda data, pos, _: (U32(data, pos)[0], pos + 4),  # LONG_BINPUT
    0x71: lambda data, pos, _: (data[pos], pos + 1),  # BINPUT
    0x94: lambda _, pos, used: (used, pos),  # MEMOIZE
    0x70: _decimal,  # PUT
}
GETS: dict[int, Callable[[bytes, int, int], tuple[int, int]]] = {
    0x68: lambda data, pos, _: (data[pos], pos + 1),  # BINGET
    0x6A: lambda data, pos, _: (U32(data, pos)[0], pos + 4),  # LONG_BINGET
    0x67: _decimal,  # GET
}


# --- values: push what the bytes after the opcode say --------------------------------------------


def _text(read: Callable[[bytes], object]) -> Callable[[Machine, int], Value]:
    """A value written as a line of text (protocol 0)."""

    def value(self: Machine, pos: int) -> Value:
        line, pos = self.line(pos)
        return read(line), pos

    return value


def _int_or_bool(line: bytes) -> object:
    return line == b"01" if line in (b"00", b"01") else int(line)


def _quoted(line: bytes) -> object:
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"":
        raise ValueError("a string without its quotes")
    with catch_warnings(action="ignore"):  # of escapes that are none, and stay as they are
        return _python_2(escape_decode(line[1:-1])[0])


def _python_2(text: bytes) -> object:
    """A `str` of Python 2: text where it is UTF-8, else the bytes that it always was."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _sized(width: int, read: Callable[[bytes], object]) -> Callable[[Machine, int], Value]:
    """A value whose length stands before it in `width` bytes."""

    def value(self: Machine, pos: int) -> Value:
        size, pos = self.take(pos, width)
        content, pos = self.take(pos, int.from_bytes(size, "little"))
        return read(content), pos

    return value


def _unicode(text: bytes) -> str:
    return str(text, "utf-8", "surrogatepass")


def _long(digits: bytes) -> int:
    return int.from_bytes(digits, "little", signed=True)


def _float(self: Machine, pos: int) -> Value:
    return _F64(self.data, pos)[0], pos + 8


def _empty_list(self: Machine, pos: int) -> Value:
    self.count(1)
    return [], pos


def _empty_dict(self: Machine, pos: int) -> Value:
    self.count(1)
    return Dict([]), pos


def _empty_set(self: Machine, pos: int) -> Value:
    self.count(1)
    return Set([]), pos


VALUES: dict[int, Callable[[Machine, int], Value]] = {
    0x4E: lambda _, pos: (None, pos),  # NONE
    0x88: lambda _, pos: (True, pos),  # NEWTRUE
    0x89: lambda _, pos: (False, pos),  # NEWFALSE
    0x29: lambda _, pos: ((), pos),  # EMPTY_TUPLE
    0x5D: _empty_list,  # EMPTY_LIST
    0x7D: _empty_dict,  # EMPTY_DICT
    0x8F: _empty_set,  # EMPTY_SET
    0x4B: lambda self, pos: (self.data[pos], pos + 1),  # BININT1
    0x4D: lambda self, pos: (_U16(self.data, pos)[0], pos + 2),  # BININT2
    0x4A: lambda self, pos: (_I32(self.data, pos)[0], pos + 4),  # BININT
    0x8A: _sized(1, _long),  # LONG1
    0x8B: _sized(4, _long),  # LONG4
    0x47: _float,  # BINFLOAT
    0x55: _sized(1, _python_2),  # SHORT_BINSTRING
    0x54: _sized(4, _python_2),  # BINSTRING
    0x8C: _sized(1, _unicode),  # SHORT_BINUNICODE
    0x8D: _sized(8, _unicode),  # BINUNICODE8
    0x43: _sized(1, bytes),  # SHORT_BINBYTES
    0x42: _sized(4, bytes),  # BINBYTES
    0x8E: _sized(8, bytes),  # BINBYTES8
    0x96: _sized(8, bytes),  # BYTEARRAY8
    0x49: _text(_int_or_bool),  # INT
    0x4C: _text(lambda line: int(line.removesuffix(b"L"))),  # LONG
    0x46: _text(float),  # FLOAT
    0x53: _text(_quoted),  # STRING
    0x56: _text(lambda line: line.decode("raw-unicode-escape")),  # UNICODE
}


# --- what closes a mark: `items` is all that was pushed since ------------------------------------


def _tuple(self: Machine, items: list[object], pos: int) -> int:
    self.stack.append(tuple(items))
    return pos


def _list(self: Machine, items: list[object], pos: int) -> int:
    self.stack.append(items)
    return pos


def _dict(self: Machine, items: list[object], pos: int) -> int:
    self.stack.append(Dict([]))
    return _set_items(self, items, pos)


def _frozen_set(self: Machine, items: list[object], pos: int) -> int:
    self.stack.append(Set(items))
    return pos


def _append_items(self: Machine, items: list[object], pos: int) -> int:
    target = self.stack[-1]
    if type(target) is list:
        target += items
    elif type(target) is Record:
        target.items += items
    else:
        raise ValueError("items are appended to what is no list")
    return pos


def _set_items(self: Machine, items: list[object], pos: int) -> int:
    target = self.stack[-1]
    if type(target) is not Dict and type(target) is not Record:
        raise ValueError("items are set in what is no dictionary")
    if len(items) % 2:
        raise ValueError("a dictionary with a key but no value")
    self.count(len(items) // 2)  # each pair takes as much again where it is listed
    target.pairs += items
    return pos


def _add_items(self: Machine, items: list[object], pos: int) -> int:
    target = self.stack[-1]
    if type(target) is Set or type(target) is Record:
        target.items += items
    else:
        raise ValueError("items are added to what is no set")
    return pos


def _pop_mark(_self: Machine, _items: list[object], pos: int) -> int:
    return pos


def _object(self: Machine, items: list[object], pos: int) -> int:
    self.stack.append(self.call(items[0], tuple(items[1:])))
    return pos


def _instance(self: Machine, items: list[object], pos: int) -> int:
    module, pos = self.line(pos)
    name, pos = self.line(pos)
    self.stack.append(self.call(self.global_named(module.decode(), name.decode()), tuple(items)))
    return pos


MARKED: dict[int, Callable[[Machine, list[object], int], int]] = {
    0x74: _tuple,  # TUPLE
    0x75: _set_items,  # SETITEMS
    0x65: _append_items,  # APPENDS
    0x6C: _list,  # LIST
    0x64: _dict,  # DICT
    0x90: _add_items,  # ADDITEMS
    0x91: _frozen_set,  # FROZENSET
    0x31: _pop_mark,  # POP_MARK
    0x6F: _object,  # OBJ
    0x69: _instance,  # INST
}


# --- all other opcodes ---------------------------------------------------------------------------


def _protocol(self: Machine, pos: int) -> int:
    self.protocol = self.data[pos]
    if self.protocol > 5:
        raise ValueError(f"pickle protocol {self.protocol} is not known")
    return pos + 1


def _tuple_of(size: int) -> Callable[[Machine, int], int]:
    def build(self: Machine, pos: int) -> int:
        stack = self.stack
        if len(stack) < size:
            raise IndexError
        self.count(1)
        stack[-size:] = [tuple(stack[-size:])]
        return pos

    return build


def _append(self: Machine, pos: int) -> int:
    return _append_items(self, [self.stack.pop()], pos)


def _set_item(self: Machine, pos: int) -> int:
    value = self.stack.pop()
    return _set_items(self, [self.stack.pop(), value], pos)


def _pop(self: Machine, pos: int) -> int:
    self.stack.pop()
    return pos


def _dup(self: Machine, pos: int) -> int:
    self.stack.append(self.stack[-1])
    return pos


def _find_global(self: Machine, pos: int) -> int:
    module, pos = self.line(pos)
    name, pos = self.line(pos)
    self.stack.append(self.global_named(module.decode(), name.decode()))
    return pos


def _stack_global(self: Machine, pos: int) -> int:
    name, module = self.stack.pop(), self.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a global whose name is no text")
    self.stack.append(self.global_named(module, name))
    return pos


def _new_object(self: Machine, pos: int) -> int:
    args = self.stack.pop()
    self.stack[-1] = self.call(self.stack[-1], args)
    return pos


def _new_object_ex(self: Machine, pos: int) -> int:
    self.stack.pop()  # keyword arguments: no class that is understood here takes any
    return _new_object(self, pos)


def _persistent(self: Machine, pos: int) -> int:
    return _persistent_id(self, self.stack.pop(), pos)


def _text_persistent(self: Machine, pos: int) -> int:
    line, pos = self.line(pos)
    return _persistent_id(self, line.decode(), pos)


def _persistent_id(self: Machine, name: object, pos: int) -> int:
    if self.persistent is None:
        raise ValueError("a persistent id where none can be")
    self.stack.append(self.persistent(name))
    return pos


def _frame(self: Machine, pos: int) -> int:
    _U64(self.data, pos)
    return pos + 8


def _extension(_self: Machine, _pos: int) -> int:
    raise ValueError("an extension code, whose meaning only the writer's program knows")


def _build(self: Machine, pos: int) -> int:
    state = self.stack.pop()
    target = self.stack[-1]
    if type(target) is Record:
        target.state = state
    elif type(target) not in (Dict, Set, TensorInfo):
        raise ValueError("a state is given to what has none")
    return pos


def _buffer(_self: Machine, _pos: int) -> int:
    raise ValueError("an out-of-band buffer, which is not in this file")


OTHERS: dict[int, Callable[[Machine, int], int]] = {
    0x80: _protocol,  # PROTO
    0x85: _tuple_of(1),  # TUPLE1
    0x86: _tuple_of(2),  # TUPLE2
    0x87: _tuple_of(3),  # TUPLE3
    0x61: _append,  # APPEND
    0x73: _set_item,  # SETITEM
    0x30: _pop,  # POP
    0x32: _dup,  # DUP
    0x63: _find_global,  # GLOBAL
    0x93: _stack_global,  # STACK_GLOBAL
    0x81: _new_object,  # NEWOBJ
    0x92: _new_object_ex,  # NEWOBJ_EX
    0x51: _persistent,  # BINPERSID
    0x50: _text_persistent,  # PERSID
    0x62: _build,  # BUILD
    0x95: _frame,  # FRAME
    0x82: _extension,  # EXT1
    0x83: _extension,  # EXT2
    0x84: _extension,  # EXT4
    0x97: _buffer,  # NEXT_BUFFER
    0x98: lambda _, pos: pos,  # READONLY_BUFFER
}
