"""What a tensor is for, told by its name and rank where no module says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramcli.schemes.subject import Role

__all__ = ["Guess", "guess", "is_norm"]

_NORM = re.compile(r"(?:^|_)(?:ln|bn|gn)\d*(?:_|$)|norm", re.IGNORECASE)
_EMBEDDING = re.compile(r"embed|^wte$|^wpe$|^shared$|^relative_attention_bias$", re.IGNORECASE)
_POSITION = re.compile(r"(?:^|_)pos(?:$|_|i|e)|^wpe$|^rel_|relative", re.IGNORECASE)
_HEAD = re.compile(r"_out$|^un|proj|head", re.IGNORECASE)
_SCALE = re.compile(
    r"^(?:gamma(?:_?\d)?|scale|.*_scale|layer_scale.*|temperature|alpha|g|D"
    r"|skip_scale|lambda_?\d?|ls\d?)$"
)
_BIAS = re.compile(r"^(?:b|beta|bias)$|(?:^|_)bias(?:_|$)|^bias_")
_TOKEN = re.compile(r"(?:^|_)(?:cls|class|mask|register|dist|query|latent)s?_?(?:token|embed)")
_BUFFER = re.compile(
    r"inv_freq|freqs?_cis|(?:cos|sin)_cached|masked_bias|causal_mask|attn_mask|_mask$|^mask$"
    r"|position_ids|relative_position_index|relative_coords|rope_cache|^freqs$"
)
_KNOWN: dict[str, tuple[Role, str]] = {
    "running_mean": ("running_mean", "a norm's running mean"),
    "running_var": ("running_var", "a norm's running variance"),
    "num_batches_tracked": ("counter", "a norm's counter"),
    "weight_g": ("scale", "lengths of a weight norm"),
    "original0": ("scale", "lengths of a weight norm"),
    "A_log": ("unknown", "a state space's A_log"),
}
_VECTOR = 1
_MATRIX = 2


class Guess(NamedTuple):
    """A role, and in a few words what it was told by."""

    role: Role
    why: str


def guess(
    name: str, shape: tuple[int, ...], siblings: Mapping[str, tuple[int, ...]], kind: str = ""
) -> Guess:
    """Tell the role of a floating-point tensor.

    `siblings` are the shapes of the tensors of its module by the last part of their names, itself
    among them; `kind` is the name of the module's class, where that is known.
    """
    path, _, leaf = name.rpartition(".")
    module = path.rpartition(".")[2]
    rank = len(shape)
    if leaf in _KNOWN:
        return Guess(*_KNOWN[leaf])
    if _BUFFER.search(leaf) or (leaf == "bias" and rank > _MATRIX and shape[-1] == shape[-2]):
        return Guess("buffer", f"named {leaf}, rank {rank}")
    norm = "running_mean" in siblings or is_norm(module, kind)
    if rank <= _VECTOR:
        return _vector(leaf, shape, siblings, module if norm else "")
    return _array(leaf, module, rank)


def is_norm(module: str, kind: str = "") -> bool:
    """Whether a module, or its class, is named like a normalization."""
    return bool(_NORM.search(module) or _NORM.search(kind))


def _array(leaf: str, module: str, rank: int) -> Guess:  # noqa: PLR0911 - the first that fits
    """Tell the role of a tensor of rank 2 or more."""
    if "scale" in leaf:
        return Guess("scale", f"named {leaf}")
    if leaf in ("bias_k", "bias_v"):
        return Guess("bias", f"named {leaf}")
    if _TOKEN.search(leaf):
        return Guess("embedding", f"named {leaf}")
    if _POSITION.search(leaf) and not leaf.endswith("proj"):
        return Guess("position", f"named {leaf}")
    if _EMBEDDING.search(leaf):
        return Guess("embedding", f"named {leaf}")
    placed = _POSITION.search(module)
    table = rank == _MATRIX and leaf == "weight" and (placed or _EMBEDDING.search(module))
    if table and not _HEAD.search(module):
        role: Role = "position" if placed else "embedding"
        return Guess(role, f"module named {module}, rank 2")
    if _BIAS.search(leaf) and not leaf.startswith("weight"):
        return Guess("bias", f"named {leaf}")
    return Guess("weight", f"rank {rank}")


def _vector(  # noqa: PLR0911 - as above
    leaf: str, shape: tuple[int, ...], siblings: Mapping[str, tuple[int, ...]], norm: str
) -> Guess:
    """Tell the role of a tensor of rank 1 or 0; `norm` is the module's name if it is a norm."""
    role: Role
    if leaf in ("weight", "gamma", "scale", "g") and (norm or "beta" in siblings):
        why = f"module named {norm}" if is_norm(norm) else "its module has a norm's tensors"
        return Guess("norm_weight", why)
    if _BIAS.search(leaf):
        role = "norm_bias" if norm else "bias"
        return Guess(role, f"named {leaf}" + (f", module named {norm}" if is_norm(norm) else ""))
    if _SCALE.search(leaf):
        return Guess("scale", f"named {leaf}")
    if _TOKEN.search(leaf) or _EMBEDDING.search(leaf):
        return Guess("embedding", f"named {leaf}")
    if leaf == "weight" and (shape == (1,) or not shape):
        return Guess("scale", "a single number named weight")
    if leaf == "weight":
        return Guess("norm_weight", "a vector named weight: only norms have one")
    return Guess("unknown", f"a vector named {leaf}" if shape else f"a number named {leaf}")
