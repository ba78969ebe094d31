"""A pickle machine that can only ever build metadata.

It follows the opcodes of protocols 0 to 5 (CPython's `Lib/pickletools.py`) and runs nothing: a
global is a name, a call is looked up in a table of builders and is otherwise kept as an inert
record. No object of the file is hashed, compared or printed; dictionaries are lists of pairs.
A budget bounds the work, and the bytes that are there bound the memory.
"""

from __future__ import annotations

from codecs import escape_decode
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception in all but its name
from typing import TYPE_CHECKING

from paramcli.checkpoint import TensorInfo
from paramcli.errors import SourceError
from paramcli.sources.pickles.calls import REBUILD
from paramcli.sources.pickles.nodes import Dict, Global, Record, Set
from paramcli.sources.pickles.rebuild import BUILDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paramcli.sources.pickles.calls import TensorCalls
    from paramcli.sources.pickles.rebuild import Builder

__all__ = ["Machine"]

MAX_OPERATIONS = 20_000_000
MAX_CONTAINERS = 4_000_000
MAX_LINE = 1 << 16
"""Longest text line of protocol 0, and the bytes kept in reach where a stream is read in pieces."""

_U16, _U32, _I32, _U64 = (Struct(form).unpack_from for form in ("<H", "<I", "<i", "<Q"))
_F64 = Struct(">d").unpack_from
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_WEIGHTS_ONLY = frozenset(b"cRb\x81aesu(t\x85\x86\x87N\x88\x89)]}\x8fJKMGXUQhjqr\x8a\x80.")
"""The opcodes that `torch.load(weights_only=True)` follows."""


class _Skipped(Exception):  # noqa: N818 - a signal between two runs, never an error
    """A memo slot that a whole call passed over is wanted after all."""


