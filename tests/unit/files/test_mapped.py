"""What is mapped are the bytes of the file, and only those map that may be killed."""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import SourceError
from paramcli.files import File
from paramcli.files import mapped as room
from paramcli.files.mapped import mapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 3 * mmap.ALLOCATIONGRANULARITY + 5
CONTENT = bytes(at % 251 for at in range(SIZE))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[File]:
    path = tmp_path_factory.mktemp("mapped") / "file"
    path.write_bytes(CONTENT)
    with File(str(path)) as file:
        yield file


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_allowed", [True])
    monkeypatch.setattr(room, "LEAST", 1)


@given(data=st.data())
def test_any_stretch(file: File, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, SIZE - 1))
    size = data.draw(st.integers(1, SIZE - start))
    inner = data.draw(st.integers(0, size - 1))
    part = file.section(start, size, "part")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_allowed", [True])
        patch.setattr(room, "LEAST", 1)
        for view in (mapped(file, start, size), mapped(part, 0, size)):
            assert view is not None
            assert bytes(view) == CONTENT[start : start + size]
        within = mapped(part, inner, size - inner)
    assert within is not None
    assert bytes(within) == CONTENT[start + inner : start + size]


def test_this_process_reads(file: File) -> None:
    assert mapped(file, 0, SIZE) is None


def test_little_is_read(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_allowed", [True])
    assert mapped(file, 0, room.LEAST - 1) is None


@pytest.mark.usefixtures("allowed")
def test_what_is_far_is_read(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "far", True, raising=False)
    assert mapped(file, 0, SIZE) is None


@pytest.mark.usefixtures("allowed")
def test_the_file_stays_as_it_is(file: File) -> None:
    view = mapped(file, 1, 9)
    assert view is not None
    view[:] = bytes(9)
    assert file.read(1, 9) == CONTENT[1:10]


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("left", [0, 10, mmap.ALLOCATIONGRANULARITY + 1])
def test_a_file_that_has_become_shorter(left: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with File(str(path)) as file:
        with path.open("r+b") as writer:
            writer.truncate(left)
        with pytest.raises(SourceError, match="the file shrank while it was read"):
            mapped(file, 0, SIZE)


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    ("code", "said"),
    [(errno.EFAULT, "the file shrank"), (errno.EIO, "cannot be read"), (errno.EINVAL, None)],
)
def test_what_the_kernel_says_of_the_pages(
    code: int, said: str | None, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that shrinks just now, one that cannot be read, and a kernel without the advice."""

    class Refused(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(code, "so")

    monkeypatch.setattr(mmap, "mmap", Refused)
    monkeypatch.setattr(room, "_POPULATE_READ", 22)
    if said is None:
        view = mapped(file, 0, SIZE)
        assert view is not None
        assert bytes(view) == CONTENT
    else:
        with pytest.raises(SourceError, match=said):
            mapped(file, 0, SIZE)


@pytest.mark.usefixtures("allowed")
def test_without_maps_it_is_read(file: File, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, "no such device")

    monkeypatch.setattr(mmap, "mmap", refused)
    assert mapped(file, 0, SIZE) is None
