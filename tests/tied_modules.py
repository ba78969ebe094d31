"""Modules that share in every way there is, and random trees with planted ties, for the tests."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

__all__ = [
    "Columns", "DataTie", "Embedded", "Frozen", "Nested", "Recast", "Recurrent", "Transposed",
    "Twice", "planted",
]  # fmt: skip


class Twice(nn.Sequential):
    """One linear layer at two positions."""

    def __init__(self) -> None:
        shared = nn.Linear(4, 4)
        super().__init__(nn.Linear(4, 4), shared, nn.Tanh(), shared)


class Embedded(nn.Module):
    """A head that is the embedding's own Parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.head = nn.Linear(4, 10, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(x))
        return out


class DataTie(nn.Module):
    """Two Parameters over one storage."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.b.weight = nn.Parameter(self.a.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x))
        return out


class Transposed(nn.Module):
    """A decoder that is a view of the encoder, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.enc, self.dec = nn.Linear(4, 6, bias=False), nn.Linear(6, 4, bias=False)
        self.dec.weight = nn.Parameter(self.enc.weight.data.t())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dec(self.enc(x))
        return out


class Nested(nn.Module):
    """A Parameter, and buffers that view parts of it."""

    q: Tensor
    k: Tensor

    def __init__(self) -> None:
        super().__init__()
        whole = torch.randn(6, 4)
        self.whole = nn.Parameter(whole)
        self.register_buffer("q", whole[:3])
        self.register_buffer("k", whole[3:])

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.whole.t()


class Recast(nn.Module):
    """A buffer that shows the bits of a Parameter."""

    bits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))
        self.register_buffer("bits", self.weight.data.view(torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t()


class Columns(nn.Module):
    """Buffers that are columns of one matrix, and have no byte in common."""

    left: Tensor
    right: Tensor

    def __init__(self) -> None:
        super().__init__()
        whole = torch.randn(4, 6)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("left", whole[:, :3])
        self.register_buffer("right", whole[:, 3:])

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.left + x @ self.right) * self.scale


class Recurrent(nn.Module):
    """Two LSTMs that share one weight; each keeps a list of its weights beside."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTM(4, 4, batch_first=True), nn.LSTM(4, 4, batch_first=True)
        self.b.weight_hh_l0 = self.a.weight_hh_l0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x)[0])[0]
        return out


class Frozen(Twice):
    """A layer at two positions that does not learn."""

    def __init__(self) -> None:
        super().__init__()
        self.get_submodule("1").requires_grad_(requires_grad=False)


def planted(seed: int) -> tuple[nn.Module, set[frozenset[str]]]:
    """Build a random tree of modules and tie some Parameters and modules of it.

    Returns it with the sets of names that are one Parameter.
    """
    rng = random.Random(seed)
    root = nn.Module()
    holders: list[tuple[str, nn.Module]] = [("", root)]
    for number in range(rng.randint(2, 12)):
        prefix, holder = rng.choice(holders)
        child = nn.Linear(3, 3) if rng.random() < 0.7 else nn.Module()
        holder.add_module(f"m{number}", child)
        holders.append((f"{prefix}m{number}.", child))
    layers = [(name, child) for name, child in holders if isinstance(child, nn.Linear)]
    for number in range(rng.randint(0, 3)):
        if len(layers) < 2:
            break
        (_, one), (_, other) = rng.sample(layers, 2)
        if rng.random() < 0.6:
            other.weight = one.weight
        else:
            leaves = [layer for _, layer in layers if not list(layer.children())]
            if leaves:
                root.add_module(f"again{number}", rng.choice(leaves))
    objects: dict[int, set[str]] = {}
    for name, parameter in root.named_parameters(remove_duplicate=False):
        objects.setdefault(id(parameter), set()).add(name)
    return root, {frozenset(names) for names in objects.values() if len(names) > 1}
