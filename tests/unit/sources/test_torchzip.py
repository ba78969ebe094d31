"""What torch.save writes, what other writers of the same format do, and what torch refuses."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

import paramcli
from paramcli.checkpoint import Tree
from paramcli.errors import SourceError
from tests.handmade import (
    Call,
    Name,
    Persistent,
    pickled,
    storage,
    tensor,
    torch_zip,
    written,
    zipped,
)
from tests.sample_files import saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]

PICKLE = pickled({"w": tensor()})


def test_handmade_file(opened: Open) -> None:
    """The writer of these tests writes what torch reads: the rest builds on it."""
    checkpoint = opened(torch_zip({"w": tensor()}))
    (info,) = checkpoint
    assert (info.name, info.shape, info.stride, info.dtype.name) == ("w", (2, 3), (3, 1), "float32")
    assert checkpoint.format == "torch-zip"
    assert checkpoint.byteorder == "little"
    loaded = torch.load(checkpoint.origin, weights_only=True)
    assert loaded["w"].shape == (2, 3)


@pytest.mark.parametrize(
    "entries",
    [
        {"a/data.pkl": PICKLE, "b/data.pkl": PICKLE},
        {"a/data.pkl": PICKLE, "b/data/0": bytes(24)},
        {"a/data.pkl": PICKLE, "loose": b""},
        {"data.pkl": PICKLE, "data/0": bytes(24)},
        {"data.pkl": PICKLE},
        {"a/data.pkl": PICKLE, "data.pkl": PICKLE},
        {"a/b/data.pkl": PICKLE},
        {"a/b/data.pkl": PICKLE, "a/data/0": bytes(24)},
    ],
)
def test_one_top_folder(entries: dict[str, bytes], refused: Refuse) -> None:
    """torch refuses none and two."""
    assert refused(zipped(entries))


@pytest.mark.parametrize("name", ["archive/DATA.PKL", "Archive/data.pkl", "archive/data.PKL"])
def test_names_that_differ_in_case(name: str, refused: Refuse) -> None:
    """torch.load reads the second of them: here stands one pickle for us and one for torch."""
    made = zipped({"archive/data.pkl": pickled({}), name: PICKLE, "archive/data/0": bytes(24)})
    assert refused(made)


@pytest.mark.parametrize("version", [b"1", b"3\n", b"10\n"])
def test_known_versions(version: bytes, opened: Open) -> None:
    assert len(opened(torch_zip(PICKLE, version=version))) == 1


@pytest.mark.parametrize("version", [b"0", b"11", b"99", b"-1", b"", b"x\n", b"9" * 5_000])
def test_unknown_versions(version: bytes, refused: Refuse) -> None:
    assert "version" in refused(torch_zip(PICKLE, version=version))


def test_byte_order(opened: Open, refused: Refuse) -> None:
    assert opened(torch_zip(PICKLE, byteorder=b"little")).byteorder == "little"
    assert opened(torch_zip(PICKLE, byteorder=b"big")).byteorder == "big"
    assert "byte order" in refused(torch_zip(PICKLE, byteorder=b"middle"))


def test_storage_that_is_not_there(refused: Refuse) -> None:
    """torch makes up its bytes from whatever lies in memory."""
    assert "storage '0'" in refused(torch_zip(PICKLE, {}))


def test_storage_that_is_too_short(refused: Refuse, opened: Open) -> None:
    assert "storage '0'" in refused(torch_zip(PICKLE, {"0": bytes(23)}))
    assert len(opened(torch_zip(PICKLE, {"0": bytes(25)}))) == 1


def test_empty_storage_may_be_absent(opened: Open) -> None:
    (info,) = opened(torch_zip(tensor(storage(numel=0), (0, 3)), {}))
    assert (info.shape, info.nbytes) == ((0, 3), 0)


@pytest.mark.parametrize(
    "identity",
    [
        None,
        (),
        "0",
        ("storage", Name("torch.FloatStorage"), "0", "cpu"),
        ("storage", Name("torch.FloatStorage"), "0", "cpu", 6, None),
        ("module", Name("torch.FloatStorage"), "0", "cpu", 6),
        ("storage", Name("os.system"), "0", "cpu", 6),
        ("storage", "torch.FloatStorage", "0", "cpu", 6),
        ("storage", Name("torch.FloatStorage"), None, "cpu", 6),
        ("storage", Name("torch.FloatStorage"), "0", "cpu", -6),
        ("storage", Name("torch.FloatStorage"), "0", "cpu", 1 << 63),
        ("storage", Name("torch.FloatStorage"), "0", "cpu", True),
        ("storage", Name("torch.FloatStorage"), "../0", "cpu", 6),
    ],
)
def test_persistent_id_of_no_storage(identity: object, refused: Refuse) -> None:
    assert "damaged pickle" in refused(torch_zip({"w": tensor(Persistent(identity))}))


def test_first_mention_of_a_storage_counts(opened: Open) -> None:
    """As in torch, which looks a known key up and reads no more of the id."""
    again = storage(numel=1 << 40, cls="torch.DoubleStorage")
    checkpoint = opened(torch_zip({"a": tensor(), "b": tensor(again)}))
    assert [info.dtype.name for info in checkpoint] == ["float32", "float32"]
    assert checkpoint["a"].storage == checkpoint["b"].storage


def test_an_entry_named_by_a_number_and_by_text(opened: Open, refused: Refuse) -> None:
    """torch would read it twice, and see no sharing where there is."""
    assert len(opened(torch_zip({"a": tensor(storage(0)), "b": tensor(storage(0))})).groups()) == 1
    for keys in ((0, "0"), ("0", 0)):
        made = torch_zip({key: tensor(storage(of)) for key, of in zip("ab", keys, strict=True)})
        assert "by a number and by text" in refused(made)


def test_storages_are_found_in_the_file(opened: Open) -> None:
    content = bytes(range(24))
    checkpoint = opened(torch_zip(PICKLE, {"0": content}))
    place = checkpoint.locate(checkpoint["w"].storage)
    assert place is not None
    assert Path(place.file).read_bytes()[place.offset :][:24] == content


def test_deflated_storages_lie_nowhere_but_can_be_read(opened: Open) -> None:
    content = bytes(range(24))
    made = zipped({"a/data.pkl": PICKLE, "a/data/0": content}, compression=zipfile.ZIP_DEFLATED)
    checkpoint = opened(made)
    assert checkpoint["w"].nbytes == 24
    assert checkpoint.locate(checkpoint["w"].storage) is None
    assert checkpoint.read(checkpoint["w"].storage) == content


# --- zips of several files, as Stable-Baselines3 writes them -------------------------------------


def bundle(**more: bytes) -> bytes:
    net = {"mlp.weight": torch.zeros(2, 3), "mlp.bias": torch.zeros(2)}
    return zipped(
        {
            "data": b"{}",
            "pytorch_variables.pth": saved({}),
            "policy.pth": saved(net),
            "policy.optimizer.pth": saved({"state": {0: {"exp_avg": torch.ones(3)}}}),
            "_stable_baselines3_version": b"2.3.2",
            **more,
        }
    )


def test_bundle_lists_the_policy(opened: Open) -> None:
    checkpoint = opened(bundle())
    assert checkpoint.key == "policy"
    assert [info.name for info in checkpoint] == ["mlp.weight", "mlp.bias"]
    assert checkpoint.trees == (Tree("policy", 2), Tree("policy.optimizer", 1))
    assert "policy.optimizer (1)" in checkpoint.notes[0]


def test_bundle_lists_all(opened: Open) -> None:
    checkpoint = opened(bundle(), everything=True)
    assert [info.name for info in checkpoint] == [
        "policy.mlp.weight", "policy.mlp.bias", "policy.optimizer.state.0.exp_avg",
    ]  # fmt: skip
    assert len({info.storage for info in checkpoint}) == 3
    assert not checkpoint.groups()


def test_bundle_key(opened: Open) -> None:
    checkpoint = opened(bundle(), key="policy.optimizer")
    assert [info.name for info in checkpoint] == ["state.0.exp_avg"]


def test_bundle_storages_are_found_in_the_outer_file(opened: Open) -> None:
    checkpoint = opened(bundle(), key="policy.optimizer")
    place = checkpoint.locate(checkpoint.entries[0].storage)
    assert place is not None
    assert place.file == checkpoint.origin
    expected = torch.ones(3).numpy().tobytes()
    assert Path(place.file).read_bytes()[place.offset :][:12] == expected


def test_bundle_of_before_pytorch_1_6(opened: Open) -> None:
    """The files inside are what torch.save wrote then."""
    weight = torch.arange(6.0).reshape(2, 3)
    checkpoint = opened(bundle(**{"policy.pth": saved({"w": weight}, zipped=False)}))
    (info,) = checkpoint
    assert (checkpoint.key, info.name, info.shape) == ("policy", "w", (2, 3))
    assert checkpoint.read(info.storage) == weight.numpy().tobytes()


def test_bundle_says_what_is_inside_instead(refused: Refuse) -> None:
    assert "!model.pt: a text file" in refused(zipped({"model.pt": b"nothing more"}))


def test_bundle_of_compressed_files(refused: Refuse) -> None:
    made = zipped({"policy.pth": saved({})}, compression=zipfile.ZIP_DEFLATED)
    assert "unzip it" in refused(made)


@pytest.mark.parametrize(
    "inner",
    [
        b"",
        b"not a zip archive",
        zipped({}),
        zipped({"a/version": b"3"}),
        zipped({"a/x": b"", "b/y": b""}),
        zipped({"data.pkl": b"N."}),
        pickled({}),
    ],
)
def test_bundle_of_other_things(inner: bytes, refused: Refuse) -> None:
    assert refused(zipped({"policy.pth": inner}))


def test_bundle_of_torch_export_as_before_pytorch_2_7(opened: Open) -> None:
    """Its state dict, its constants and its sample inputs were files of torch.save."""
    files = {
        "version": b"3", "serialized_exported_program.json": b"{}",
        "serialized_state_dict.pt": saved({"fc.weight": torch.zeros(2, 3)}),
        "serialized_constants.pt": saved({"c": torch.zeros(2)}),
        "serialized_example_inputs.pt": saved(((torch.zeros(2),), {})),
    }  # fmt: skip
    checkpoint = opened(zipped(files))
    assert checkpoint.key == "serialized_state_dict"
    assert [info.name for info in checkpoint] == ["fc.weight"]


# --- other zips ----------------------------------------------------------------------------------


def test_npz_says_what_it_is(tmp_path: Path, refused: Refuse) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    assert "npz" in refused((tmp_path / "x.npz").read_bytes())


def test_other_zip_says_what_it_is(refused: Refuse) -> None:
    assert "not one that torch.save wrote" in refused(zipped({"readme.txt": b"hello"}))


def test_any_extension_is_the_same(tmp_path: Path) -> None:
    import paramcli

    for name in ("model.safetensors", "model", "x.index.json", "x.py"):
        target = written(tmp_path / name, torch_zip(PICKLE))
        assert paramcli.open(target).format == "torch-zip"


def test_calls_by_other_opcodes(opened: Open) -> None:
    """A constructor called by NEWOBJ, or by OBJ, means the same as by REDUCE."""
    call = tensor()
    for opcode in (b"R", b"\x81"):
        assert len(opened(torch_zip({"w": Call(call.function, call.args, opcode)}))) == 1


METADATA: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "cannot be read"),
    "no text": (b"\xff", "cannot be read"),
    "deep": (b"[" * 100_000, "cannot be read"),
    "a list": (b"[]", "no known version"),
    "another version": (b'{"version": 2, "metadata": {}}', "no known version"),
    "no metadata": (b'{"version": 1}', "no known version"),
    "numbers": (b'{"version": 1, "metadata": {"a": 1}}', "does not map text to text"),
    "half a character": (b'{"version": 1, "metadata": {"a": "\\ud800"}}', "map text to text"),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_this_program_did_not_write(case: str, tmp_path: Path) -> None:
    content, message = METADATA[case]
    torch.save({"a": torch.zeros(2)}, tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.pt", "a") as archive:
        archive.writestr("model/paramcli.json", content)
    with pytest.raises(SourceError, match=message):
        paramcli.open(tmp_path / "model.pt")
