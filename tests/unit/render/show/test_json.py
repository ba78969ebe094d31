"""The JSON of `show` is the one that was promised, and JSON whatever the numbers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.render.show.json import as_json

if TYPE_CHECKING:
    from paramcli.verbs.show import FileReport, ShowReport
    from tests.unit.render.show.conftest import Make

NAMES = ["plain", "broken", "card", "module", "complex", "bare", "empty", "file", "hostile"]
numbers = st.floats() | st.complex_numbers() | st.integers() | st.booleans()
some_values = st.recursive(numbers, lambda inner: st.lists(inner, max_size=3), max_leaves=9)


def parsed(report: ShowReport | FileReport) -> Any:
    """Parse as strictly as RFC 8259 has it: Python's own parser would take NaN."""
    document = "".join(as_json(report))
    assert document.isascii()
    assert document.endswith("}\n")
    return json.loads(document, parse_constant=pytest.fail)


def test_schema(
    make: Make,
) -> None:
    """Every promised field, with its type."""
    stats = make.stats(
        mean=math.nan, std=0.1, min=-math.inf, max=math.inf, l2=1 / 3, zeros=3, negative_zeros=1,
        nan=1, positive_inf=2, negative_inf=4, percentiles={"1": 0.5, "99": None}, histogram=(1, 2),
    )  # fmt: skip
    one = make.shown(
        "fc.weight", (2, 1), stats=stats, values=[[0.1], [math.nan]], sliced=(2, 1), group="g1",
        first_bad=(1, 0), facts={"scale": "2"},
    )._replace(name="weight")  # fmt: skip
    report = make.report(one, module="fc", key="state_dict", note="a note")
    assert parsed(report) == {
        "schema": "paramcli.show/1",
        "target": "model.pt",
        "format": "torch-zip",
        "key": "state_dict",
        "module": "fc",
        "tensors": [{
            "name": "weight", "shape": [2, 1], "dtype": "float32", "kind": "tensor", "count": 2,
            "bytes": 8, "group": "g1", "offset": 0, "stride": [1, 1], "path": "fc.weight",
            "facts": {"scale": "2"}, "first_bad": [1, 0],
            "stats": {
                "mean": "nan", "std": 0.1, "min": "-inf", "max": "inf", "l2": 1 / 3, "zeros": 3,
                "nan": 1, "inf": 6, "percentiles": {"1": 0.5, "99": None}, "negative_zeros": 1,
                "positive_inf": 2, "negative_inf": 4, "percentile_method": "exact",
                "percentile_error": 0.0, "histogram": [1, 2], "finite": None,
            },
            "values": [[0.1], ["nan"]],
        }],
        "note": "a note",
        "file": None,
    }  # fmt: skip


def test_what_is_not_known_is_null(shows: dict[str, ShowReport | FileReport]) -> None:
    """No statistics, no percentiles, no minimum: null, never zero; a complex mean is a pair."""
    [bare] = parsed(shows["bare"])["tensors"]
    assert (bare["stats"], bare["values"], bare["group"]) == (None, None, None)
    [wave] = parsed(shows["complex"])["tensors"]
    assert wave["stats"]["mean"] == [0.123456, -2.5e-9]
    assert wave["stats"]["min"] is None
    assert wave["stats"]["percentiles"] == dict.fromkeys(["1", "5", "25", "50", "75", "95", "99"])
    assert (wave["stats"]["percentile_method"], wave["stats"]["percentile_error"]) == (None, None)
    spoiled = parsed(shows["card"])["tensors"][0]["stats"]
    assert spoiled["finite"] == {"mean": 0.0125, "std": 1.5, "min": -3.25, "max": 3.5}


@pytest.mark.parametrize("name", NAMES)
def test_parses(shows: dict[str, ShowReport | FileReport], name: str) -> None:
    """Every report is valid, its schema named, and one of tensors and file is there."""
    document = parsed(shows[name])
    assert document["schema"] == "paramcli.show/1"
    assert bool(document["file"]) == (name in {"file", "hostile"})


def test_file(shows: dict[str, ShowReport | FileReport]) -> None:
    """The file itself is one object."""
    document = parsed(shows["file"])
    assert document["tensors"] == []
    assert document["file"] == {
        "size": 123_456, "producer": "torch 2.1", "byteorder": "little",
        "totals": {"tensors": 30, "count": 9_152, "bytes": 35_840, "unique_count": 8_128,
                   "unique_bytes": 31_744},
        "groups": 1,
        "trees": [{"path": "state_dict", "tensors": 30}, {"path": "optimizer", "tensors": 84}],
        "values": [{"path": "epoch", "text": "3"},
                   {"path": "optimizer.param_groups.0.lr", "text": "0.0003"}],
        "metadata": {"format": "pt"},
        "pickle": {"understood": ["a.B"], "inert": ["os.system"],
                   "refused": "it asks for os.system"},
        "problems": [],
    }  # fmt: skip


@given(some_values, numbers, st.text(st.characters()))
def test_any_values(
    make: Make,
    values: Any,
    number: Any,
    text: str,
) -> None:
    """Every number comes back as it was, wherever it stands, and every text."""
    stats = make.stats(mean=number, std=number, percentiles={"50": number})
    shown = make.shown(text, (2,), values=values, stats=stats, facts={text: text}, group=text)
    document = parsed(make.report(shown, note=text))
    [tensor] = document["tensors"]
    assert tensor["name"] == tensor["path"] == tensor["group"] == document["note"] == text
    assert tensor["facts"] == {text: text}
    assert same(tensor["values"], values)
    for found in (tensor["stats"]["mean"], tensor["stats"]["percentiles"]["50"]):
        assert same(found, number)


def same(found: Any, value: Any) -> bool:
    """Compare what was parsed with what was written, bit by bit."""
    if isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(value, complex):
        return same(found, [value.real, value.imag])
    if isinstance(value, float) and not math.isfinite(value):
        return bool(found == str(value))
    return repr(found) == repr(value)
