"""What names stand for throughout a checkpoint, and what does not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import LockError
from paramcli.lock import Size, resolve, violations
from paramcli.lock.reader import read_lock
from paramcli.tensors import DTYPES

if TYPE_CHECKING:
    from paramcli.lock import Lock


def locked(*dims: str, given: str = "", rules: str = "") -> Lock:
    """Make a lock of tensors a, b, c… with these dims, from line 2 on."""
    lines = [f'"{chr(97 + number)}" = "float32[{text}]"' for number, text in enumerate(dims)]
    text = "\n".join(["[tensors]", *lines, "[dims]", given, "[rules]", rules])
    return read_lock(text, "my.lock", DTYPES)


def shapes(*found: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {chr(97 + number): shape for number, shape in enumerate(found)}


def test_names_are_settled_wherever_they_can_be() -> None:
    """Each name by the first line that can, whatever the order of the lines."""
    lock = locked("4*d + h", "h*e", "d, *", "e - d")
    found = resolve(lock, shapes((43,), (9,), (10, 5), (-7,)))
    assert found.sizes == {
        "d": Size(10, "c", 4), "h": Size(3, "a", 2), "e": Size(3, "b", 3),
    }  # fmt: skip
    assert [fit.fits for fit in found.fits.values()] == [True] * 4
    assert found.fits["a"].shape == (43,)
    assert found.fits["c"].shape == (10, None)


def test_the_first_line_wins() -> None:
    found = resolve(locked("vocab, d", "2*vocab", "d"), shapes((7, 2), (16,), (3,)))
    assert found.sizes["vocab"] == Size(7, "a", 2)
    assert found.fits["b"].fits is False
    assert found.fits["b"].shape == (14,)
    assert found.fits["b"].why == "dim 0 is 16, but 2*vocab is 14, since vocab is 7 by a (line 2)"
    assert found.fits["c"].why == "dim 0 is 3, but d is 2 by a (line 2)"


def test_given_sizes_come_first() -> None:
    found = resolve(locked("d", "d + 1", given="d = 3"), shapes((4,), (4,)))
    assert found.sizes == {"d": Size(3, "[dims]", 5)}
    assert found.fits["a"].why == "dim 0 is 4, but d is 3 by [dims] (line 5)"
    assert found.fits["b"].fits is True


@pytest.mark.parametrize(
    ("dims", "shape", "why"),
    [
        ("3, 4", (3, 5), "dim 1 is 5, but should be 4"),
        ("3", (3, 5), "[3] has 1 dim, not 2"),
        ("3, 4, ...", (3,), "[3, 4, ...] has at least 2 dims, not 1"),
        ("4*d", (6,), "dim 0 is 6, but no size of d makes 4*d that"),
        ("d + 4", (3,), "dim 0 is 3, but no size of d makes d + 4 that"),
        ("..., 3", (3, 9), "dim 1 is 9, but should be 3"),
    ],
)
def test_misfits(dims: str, shape: tuple[int, ...], why: str) -> None:
    fit = resolve(locked(dims), shapes(shape)).fits["a"]
    assert (fit.fits, fit.why) == (False, why)


def test_what_is_missing_settles_nothing() -> None:
    """A line whose names only missing tensors would settle is neither right nor wrong."""
    found = resolve(locked("d, e", "d*e", "7"), {"b": (12,), "c": (8,), "z": (1,)})
    assert [fit.fits for fit in found.fits.values()] == [None, None, False]
    assert found.fits["b"].why == "nothing settles d and e"
    assert found.fits["a"].why == ""
    assert "z" not in found.fits


def test_a_name_that_vanishes() -> None:
    """A factor of zero leaves a name open, and the dim known."""
    found = resolve(locked("d", "d*h + 2", "h"), {"a": (0,), "b": (2,)})
    assert found.fits["b"].fits is True
    assert resolve(locked("d", "d*h + 2", "h"), {"a": (0,), "b": (3,)}).fits["b"].fits is False


@pytest.mark.parametrize("dims", [("d*d",), ("d - e", "e - d"), ("d*e", "d*e + 1")])
def test_what_nothing_settles_is_refused(dims: tuple[str, ...]) -> None:
    with pytest.raises(LockError, match=r"my\.lock:2:1: nothing settles d") as caught:
        locked(*dims)
    assert "give it in [dims]: d = 64" in str(caught.value.hint)
    given = {"d*d": "d = 4", "d - e": "e = 1", "d*e": "e = 2"}[dims[0]]
    assert locked(*dims, given=given).lines


@given(
    data=st.data(),
    sizes=st.fixed_dictionaries({name: st.integers(1, 20) for name in "dhe"}),
)
def test_shapes_made_from_sizes_fit(data: st.DataObject, sizes: dict[str, int]) -> None:
    """Whatever the order, a checkpoint made by the lock fits it."""
    texts = ["d", "d*h", "2*h + e - 1", "e + d*h", "*, d", "d, ..., h"]
    order = data.draw(st.permutations(texts))
    lock = locked(*order)
    made = {}
    for line in lock.lines:
        shape = [7 if size is None else size for size in line.dims.shape(sizes, 3)]
        made[line.name] = tuple(shape)
    found = resolve(lock, made)
    assert all(fit.fits for fit in found.fits.values())
    assert {name: size.value for name, size in found.sizes.items()} == sizes


def test_a_long_chain() -> None:
    """Names that settle each other in the worst order take no longer than their number."""
    count = 2_000
    lines = [f'"x{n}" = "int8[d{n} + d{n + 1}]"' for n in range(count)]
    text = "\n".join(["[tensors]", *lines, f'"y" = "int8[d{count}]"'])
    lock = read_lock(text, "my.lock", DTYPES)
    found = resolve(lock, {line.name: (2,) if line.name != "y" else (1,) for line in lock.lines})
    assert all(fit.fits for fit in found.fits.values())
    assert found.sizes["d0"].value == 1


def test_rules_that_are_broken() -> None:
    rules = 'count_max = 1_000\nbytes_max = 5_000\ndtype = ["float32", "int8"]'
    lock = locked(rules=rules)
    kept = {"float32": ["a"], "int8": []}
    assert violations(lock, count=1_000, nbytes=5_000, dtypes=kept) == ()
    names = [f"layer.{number}" for number in range(5)]
    found = violations(lock, count=2_500, nbytes=5_001, dtypes={**kept, "int64": names})
    assert found == (
        ("count_max", "2,500 unique parameters, 1,500 more than 1,000", 5),
        ("bytes_max", "5,001 unique bytes, 1 more than 5,000", 6),
        (
            "dtype",
            "layer.0, layer.1, layer.2 and 2 more: int64, not float32 or int8",
            7,
        ),
    )
    assert violations(locked(), count=1 << 70, nbytes=1 << 70, dtypes={"bool": ["a"]}) == ()
