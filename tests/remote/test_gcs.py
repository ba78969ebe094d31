"""Google's buckets are opened by ranges of bytes: against a server that speaks as theirs does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

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


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    import fsspec

    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setattr(remote, "_PATIENCE", 0.001)
    with serving(FILES, handler=Bucket) as server:
        how = {"token": "anon", "endpoint_url": server.address}
        monkeypatch.setitem(fsspec.config.conf, "gs", how)
        yield server


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("name", ["model.pt", "tied.safetensors", "sharded"])
def test_what_is_in_a_bucket_is_what_is_on_disk(name: str) -> None:
    far, near = paramcli.open(f"gs://models/{name}"), paramcli.open(FILES / name)
    assert [info[:5] for info in far] == [info[:5] for info in near]
    assert [far.read(info.storage) for info in far] == [near.read(info.storage) for info in near]


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
