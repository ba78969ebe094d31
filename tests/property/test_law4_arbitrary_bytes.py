"""Law 4: whatever the bytes are, a file opens or is refused, and nothing of it is ever run."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import paramcli
from paramcli.errors import SourceError
from paramcli.sources.pickles.calls import TensorCalls
from paramcli.sources.pickles.rebuild import BUILDERS, STORAGE_DTYPES
from tests import handmade, sample_files
from tests.handmade import Built, Call, Name, Pairs, Persistent, Raw
from tests.soundness import assert_sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

ROOT = Path(__file__).parents[2]
MORE = settings(max_examples=3 * settings().max_examples)
FORMATS = [
    "bundle", "legacy", "legacy of many", "lock", "old script", "safetensors", "script", "tar",
    "zip", "zip of many",
]  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("law4")


def opened(target: Path | str) -> Checkpoint | None:
    """Open a target both ways; None where it is refused. What opens must make sense."""
    found = None
    for everything in (True, False):
        try:
            found = paramcli.open(target, everything=everything)
        except SourceError as error:
            message = str(error)
        else:
            assert_sound(found)
            continue
        assert "\n" not in message
        return None
    return found


def handled(content: bytes, directory: Path) -> Checkpoint | None:
    return opened(handmade.written(directory / "file", content))


# --- bytes ---------------------------------------------------------------------------------------

HEADS = [
    b"", b"PK\3\4", b"\x80\x02", b"{", b"\x02\0\0\0\0\0\0\0{}", bytes(257) + b"ustar\0",
    b"[tensors]\n",
]  # fmt: skip


@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=1_000))
def test_arbitrary_bytes(head: bytes, tail: bytes, directory: Path) -> None:
    handled(head + tail, directory)


@st.composite
def spoiled(draw: st.DrawFn, content: bytes, other: bytes) -> bytes:
    """Flip, overwrite, insert, delete and cut, and splice in pieces of another file."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        if draw(st.booleans()):
            at = max(len(made) - at, 0)  # the end of a zip says the most
        match draw(
            st.sampled_from(["flip", "byte", "number", "insert", "delete", "cut", "splice"])
        ):
            case "flip":
                made[at : at + 1] = bytes(
                    b ^ 1 << draw(st.integers(0, 7)) for b in made[at : at + 1]
                )
            case "byte":
                made[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                form = draw(st.sampled_from("BHIQ"))
                number = draw(st.sampled_from([0, 1, -1, 1 << 31, 1 << 63, len(made)]))
                piece = struct.pack("<Q", number % (1 << 64))[: struct.calcsize(form)]
                made[at : at + len(piece)] = piece
            case "insert":
                made[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del made[at : at + draw(st.integers(1, 64))]
            case "cut":
                del made[at:]
            case "splice":
                start = draw(st.integers(0, len(other)))
                made[at:] = other[start:]
    return bytes(made)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_spoiled_files(name: str, data: st.DataObject, directory: Path) -> None:
    good = sample_files.files()
    other = data.draw(st.sampled_from([*good.values()]))
    handled(data.draw(spoiled(good[name], other)), directory)


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"lock"}))  # part of a lock can be one
def test_cut_files(name: str, directory: Path) -> None:
    """No beginning of a file is taken for the whole."""
    content = sample_files.files()[name]
    body = len(content.rstrip(b"\0"))  # a tar archive ends in zeros that say nothing
    for size in {*range(0, body, 37), body - 1}:
        assert handled(content[:size], directory) is None, size


