"""A lock says exactly the names, dtypes and shapes that it was written from."""

from __future__ import annotations

import itertools
import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paramcli.errors import UsageError
from paramcli.render.lock import lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.tensors import TensorInfo
    from paramcli.verbs.survey import ListReport

_TOKEN = re.compile(r"\{(\d+)\.\.(\d+)\}|(\{\{)|(\}\})|([^{}])", re.DOTALL)


def expand(line: str) -> list[str]:
    """List the names that a line of a lock stands for."""
    pieces = []
    position = 0
    while position < len(line):
        token = _TOKEN.match(line, position)
        assert token, line[position:]
        first, last, opened, closed, one = token.groups()
        run = range(int(first), int(last) + 1) if first else ()
        pieces.append([str(n) for n in run] or [one or (opened or closed)[0]])
        position = token.end()
    return ["".join(choice) for choice in itertools.product(*pieces)]


def read(report: ListReport) -> dict[str, object]:
    """Write the lock and read it as TOML."""
    return tomllib.loads("".join(lock(report)))


def test_runs(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Equal neighbours make one line, a gap or another shape begins another."""
    report = make_report(
        *(make_entry(f"blocks.{n}.w", shape=(4,)) for n in (0, 1, 2, 3, 7, 8, 10)),
        make_entry("blocks.4.w", "bfloat16", (4,)),
        make_entry("blocks.01.w", shape=(4,)),
        *(make_entry(f"l.{n}.e.{m}", shape=()) for n in range(2) for m in range(3)),
    )
    assert read(report) == {
        "tensors": {
            "blocks.{0..3}.w": "float32[4]",
            "blocks.{7..8}.w": "float32[4]",
            "blocks.10.w": "float32[4]",
            "blocks.4.w": "bfloat16[4]",
            "blocks.01.w": "float32[4]",
            "l.{0..1}.e.{0..2}": "float32[]",
        },
        "rules": {"extra": "forbid"},
    }


def test_ties(
    make_entry: Callable[..., TensorInfo], make_report: Callable[..., ListReport]
) -> None:
    """Tied names are a rule; names that only overlap are not."""
    overlap = make_entry("half", shape=(2,), key="q")
    report = make_report(
        make_entry("head", key="s"),
        make_entry('embed"{', key="s"),
        make_entry("whole", shape=(4,), key="q"),
        overlap._replace(storage=make_entry("whole", shape=(4,), key="q").storage),
    )
    assert [group.relation for group in report.groups] == ["same", "overlap"]
    assert read(report)["rules"] == {"extra": "forbid", "tied": [["head", 'embed"{{']]}


def test_half_a_surrogate(reports: dict[str, ListReport]) -> None:
    """What TOML cannot hold is refused, not altered."""
    with pytest.raises(UsageError, match=r"\\ud800"):
        list(lock(reports["hostile"]))


_PARTS = ["w", "0", "1", "2", "3", "9", "10", "01", "{0..3}", "{", "}", "", '"\\', "é\u202e\t"]
_NAMES = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=4).map(".".join)
_FACTS = st.tuples(st.sampled_from(["float32", "int8"]), st.sampled_from([(), (2, 3)]))


@given(st.dictionaries(_NAMES, _FACTS, max_size=24))
@example({f"a.{n}.b.{m}.w": ("int8", ()) for n in range(4) for m in range(n)})
@example({".".join([str(n), *"0" * 100]): ("int8", ()) for n in range(3)})
def test_expands_to_its_source(
    make_entry: Callable[..., TensorInfo],
    make_report: Callable[..., ListReport],
    tensors: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    """Every name of the source stands in one line, with its dtype and shape, and no other does."""
    report = make_report(*(make_entry(name, *facts) for name, facts in tensors.items()))
    lines = read(report)["tensors"]
    assert isinstance(lines, dict)
    expanded = [(name, value) for line, value in lines.items() for name in expand(line)]
    assert len(expanded) == len(tensors)
    assert dict(expanded) == {
        name: f"{dtype}{list(shape)}" for name, (dtype, shape) in tensors.items()
    }
