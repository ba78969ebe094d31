"""What safetensors metadata says of ties and views: believed only as far as it can be true."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.errors import SourceError
from paramcli.sources.ties import VIEWS
from tests.handmade import safetensors, written

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint

VIEW = {"of": "a", "dtype": "float32", "shape": [3, 2], "stride": [1, 3], "offset": 0, "marks": []}
GOOD: dict[str, Any] = {"version": 1, "names": ["b", "a", "c"], "views": {"b": VIEW}}


def content(told: object, **metadata: str) -> bytes:
    """A file that stores `a` alone, six float32."""
    text = told if isinstance(told, str) else json.dumps(told)
    header = {
        "__metadata__": {VIEWS: text, "c": "a", **metadata},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    }
    return safetensors(json.dumps(header), bytes(range(24)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ties") / "model.safetensors"


def test_the_key_decides(path: Path) -> None:
    found = paramcli.open(written(path, content(GOOD, format="a")))
    assert [info.name for info in found] == ["b", "a", "c"]
    assert found["b"].shape == (3, 2)
    assert found["b"].stride == (1, 3)
    assert found["b"].storage == found["a"].storage == found["c"].storage
    assert found.metadata == {"c": "a", "format": "a"}  # no tie, since the key does not name it


def changed(**changes: object) -> dict[str, Any]:
    return {**GOOD, **changes}


def view(**changes: object) -> dict[str, Any]:
    return changed(views={"b": {**VIEW, **changes}})


BROKEN: dict[str, object] = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a long number": '{"version": ' + "1" * 5_000 + "}",
    "NaN": '{"version": NaN}',
    "a key twice": '{"version": 1, "version": 1}',
    "a list": [],
    "null": None,
    "no version": {},
    "another version": changed(version=2),
    "true for 1": changed(version=True),
    "no names": {"version": 1, "views": {}},
    "names of numbers": changed(names=[1, "a", "b", "c"]),
    "a name twice": changed(names=["a", "b", "c", "c"]),
    "a stored name left out": changed(names=["b", "c"]),
    "a view left out": changed(names=["a", "c"]),
    "a name of nothing": changed(names=["a", "b", "c", "d"]),
    "no views": changed(views=[]),
    "a stored view": changed(views={"a": VIEW, "b": VIEW}),
    "a view of nothing": view(of="d"),
    "a view of itself": view(of="b"),
    "a view of a view": changed(
        names=["a", "b", "c", "d"], views={"b": VIEW, "d": {**VIEW, "of": "b"}}
    ),
    "of a list": view(of=[]),
    "a field missing": changed(views={"b": {"of": "a"}}),
    "a field more": view(more=1),
    "no object": changed(views={"b": "a"}),
    "no such dtype": view(dtype="float31"),
    "dtype of a list": view(dtype=[]),
    "past the end": view(offset=1),
    "far past the end": view(offset=1 << 62),
    "before the beginning": view(offset=-1),
    "a fraction": view(offset=0.5),
    "a long stride": view(stride=[1, 4]),
    "a huge stride": view(stride=[1, 1 << 62]),
    "a backward stride": view(shape=[2, 1], stride=[-1, 1]),
    "ranks that differ": view(stride=[1]),
    "a rank too high": view(shape=[1] * 256, stride=[1] * 256),
    "a size that is true": view(shape=[True, 2]),
    "a huge expansion": view(shape=[1 << 40, 1 << 40], stride=[0, 0]),
    "an empty view past the end": view(shape=[0, 1], offset=7),
    "a wider type": view(dtype="float64"),
    "no such mark": view(marks=["odd"]),
    "marks of text": view(marks="conj"),
    "conjugate of a real": view(marks=["conj"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_key_that_cannot_be_true(case: str, path: Path) -> None:
    with pytest.raises(SourceError, match=VIEWS):
        paramcli.open(written(path, content(BROKEN[case])))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a", "b", "c", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "of", "shape", "views"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(data=st.data(), value=JSON)
def test_any_value_anywhere(data: st.DataObject, value: object, path: Path) -> None:
    """A checkpoint whose views stay inside the file, or one error."""
    told = json.loads(json.dumps(GOOD))
    place = data.draw(st.sampled_from([told, told["views"], told["views"]["b"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    try:
        found = paramcli.open(written(path, content(told)))
    except SourceError:
        return
    for info in found:
        assert 0 <= info.extent[0] <= info.extent[1] <= info.storage.nbytes == 24


def opened(folder: Path, metadata: dict[str, str], *names: str) -> Checkpoint:
    """Two shards, both with the same metadata, as some writers do; `a` in the first, `b` in two."""
    for number, name in enumerate("ab"):
        header = {
            "__metadata__": metadata,
            name: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]},
        }
        written(folder / f"{number}.safetensors", safetensors(json.dumps(header), b"x"))
    weight_map = {
        "a": "0.safetensors",
        "b": "1.safetensors",
        **dict.fromkeys(names, "0.safetensors"),
    }
    index = {"metadata": {}, "weight_map": weight_map}
    return paramcli.open(
        written(folder / "model.safetensors.index.json", json.dumps(index).encode())
    )


@pytest.mark.parametrize("listed", [True, False])
def test_a_tie_that_every_shard_states(tmp_path: Path, *, listed: bool) -> None:
    found = opened(tmp_path, {"c": "a", "d": "b"}, *(["c", "d"] if listed else []))
    assert [group.names for group in found.groups()] == [("a", "c"), ("b", "d")]
    assert not [line for line in found.problems if "but in no shard" in line]


def test_an_order_that_is_no_list(tmp_path: Path) -> None:
    opened(tmp_path, {})
    index = {
        "metadata": {"paramcli.names": ["a", 1]},
        "weight_map": {"a": "0.safetensors", "b": "1.safetensors"},
    }
    with pytest.raises(SourceError, match="no list of names"):
        paramcli.open(
            written(tmp_path / "model.safetensors.index.json", json.dumps(index).encode())
        )