class Machine:
    """Runs the pickle at the head of `data`; `position` is then just past its STOP.

    `base` is where `data` lies in the file, for errors. `more(n)` gives up to n further bytes where `data` is only the head of a stream. `persistent`
    answers persistent ids, `calls` reads the usual tensor call whole; they raise ValueError for
    what cannot be. `asked` collects the globals in order, `foreign` the opcodes that torch's
    own weights-only unpickler does not follow.
    """

    def __init__(
        self,
        data: bytes,
        path: str,
        *,
        base: int = 0,
        persistent: Callable[[object], object] | None = None,
        calls: TensorCalls | None = None,
        builders: Mapping[str, Builder] = BUILDERS,
        more: Callable[[int], bytes] | None = None,
    ) -> None:
        self.data = data
        self.path = path
        self.position = 0
        self._base = base
        self.protocol = 0
        self.asked: dict[str, Global] = {}
        self.foreign: set[int] = set()
        self._persistent = persistent
        self._calls = calls
        self._builders = builders
        self._more = more
        self._stack: list[object] = []
        self._containers = 0

    def run(self) -> object:
        """Return what the pickle describes, in plain values and the classes of `nodes`.

        Raises SourceError where it is damaged, cut short, or asks for too much.
        """
        try:
            try:
                return self._run(self._calls)
            except _Skipped:
                return self._run(None)
        except IndexError:
            cut = self.position + 2 > len(self.data)
            problem = "the pickle is cut short" if cut else "the pickle takes what it never put"
        except StructError:
            problem = "the pickle is cut short"
        except UnicodeDecodeError:
            problem = "the pickle holds text that is not UTF-8"
        except ValueError as error:
            problem = f"damaged pickle: {error}"
        raise SourceError(problem, path=self.path, offset=self._base + self.position)

    def _run(self, calls: TensorCalls | None) -> object:  # noqa: C901, PLR0912, PLR0915 - one loop, one dispatch: a call for each opcode would double its time
        data, limit = self.data, self._limit()
        pos = 0
        stack: list[object] = []
        outer: list[list[object]] = []
        memo: dict[int, object] = {}
        fresh = 0  # no memo slot from here on has been written
        skipped = False
        self._stack, self._containers = stack, 0
        if calls is not None:
            calls.forget()
        for _ in range(MAX_OPERATIONS):
            self.position = pos
            if pos >= limit:
                data = self._reach(pos + 1)
                limit = self._limit()
            op = data[pos]
            if op == 0x58:  # BINUNICODE
                (size,) = _U32(data, pos + 1)
                pos += 5
                if pos + size > len(data):
                    data = self._reach(pos + size)
                    limit = self._limit()
                stack.append(str(data[pos : pos + size], "utf-8", "surrogatepass"))
                pos += size
            elif op in _PUTS:
                slot, pos = _PUTS[op](data, pos + 1, len(memo))
                memo[slot] = stack[-1]
                if slot >= fresh:
                    fresh = slot + 1
                elif calls is not None:
                    calls.forget()
                if op not in _WEIGHTS_ONLY:
                    self.foreign.add(op)
                    if skipped and op == 0x94:  # MEMOIZE counts the slots
                        raise _Skipped
            elif op in _GETS:
                slot, pos = _GETS[op](data, pos + 1, 0)
                if slot not in memo:
                    if skipped:
                        raise _Skipped
                    raise ValueError(f"memo {slot} is read before it is written")
                value = memo[slot]
                if calls is not None and type(value) is Global and value.path == REBUILD:
                    call = calls.read(data, pos, memo, fresh)
                    if call is not None:
                        value, pos, fresh = call
                        skipped = True
                stack.append(value)
                if op not in _WEIGHTS_ONLY:
                    self.foreign.add(op)
            elif op == 0x28:  # MARK
                self._count(1)
                outer.append(stack)
                stack = self._stack = []
                pos += 1
            elif op in _MARKED:
                items = stack
                stack = self._stack = outer.pop()
                pos = _MARKED[op](self, items, pos + 1)
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                stack[-1] = self._call(stack[-1], args)
                pos += 1
            elif op == 0x2E:  # STOP
                self.position = pos + 1
                return stack.pop()
            elif op in _VALUES:
                value, pos = _VALUES[op](self, pos + 1)
                stack.append(value)
                if op not in _WEIGHTS_ONLY:
                    self.foreign.add(op)
                if self.data is not data:
                    data, limit = self.data, self._limit()
            elif op in _OTHERS:
                pos = _OTHERS[op](self, pos + 1)
                if op not in _WEIGHTS_ONLY:
                    self.foreign.add(op)
            else:
                raise ValueError(f"no opcode 0x{op:02x}")
        raise ValueError(f"more than {MAX_OPERATIONS:,} operations")

    # --- bytes ---------------------------------------------------------------------------------

    def _limit(self) -> int:
        return len(self.data) - (MAX_LINE if self._more else 0)

    def _reach(self, end: int) -> bytes:
        """Read on until `end` and a line beyond are there, doubling; raise where they cannot be."""
        while self._more and len(self.data) < end + MAX_LINE:
            piece = self._more(max(len(self.data), end + MAX_LINE - len(self.data)))
            if piece:
                self.data += piece
            else:
                self._more = None
        if end > len(self.data):
            raise SourceError("the pickle is cut short", path=self.path, offset=self._base + len(self.data))
        return self.data

    def _take(self, pos: int, size: int) -> tuple[bytes, int]:
        data = self.data if pos + size <= len(self.data) else self._reach(pos + size)
        return data[pos : pos + size], pos + size

    def _line(self, pos: int) -> tuple[bytes, int]:
        end = self.data.find(b"\n", pos, pos + MAX_LINE)
        if end < 0:
            raise ValueError("a line of text that does not end")
        return self.data[pos:end], end + 1

    def _count(self, containers: int) -> None:
        self._containers += containers
        if self._containers > MAX_CONTAINERS:
            raise ValueError(f"more than {MAX_CONTAINERS:,} containers")

    # --- calls ---------------------------------------------------------------------------------

    def _global(self, module: str, name: str) -> Global:
        path = f"{_PYTHON_2.get(module, module)}.{name}"
        found = self.asked.get(path)
        if found is None:
            found = self.asked[path] = Global(path)
        return found

    def _call(self, function: object, args: object) -> object:
        if type(args) is not tuple:
            raise ValueError("a call whose arguments are no tuple")
        self._count(1)
        if type(function) is Global:
            builder = self._builders.get(function.path)
            if builder is not None:
                return builder(args)
        return Record(function, args)

    def _build(self, pos: int) -> int:
        state = self._stack.pop()
        target = self._stack[-1]
        if type(target) is Record:
            target.state = state
        elif type(target) not in (Dict, Set, TensorInfo):
            raise ValueError("a state is given to what has none")
        return pos


