"""safetensors: every rule of the reference reader, and two of our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.torch import save, save_model
from torch import nn

import paramcli
from paramcli.errors import SourceError
from paramcli.files import File
from paramcli.sources.safetensors import SAFETENSORS_DTYPES, read_header
from tests.handmade import safetensors, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]


def entry(
    dtype: object = "U8", shape: object = (1,), offsets: object = (0, 1), **more: object
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def header(*pairs: tuple[str, object]) -> str:
    """Write an object whose keys need not differ."""
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"


A = ("a", entry())
ONE = header(A)


# --- the two readers, held against each other ----------------------------------------------------


def theirs(path: str, content: bytes) -> list[tuple[str, str, tuple[int, ...]]] | None:
    """What the reference reader lists, in any order; None where it refuses."""
    try:
        deserialize(content)  # type: ignore[no-untyped-call]
        with safe_open(path, "np") as file:
            found = [(name, file.get_slice(name)) for name in file.keys()]  # noqa: SIM118 - no dictionary
            return sorted((name, part.get_dtype(), tuple(part.get_shape())) for name, part in found)
    except SafetensorError:
        return None


def ours(path: str) -> list[tuple[str, str, tuple[int, ...]]] | None:
    written_as = {dtype.name: name for name, dtype in SAFETENSORS_DTYPES.items()}
    try:
        with File(path) as file:
            entries = read_header(file).entries
    except SourceError:
        return None
    return sorted((info.name, written_as[info.dtype.name], info.shape) for info in entries)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("safetensors") / "file"


@st.composite
def headers(draw: st.DrawFn) -> tuple[str, int]:  # noqa: C901 - one choice after another
    """A header that is good, or nearly, and the bytes of data after it."""
    pairs: list[tuple[str, object]] = []
    end = 0
    names = st.text(max_size=3) | st.sampled_from(["a", "__metadata__", "weight"])
    for name in draw(st.lists(names, max_size=4, unique=True)):
        dtype = draw(st.sampled_from([*SAFETENSORS_DTYPES, "F32", "U8"]))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        bits = SAFETENSORS_DTYPES[dtype].bits
        for size in shape:
            bits *= size
        begin, end = end, end + bits // 8
        pairs.append((name, entry(dtype, shape, [begin, end])))
    if draw(st.booleans()):
        values = st.text(max_size=3) if draw(st.booleans()) else st.none() | st.integers()
        found = draw(st.none() | st.dictionaries(st.text(max_size=3), values, max_size=2))
        pairs.append(("__metadata__", found))
    pairs = draw(st.permutations(pairs))
    odd: st.SearchStrategy[object] = st.sampled_from(
        [0, 1, -1, 4, 1.0, 1 << 32, 1 << 63, (1 << 64) - 1, 1 << 64, None, "4", [], True]
    )
    if pairs and draw(st.integers(0, 3)) == 0:
        _, target = draw(st.sampled_from(pairs))
        if isinstance(target, dict) and "shape" in target:
            match draw(st.sampled_from(["dtype", "shape", "offsets", "field", "absent"])):
                case "dtype":
                    target["dtype"] = draw(st.sampled_from(["f32", "F33", "F4", None, 3]))
                case "shape":
                    target["shape"] = draw(st.lists(odd, max_size=3) | odd)
                case "offsets":
                    target["data_offsets"] = draw(st.lists(odd, max_size=3) | odd)
                case "field":
                    target["more"] = draw(st.lists(odd, max_size=2))
                case "absent":
                    del target[draw(st.sampled_from(sorted(target)))]
    made = header(*pairs)
    if draw(st.booleans()):
        made = draw(st.sampled_from(["{}   ", "{}\n", "{}\t\r", "{},", "{}}}", "{}\0"])).format(
            made
        )
    if draw(st.booleans()):
        made = json.dumps(json.loads(made)) if made.strip() and _is_json(made) else made
    return made, end + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@given(made=headers())
@example(made=('{"a":' + json.dumps(entry()) + '}"b":' + json.dumps(entry()) + "}", 2))
@example(made=(ONE[:-1] + "}" + header(("b", entry(offsets=(1, 2))))[1:], 2))
@example(
    made=(
        ONE.replace(" ", "")[:-1]
        + '}"b":'
        + json.dumps(entry(offsets=(1, 2))).replace(" ", "")
        + "}",
        2,
    )
)
@example(made=(ONE.replace("[0", "[-0"), 1))
@example(made=(ONE.replace('"a"', '"\\ud800"'), 1))
@example(made=(ONE.replace('"a"', '"\\ud83d\\ude00"'), 1))
@example(made=(ONE.replace('"U8"', '"\\u00558"'), 1))
@example(made=(ONE.replace('"a"', '"a\\u0000"'), 1))
@example(made=(ONE.replace('"a"', '"a\t"'), 1))
@example(made=(ONE.replace('"a"', '"a\x7f"'), 1))
@example(made=(header(("a", entry(x=[[[1]]]))), 1))
@example(made=(ONE.replace("[1]", "[01]"), 1))
@example(made=(ONE.replace("[1]", "[1.0]"), 1))
@example(made=(ONE.replace("[1]", "[1e0]"), 1))
@example(made=(ONE.replace("[1]", "[1,]"), 1))
@example(made=(ONE.replace("[1]", "[NaN]"), 1))
@example(made=(header(("a", entry(shape=[0, 1 << 63, 4], offsets=[0, 0]))), 0))
@example(made=(header(("a", entry(shape=[1 << 63, 4, 0], offsets=[0, 0]))), 0))
@example(made=(header(("a", entry("F4", [3], [0, 1]))), 1))
@example(made=(header(("a", entry("F6_E2M3", [4], [0, 3]))), 3))
@example(made=(header(("a", entry(offsets=[1, 0], shape=[0]))), 0))
@example(made=(header(("a", entry(shape=[0], offsets=[0, 0])), ("b", entry())), 1))
@example(made=("{}", 0))
@example(made=("{}", 1))
@example(made=(header(("__metadata__", None)), 0))
@example(made=(header(("__metadata__", {"a": None})), 0))
@example(made=(header(("__metadata__", [])), 0))
@example(made=('{"__metadata__":{"\\ud800":"x"}}', 0))
@example(made=('{"__metadata__":{"x":"\\udc00"}}', 0))
@example(made=('{"__metadata__":{"x":"\\udc00"},' + ONE[1:].replace(" ", ""), 1))
@example(made=(ONE.replace('{"dtype"', '{"x":"\\ud800","dtype"'), 1))
def test_agrees_with_the_reference_reader(made: tuple[str, int], path: Path) -> None:
    """What either accepts, both list the same."""
    text, size = made
    content = safetensors(text.encode(errors="surrogatepass"), bytes(max(size, 0)))
    target = written(path, content)
    assert ours(target) == theirs(target, content)


@given(data=st.data())
def test_agrees_on_spoiled_headers(data: st.DataObject, path: Path) -> None:
    """A few bytes of a good header are changed to any others."""
    good = bytearray(save({"a": torch.zeros(2, 3), "b": torch.ones(1)}, {"note": "x"}))
    size = 8 + int.from_bytes(good[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, size - 1))] = data.draw(
            st.integers(0, 255) | st.sampled_from(list(b'{}[]",:0129 -'))
        )
    target = written(path, bytes(good))
    assert ours(target) == theirs(target, bytes(good))


_dtypes = [
    getattr(torch, dtype.name) for dtype in SAFETENSORS_DTYPES.values()
    if hasattr(torch, dtype.name)
]  # fmt: skip


@given(
    shapes=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(_dtypes), st.lists(st.integers(0, 3), max_size=4)),
        max_size=5,
    ),
    metadata=st.none() | st.dictionaries(st.text(max_size=4), st.text(max_size=4), min_size=1),
)
def test_what_safetensors_writes(
    shapes: dict[str, tuple[torch.dtype, list[int]]], metadata: dict[str, str] | None, path: Path
) -> None:
    tensors = {name: torch.empty(size, dtype=dtype) for name, (dtype, size) in shapes.items()}
    checkpoint = paramcli.open(written(path, save(tensors, metadata)))
    found = {info.name: info for info in checkpoint}
    assert checkpoint.metadata == (metadata or {})
    for name, tensor in tensors.items():
        info = found.pop(name)
        assert info.dtype.name == str(tensor.dtype).removeprefix("torch.")
        assert info.shape == tuple(tensor.shape)
        assert info.stride == tensor.stride()
        assert info.nbytes == tensor.nbytes == info.storage.nbytes
    assert set(found) <= set(metadata or {})


# --- the rules one by one ------------------------------------------------------------------------

RULES = {
    "length past the end": (b"\xff\0\0\0\0\0\0\0{}", "cut short"),
    "length beyond all bounds": ((100_000_001).to_bytes(8, "little") + b"{}", "100,000,000"),
    "not UTF-8": (safetensors(b'{"\xff":1}'), "UTF-8"),
    "not JSON": (safetensors("{a}"), "JSON"),
    "cut JSON": (safetensors('{"a":'), "JSON"),
    "not an object after all": (safetensors("{}[]"), "JSON"),
    "NaN": (safetensors('{"a":NaN}'), "JSON"),
    "deep": (safetensors('{"a":' + "[" * 100_000), "deep"),
    "entry is an array": (safetensors(header(("a", ["U8", [1], [0, 1]])), b"x"), "'a'"),
    "entry is a number": (safetensors(header(("a", 1)), b"x"), "'a'"),
    "two tensors of one name": (safetensors(header(A, A), b"x"), "two tensors"),
    "usual, two of one name": (safetensors(header(A, A).replace(" ", ""), b"x"), "two tensors"),
    "a field twice": (safetensors(ONE.replace('"shape"', '"dtype": "U8", "shape"'), b"x"), "twice"),
    "two metadata": (safetensors(header(("__metadata__", {}), ("__metadata__", {}))), "twice"),
    "metadata of numbers": (safetensors(header(("__metadata__", {"a": 1}))), "metadata"),
    "metadata that is text": (safetensors(header(("__metadata__", "x"))), "metadata"),
    "metadata that is a tensor": (safetensors(header(("__metadata__", entry())), b"x"), "metadata"),
    "metadata key twice": (safetensors('{"__metadata__":{"a":"1","a":"2"}}'), "twice"),
    "unknown dtype": (safetensors(header(("a", entry("F33"))), b"x"), "'F33'"),
    "no dtype": (safetensors(header(("a", {"shape": [1], "data_offsets": [0, 1]})), b"x"), "dtype"),
    "negative size": (safetensors(header(("a", entry(shape=[-1]))), b"x"), "shape"),
    "three offsets": (safetensors(header(("a", entry(offsets=[0, 1, 1]))), b"x"), "data_offsets"),
    "offsets in reverse": (safetensors(header(("a", entry(offsets=[1, 0]))), b"x"), "size"),
    "too large to count": (
        safetensors(header(("a", entry(shape=[1 << 32, 1 << 32], offsets=[0, 0])))), "counted",
    ),
    "half a character in what nobody reads": (
        safetensors(ONE.replace('"shape"', r'"x": [1, "\ud800"], "shape"'), b"x"), "character",
    ),
    "half a byte": (safetensors(header(("a", entry("F4", [3], [0, 1]))), b"x"), "whole bytes"),
    "size is another": (safetensors(header(("a", entry(shape=[2]))), b"x"), "size"),
    "hole at the start": (safetensors(header(("a", entry(offsets=[1, 2]))), b"xx"), "hole"),
    "hole": (safetensors(header(A, ("b", entry(offsets=[2, 3]))), b"xxx"), "hole"),
    "overlap": (safetensors(header(A, ("b", entry())), b"x"), "overlap"),
    "data cut short": (safetensors(ONE), "cut short"),
    "data too long": (safetensors(ONE, b"xx"), "after the last"),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str, refused: Refuse) -> None:
    content, reason = RULES[rule]
    what, hint = refused(content).split("\n")
    assert reason in f"{what}\n{hint}"
    assert ("newer" if "unknown dtype" in what else "download it again") in hint


def test_header_begins_with_a_brace(refused: Refuse) -> None:
    """The format says that it must; the reference reader lets spaces pass."""
    made = safetensors(" " + ONE, b"x")
    assert deserialize(made)  # type: ignore[no-untyped-call]
    assert refused(made)


def test_shorter_than_a_length(refused: Refuse) -> None:
    assert refused(b"\2\0\0\0\0\0\0")


def test_largest_header(opened: Open) -> None:
    """A hundred million bytes of header are allowed, spaces included."""
    size = 1 << 20
    assert len(opened(safetensors(ONE + " " * (size - len(ONE)), b"x"))) == 1


def test_ties_that_saving_removed(tmp_path: Path) -> None:
    """`save_model` drops all names but one of what is shared, and says so in the metadata."""
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    save_model(net, str(tmp_path / "tied.safetensors"))
    checkpoint = paramcli.open(tmp_path / "tied.safetensors")
    assert sorted(info.name for info in checkpoint) == sorted(net.state_dict())
    assert [set(group.names) for group in checkpoint.groups()] == [{"0.weight", "1.weight"}]


def test_metadata_that_ties_nothing(opened: Open) -> None:
    """A key that is a tensor already stays that tensor."""
    metadata = ("__metadata__", {"a": "b", "c": "absent", "d": "a"})
    made = safetensors(header(metadata, A, ("b", entry(offsets=[1, 2]))), b"xy")
    checkpoint = opened(made)
    assert [info.name for info in checkpoint] == ["a", "b", "d"]
    assert checkpoint["d"].storage == checkpoint["a"].storage != checkpoint["b"].storage


def test_storages_are_found_in_the_file(opened: Open) -> None:
    checkpoint = opened(safetensors(header(("b", entry(offsets=[1, 2])), A), b"xy"))
    for name, expected in (("a", b"x"), ("b", b"y")):
        place = checkpoint.locate(checkpoint[name].storage)
        assert place is not None
        with open(place.file, "rb") as file:
            file.seek(place.offset)
            assert file.read(1) == expected == checkpoint.read(checkpoint[name].storage)


@pytest.mark.parametrize("spaces", ["", " "])
def test_order_is_that_of_the_header(spaces: str, opened: Open) -> None:
    """Written as usual or not: the names come as they stand there."""
    made = header(("b", entry(offsets=[1, 2])), A).replace(" ", spaces)
    assert [info.name for info in opened(safetensors(made, b"xy"))] == ["b", "a"]
