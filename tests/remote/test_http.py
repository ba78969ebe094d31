"""Addresses of plain HTTP servers are opened by ranges of bytes, and give what the file gives."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

import paramcli
from paramcli.cli import main
from paramcli.errors import SourceError, UsageError
from paramcli.files import remote
from paramcli.save import save
from paramcli.sources import Request, open_request
from tests.remote.servers import Server, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = Path(__file__).parents[2] / "sample_models" / "files"
MIB = 1 << 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Know no address from a test before, and wait for nothing long."""
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setattr(remote, "_PATIENCE", 0.001)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as found:
        yield found


def files() -> list[str]:
    return sorted(
        str(path.relative_to(FILES))
        for path in FILES.rglob("*")
        if path.suffix in (".pt", ".safetensors", ".json", ".lock") and "-of-" not in path.name
    )


@pytest.mark.parametrize("name", files())
def test_every_sample_is_what_it_is_on_disk(name: str) -> None:
    with serving(FILES) as server:
        far, near = paramcli.open(f"{server.address}/{name}"), paramcli.open(FILES / name)
        assert [info[:5] for info in far] == [info[:5] for info in near]
        assert (far.format, dict(far.metadata)) == (near.format, dict(near.metadata))
        assert [group[1:] for group in far.groups()] == [group[1:] for group in near.groups()]
        if near.format != "lock":
            assert [far.read(info.storage) for info in far] == [
                near.read(info.storage) for info in near
            ]


