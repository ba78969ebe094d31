"""Buckets are opened by ranges of bytes, files and directories alike: against moto's server."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import paramcli
from paramcli.errors import SourceError
from paramcli.files import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = Path(__file__).parents[2] / "sample_models" / "files"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """Put the samples into a bucket that needs a login."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            patched.setenv(name, value)
        patched.setattr(remote, "_known", {})
        patched.setattr(remote, "_PATIENCE", 0.001)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        files.mkdir("models")
        for path in FILES.rglob("*"):
            if path.is_file():
                files.put(str(path), f"models/samples/{path.relative_to(FILES)}")
        yield "s3://models/samples"
    server.stop()


@pytest.mark.parametrize(
    "name", ["model.pt", "tied.safetensors", "sharded", "sharded/model.safetensors.index.json"]
)
def test_what_is_in_a_bucket_is_what_is_on_disk(bucket: str, name: str) -> None:
    far, near = paramcli.open(f"{bucket}/{name}"), paramcli.open(FILES / name)
    assert [info[:5] for info in far] == [info[:5] for info in near]
    assert [far.read(info.storage) for info in far] == [near.read(info.storage) for info in near]


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_a_distributed_checkpoint(bucket: str, tmp_path: Path) -> None:
    import torch
    from torch.distributed.checkpoint.state_dict_saver import save

    state = {"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(3)}
    save(state, checkpoint_id=tmp_path / "dcp")
    import s3fs

    s3fs.S3FileSystem().put(str(tmp_path / "dcp"), f"{bucket[5:]}/dcp", recursive=True)
    shutil.rmtree(tmp_path / "dcp")
    found = paramcli.open(f"{bucket}/dcp")
    assert found.format == "dcp"
    assert found.read(found["w"].storage) == state["w"].numpy().tobytes()


def test_no_such_object(bucket: str) -> None:
    with pytest.raises(SourceError, match="no such file"):
        paramcli.open(f"{bucket}/nowhere.pt")