def resealed(content: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """Change the entries of a zip archive and give them right checksums again."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return handmade.zipped(
            {name: change(name, archive.read(name)) for name in archive.namelist()}
        )


@pytest.mark.parametrize("name", ["zip", "zip of many", "script", "old script"])
@given(data=st.data())
def test_spoiled_entries(name: str, data: st.DataObject, directory: Path) -> None:
    """Behind a checksum that is right, the pickle, the code and the JSON are spoiled."""
    content = sample_files.files()[name]
    ends = ("data.pkl", ".py", "model.json", "version", "byteorder")

    def change(entry: str, old: bytes) -> bytes:
        return data.draw(spoiled(old, content)) if entry.endswith(ends) else old

    handled(resealed(content, change), directory)


@given(data=st.data())
def test_spoiled_index(data: st.DataObject, directory: Path) -> None:
    index = sample_files.write_index(directory / "index")
    good = index.read_bytes()
    index.write_bytes(data.draw(spoiled(good, good)))
    opened(index)
    opened(index.parent)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


@given(
    weight_map=st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["model-00001-of-00002.safetensors", "..", ".", "a/b", "", "\0", "\ud800"])
        | _json,
    )
    | _json,
    metadata=st.dictionaries(st.sampled_from(["total_size", "x"]), _json) | _json,
)
def test_any_index(weight_map: object, metadata: object, directory: Path) -> None:
    index = sample_files.write_index(directory / "any index")
    index.write_text(json.dumps({"weight_map": weight_map, "metadata": metadata}))
    opened(index)


@given(data=st.data())
def test_spoiled_dcp(data: st.DataObject, directory: Path) -> None:
    folder = directory / "dcp"
    metadata = folder / ".metadata"
    good = _good_dcp(folder)
    metadata.write_bytes(data.draw(spoiled(good, good)))
    opened(folder)


def _good_dcp(folder: Path, kept: dict[Path, bytes] = {}) -> bytes:  # noqa: B006 - made once
    if folder not in kept:
        kept[folder] = sample_files.write_dcp(folder).read_bytes()
    return kept[folder]


# --- locks ---------------------------------------------------------------------------------------

_words = st.one_of(
    st.sampled_from(
        ["[tensors]\n", "[dims]\n", "[rules]\n", "\n", "=", '"', "[", "]", ",", "{", "."]
    ),
    st.sampled_from(['"a.{0..2}"', '"float32[3, d]"', "d", "tied", "extra", '"forbid"', "finite"]),
    st.sampled_from(
        ["*", "...", "-1", "9" * 5_000, "{0..999999999}", "d*d - e", "1e999", "\\uD800"]
    ),
    st.sampled_from(["a." * 3_000, '"b".' * 3_000, "[" * 3_000, "{a=" * 3_000, "0x" + "f" * 9_000]),
    st.text(max_size=5),
)


@MORE
@given(words=st.lists(_words, max_size=20))
@example(words=["a = ", "'" * 9_000])
@example(words=["a = ", '"float32[', "d*" * 400, 'd]"\n[dims]\nd = 9000000000000000000'])
@example(words=["a = ", '"float32[', "9" * 18, ", 9" * 300, ']"'])
@example(words=["[rules]\ntied = [[", '"a{0..9}",' * 3_000])
@example(words=['"', "{0..9}" * 3, "{0..0}" * 9_000, "a" * 100_000, '" = "int8[]"'])
def test_any_lock(words: list[str], directory: Path) -> None:
    handled("".join(["[tensors]\n", *words]).encode("utf-8", "replace"), directory)


# --- pickles -------------------------------------------------------------------------------------

PATHS = [
    *sorted(BUILDERS), "torch.FloatTensor", "torch.float32", "torch.int64", "os.system",
    "torch.storage.UntypedStorage", "torch.nn.modules.linear.Linear", "torch.per_tensor_affine",
    "torch.distributed.checkpoint.metadata.Metadata", "torch.distributed.tensor.DTensor",
]  # fmt: skip
_numbers = st.sampled_from([0, 1, 2, 3, 6, 7, -1, 1 << 31, 1 << 62, 1 << 63, 1 << 5_000])
_atoms: st.SearchStrategy[object] = st.one_of(
    st.none(), st.booleans(), st.floats(), _numbers, _numbers,
    st.sampled_from(["", "0", "cpu", "storage", "torch.sparse_coo", "torch.sparse_csr", "latin1"]),
    st.sampled_from(["_parameters", "_buffers", "_modules", "state_dict", "é\ud800"[:1]]),
    st.sampled_from(PATHS).map(Name),
    st.builds(
        handmade.storage, st.sampled_from(["0", "1"]), st.sampled_from([0, 6, 7]),
        st.sampled_from(sorted(STORAGE_DTYPES)),
    ),
    st.builds(
        handmade.tensor, st.none(), st.lists(st.integers(0, 7), max_size=3),
        st.lists(st.integers(0, 7), max_size=3), st.integers(0, 7),
    ),
    st.just(handmade.tensor()), st.just(handmade.tensor()),
)  # fmt: skip


def _larger(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    several = st.lists(inner, max_size=6)
    dictionary = st.lists(st.tuples(inner, inner), max_size=4).map(Pairs)
    call = st.builds(
        Call, st.sampled_from(PATHS), several.map(tuple), st.sampled_from([b"R", b"\x81"])
    )
    state = dictionary | inner | st.tuples(dictionary, inner) | several.map(tuple)
    module = st.builds(
        lambda parameters, children: Built(
            Call("lost.Net", (), b"\x81"),
            {"_parameters": parameters, "_buffers": parameters, "_modules": children},
        ),
        dictionary, dictionary,
    )  # fmt: skip
    return st.one_of(
        several, several.map(tuple), dictionary, call, call, call, st.builds(Built, call, state),
        inner.map(Persistent), module,
    )  # fmt: skip


nodes = st.recursive(_atoms, _larger, max_leaves=12)

_opcodes = st.one_of(
    st.sampled_from([bytes([code]) for code in range(256)]),
    st.sampled_from([bytes([code]) for code in b"(}])tRbuesa\x810"]),
    st.builds(lambda slot: b"q" + bytes([slot]), st.integers(0, 3)),
    st.builds(lambda slot: b"h" + bytes([slot]), st.integers(0, 3)),
    st.builds(lambda slot: b"r" + struct.pack("<I", slot), st.integers(0, (1 << 32) - 1)),
    _atoms.map(handmade.encode),
)  # fmt: skip


def _as_tar(root: bytes) -> bytes:
    tensors = {1: handmade.TarTensor(10, (2, 3), (3, 1))}
    return handmade.torch_tar(Raw(root), tensors, {10: ("torch.FloatStorage", 6, bytes(24))})


CARRIERS: dict[str, Callable[[bytes], bytes]] = {
    "zip": lambda root: handmade.torch_zip(b"\x80\x02" + root + b"."),
    "legacy": lambda root: handmade.torch_legacy(b"\x80\x02" + root + b"."),
    "tar": _as_tar,
    "script": lambda root: handmade.torch_zip(
        b"\x80\x02" + root + b".", None, **{"constants.pkl": b"\x80\x02)."}
    ),
}
IN_ALL = pytest.mark.parametrize("carrier", CARRIERS)


@IN_ALL
@MORE
@given(node=nodes)
@example(node=Call("torch._utils._rebuild_tensor_v2", (1,)))
@example(node={"_parameters": {}, "_modules": {}})
def test_any_calls(carrier: str, node: object, directory: Path) -> None:
    """Any builder gets any arguments, any object any state."""
    handled(CARRIERS[carrier](handmade.encode({"w": handmade.tensor(), "x": node})), directory)
    handled(CARRIERS[carrier](handmade.encode(node)), directory)


@IN_ALL
@MORE
@given(program=st.lists(_opcodes, max_size=30).map(b"".join))
def test_any_opcodes(carrier: str, program: bytes, directory: Path) -> None:
    handled(CARRIERS[carrier](program), directory)


_good = st.one_of(
    st.sampled_from([handmade.storage(), handmade.tensor(), (2, 3), (3, 1), (), None, "0", True]),
    st.integers(-1, 7),
)


def _shells(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.builds(
        lambda cls, state: Built(Call(cls, (), b"\x81"), state),
        st.sampled_from(["torch.FloatTensor", "torch.nn.parameter.Parameter"]),
        st.lists(inner, max_size=5).map(tuple),
    )


@MORE
@given(shell=st.recursive(_good, _shells, max_leaves=5))
def test_any_old_tensor(shell: object, directory: Path) -> None:
    """Before PyTorch 0.4 an empty tensor was given its storage as a state: it can be any."""
    module = {"_parameters": {"w": shell}, "_buffers": {}, "_modules": {}}
    for root in (Built(Call("lost.Net", (), b"\x81"), module), {"w": shell}, [shell], shell):
        handled(handmade.torch_zip(root), directory)


@MORE
@given(node=nodes)
def test_any_dcp_metadata(node: object, directory: Path) -> None:
    folder = directory / "any dcp"
    folder.mkdir(exist_ok=True)
    root = "torch.distributed.checkpoint.metadata.Metadata"
    state = {"state_dict_metadata": node, "planner_data": node, "storage_data": {}}
    (folder / ".metadata").write_bytes(handmade.pickled(Built(Call(root, (), b"\x81"), state)))
    opened(folder)


@MORE
@given(size=nodes, version=nodes, system=nodes, keys=nodes)
def test_any_legacy_frame(
    size: object, version: object, system: object, keys: object, directory: Path
) -> None:
    """The pickles around the object's own hold anything, too."""
    good = handmade.pickled(handmade.tensor(handmade.legacy_storage()))
    frames = [
        handmade.pickled(handmade.MAGIC), handmade.pickled(1001), handmade.pickled({}), good,
        handmade.pickled(["0"]), struct.pack("<q", 6) + bytes(24),
    ]  # fmt: skip
    for place, node in enumerate((size, version, system, good, keys)):
        if node is not good:
            spoilt = [*frames[:place], handmade.pickled(node), *frames[place + 1 :]]
            handled(b"".join(spoilt), directory)


@MORE
@given(entry=nodes, views=nodes, tensor=nodes, count=nodes)
def test_any_tar_members(
    entry: object, views: object, tensor: object, count: object, directory: Path
) -> None:
    """The tables of storages, of views and of tensors hold anything."""
    storages = handmade.pickled(1) + handmade.pickled((10, "cpu", Name("torch.FloatStorage")))
    storages += struct.pack("<q", 6) + bytes(24)
    tensors = handmade.pickled(1) + handmade.pickled((1, 10, Name("torch.FloatTensor")))
    tensors += struct.pack("<ii5q", 2, 0, 2, 3, 3, 1, 0)
    good = {
        "pickle": handmade.pickled(Persistent(1)),
        "storages": storages + b"].",
        "tensors": tensors,
    }
    assert handled(handmade.tarred(good), directory) is not None
    odd = [(11, 10, views, 2), (entry, entry, 0, 1), views]
    for spoilt in (
        {"storages": storages + handmade.pickled(odd)},
        {"storages": storages + handmade.pickled(views)},
        {"storages": handmade.pickled(1) + handmade.pickled(entry) + bytes(40)},
        {"storages": handmade.pickled(count) + storages},
        {
            "storages": handmade.pickled(1)
            + handmade.pickled((entry, 0, Name("torch.FloatStorage")))
        },
        {"tensors": handmade.pickled(1) + handmade.pickled(tensor) + bytes(40)},
        {"tensors": handmade.pickled(1) + handmade.pickled((tensor, 10, 0)) + bytes(40)},
        {"tensors": handmade.pickled(count) + tensors},
        {"pickle": handmade.pickled(Persistent(entry))},
    ):
        handled(handmade.tarred(good | spoilt), directory)


@given(data=st.data())
def test_runs_of_tensors_are_read_as_the_opcodes_say(data: st.DataObject, directory: Path) -> None:
    """Spoiled where many are read in one step, a file means what it means opcode by opcode."""
    content = sample_files.files()["zip of many"]

    def change(entry: str, old: bytes) -> bytes:
        return data.draw(spoiled(old, old)) if entry.endswith("data.pkl") else old

    spoilt = resealed(content, change)
    fast = handled(spoilt, directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TensorCalls, "read", lambda *_: None)
        slow = handled(spoilt, directory)
    entries = [None if one is None else one.entries for one in (fast, slow)]
    assert entries[0] == entries[1]


# --- nothing is run ------------------------------------------------------------------------------

MARK = "a-file-that-a-pickle-made"
HOSTILE: dict[str, object] = {
    "system": Call("os.system", (f"touch {MARK}",)),
    "posix": Call("posix.system", (f"touch {MARK}",)),
    "eval": Call("builtins.eval", (f"open('{MARK}', 'w')",)),
    "exec": Call("builtins.exec", (f"open('{MARK}', 'w')",)),
    "python 2": Call("__builtin__.eval", (f"open('{MARK}', 'w')",)),
    "compile": Call("builtins.compile", ("1", "x", "exec")),
    "open": Call("builtins.open", (MARK, "w")),
    "popen": Call("subprocess.Popen", ((["touch", MARK]),)),
    "socket": Call("socket.create_connection", (("localhost", 9),)),
    "import": Call("builtins.__import__", ("this",)),
    "importlib": Call("importlib.import_module", ("colorsys",)),
    "an unimported module": Call("this.geohash", (1, 2, "x")),
    "getattr": Call("builtins.getattr", (Name("os"[:1] + "s.path"), "join")),
    "pickle in a pickle": Call("pickle.loads", ("cos\nsystem\n(S'touch x'\ntR.",)),
    "torch.load": Call("torch.load", (MARK,)),
    "a function of torch": Call("torch.hub.load", ("x", "y")),
    "new object": Call("subprocess.Popen", (["touch", MARK],), b"\x81"),
    "state": Built(Call("builtins.object"), {"__setstate__": Name("os.system")}),
    "instance": Raw(b"(X" + struct.pack("<I", 1) + b"xios\nsystem\n"),
    "object": Raw(b"(cos\nsystem\nX" + struct.pack("<I", 1) + b"xo"),
    "stack global": Raw(b"X\2\0\0\0osX\6\0\0\0system\x93X\1\0\0\0x\x85R"),
    "dotted": Raw(b"X\2\0\0\0osX\x0b\0\0\0path.exists\x93X\1\0\0\0x\x85R"),
    "in a tensor": Call("torch._tensor._rebuild_from_type_v2", (
        Name("os.system"), Name("torch.Tensor"), (f"touch {MARK}",), {})),
    "as a class": Call("torch._tensor._rebuild_from_type_v2", (
        Name("torch._utils._rebuild_tensor_v2"), Name("this.Tensor"),
        handmade.tensor().args, {})),
    "as a storage": handmade.storage(cls="this.FloatStorage"),
    "reconstructor": Call("copy_reg._reconstructor", (
        Name("this.A"), Name("builtins.object"), None)),
    "with a hook": {"_parameters": {}, "_modules": {}, "__reduce__": Name("os.system")},
}  # fmt: skip

WATCH = """
import json, os, sys

seen = []
watching = False

def watch(event, args):
    if watching:
        seen.append([event, str(args[0])[:200] if args else ""])

sys.addaudithook(watch)
from paramcli.errors import SourceError
import paramcli

def use(target):
    try:
        checkpoint = paramcli.open(target, everything=True)
        checkpoint.groups(), checkpoint.pickle and checkpoint.pickle.summary()
    except SourceError:
        pass

targets = json.loads(sys.argv[1])
for target in targets:  # what paramcli itself imports, it imports here
    use(target)
report = {}
for target in targets:
    seen.clear()
    watching = True
    {use}(target)
    watching = False
    report[target] = [event for event in seen if event[0] not in ("builtins.id", "array.__new__")]
print(json.dumps(report))
"""
"""Opens each target twice, and reports what the interpreter did the second time."""

PLAIN_PICKLE = "lambda target: __import__('pickle').load(open(target, 'rb'))"


def watched(targets: list[str], use: str = "use", cwd: Path = ROOT) -> dict[str, list[list[str]]]:
    """Run the watcher in a process of its own, in which paramcli can be imported."""
    command = [sys.executable, "-c", WATCH.replace("{use}", f"({use})"), json.dumps(targets)]
    env_path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    command[2] = env_path + command[2]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, list[list[str]]] = json.loads(done.stdout)
    return report


