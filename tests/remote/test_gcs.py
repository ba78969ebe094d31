"""Google's buckets are opened by ranges of bytes: of a server that counts, and of one by others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit
from urllib.request import Request, urlopen

import pytest
from gcp_storage_emulator.server import create_server

import paramcli
from paramcli.cli import main
from paramcli.errors import SourceError
from paramcli.files import remote
from tests.remote.servers import Handler, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.remote.servers import Server

FILES = Path(__file__).parents[2] / "sample_models" / "files"
OBJECTS = "/storage/v1/b/models/o"


class Bucket(Handler):
    """The part of the JSON API of Cloud Storage that reading needs: facts, listings, content."""

    def do_GET(self) -> None:  # noqa: N802 - the name that the base class calls
        address = urlsplit(self.path)
        asked = {key: values[0] for key, values in parse_qs(address.query).items()}
        if address.path.rstrip("/") == OBJECTS:
            self._json({"items": self._listed(asked.get("prefix", ""))})
        elif asked.get("alt") == "media" or not self.file().is_file():
            super().do_GET()
        else:
            self._json(self._facts(self.file()))

    def file(self) -> Path:
        named = urlsplit(self.path).path.partition(OBJECTS + "/")[2]
        return self.server.folder / unquote(named)

    def _facts(self, path: Path) -> dict[str, str]:
        name = str(path.relative_to(self.server.folder))
        return {"kind": "storage#object", "bucket": "models", "name": name,
                "size": str(path.stat().st_size), "generation": "1"}  # fmt: skip

    def _listed(self, prefix: str) -> list[dict[str, str]]:
        found = (path for path in sorted(self.server.folder.rglob("*")) if path.is_file())
        return [facts for facts in map(self._facts, found) if facts["name"].startswith(prefix)]

    def _json(self, told: object) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        content = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _asked_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have buckets be asked for at an address."""
    import fsspec

    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setattr(remote, "_PATIENCE", 0.001)
    how = {"token": "anon", "endpoint_url": address}
    monkeypatch.setitem(fsspec.config.conf, "gs", how)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(FILES, handler=Bucket) as server:
        _asked_at(server.address, monkeypatch)
        yield server


@pytest.fixture
def emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sample files in a bucket of gcp-storage-emulator's."""
    with create_server("127.0.0.1", 0, in_memory=True, default_bucket="models") as server:
        address = f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
        for path in FILES.rglob("*"):
            if path.is_file():
                name = quote(str(path.relative_to(FILES)), safe="")
                upload = f"{address}/upload/storage/v1/b/models/o?uploadType=media&name={name}"
                urlopen(Request(upload, path.read_bytes())).close()
        _asked_at(address, monkeypatch)
        yield


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("name", ["model.pt", "tied.safetensors", "sharded"])
def test_what_is_in_a_bucket_is_what_is_on_disk(name: str) -> None:
    far, near = paramcli.open(f"gs://models/{name}"), paramcli.open(FILES / name)
    assert [info[:5] for info in far] == [info[:5] for info in near]
    assert [far.read(info.storage) for info in far] == [near.read(info.storage) for info in near]


@pytest.mark.usefixtures("emulated")
def test_a_bucket_of_another_server(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("model.pt", "legacy.pth", "tied.safetensors", "sharded"):
        assert main(["diff", f"gs://models/{name}", str(FILES / name)]) == 0, name
    assert main(["show", "gs://models/model.pt", "fc.4.bias", "--values"]) == 0
    assert main(["list", "gs://models/other.pt"]) == 2
    assert "gs://models/other.pt: no such file" in capsys.readouterr().err


def test_only_what_is_needed_is_asked_for(bucket: Server) -> None:
    assert main(["list", "gs://models/model.pt"]) == 0
    assert len(bucket.requests) <= 5
    assert main(["diff", "gs://models/model.pt", str(FILES / "model.pt")]) == 0


def test_what_is_not_there(bucket: Server) -> None:
    with pytest.raises(SourceError, match="no such file"):
        paramcli.open("gs://models/other.pt")
    assert len(bucket.requests) <= 4


def test_a_fault_that_passes(bucket: Server) -> None:
    bucket.faults[:] = [503, 0]
    assert len(paramcli.open("gs://models/tied.safetensors"))
