"""Repositories of the hub are opened by its own client, against an endpoint of the test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import paramcli

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FILES = ROOT / "sample_models" / "files" / "sharded"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Hub(BaseHTTPRequestHandler):
    """What the client asks of the hub for one repository, `org/net`, at `main` and at `v1`."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.asked = self.rfile.read(size).decode()
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        head, _, rest = path.removeprefix("/api/models/org/net").partition("/")
        if path.startswith("/api/models/org/net"):
            kind, _, tail = rest.partition("/")
            revision, _, folder = tail.partition("/")
            if kind and revision.replace("%2F", "/") not in ("main", "v1", COMMIT):
                self._json({"error": "Revision Not Found"}, 404, "RevisionNotFound")
            elif kind == "tree":
                self._json([] if folder else self._files())
            elif kind == "paths-info":
                self._json([one for one in self._files() if str(one["path"]) in self.asked])
            else:
                self._json({"id": "org/net", "sha": COMMIT, "siblings": [], "private": False})
        elif path.startswith("/org/net/resolve/"):
            self.send_response(302)  # as the hub does, to where the bytes are
            self.send_header("Location", f"/store/{path.rpartition('/')[2]}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/store/"):
            self._bytes((FILES / path.rpartition("/")[2]).read_bytes())
        else:
            self._json({"error": "Repository not found"}, 404, "RepoNotFound")
        assert not head

    @staticmethod
    def _files() -> list[dict[str, object]]:
        return [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": "0" * 40}
            for path in sorted(FILES.iterdir())
        ]

    def _json(self, value: object, status: int = 200, code: str = "") -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _bytes(self, content: bytes) -> None:
        start, end = 0, len(content)
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        if asked:
            start, end = int(asked.split("-")[0]), min(int(asked.split("-")[1]) + 1, end)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        self.wfile.write(content[start:end])


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def run(endpoint: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paramcli", *argv], cwd=ROOT, timeout=100, check=False,
        capture_output=True, text=True,
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip


@pytest.mark.parametrize(
    "target",
    ["hf://org/net", "hf://org/net@v1", "hf://org/net/model.safetensors.index.json"],
)
def test_a_repository_is_what_it_is_on_disk(endpoint: str, target: str) -> None:
    done = run(endpoint, "list", target, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["target"], found["format"]) == (target, "sharded-safetensors")
    assert [one["name"] for one in found["tensors"]] == [info.name for info in paramcli.open(FILES)]


def test_values_of_a_repository(endpoint: str) -> None:
    done = run(endpoint, "diff", "hf://org/net@v1", str(FILES))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", ["hf://org/nothing", "hf://org/net@v2", "hf://org/net/x.pt"])
def test_what_is_not_there(endpoint: str, target: str) -> None:
    done = run(endpoint, "list", target)
    assert done.returncode == 2, done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith(f"error: {target}: no ")
    assert "HF_TOKEN" in hint