@IN_ALL
def test_hostile_pickles_do_nothing(carrier: str, tmp_path: Path) -> None:
    """Only the named file is opened: no other file, no import, no code, no process, no socket."""
    targets = [
        handmade.written(
            tmp_path / f"{number}.pt", CARRIERS[carrier](handmade.encode({"w": payload}))
        )
        for number, payload in enumerate(HOSTILE.values())
    ]
    for target, events in watched(targets, cwd=tmp_path).items():
        assert {tuple(event) for event in events} == {("open", target)}
    assert not (tmp_path / MARK).exists()


def test_hostile_distributed_checkpoint_does_nothing(tmp_path: Path) -> None:
    for number, payload in enumerate(HOSTILE.values()):
        (tmp_path / str(number)).mkdir()
        root = Call("torch.distributed.checkpoint.metadata.Metadata", (), b"\x81")
        state = {"state_dict_metadata": {}, "planner_data": payload, "storage_data": {}}
        content = handmade.pickled(Built(root, state))
        (tmp_path / str(number) / ".metadata").write_bytes(content)
    targets = [str(tmp_path / str(number)) for number in range(len(HOSTILE))]
    for target, events in watched(targets, cwd=tmp_path).items():
        seen = {("os.listdir", target), ("open", f"{target}/.metadata")}
        assert {tuple(event) for event in events} == seen
    assert not (tmp_path / MARK).exists()


def test_the_watcher_sees_what_pickle_runs(tmp_path: Path) -> None:
    """The proof can fail: the same payloads, loaded by pickle, are seen and leave their mark."""
    payload = {"w": [HOSTILE["open"], HOSTILE["compile"], Call("colorsys.rgb_to_hsv", (0, 0, 0))]}
    target = handmade.written(tmp_path / "file", handmade.pickled(payload))
    events = watched([target], use=PLAIN_PICKLE, cwd=tmp_path)[target]
    kinds = {event for event, _ in events}
    assert {"open", "compile", "import", "pickle.find_class"} <= kinds
    assert ["open", MARK] in events
    assert (tmp_path / MARK).exists()


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - {"as a storage", "with a hook"}))
def test_the_hostile_pickles_are_listed(name: str, tmp_path: Path) -> None:
    """They are no damaged files: each opens, and says what it asked for."""
    target = handmade.written(tmp_path / "file", handmade.torch_zip({"w": HOSTILE[name]}))
    found = paramcli.open(target, everything=True)
    assert found.pickle is not None
    assert found.pickle.inert
    assert found.pickle.refused
