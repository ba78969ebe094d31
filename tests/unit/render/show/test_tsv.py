"""`show` as TSV: numbers in full, one line for each tensor or fact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from paramcli.render.show.tsv import tsv

if TYPE_CHECKING:
    from paramcli.verbs.show import FileReport, ShowReport
    from tests.unit.render.show.conftest import Make

TITLES = [
    "name", "shape", "dtype", "count", "bytes", "kind", "group",
    "mean", "std", "min", "max", "l2", "zeros", "nan", "inf",
    "p1", "p5", "p25", "p50", "p75", "p95", "p99",
]  # fmt: skip


def rows(report: ShowReport | FileReport) -> list[list[str]]:
    return [line.split("\t") for line in "".join(tsv(report)).split("\n")[:-1]]


def test_lines(
    make: Make,
) -> None:
    """Each field in its place, in full precision; what is not known is empty."""
    stats = make.stats(
        mean=1 / 3, std=math.nan, min=-math.inf, zeros=2, positive_inf=1, negative_inf=3
    )
    wave = make.stats(mean=(0.5, -1e-9), min=None, max=None, percentiles={})
    titles, plain, bare, pair = rows(
        make.report(
            make.shown("w", (2, 3), stats=stats, group="g1"),
            make.shown("meta", (4,), "int8"),
            make.shown("wave", (1,), "complex64", stats=wave),
        )
    )
    assert titles == TITLES
    found = dict(zip(titles, plain, strict=True))
    assert list(found.values())[:7] == ["w", "[2,3]", "float32", "6", "24", "tensor", "g1"]
    assert (found["mean"], found["std"], found["min"]) == ("0.3333333333333333", "nan", "-inf")
    assert (found["zeros"], found["nan"], found["inf"]) == ("2", "0", "4")
    assert (found["p1"], found["p99"]) == ("-2.31", "2.34")
    assert bare == ["meta", "[4]", "int8", "4", "4", "tensor", *[""] * 16]
    assert pair[7] == "0.5-1e-09j"
    assert pair[9:11] == ["", ""]


def test_texts_keep_to_their_field(shows: dict[str, ShowReport | FileReport]) -> None:
    """No name, key or value breaks its line or its column."""
    for name, report in shows.items():
        columns = 2 if name in {"file", "hostile"} else len(rows(report)[0])
        assert {len(row) for row in rows(report)} == {columns}


def test_values_have_a_column_where_there_are_some(make: Make) -> None:
    """Of JSON, so that no shape is lost; empty for what was not shown."""
    report = make.report(
        make.shown("w", (2, 2), values=[[0.1, math.nan], [1.0, -0.0]]),
        make.shown("z", (1,), "complex64", values=[1 + 2j]),
        make.shown("meta", (4,)),
    )
    titles, *found = rows(report)
    assert titles == [*TITLES, "values"]
    values = ['[[0.1, "nan"], [1.0, -0.0]]', "[[1.0, 2.0]]", ""]
    assert [row[-1] for row in found] == values


def test_file(shows: dict[str, ShowReport | FileReport]) -> None:
    """Our own keys are plain, those of the file are behind a word of ours."""
    found = dict(rows(shows["file"]))
    assert found == {
        "target": "trainer.pt", "format": "torch-zip", "size": "123456", "producer": "torch 2.1",
        "byteorder": "little", "key": "state_dict", "tensors": "30", "count": "9152",
        "bytes": "35840", "unique_count": "8128", "unique_bytes": "31744", "groups": "1",
        "tree.state_dict": "30", "tree.optimizer": "84", "metadata.format": "pt",
        "value.epoch": "3", "value.optimizer.param_groups.0.lr": "0.0003",
        "pickle": "nothing run; 2 globals seen, 1 kept inert: os.system; "
                  "weights_only refuses it: it asks for os.system",
    }  # fmt: skip
    hostile = rows(shows["hostile"])
    assert sum(key == "problem" for key, _ in hostile) == 60
    assert max(len(value) for _, value in hostile) == 5_000
