"""A lock that `list` writes reads back as its source: names, dtypes, shapes and ties."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paramcli
from paramcli.checkpoint import Checkpoint
from paramcli.lock import resolve
from paramcli.render.lock import lock as lock_of
from paramcli.sharing import share
from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.survey import survey

if TYPE_CHECKING:
    from pathlib import Path

PARTS = [
    "w", "blocks", "0", "1", "2", "3", "9", "10", "01", "007", "", "{", "}", "{0..3}", "{{", '"',
    "'", "\\", "é\u202e\t", "\n", "\r\n", "\0", "\x7f", "[tensors]", "#", "=", " ", "𓀀", "\u2028",
]  # fmt: skip
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
names = st.lists(st.sampled_from(PARTS) | texts, min_size=1, max_size=5).map(".".join)
numbered = st.builds(
    "{}.{}.{}.{}".format, st.sampled_from(["h", "{"]), st.integers(0, 12), st.sampled_from("ab"),
    st.integers(0, 3),
)  # fmt: skip
facts = st.tuples(
    st.sampled_from(["float32", "bfloat16", "float4_e2m1fn", "complex128", "bool"]),
    st.lists(st.sampled_from([0, 1, 2, 768, 50257]), max_size=3).map(tuple),
)


@st.composite
def checkpoints(draw: st.DrawFn) -> Checkpoint:
    """Tensors of any names, some of which view another's storage, in whole or in part."""
    entries: list[TensorInfo] = []
    chosen = draw(
        st.lists(names | numbered, max_size=20, unique=True)
        | st.lists(numbered, max_size=40, unique=True)
    )
    for name in chosen:
        dtype, shape = draw(facts)
        info = TensorInfo(
            name, DTYPES[dtype], shape,
            tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape))), 0,
            Storage("file", name, DTYPES[dtype].nbytes(math.prod(shape))),
        )  # fmt: skip
        other = draw(st.none() | st.sampled_from(entries)) if entries else None
        if other is not None:
            info = other._replace(name=name)
            if info.shape and draw(st.integers(0, 3)) == 0:
                info = info._replace(shape=(1, *info.shape[1:]))
        entries.append(info)
    return Checkpoint(origin="model.pt", format="torch-zip", entries=tuple(entries))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("locks") / "params.lock"


@given(checkpoint=checkpoints())
def test_a_lock_holds_its_source(checkpoint: Checkpoint, path: Path) -> None:
    written = "".join(lock_of(survey(checkpoint)))
    path.write_bytes(written.encode())
    opened = paramcli.open(path)
    assert opened.lock is not None
    of = {info.name: (info.dtype, info.shape) for info in checkpoint}
    assert {info.name: (info.dtype, info.shape) for info in opened} == of
    assert len(opened) == len(checkpoint)

    same = [set(group.names) for group in checkpoint.groups() if group.relation == "same"]
    assert [set(tie.names) for tie in opened.lock.rules.tied] == same
    read = [set(group.names) for group in share(opened.entries)]
    assert sorted(map(sorted, read)) == sorted(map(sorted, same))

    found = resolve(opened.lock, {info.name: info.shape for info in checkpoint})
    assert all(fit.fits for fit in found.fits.values())
    assert "".join(lock_of(survey(opened))).split() == written.split()