def test_nothing_but_a_header_is_read(server: Server, tmp_path: Path) -> None:
    """Of 1,000 tensors in 1 GiB, of which the disk holds only what is not nought."""
    path = tmp_path / "large.safetensors"
    header, size = {}, MIB + 1024
    for number in range(1000):
        header[f"model.layers.{number}.self_attn.q_proj.weight"] = {
            "dtype": "F32",
            "shape": [size // 4],
            "data_offsets": [number * size, (number + 1) * size],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + 1000 * size)
    found = paramcli.open(f"{server.address}/large.safetensors")
    assert len(found) == 1000
    assert len(server.requests) <= 3
    assert server.nbytes <= 512 << 10
    server.forget()
    (info,) = found.entries[500:501]
    assert found.read(info.storage) == bytes(size)
    assert len(server.requests) <= 2
    assert server.nbytes == size


@pytest.mark.skipif(
    not hasattr(torch.serialization, "skip_data"),
    reason=f"torch {torch.__version__} cannot leave values out",
)
def test_nothing_but_the_directory_and_the_pickle_of_a_zip(server: Server, tmp_path: Path) -> None:
    """Of 1,000 tensors in 1 GiB, whose values torch leaves out as holes."""
    size = MIB + 1024
    state = {
        f"model.layers.{n}.self_attn.q_proj.weight": torch.empty(size // 4) for n in range(1000)
    }
    with torch.serialization.skip_data():
        torch.save(state, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").stat().st_size > 1000 * size
    found = paramcli.open(f"{server.address}/model.pt")
    assert len(found) == 1000
    assert len(server.requests) <= 5
    assert server.nbytes <= MIB


def test_shards_are_opened_side_by_side(server: Server, tmp_path: Path) -> None:
    shutil.copytree(FILES / "sharded", tmp_path / "sharded")
    found = paramcli.open(f"{server.address}/sharded/model.safetensors.index.json")
    near = paramcli.open(tmp_path / "sharded")
    assert [info[:5] for info in found] == [info[:5] for info in near]
    assert found.format == near.format


def large(path: Path, change: float = 0.0) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3 * MIB, generator=generator)
    weight[-1] += change
    save_file({"w": weight, "b": torch.ones(3)}, path)


def test_values_are_compared_and_measured(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By threads, and by forked workers."""
    large(tmp_path / "a.safetensors")
    large(tmp_path / "b.safetensors", 1.0)
    a, b = (f"{server.address}/{name}.safetensors" for name in "ab")
    assert main(["diff", a, str(tmp_path / "a.safetensors")]) == 0
    capsys.readouterr()
    assert main(["diff", a, b, "--format", "json"]) == 1
    (changed,) = json.loads(capsys.readouterr().out)["values"]
    assert (changed["name"], changed["changed"]) == ("w", 1)
    shown = []
    for target in (a, str(tmp_path / "a.safetensors")):
        assert main(["show", target, "w", "--format", "json"]) == 0
        shown.append(json.loads(capsys.readouterr().out)["tensors"])
    assert shown[0] == shown[1]
    assert main(["tie", a, "--find-equal"]) == 0


def test_workers_read_for_themselves(server: Server, tmp_path: Path) -> None:
    """What a file system holds does not survive a fork."""
    from paramcli.numeric.summary import summarize

    large(tmp_path / "a.safetensors")
    far = paramcli.open(f"{server.address}/a.safetensors")
    near = paramcli.open(tmp_path / "a.safetensors")
    assert summarize(far, far.entries, workers=2) == summarize(near, near.entries, workers=1)


# --- faults --------------------------------------------------------------------------------------


def test_what_passes_is_tried_again(server: Server, tmp_path: Path) -> None:
    large(tmp_path / "a.safetensors")
    server.faults += [503, 503, 0]
    found = paramcli.open(f"{server.address}/a.safetensors")
    server.faults += [0, 429]
    assert found.read(found["b"].storage) == torch.ones(3).numpy().tobytes()


def test_what_does_not_pass_is_said(server: Server, tmp_path: Path) -> None:
    large(tmp_path / "a.safetensors")
    server.faults += [503] * 100
    with pytest.raises(SourceError, match="its server answers 503"):
        paramcli.open(f"{server.address}/a.safetensors")
    assert len(server.requests) <= 20


def test_a_directory_of_a_web_server(server: Server) -> None:
    with pytest.raises(SourceError, match="cannot be listed") as caught:
        paramcli.open(f"{server.address}/models/")
    assert "index" in str(caught.value.hint)
    assert not server.requests


def test_no_such_file(server: Server) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.pt: no such file \(404\)"):
        paramcli.open(f"{server.address}/nowhere.pt")


def test_no_permission(server: Server, tmp_path: Path) -> None:
    large(tmp_path / "a.safetensors")
    server.secret = "sig=s3cret"
    with pytest.raises(SourceError, match=r"no permission to read it \(401\)") as caught:
        paramcli.open(f"{server.address}/a.safetensors")
    assert "login" in str(caught.value.hint)
    found = paramcli.open(f"{server.address}/a.safetensors?x=1&sig=s3cret")
    assert found.origin == f"{server.address}/a.safetensors?x=…&sig=…"
    assert len(found.read(found["b"].storage)) == 12


def test_secrets_are_not_shown() -> None:
    assert remote.shown("https://me:pw@host/a/b.pt") == "https://host/a/b.pt"
    assert remote.shown("https://host/b.pt?X-Sig=abc&e") == "https://host/b.pt?X-Sig=…&e"
    assert remote.shown("hf://org/repo@rev/x.pt") == "hf://org/repo@rev/x.pt"


def test_nobody_is_there(server: Server) -> None:
    address = server.address
    server.shutdown()
    server.server_close()
    with pytest.raises(SourceError, match=r"cannot be reached: .*Connect call failed"):
        paramcli.open(f"{address}/a.pt")


def test_a_server_without_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file is taken whole, once; a large one is not."""
    large(tmp_path / "a.safetensors")
    near = paramcli.open(tmp_path / "a.safetensors")
    with serving(tmp_path, ranges=False) as server:
        found = paramcli.open(f"{server.address}/a.safetensors")
        assert found.read(found["w"].storage) == near.read(near["w"].storage)
        assert sum(request.startswith("GET") for request in server.requests) == 1
    monkeypatch.setattr(remote, "_WHOLE", MIB)
    with serving(tmp_path, ranges=False) as server:
        with pytest.raises(SourceError, match="too large to be taken whole") as caught:
            paramcli.open(f"{server.address}/a.safetensors")
        assert "download" in str(caught.value.hint)
        assert server.nbytes == 0


def test_addresses_are_read_and_never_written(server: Server, tmp_path: Path) -> None:
    large(tmp_path / "a.safetensors")
    found = paramcli.open(f"{server.address}/a.safetensors")
    with pytest.raises(UsageError, match="read-only"):
        save(found, f"{server.address}/b.safetensors")
    save(found, tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").stat().st_size > 12 * MIB


@pytest.mark.parametrize(
    ("scheme", "missing", "extra"),
    [("https", "fsspec", "remote"), ("hf", "huggingface_hub", "hub")],
)
def test_what_is_missing_is_said(
    scheme: str, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as caught:
        paramcli.open(f"{scheme}://host/name/x.pt")
    assert f"paramcli[{extra}]" in str(caught.value.hint)


def test_shards_are_counted_as_they_are_opened(server: Server, tmp_path: Path) -> None:
    shutil.copytree(FILES / "sharded", tmp_path / "sharded")
    told: list[tuple[int, int]] = []
    target = f"{server.address}/sharded/model.safetensors.index.json"
    open_request(Request(target, watch=lambda done, total: told.append((done, total))))
    count = len(list((tmp_path / "sharded").glob("*.safetensors")))
    assert told == [(1, count)] * count