def _decimal(data: bytes, pos: int, _: int) -> tuple[int, int]:
    end = data.find(b"\n", pos, pos + 20)
    if end < 0 or not data[pos:end].isdigit():
        raise ValueError("a memo slot that is no number")
    return int(data[pos:end]), end + 1


_PUTS: dict[int, Callable[[bytes, int, int], tuple[int, int]]] = {
    0x72: lambda data, pos, _: (_U32(data, pos)[0], pos + 4),  # LONG_BINPUT
    0x71: lambda data, pos, _: (data[pos], pos + 1),  # BINPUT
    0x94: lambda _, pos, used: (used, pos),  # MEMOIZE
    0x70: _decimal,  # PUT
}
_GETS: dict[int, Callable[[bytes, int, int], tuple[int, int]]] = {
    0x68: lambda data, pos, _: (data[pos], pos + 1),  # BINGET
    0x6A: lambda data, pos, _: (_U32(data, pos)[0], pos + 4),  # LONG_BINGET
    0x67: _decimal,  # GET
}


# --- values: push what the bytes after the opcode say ----------------------------------------------

_Value = tuple[object, int]


def _text(read: Callable[[bytes], object]) -> Callable[[Machine, int], _Value]:
    """A value written as a line of text (protocol 0)."""

    def value(self: Machine, pos: int) -> _Value:
        line, pos = self._line(pos)
        return read(line), pos

    return value


def _int_or_bool(line: bytes) -> object:
    return {b"00": False, b"01": True}.get(line, None) if line in (b"00", b"01") else int(line)


def _quoted(line: bytes) -> object:
    if len(line) < 2 or line[0] != line[-1] or line[0] not in b"'\"":
        raise ValueError("a string without its quotes")
    return _python_2(escape_decode(line[1:-1])[0])


