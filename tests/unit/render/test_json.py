"""The JSON is the one that other programs were promised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.render.json import as_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport


def test_schema(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Every promised field, with its type."""
    report = make_report(
        make_entry("a", shape=(6, 1, 5, 5), key="s", kind="parameter"),
        make_entry("b", shape=(6, 1, 5, 5), key="s", kind="parameter"),
        make_entry("c", "int64", kind="buffer")._replace(layout="sparse_coo"),
        key="state_dict",
        metadata={"format": "pt"},
    )
    first = {
        "name": "a", "shape": [6, 1, 5, 5], "dtype": "float32", "kind": "parameter",
        "count": 150, "bytes": 600, "group": "g1", "offset": 0, "stride": [25, 25, 5, 1],
    }  # fmt: skip
    scalar = {
        "name": "c", "shape": [], "dtype": "int64", "kind": "buffer",
        "count": 1, "bytes": 0, "group": None, "offset": 0, "stride": [], "layout": "sparse_coo",
    }  # fmt: skip
    assert json.loads("".join(as_json(report))) == {
        "schema": "paramcli.list/1",
        "target": "model.pt",
        "format": "torch-zip",
        "key": "state_dict",
        "tensors": [first, first | {"name": "b"}, scalar],
        "groups": [{"id": "g1", "names": ["a", "b"], "relation": "same", "bytes": 600}],
        "totals": {
            "tensors": 3,
            "count": 301,
            "bytes": 1200,
            "unique_count": 151,
            "unique_bytes": 600,
        },
        "by_dtype": [
            {"dtype": "float32", "tensors": 2, "count": 300, "bytes": 1200},
            {"dtype": "int64", "tensors": 1, "count": 1, "bytes": 0},
        ],
        "metadata": {"format": "pt"},
        "trees": [],
        "pickle": None,
        "problems": [],
    }


@pytest.mark.parametrize("name", ["lenet", "transformer", "hostile", "empty"])
def test_parses(reports: dict[str, ListReport], name: str) -> None:
    """Whatever the names, the document is valid, ASCII, and says the same names."""
    document = "".join(as_json(reports[name]))
    assert document.isascii()
    assert document.endswith("}\n")
    parsed = json.loads(document)
    assert [tensor["name"] for tensor in parsed["tensors"]] == [
        info.name for info in reports[name].tensors
    ]


def test_pickle(reports: dict[str, ListReport]) -> None:
    """What a pickle asked for is told, as data."""
    parsed = json.loads("".join(as_json(reports["hostile"])))
    assert parsed["pickle"]["inert"] == ["os.system"]
    assert parsed["trees"] == [{"path": "state_dict", "tensors": 8}, {"path": "ema", "tensors": 1}]
    assert len(parsed["problems"]) == 12


def test_one_tensor_to_a_line(reports: dict[str, ListReport]) -> None:
    """The text can be read, and grepped."""
    lines = "".join(as_json(reports["lenet"])).splitlines()
    assert sum(line.startswith('    {"name": ') for line in lines) == 10


@given(st.lists(st.text(st.characters()), unique=True, max_size=5))
def test_any_name(
    make_entry: Callable[..., TensorInfo],
    make_report: Callable[..., ListReport],
    names: list[str],
) -> None:
    """Every name comes back as it was."""
    report = make_report(*map(make_entry, names))
    parsed = json.loads("".join(as_json(report)))
    assert [tensor["name"] for tensor in parsed["tensors"]] == names


def test_chunks_join_into_one_array(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """A list longer than one chunk is still one valid array."""
    report = make_report(*(make_entry(f"layer.{number}") for number in range(10_000)))
    assert len(json.loads("".join(as_json(report)))["tensors"]) == 10_000
