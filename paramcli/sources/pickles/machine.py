"""A pickle machine that can only ever build metadata.

It follows the opcodes of protocols 0 to 5 (CPython's `Lib/pickletools.py`) and runs nothing: a
global is a name, a call is looked up in a table of builders and is otherwise kept as an inert
record. No object of the file is hashed, compared or printed; dictionaries are lists of pairs.
A budget bounds the work, and the bytes that are there bound the memory.
"""

from __future__ import annotations

from struct import error as StructError  # noqa: N812 - it is an exception in all but its name
from typing import TYPE_CHECKING

from paramcli.errors import DAMAGED, SourceError
from paramcli.sources.pickles.calls import REBUILD
from paramcli.sources.pickles.columns import Items
from paramcli.sources.pickles.nodes import Dict, Global, Record, Set
from paramcli.sources.pickles.opcodes import (
    GETS,
    MARKED,
    OTHERS,
    PUTS,
    U32,
    VALUES,
    WEIGHTS_ONLY,
)
from paramcli.sources.pickles.rebuild import BUILDERS, NewerError
from paramcli.sources.pickles.texts import ITEM, read_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from paramcli.sources.pickles.calls import Run, TensorCalls
    from paramcli.sources.pickles.rebuild import Builder
    from paramcli.sources.pickles.texts import TextRun

__all__ = ["Machine"]

MAX_OPERATIONS = 20_000_000
MAX_CONTAINERS = 500_000
BYTES_OF_CONTAINER = 16
"""Beyond so many containers each takes its share of the input: a tensor's are 25 bytes each."""
MAX_MARKS = 500_000
MAX_LINE = 1 << 16
"""Longest text line of protocol 0, and the bytes kept in reach where a stream is read in pieces."""

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _Skipped(Exception):  # noqa: N818 - a signal between two runs, never an error
    """A memo slot that a run of calls passed over is wanted after all."""