def _python_2(text: bytes) -> object:
    """A `str` of Python 2: text where it is UTF-8, else the bytes that it always was."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text


def _sized(width: int, read: Callable[[bytes], object]) -> Callable[[Machine, int], _Value]:
    """A value whose length stands before it in `width` bytes."""

    def value(self: Machine, pos: int) -> _Value:
        size, pos = self._take(pos, width)
        content, pos = self._take(pos, int.from_bytes(size, "little"))
        return read(content), pos

    return value


def _unicode(text: bytes) -> str:
    return str(text, "utf-8", "surrogatepass")


def _long(digits: bytes) -> int:
    return int.from_bytes(digits, "little", signed=True)


def _float(self: Machine, pos: int) -> _Value:
    return _F64(self.data, pos)[0], pos + 8


def _empty_list(self: Machine, pos: int) -> _Value:
    self._count(1)
    return [], pos


def _empty_dict(self: Machine, pos: int) -> _Value:
    self._count(1)
    return Dict([]), pos


def _empty_set(self: Machine, pos: int) -> _Value:
    self._count(1)
    return Set([]), pos


_VALUES: dict[int, Callable[[Machine, int], _Value]] = {
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


# --- what closes a mark: `items` is all that was pushed since -----------------------------------------


def _tuple(self: Machine, items: list[object], pos: int) -> int:
    self._stack.append(tuple(items))
    return pos


def _list(self: Machine, items: list[object], pos: int) -> int:
    self._stack.append(items)
    return pos


def _dict(self: Machine, items: list[object], pos: int) -> int:
    self._stack.append(Dict([]))
    return _set_items(self, items, pos)


def _frozen_set(self: Machine, items: list[object], pos: int) -> int:
    self._stack.append(Set(items))
    return pos


def _append_items(self: Machine, items: list[object], pos: int) -> int:
    target = self._stack[-1]
    if type(target) is list:
        target += items
    elif type(target) is Record:
        target.items += items
    else:
        raise ValueError("items are appended to what is no list")
    return pos


def _set_items(self: Machine, items: list[object], pos: int) -> int:
    target = self._stack[-1]
    if type(target) is not Dict and type(target) is not Record:
        raise ValueError("items are set in what is no dictionary")
    if len(items) % 2:
        raise ValueError("a dictionary with a key but no value")
    target.pairs += items
    return pos


def _add_items(self: Machine, items: list[object], pos: int) -> int:
    target = self._stack[-1]
    if type(target) is Set or type(target) is Record:
        target.items += items
    else:
        raise ValueError("items are added to what is no set")
    return pos


def _pop_mark(_self: Machine, _items: list[object], pos: int) -> int:
    return pos


def _object(self: Machine, items: list[object], pos: int) -> int:
    self._stack.append(self._call(items[0], tuple(items[1:])))
    return pos


def _instance(self: Machine, items: list[object], pos: int) -> int:
    module, pos = self._line(pos)
    name, pos = self._line(pos)
    self._stack.append(self._call(self._global(module.decode(), name.decode()), tuple(items)))
    return pos


_MARKED: dict[int, Callable[[Machine, list[object], int], int]] = {
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


# --- all other opcodes ------------------------------------------------------------------------------


def _protocol(self: Machine, pos: int) -> int:
    self.protocol = self.data[pos]
    if self.protocol > 5:
        raise ValueError(f"pickle protocol {self.protocol} is not known")
    return pos + 1


def _tuple_of(size: int) -> Callable[[Machine, int], int]:
    def build(self: Machine, pos: int) -> int:
        stack = self._stack
        if len(stack) < size:
            raise IndexError
        self._count(1)
        stack[-size:] = [tuple(stack[-size:])]
        return pos

    return build


def _append(self: Machine, pos: int) -> int:
    return _append_items(self, [self._stack.pop()], pos)


def _set_item(self: Machine, pos: int) -> int:
    value = self._stack.pop()
    return _set_items(self, [self._stack.pop(), value], pos)


def _pop(self: Machine, pos: int) -> int:
    self._stack.pop()
    return pos


def _dup(self: Machine, pos: int) -> int:
    self._stack.append(self._stack[-1])
    return pos


def _find_global(self: Machine, pos: int) -> int:
    module, pos = self._line(pos)
    name, pos = self._line(pos)
    self._stack.append(self._global(module.decode(), name.decode()))
    return pos


def _stack_global(self: Machine, pos: int) -> int:
    name, module = self._stack.pop(), self._stack.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a global whose name is no text")
    self._stack.append(self._global(module, name))
    return pos


def _new_object(self: Machine, pos: int) -> int:
    args = self._stack.pop()
    self._stack[-1] = self._call(self._stack[-1], args)
    return pos


def _new_object_ex(self: Machine, pos: int) -> int:
    self._stack.pop()  # keyword arguments: no class that is understood here takes any
    return _new_object(self, pos)


def _persistent(self: Machine, pos: int) -> int:
    return _persistent_id(self, self._stack.pop(), pos)


def _text_persistent(self: Machine, pos: int) -> int:
    line, pos = self._line(pos)
    return _persistent_id(self, line.decode(), pos)


def _persistent_id(self: Machine, name: object, pos: int) -> int:
    if self._persistent is None:
        raise ValueError("a persistent id where none can be")
    self._stack.append(self._persistent(name))
    return pos


def _frame(self: Machine, pos: int) -> int:
    _U64(self.data, pos)
    return pos + 8


def _extension(_self: Machine, _pos: int) -> int:
    raise ValueError("an extension code, whose meaning only the writer's program knows")


def _buffer(_self: Machine, _pos: int) -> int:
    raise ValueError("an out-of-band buffer, which is not in this file")


_OTHERS: dict[int, Callable[[Machine, int], int]] = {
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
    0x62: Machine._build,  # BUILD
    0x95: _frame,  # FRAME
    0x82: _extension,  # EXT1
    0x83: _extension,  # EXT2
    0x84: _extension,  # EXT4
    0x97: _buffer,  # NEXT_BUFFER
    0x98: lambda _, pos: pos,  # READONLY_BUFFER
}
