"""Build the sample checkpoints: `python -m sample_models.make [--check]`.

The files must come out the same, byte for byte, on every machine. So weights are drawn in exact
arithmetic rather than by kernels that vary with the processor, and the formats that record memory
addresses, source paths or hash order are rewritten without them.
"""

import argparse
import hashlib
import io
import json
import pickle
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from sample_models.lenet import LeNet
from sample_models.mlp import MLP
from sample_models.network import Network
from sample_models.shared_mlp import SharedMLP
from sample_models.tiny_gpt import TinyGPT

FILES = Path(__file__).parent / "files"
SUMS = "SHA256SUMS"

M = TypeVar("M", bound=nn.Module)


def build(folder: Path) -> None:
    """Write every sample file into `folder`."""
    (folder / "sharded").mkdir(parents=True, exist_ok=True)
    torch.save(seeded(LeNet()).state_dict(), folder / "model.pt")
    torch.save(trainer_checkpoint(), folder / "trainer.pt")
    save_legacy(seeded(MLP()).state_dict(), folder / "legacy.pth")
    save_safetensors(*untie(seeded(SharedMLP()).state_dict()), folder / "tied.safetensors")
    save_sharded(seeded(TinyGPT(d_model=16)).state_dict(), folder / "sharded")
    torch.save(seeded(Network()), folder / "whole_module.pt")
    save_script(seeded(MLP()), folder / "script.pt")


def uniform(shape: torch.Size, bound: float, generator: torch.Generator) -> Tensor:
    """Draw from U(-bound, bound): 24-bit integers scaled once, so no processor rounds otherwise."""
    steps = 2**23
    return torch.randint(-steps, steps, shape, generator=generator).float() * (bound / steps)


def seeded(net: M) -> M:
    """Redraw the weights of `net` at PyTorch's usual scale, 1/sqrt(fan_in)."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
            bound = module.weight[0].numel() ** -0.5
            for param in module.parameters(recurse=False):
                param.data = uniform(param.shape, bound, generator)
    return net


def first_step(optimizer: torch.optim.AdamW) -> None:
    """Do what `optimizer.step()` does first, by operations that every processor rounds alike.

    Those of torch are fused, and its square root is the vendor's. None is needed here: the root of
    the mean square of one gradient is its absolute value.
    """
    (group,) = optimizer.param_groups
    lr, (beta1, beta2) = group["lr"], group["betas"]
    for param in group["params"]:
        grad = param.grad
        optimizer.state[param] = {
            "step": torch.tensor(1.0),
            "exp_avg": grad * (1 - beta1),
            "exp_avg_sq": grad * grad * (1 - beta2),
        }
        decayed = param.data * (1 - lr * group["weight_decay"])
        param.data = decayed - grad / (grad.abs() + group["eps"]) * lr


def trainer_checkpoint() -> dict[str, object]:
    """Return what a training loop saves: weights, their lagging average, optimizer, settings."""
    hyper_parameters = {"vocab": 64, "d_model": 16, "layers": 2, "heads": 4, "context": 16}
    net = seeded(TinyGPT(**hyper_parameters))
    ema = deepcopy(net.state_dict())
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4)
    # Drawn, since a backward pass would round differently from one processor to another.
    generator = torch.Generator().manual_seed(1)
    for param in net.parameters():
        param.grad = uniform(param.shape, 1e-2, generator)
    first_step(optimizer)
    return {
        "epoch": 3,
        "state_dict": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": ema,
        "lr": 3e-4,
        "hyper_parameters": hyper_parameters,
    }


def pickled_text(text: str) -> bytes:
    """Return `text` as it stands inside a protocol 2 pickle."""
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def save_legacy(state: Mapping[str, Tensor], path: Path) -> None:
    """Save in the format before PyTorch 1.6, with its storages numbered.

    `torch.save` names each storage by its memory address and sorts them by that name.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    addresses = [str(tensor.untyped_storage()._cdata) for tensor in state.values()]  # noqa: SLF001
    numbers = [str(number) for number in range(len(addresses))]
    pickles, _, _ = buffer.getvalue().partition(pickle.dumps(sorted(addresses), 2))
    for address, number in zip(addresses, numbers, strict=True):
        pickles = pickles.replace(pickled_text(address), pickled_text(number))
    storages = (struct.pack("<q", t.numel()) + t.numpy().tobytes() for t in state.values())
    path.write_bytes(pickles + pickle.dumps(numbers, 2) + b"".join(storages))


def untie(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Split `state` into one copy of each tensor and `{removed: kept}` for the other names."""
    first: dict[int, str] = {}
    kept = {name: first.setdefault(tensor.data_ptr(), name) for name, tensor in state.items()}
    removed = {name: keeper for name, keeper in kept.items() if name != keeper}
    return {name: state[name] for name in first.values()}, removed


def save_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Save with the metadata sorted; the reference writer leaves it in hash order."""
    raw = safetensors.torch.save(tensors, metadata)
    end = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    path.write_bytes(raw[:8] + text.ljust(end - 8) + raw[end:])


def save_sharded(state: Mapping[str, Tensor], folder: Path) -> None:
    """Save two shards of about equal size and the index that Hugging Face readers look for."""
    tensors, removed = untie(state)
    total = sum(tensor.nbytes for tensor in tensors.values())
    shards: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    weight_map: dict[str, str] = {}
    written = 0
    for name, tensor in tensors.items():
        which = int(2 * written >= total)
        written += tensor.nbytes
        shards[which][name] = tensor
        weight_map[name] = f"model-{which + 1:05d}-of-00002.safetensors"
    for number, shard in enumerate(shards, 1):
        ties = {name: kept for name, kept in removed.items() if kept in shard}
        path = folder / f"model-{number:05d}-of-00002.safetensors"
        save_safetensors(shard, {"format": "pt", **ties}, path)
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / "model.safetensors.index.json").write_text(text)


def save_script(net: nn.Module, path: Path) -> None:
    """Save a TorchScript archive without source paths, its records in sorted order.

    `torch.jit.save` orders the records by hash and adds debug records that hold the path of each
    source file, besides an id that hashes those too. The net is traced, since a script lists its
    constants in hash order. Class names are numbered through the life of the process, so only a
    fresh process repeats them.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(net, torch.zeros(1, 4))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for name in sorted(source.namelist()):
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                target.writestr(zipfile.ZipInfo(name), source.read(name))


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each sample file in `folder`, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SUMS
    }


def recorded() -> dict[str, str]:
    """Return the digests kept in SHA256SUMS, by relative path."""
    lines = (FILES / SUMS).read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def differences() -> list[str]:
    """Rebuild in a temporary folder; name the files that are not everywhere as recorded."""
    with tempfile.TemporaryDirectory() as temporary:
        build(Path(temporary))
        views = recorded(), digests(FILES), digests(Path(temporary))
    names = sorted(set().union(*views))
    return [name for name in names if len({view.get(name) for view in views}) > 1]


def main() -> int:
    """Build the files, or with --check compare them; return the exit status."""
    parser = argparse.ArgumentParser(description="Build the sample checkpoints.")
    parser.add_argument("--check", action="store_true", help="rebuild elsewhere and compare")
    if parser.parse_args().check:
        different = differences()
        for name in different:
            print(f"{name}: differs from a fresh build or from {SUMS}", file=sys.stderr)
        return int(bool(different))
    build(FILES)
    lines = (f"{digest}  {name}\n" for name, digest in digests(FILES).items())
    (FILES / SUMS).write_text("".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
