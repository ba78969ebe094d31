"""`make fuzz`: mutated files of every format until time is up, held against torch and safetensors.

`FUZZ_SECONDS` (60) says how long, `FUZZ_SEED` which inputs, `FUZZ_DIRECTORY` where an input that
broke a law is kept (fuzz-findings). Whatever the bytes are: a checkpoint that makes sense or a
`SourceError`, nothing run, nothing written, and where another reader accepts the file as well,
the same listing. Exits with 1 where a law was broken.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import pkgutil
import random
import re
import sys
import tempfile
import time
import tomllib  # noqa: F401 - which the lock reader loads when it needs it
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, deserialize

import paramcli
import paramcli.sources
from paramcli.errors import SourceError
from paramcli.sources.safetensors import SAFETENSORS_DTYPES
from tests import mutations, sample_files, torch_objects
from tests.soundness import assert_sound
from tests.torch_judge import TorchJudge

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

KINDS = [*mutations.MUTATORS, "index", "dcp"]
OFTEN = ["zip", "legacy", "safetensors", "index", "dcp", "lock"]
_SELDOM = 8
ASKED_OF_TORCH = {"zip", "zip of many", "legacy", "legacy of many"}
_SLOW = 2.0
_WRITTEN_AS = {dtype.name: name for name, dtype in SAFETENSORS_DTYPES.items()}

STRICTER = [
    "damaged zip archive", "checksum of", "case alone", "one top folder", "bytes stand after",
    "without its end", "not in the file, or is too short", "is not known", "byte order",
    "inflates to", "encrypted", "the file ends", "two entries",
    "not a checkpoint of any kind",
    "not one of torch.save", "list of storages", "states another length", "arguments are no tuple",
    "is not a number that a tensor can have",
    "reaches past the end of its storage", "a storage of no known class",
    "is named by a number and by text", "is not a list of numbers", "neither text nor an address",
]  # fmt: skip
"""What paramcli refuses and torch may accept; docs/security.md gives the reasons."""

LAXER = [
    "crashed", "invalid literal for int", "'utf-8' codec", "positional argument",
    "values to unpack",
    "requires_grad must be", "unrecognized function", "hasRecord", "multidisk", "AssertionError",
    "unhashable type", "expected at most", "is not callable", "is ambiguous", "cannot be walked",
    "Unsupported operand", "Trying to call", "UnpicklingError", "invalid types",
    "is not a type object", "object is not iterable", "invalid combination of arguments",
    "is_coalesced = None",
]  # fmt: skip
"""What torch says of files that paramcli lists, and did not say that torch would refuse."""

_FORBIDDEN = (
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.", "socket.",
    "pickle.find_class", "exec", "compile", "ctypes.", "os.remove", "os.rename", "os.mkdir",
    "shutil.", "urllib.", "webbrowser.",
)  # fmt: skip


_OWN = (os.path.dirname(os.__file__), os.path.dirname(paramcli.__file__), "<frozen")


class _Watch:
    """An audit hook that remembers what no reader may do while it is watching."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.watching = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if not self.watching:
            return
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            self.seen.append(f"open to write {args[0]!r}")
        elif event == "import" and args[0] in ("this", "antigravity"):
            self.seen.append(f"import {args[0]!r}")
        elif event == "exec" and getattr(args[0], "co_filename", "").startswith(_OWN):
            pass  # a module of Python or of paramcli that is only now needed
        elif event.startswith(_FORBIDDEN) and args[:1] != ("",):
            self.seen.append(event)


@dataclass
class Tally:
    """How many inputs of each kind were tried, what became of them, and what broke a law."""

    tried: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    both: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, bytes]] = field(default_factory=list)
    crashes: int = 0


