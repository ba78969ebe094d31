"""The noun: dtypes, views of storages, and which names share bytes."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from paramcli.checkpoint import Checkpoint, Pickle
from paramcli.errors import (
    LockError,
    OutputError,
    ParamcliError,
    PatternError,
    SourceError,
    UsageError,
    UserCodeError,
)
from paramcli.sharing import Group, share
from paramcli.tensors import DTYPES, DType, Storage, TensorInfo

F32 = DTYPES["float32"]


def view(
    name: str, shape: tuple[int, ...], stride: tuple[int, ...] | None = None, *, offset: int = 0,
    key: str = "s", dtype: DType = F32,
) -> TensorInfo:  # fmt: skip
    """Make a view of a storage, contiguous unless a stride is given."""
    steps = stride or tuple(torch.empty(shape, device="meta").stride())
    return TensorInfo(name, dtype, shape, steps, offset, Storage("file", key, 1 << 20))


# --- sharing, against sets of bytes --------------------------------------------------------------


def expected(infos: list[TensorInfo]) -> list[tuple[tuple[str, ...], str, int]]:
    """Join views that have a byte in common, storage by storage, until nothing joins."""
    found = []
    for storage in dict.fromkeys(part.storage for info in infos for part in info.views()):
        clusters: list[tuple[set[int], set[int]]] = []  # bytes, and the numbers of who views them
        viewers: dict[int, set[int]] = {}
        for order, info in enumerate(infos):
            for part in info.views():
                if part.storage != storage or part.extent[0] == part.extent[1]:
                    continue
                joined, members = set(range(*part.extent)), {order}
                for byte in joined:
                    viewers.setdefault(byte, set()).add(order)
                for cluster in [cluster for cluster in clusters if cluster[0] & joined]:
                    clusters.remove(cluster)
                    joined |= cluster[0]
                    members |= cluster[1]
                clusters.append((joined, members))
        for joined, members in clusters:
            if len(members) > 1:
                names = tuple(infos[order].name for order in sorted(members))
                same = len({infos[order].view for order in members}) == 1
                shared = sum(len(viewers[byte]) > 1 for byte in joined)
                found.append((min(members), names, "same" if same else "overlap", shared))
    return [cluster[1:] for cluster in sorted(found, key=lambda cluster: cluster[0])]


@st.composite
def views(draw: st.DrawFn, name: str) -> TensorInfo:
    dtype = DTYPES[draw(st.sampled_from(["float32", "int8", "float4_e2m1fn", "float64"]))]
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
    stride = tuple(draw(st.integers(0, 4)) for _ in shape)
    offset, key = draw(st.integers(0, 8)), draw(st.sampled_from("aab"))
    return view(name, shape, stride, offset=offset, key=key, dtype=dtype)


@st.composite
def infos(draw: st.DrawFn) -> list[TensorInfo]:
    """Views of a few small storages: nested, chained, apart, empty, strided, and composites."""
    found = []
    for number in range(draw(st.integers(0, 7))):
        info = draw(views(f"t{number}"))
        if draw(st.integers(0, 4)) == 0:
            parts = tuple(draw(views(f"p{part}")) for part in range(draw(st.integers(0, 3))))
            layout = draw(st.sampled_from(["sparse_coo", "nested", "dtensor", "quantized"]))
            info = info._replace(layout=layout, parts=parts)
        found.append(info)
    return found


def groups(entries: list[TensorInfo]) -> list[tuple[tuple[str, ...], str, int]]:
    made = share(entries)
    assert [group.id for group in made] == [f"g{number}" for number in range(1, len(made) + 1)]
    return [(group.names, group.relation, group.bytes) for group in made]


def composite(name: str, *parts: TensorInfo) -> TensorInfo:
    nowhere = Storage("", "meta", 0)
    return TensorInfo(name, F32, (9,), (1,), 0, nowhere, layout="sparse_coo", parts=parts)


@given(entries=infos())
@example(entries=[composite("c", view("i", (4,)), view("v", (4,), offset=2)), view("b", (3,))])
@example(
    entries=[
        composite("c", view("i", (2,)), view("v", (2,), offset=2)),
        view("a", (2,)), view("b", (2,), offset=2),
    ]
)  # fmt: skip
@example(entries=[])
@example(entries=[view("a", (4,)), view("b", (4,))])
@example(entries=[view("a", (9,)), view("b", (2,), offset=1), view("c", (2,), offset=5)])
@example(entries=[view("a", (3,)), view("b", (3,), offset=2), view("c", (3,), offset=4)])
@example(entries=[view("a", (3,)), view("b", (3,), offset=3)])
@example(entries=[view("a", (3,)), view("b", (0,), offset=1)])
@example(entries=[view("a", (3, 3)), view("b", (3, 3), (1, 3))])
@example(entries=[view("a", (8,)), view("b", (2,)), view("c", (8,), offset=1), view("d", (9,))])
def test_groups_are_those_of_byte_sets(entries: list[TensorInfo]) -> None:
    assert sorted(groups(entries)) == sorted(expected(entries))


def test_the_same_view_is_the_same() -> None:
    assert share([view("a", (2, 2)), view("b", (2, 2))]) == (Group("g1", ("a", "b"), "same", 16),)


@pytest.mark.parametrize(
    "other",
    [
        view("b", (4,)),
        view("b", (2, 2), (1, 2)),
        view("b", (2, 2), offset=1),
        view("b", (2, 2), dtype=DTYPES["int32"]),
    ],
)
def test_another_view_is_an_overlap(other: TensorInfo) -> None:
    ((_, _, relation, _),) = share([view("a", (2, 2)), other])
    assert relation == "overlap"


def test_order_of_groups_is_that_of_names() -> None:
    entries = [view(name, (2,), key=key) for name, key in zip("abcd", "yxxy", strict=True)]
    assert [group.names for group in share(entries)] == [("a", "d"), ("b", "c")]


def test_storages_of_two_files_are_two() -> None:
    one, two = view("a", (2,)), view("b", (2,))
    assert share([one, two._replace(storage=two.storage._replace(file="other"))]) == ()


# --- views ---------------------------------------------------------------------------------------


@given(shape=st.lists(st.integers(0, 3), max_size=4), data=st.data())
def test_views_agree_with_torch(shape: list[int], data: st.DataObject) -> None:
    stride = [data.draw(st.integers(0, 5)) for _ in shape]
    offset = data.draw(st.integers(0, 5))
    made = torch.zeros(200).as_strided(shape, stride, offset)
    info = view("a", tuple(shape), tuple(stride), offset=offset)
    assert info.numel == made.numel()
    assert info.nbytes == made.nbytes
    assert info.contiguous == made.is_contiguous()
    touched = torch.arange(200).as_strided(shape, stride, offset).flatten()
    first, last = info.extent
    if made.numel():
        assert (first, last) == (4 * int(touched.min()), 4 * int(touched.max()) + 4)
    else:
        assert first == last


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_widths_are_torchs_own(name: str) -> None:
    dtype = getattr(torch, name, None)
    bits = DTYPES[name].bits
    if dtype is None and bits not in (4, 6):  # which are known to safetensors alone
        pytest.skip(f"torch {torch.__version__} has no {name}")
    if dtype is not None:
        packed = {"quint4x2": 4, "quint2x4": 2}  # torch says one byte, and packs several into it
        assert bits == packed.get(name, 8 * dtype.itemsize)


@pytest.mark.parametrize(("name", "count", "nbytes"), [
    ("float32", 3, 12), ("bool", 3, 3), ("float4_e2m1fn", 3, 2), ("float6_e2m3fn", 4, 3),
    ("complex128", 0, 0), ("float4_e2m1fn", 1, 1),
])  # fmt: skip
def test_bytes_are_rounded_up(name: str, count: int, nbytes: int) -> None:
    assert DTYPES[name].nbytes(count) == nbytes


def test_composites_are_as_large_as_their_parts() -> None:
    parts = (view("indices", (2, 3), dtype=DTYPES["int64"]), view("values", (3,)))
    nowhere = Storage("", "meta", 0)
    sparse = TensorInfo(
        "s", F32, (100, 100), (100, 1), 0, nowhere, layout="sparse_coo", parts=parts
    )
    assert sparse.nbytes == 48 + 12
    assert [part.name for part in sparse.views()] == ["indices", "values"]
    quantized = view("q", (4,), dtype=DTYPES["qint8"])._replace(layout="quantized", parts=parts)
    assert quantized.nbytes == 4
    assert [part.name for part in quantized.views()] == ["q", "indices", "values"]


# --- the checkpoint, and what is said of it ------------------------------------------------------


def test_checkpoint_is_a_sequence_of_its_entries() -> None:
    entries = (view("a", (2,)), view("b", (3,)))
    checkpoint = Checkpoint(origin="x", format="zip", entries=entries)
    assert len(checkpoint) == 2
    assert tuple(checkpoint) == entries
    assert checkpoint["b"] is entries[1]
    with pytest.raises(KeyError):
        checkpoint["c"]
    assert checkpoint.locate(entries[0].storage) is None
    with pytest.raises(SourceError):
        checkpoint.read(entries[0].storage)


@pytest.mark.parametrize(
    ("pickle", "line"),
    [
        (Pickle((), (), ""), "pickle: nothing run; 0 globals seen, all understood"),
        (Pickle(("a.b",), (), ""), "pickle: nothing run; 1 global seen, all understood"),
        (
            Pickle(("a.b",), ("os.system",), "it said so"),
            (
                "pickle: nothing run; 2 globals seen, 1 kept inert: os.system; "
                "weights_only refuses it: it said so"
            ),
        ),
        (
            Pickle((), tuple("abcdefg"), ""),
            "pickle: nothing run; 7 globals seen, 7 kept inert: a, b, c, d, e and 2 more",
        ),
    ],
)
def test_summary_of_a_pickle(pickle: Pickle, line: str) -> None:
    assert pickle.summary() == line


def test_a_summary_is_one_line() -> None:
    """Whatever a pickle calls its globals."""
    summary = Pickle((), ("a\nb\x1b[31m.c",), "because\nof it").summary()
    assert summary.isprintable()


def test_errors_say_where() -> None:
    error = SourceError("broken", path="a/b", offset=12_345, hint="mend it")
    assert str(error) == "a/b: broken (at byte 12,345)"
    assert (error.path, error.offset, error.hint, error.exit_code) == ("a/b", 12_345, "mend it", 2)
    assert str(SourceError("broken")) == "broken"
    assert issubclass(UsageError, ParamcliError)


@pytest.mark.parametrize(
    "error",
    [
        ParamcliError("what", hint="next"),
        UsageError("what"),
        PatternError("what", "a[", 1),
        SourceError("what", path="a.pt", offset=3, hint="next"),
        LockError("what", path="a.lock", line=2, column=3, text="x = y"),
        OutputError("what", path="a.pt", hint="next"),
        UserCodeError("what"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_whole_from_other_processes(error: ParamcliError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))