class Machine:
    """Runs the pickle at the head of `data`; `position` is then just past its STOP.

    `base` is where `data` lies in the file; `more(at, n)` gives up to n bytes of the file from byte
    `at` on, where `data` is only the head of a stream. `persistent` answers persistent ids and
    `builders` the calls that are understood, both raising ValueError for what cannot be; `calls`
    reads runs of tensors. `asked` collects the globals in order, `foreign` the opcodes that torch's
    own weights-only unpickler does not follow.
    """

    def __init__(  # noqa: PLR0913 - what differs between the containers of pickles
        self,
        data: bytes,
        path: str,
        *,
        base: int = 0,
        persistent: Callable[[object], object] | None = None,
        calls: TensorCalls | None = None,
        builders: Mapping[str, Builder] = BUILDERS,
        more: Callable[[int, int], bytes] | None = None,
    ) -> None:
        self.data: bytes = data
        self.path = path
        self.position = 0
        self._base = base
        self._whole = data, base, more
        self.protocol = 0
        self.asked: dict[str, Global] = {}
        self.foreign: set[int] = set()
        self.persistent = persistent
        self.calls = calls
        self._builders = builders
        self._more = more
        self.stack: list[object] = []
        self._containers = self._text = 0

    def run(self) -> object:
        """Return what the pickle describes, in plain values and the classes of `nodes`.

        Raises SourceError where it is damaged, cut short, or asks for too much.
        """
        hint = DAMAGED
        try:
            try:
                return self._run(self.calls, Items(ITEM))
            except _Skipped:
                self.data, self._base, self._more = self._whole
                return self._run(None, None)
        except IndexError:
            cut = self.position + 2 > len(self.data)
            problem = "the pickle is cut short" if cut else "the pickle takes what it never put"
        except StructError:
            problem = "the pickle is cut short"
        except UnicodeDecodeError:
            problem = "the pickle holds text that is not UTF-8"
        except NewerError as error:
            problem, hint = str(error), "it may need a newer paramcli"
        except ValueError as error:
            problem = f"damaged pickle: {error}"
        raise SourceError(problem, path=self.path, offset=self._base + self.position, hint=hint)

    def _run(self, calls: TensorCalls | None, texts: Items | None) -> object:  # noqa: C901, PLR0912, PLR0915 - one loop, one dispatch: a call for each opcode would double its time
        data, limit = self.data, self._limit()
        pos = 0
        stack: list[object] = []
        outer: list[list[object]] = []
        memo: dict[int, object] = {}
        fresh = 0  # no memo slot from here on has been written
        runs: list[Run | TextRun] = []
        again = False  # whether a tensor has just been built, so that a run of more may follow
        self.stack, self._containers, self._text = stack, 0, 0
        for _ in range(MAX_OPERATIONS):
            self.position = pos
            if pos >= limit:
                data = self._reach(pos + 1)
                limit = self._limit()
            op = data[pos]
            if op == 0x58:  # BINUNICODE
                run: Run | TextRun | None = None
                if fresh > 255:  # memo slots below are written by another opcode
                    if texts and _fills(outer, list):
                        pos = self._move(pos, texts.reach)
                        run = read_texts(texts, self.data, pos, fresh)
                        texts = texts if run else None
                    elif again and calls and not len(stack) % 2 and _fills(outer, Dict):
                        pos = self._move(pos, calls.items.reach)
                        run = calls.read(self.data, pos, memo, fresh)
                        again = run is not None
                    if self.data is not data:
                        data, limit = self.data, self._limit()
                if run is not None:
                    stack += run.items
                    pos, fresh = run.position, run.end
                    runs.append(run)
                    continue
                (size,) = U32(data, pos + 1)
                pos += 5
                if pos + size > len(data):
                    data = self._reach(pos + size)
                    limit = self._limit()
                stack.append(str(data[pos : pos + size], "utf-8", "surrogatepass"))
                pos += size
            elif op in PUTS:
                slot, pos = PUTS[op](data, pos + 1, len(memo))
                memo[slot] = stack[-1]
                if slot >= fresh:
                    fresh = slot + 1
                if op not in WEIGHTS_ONLY:
                    self.foreign.add(op)
                    if runs and op == 0x94:  # MEMOIZE counts the slots
                        raise _Skipped
            elif op in GETS:
                slot, pos = GETS[op](data, pos + 1, 0)
                stack.append(memo[slot] if slot in memo else _fetch(runs, slot, memo))
                if op not in WEIGHTS_ONLY:
                    self.foreign.add(op)
            elif op == 0x28:  # MARK
                outer.append(stack)
                if len(outer) > MAX_MARKS:
                    raise ValueError(f"more than {MAX_MARKS:,} open marks")
                stack = self.stack = []
                pos += 1
            elif op in MARKED:
                items = stack
                stack = self.stack = outer.pop()
                pos = MARKED[op](self, items, pos + 1)
            elif op == 0x52:  # REDUCE
                args = stack.pop()
                function = stack[-1]
                stack[-1] = self.call(function, args)
                again = type(function) is Global and function.path == REBUILD
                pos += 1
            elif op == 0x2E:  # STOP
                self.position = self._past() + pos + 1
                return stack.pop()
            elif op in VALUES:
                value, pos = VALUES[op](self, pos + 1)
                stack.append(value)
                if op not in WEIGHTS_ONLY:
                    self.foreign.add(op)
                if self.data is not data:
                    data, limit = self.data, self._limit()
            elif op in OTHERS:
                pos = OTHERS[op](self, pos + 1)
                if op not in WEIGHTS_ONLY:
                    self.foreign.add(op)
            else:
                raise ValueError(f"no opcode 0x{op:02x}")
        raise ValueError(f"more than {MAX_OPERATIONS:,} operations")

    # --- bytes ---------------------------------------------------------------------------------

    def _limit(self) -> int:
        return len(self.data) - (MAX_LINE if self._more else 0)

    def _past(self) -> int:
        """Bytes of the pickle that were let go: `data` begins after them."""
        return self._base - self._whole[1]

    def _ahead(self, end: int) -> None:
        """Read on until `end` and a line beyond are there, if there is so much, doubling."""
        while self._more and len(self.data) < end + MAX_LINE:
            there = len(self.data)
            piece = self._more(self._base + there, max(there, end + MAX_LINE - there))
            if piece:
                self.data += piece
            else:
                self._more = None

    def _move(self, pos: int, reach: int) -> int:
        """Read on until `reach` bytes from `pos` on are there; return where `pos` then is.

        Of a stream, what lies before it is let go where that is most of what there is.
        """
        if self._more and pos > max(MAX_LINE, len(self.data) // 2):
            self.data = self.data[pos:]
            self._base += pos
            self.position = pos = 0
        self._ahead(pos + reach)
        return pos

    def _reach(self, end: int) -> bytes:
        """Read on until `end` and a line beyond are there; raise where they cannot be."""
        self._ahead(end)
        if end > len(self.data):
            raise SourceError(
                "the pickle is cut short", path=self.path, offset=self._base + len(self.data)
            )
        return self.data

    def take(self, pos: int, size: int) -> tuple[bytes, int]:
        """Return `size` bytes at `pos`, and the position after them."""
        data = self.data if pos + size <= len(self.data) else self._reach(pos + size)
        return data[pos : pos + size], pos + size

    def line(self, pos: int) -> tuple[bytes, int]:
        """Return the line of text at `pos` without its end, and the position after it."""
        end = self.data.find(b"\n", pos, pos + MAX_LINE)
        if end < 0:
            raise ValueError("a line of text that does not end")
        return self.data[pos:end], end + 1

    def count(self, containers: int) -> None:
        """Charge the budget for new containers, which cost far more memory than input."""
        self._containers += containers
        if self._containers > MAX_CONTAINERS:
            most = MAX_CONTAINERS + (self._past() + len(self.data)) // BYTES_OF_CONTAINER
            if self._containers > most:
                raise ValueError(f"more than {most:,} containers")

    # --- calls ---------------------------------------------------------------------------------

    def global_named(self, module: str, name: str) -> Global:
        """Return the one `Global` of this name, by its name in Python 3."""
        path = f"{_PYTHON_2.get(module, module)}.{name}"
        found = self.asked.get(path)
        if found is None:
            found = self.asked[path] = Global(path)
        return found

    def _charge(self, args: tuple[object, ...]) -> None:
        """Charge for what a builder may copy: a few bytes can hand it the same thing again."""
        self.count(sum(map(_copied, args)))
        self._text += sum(len(text) for text in args if type(text) is str)
        if self._text > self._past() + len(self.data) + MAX_LINE:
            raise ValueError("the same text is used again and again")

    def call(self, function: object, args: object) -> object:
        """Build what the call means, or keep it as a record that does nothing."""
        if type(args) is not tuple:
            raise ValueError("a call whose arguments are no tuple")
        self.count(1)
        if type(function) is Global:
            builder = self._builders.get(function.path)
            if builder is not None:
                self._charge(args)
                try:
                    return builder(args)
                except (TypeError, IndexError):
                    raise ValueError(f"{function.path} is called with other arguments") from None
        return Record(function, args)


def _copied(argument: object) -> int:
    """How many items a builder may copy of an argument, beyond what is usual."""
    size = 0
    if type(argument) in (list, tuple):
        size = len(argument)  # type: ignore[arg-type]
    elif type(argument) is Dict:
        size = len(argument.pairs)
    elif type(argument) is Set:
        size = len(argument.items)
    return size - 8 if size > 8 else 0


def _fills(outer: list[list[object]], kind: type) -> bool:
    """Whether what comes next is pushed since a mark upon a container of this kind."""
    return bool(outer and outer[-1]) and type(outer[-1][-1]) is kind


def _fetch(runs: list[Run | TextRun], slot: int, memo: dict[int, object]) -> object:
    """Return what a run would have put in a memo slot; then the memo has all of that run."""
    for run in runs:
        if run.start <= slot < run.end:
            found = run.memo()
            if slot not in found:
                raise _Skipped
            for at, value in found.items():
                memo.setdefault(at, value)  # what was written there since stays
            return found[slot]
    raise ValueError(f"memo {slot} is read before it is written")