class Fuzzer:
    """Makes inputs of a seed and tries each; `directory` is where the files stand meanwhile."""

    def __init__(self, seed: int, directory: Path, judge: TorchJudge | None = None) -> None:
        self._rng, self._directory, self._judge = random.Random(seed), directory, judge
        self.tally = Tally()
        self._good = {**sample_files.files()}
        small = {"a": _two(), "b": [_two(), {"c": 1}]}
        self._small = {
            "zip": sample_files.saved(small), "legacy": sample_files.saved(small, zipped=False)
        }  # fmt: skip
        index = sample_files.write_index(directory / "index")
        dcp = sample_files.write_dcp(directory / "dcp")
        self._good |= {"index": index.read_bytes(), "dcp": dcp.read_bytes()}
        self._places = {"index": index, "dcp": dcp}
        for kind in KINDS:  # what paramcli itself imports, it imports here
            self._open(kind, self._good[kind])
        for module in pkgutil.walk_packages(paramcli.sources.__path__, "paramcli.sources."):
            importlib.import_module(module.name)
        self._watch = _Watch()

    def one(self, kind: str) -> None:
        """Try one input of a kind."""
        rng = self._rng
        good = self._good[kind]
        if rng.random() < 0.9:
            good = self._small.get(kind, good)
        other = self._good[rng.choice(KINDS)]
        if kind == "index":
            content = mutations.json_text(rng, good)
        elif kind == "dcp":
            content = mutations.pickled(rng, good)
        else:
            content = mutations.MUTATORS[kind](rng, good, other)
        self.tally.tried[kind] += 1
        problem = self.problem(kind, content, ask=rng.random() < 0.25)
        if problem:
            self.tally.findings.append((kind, problem, content))

    def problem(self, kind: str, content: bytes, *, ask: bool = True) -> str:
        """Return what law an input breaks, "" where it breaks none."""
        began = time.monotonic()
        self._watch.seen.clear()
        try:
            self._watch.watching = True
            found, refused = self._open(kind, content)
        except Exception as error:  # noqa: BLE001 - that there is none is the law
            return f"{type(error).__name__}: {error}"
        finally:
            self._watch.watching = False
        if self._watch.seen:
            return f"did what no reader may: {self._watch.seen[:3]}"
        if time.monotonic() - began > _SLOW:
            return "took more than two seconds"
        self.tally.opened[kind] += found is not None
        if kind == "safetensors":
            return self._against_safetensors(found, refused, content)
        if kind in ASKED_OF_TORCH and self._judge is not None and ask:
            return self._against_torch(found, refused)
        return ""

    def _target(self, kind: str) -> Path:
        return self._places.get(kind, self._directory / "file")

    def _open(self, kind: str, content: bytes) -> tuple[Checkpoint | None, str]:
        path = self._target(kind)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, content)
        os.close(descriptor)
        if hasattr(self, "_watch"):
            self._watch.seen.clear()
        try:
            target = path.parent if kind == "dcp" else path
            found = paramcli.open(target, everything=True)
        except SourceError as error:
            return None, str(error)
        assert_sound(found)
        return found, ""

    def _against_safetensors(self, found: Checkpoint | None, refused: str, content: bytes) -> str:
        try:
            told = deserialize(content)  # type: ignore[no-untyped-call]
        except SafetensorError as error:
            return (
                f"safetensors refuses it: {error}"
                if found and found.format == "safetensors"
                else ""
            )
        if found is None:
            allowed = "opening brace|twice|two tensors|no object|longer than a tensor"
            fine = re.search(allowed, refused) or _twice(content)
            return "" if fine else f"only we refuse it: {refused}"
        self.tally.both["safetensors"] += 1
        theirs = {name: (facts["dtype"], tuple(facts["shape"])) for name, facts in told}
        ours = {info.name: (_WRITTEN_AS[info.dtype.name], info.shape) for info in found}
        removed = set(found.metadata)
        ours = {
            name: facts for name, facts in ours.items() if name in theirs or name not in removed
        }
        return "" if ours == theirs else f"safetensors lists {theirs}, we {ours}"

    def _against_torch(self, found: Checkpoint | None, refused: str) -> str:
        assert self._judge is not None
        told = self._judge.ask(str(self._directory / "file"))
        self.tally.crashes = self._judge.crashes
        theirs = told.get("refused")
        if found is None:
            if theirs is not None:
                return ""
            self.tally.reasons[_shape(refused)] += 1
            return "" if _told(STRICTER, refused) else f"torch accepts it, we do not: {refused}"
        if theirs is not None:
            if found.pickle is None or found.pickle.refused or _told(LAXER, theirs):
                return ""
            self.tally.reasons[f"torch: {_shape(theirs)}"] += 1
            return f"we accept it, torch does not: {theirs}"
        self.tally.both["torch"] += 1
        facts, sharing = torch_objects.listed(found.entries)
        ours = [[*map(_plain, fact)] for fact in facts], [*sharing]
        if ours == (told["tensors"], told["sharing"]) or _odd_names(told["tensors"]):
            return ""
        return f"torch lists {told['tensors']} {told['sharing']}, we {ours}"


def _twice(content: bytes) -> bool:
    """Whether a name stands twice in a header: what is wrong with the first may be said first."""
    size = int.from_bytes(content[:8], "little")
    pairs = json.loads(content[8 : 8 + size], object_pairs_hook=list)
    return len({name for name, _ in pairs}) < len(pairs)


def _odd_names(tensors: list[list[object]]) -> bool:
    """Whether a name is made of a key that is no text, which the two write each in its way."""
    return any(re.search(r"[<(]", str(facts[0])) for facts in tensors)


def _told(reasons: list[str], text: str) -> bool:
    return any(reason in text for reason in reasons)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _two() -> object:
    import torch

    return torch.arange(6.0).reshape(2, 3)


def _shape(text: str) -> str:
    return re.sub(r"[0-9]+", "N", text.rpartition("/file")[2])[:80]


def campaign(fuzzer: Fuzzer, more: Callable[[], bool]) -> Tally:
    """Try an input of each kind in turn as long as `more` says so, of large files now and then."""
    turn = 0
    while more():
        for kind in OFTEN if turn % _SELDOM else KINDS:
            fuzzer.one(kind)
        turn += 1
    return fuzzer.tally


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> int:
    """Fuzz for a while, say what was tried, and keep what broke a law."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "60"))
    seed = int(os.environ.get("FUZZ_SEED", str(time.time_ns() % 1_000_000)))
    kept = Path(os.environ.get("FUZZ_DIRECTORY", "fuzz-findings"))
    end = time.monotonic() + seconds
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder, TorchJudge() as judge:
        tally = campaign(Fuzzer(seed, Path(folder), judge), lambda: time.monotonic() < end)
    total = sum(tally.tried.values())
    _say(
        f"{total:,} inputs in {seconds:.0f} s (seed {seed}), {sum(tally.opened.values()):,} opened;"
    )
    _say(f"{dict(tally.both)} opened by both readers; torch crashed {tally.crashes:,} times")
    for reason, count in tally.reasons.most_common(40):
        _say(f"  {count:6,} {reason}")
    for kind, problem, content in tally.findings[:200]:
        kept.mkdir(exist_ok=True)
        name = f"{kind.replace(' ', '-')}-{hashlib.sha256(content).hexdigest()[:12]}"
        (kept / name).write_bytes(content)
        _say(f"{kept / name}: {problem[:300]}")
    _say(f"{len(tally.findings):,} findings")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
