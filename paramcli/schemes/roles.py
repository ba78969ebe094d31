"""Each tensor of a checkpoint as a subject: its role, fans, parts, place, and how they are known.

From modules where a target has them, else from names and shapes alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from paramcli.schemes.names import Guess, guess
from paramcli.schemes.stacks import blocks
from paramcli.schemes.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.owners import Owner
    from paramcli.schemes.subject import Role
    from paramcli.tensors import TensorInfo

    Shape = tuple[int, ...]

__all__ = ["subjects"]

_FLOATING = ("float", "bfloat", "complex", "bcomplex")
_NORMS = frozenset({"_NormBase", "LayerNorm", "GroupNorm", "RMSNorm"})
_EMBEDDINGS = frozenset({"Embedding", "EmbeddingBag"})
_LAYERS = frozenset(
    {"Linear", "Bilinear", "_ConvNd", "RNNBase", "RNNCellBase", "MultiheadAttention"}
)
_GATES = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3, "RNN": 1, "RNNCell": 1}
_STATISTICS: dict[str, Role] = {
    "running_mean": "running_mean",
    "running_var": "running_var",
    "num_batches_tracked": "counter",
}
_RECURRENT = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
_MATRIX = 2
_OF_NORMS = ("running_mean", "running_var", "counter")


class _Fans(NamedTuple):
    """Fans and parts of a tensor, whether it is laid out as a transposed convolution, and why."""

    fan_in: int | None = None
    fan_out: int | None = None
    parts: tuple[int, ...] = ()
    transposed: bool = False
    why: str = ""


def subjects(checkpoint: Checkpoint) -> dict[str, Subject]:
    """Describe every tensor by its name; tied names share the subject of the first of them.

    Of a tied group the first name that has a role other than weight gives role and fans: a head
    tied to an embedding counts as an embedding.
    """
    names = {_plain(info.name): info.shape for info in checkpoint}
    siblings: dict[str, dict[str, Shape]] = {}
    for name, shape in names.items():
        path, _, leaf = name.rpartition(".")
        siblings.setdefault(path, {})[leaf] = shape
    stacks = blocks(names)
    described: dict[str, Subject] = {}
    for info in checkpoint:
        plain = _plain(info.name)
        owner = checkpoint.modules.get(info.name)
        around = siblings[plain.rpartition(".")[0]]
        subject = _describe(info, plain, owner, around)
        described[info.name] = subject._replace(block=stacks.get(plain))
    for group in checkpoint.groups():
        if group.relation == "same":
            described.update(dict.fromkeys(group.names, _joined(group.names, described)))
    return described


def _joined(names: Sequence[str], described: Mapping[str, Subject]) -> Subject:
    members = [described[name] for name in names]
    chosen = next((one for one in members if one.role != "weight"), members[0])
    others = [one.name for one in members if one.role != chosen.role]
    why = chosen.why
    if others:
        why += f"; tied, so {', '.join(others)} counts as {chosen.role} too"
    return chosen._replace(name=names[0], why=why)


def _plain(name: str) -> str:
    """The name that a parametrized tensor had: a.parametrizations.weight.original is a.weight.

    `original1` is the direction of a weight norm, which stands for its weight.
    """
    path, mark, rest = name.rpartition("parametrizations.")
    tensor, _, original = rest.rpartition(".")
    return path + tensor if mark and original in ("original", "original1") else name


def _describe(
    info: TensorInfo, name: str, owner: Owner | None, siblings: Mapping[str, Shape]
) -> Subject:
    leaf = name.rpartition(".")[2]
    known = owner is not None and bool(owner.classes)
    role, why = _role(info, name, owner, siblings)
    fans = _Fans()
    if role in ("weight", "embedding", "position", "bias"):
        fans = _fans(name, info.shape, owner, siblings, role)
    classes = owner.classes if owner is not None else ()
    return Subject(
        name=info.name,
        shape=info.shape,
        dtype=info.dtype,
        kind=info.kind,
        role=role,
        module=classes[0] if classes else "",
        fan_in=fans.fan_in,
        fan_out=fans.fan_out,
        parts=fans.parts,
        groups=owner.groups if owner is not None else 1,
        transposed=fans.transposed,
        padding=owner.padding if known and owner is not None and leaf == "weight" else None,
        block=None,
        why="; ".join(filter(None, (why, fans.why))),
        classes=classes,
    )


def _role(info: TensorInfo, name: str, owner: Owner | None, siblings: Mapping[str, Shape]) -> Guess:
    classes = frozenset(owner.classes if owner is not None else ())
    if owner is not None and classes:
        found = _role_in_module(info, owner, classes, name)
        if found is not None:
            return found
    if info.kind == "buffer":
        # Where no module tells, as in a pickled one, a norm's buffers are known by their names.
        named = guess(name, info.shape, siblings) if owner is None else None
        if named is not None and named.role in _OF_NORMS:
            return named
        return Guess("buffer", "registered as a buffer")
    if info.layout != "strided" or not info.dtype.name.startswith(_FLOATING):
        kind = info.layout if info.layout != "strided" else info.dtype.name
        return Guess("buffer" if info.layout == "strided" else "unknown", f"of type {kind}")
    return guess(name, info.shape, siblings, owner.type if owner is not None else "")


def _role_in_module(
    info: TensorInfo, owner: Owner, classes: frozenset[str], name: str
) -> Guess | None:
    """Tell the role of a tensor of one of torch's own modules; None for others."""
    leaf, why = name.rpartition(".")[2], f"nn.{owner.classes[0]}"
    if classes & _NORMS:
        role = _STATISTICS.get(leaf)
        if role is None and leaf in ("weight", "bias"):
            role = "norm_weight" if leaf == "weight" else "norm_bias"
        return Guess(role, why) if role else None
    if classes & _EMBEDDINGS and leaf == "weight":
        by_name = guess(name, (2, 2), {}).role
        return Guess("position" if by_name == "position" else "embedding", why)
    if "PReLU" in classes and leaf == "weight":
        return Guess("scale", why)
    plain = info.kind != "buffer" and leaf != "weight_g"
    if classes & _LAYERS and plain and ("bias" in leaf or "weight" in leaf):
        return Guess("bias" if "bias" in leaf else "weight", why)
    return None


def _fans(  # noqa: PLR0911 - one for each kind of layer
    name: str, shape: Shape, owner: Owner | None, siblings: Mapping[str, Shape], role: str
) -> _Fans:
    """Fans as `torch.nn.init` counts them, and as the module, if known, says otherwise."""
    leaf = name.rpartition(".")[2]
    if leaf.startswith(_RECURRENT):
        return _recurrent(leaf, shape, owner, siblings)
    if leaf in ("in_proj_weight", "in_proj_bias") and shape and shape[0] % 3 == 0:
        each = shape[0] // 3
        if len(shape) == _MATRIX:
            return _Fans(shape[1], each, (each,) * 3, why="q, k and v stacked")
        return _Fans(parts=(each,) * 3, why="of q, k and v")
    if role == "bias":
        return _bias(leaf, owner, siblings)
    if len(shape) < _MATRIX:
        return _Fans()
    size = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * size, shape[0] * size
    groups = owner.groups if owner is not None else 1
    bias = siblings.get("bias", ()) if leaf == "weight" else ()
    turned = len(bias) == 1 and bias[0] == shape[1] != shape[0]
    if owner is not None and owner.transposed:
        return _Fans(fan_out // groups, fan_in, (), transposed=True, why=_grouped(groups))
    if owner is not None and owner.classes:
        return _Fans(fan_in, fan_out // groups, why=_grouped(groups))
    if owner is not None and owner.type == "Conv1D" and len(shape) == _MATRIX:
        return _Fans(fan_out, fan_in, why="Conv1D: laid out as [in, out]")
    if turned:
        why = f"its bias has length {bias[0]}: laid out as [in, out]"
        return _Fans(fan_out, fan_in, transposed=len(shape) > _MATRIX, why=why)
    return _Fans(fan_in, fan_out, why=_doubt(name, shape, bias))


def _grouped(groups: int) -> str:
    return f"{groups} groups" if groups > 1 else ""


def _doubt(name: str, shape: Shape, bias: Shape) -> str:
    """Say what a shape alone leaves open, and how it was read."""
    if bias and shape[0] != shape[1]:
        return ""
    path = name.lower().rpartition(".")[0].rpartition(".")[2]
    if len(shape) > _MATRIX and any(word in path for word in ("deconv", "upconv", "transpose")):
        return "named like a transposed convolution, read as [out, in]"
    if len(shape) == _MATRIX and path in ("c_attn", "c_fc", "c_proj") and shape[0] != shape[1]:
        return "GPT-2 may have it as [in, out], read as [out, in]"
    return ""


def _recurrent(
    leaf: str, shape: Shape, owner: Owner | None, siblings: Mapping[str, Shape]
) -> _Fans:
    """Gates of an RNN: their number is that of the class, or of rows over the hidden size."""
    gates = next((_GATES[one] for one in owner.classes if one in _GATES), 0) if owner else 0
    if leaf.startswith("weight_hr"):
        return _Fans(shape[1], shape[0], why="an LSTM's projection")
    tail = leaf.partition("_")[2].removeprefix("ih").removeprefix("hh")
    projected = siblings.get(f"weight_hr{tail}")
    recurrent = projected or siblings.get(f"weight_hh{tail}", ())
    if not gates:
        hidden = recurrent[1] if len(recurrent) == _MATRIX else 0
        gates = shape[0] // hidden if hidden and shape[0] % hidden == 0 else 1
        if gates not in _GATES.values():
            gates = 1
    hidden = shape[0] // gates
    parts = (hidden,) * gates
    why = f"{gates} gates" if gates > 1 else ""
    if leaf.startswith("bias"):
        return _Fans(hidden, None, parts, why=why)
    return _Fans(shape[1], hidden, parts, why=why)


def _bias(leaf: str, owner: Owner | None, siblings: Mapping[str, Shape]) -> _Fans:
    """The fan by which torch bounds a bias: of the weight beside it, as its shape has it."""
    names = ("weight", "weight_v", "weight_orig") if leaf == "bias" else (leaf[:-4] + "weight",)
    weight = next((siblings[name] for name in names if name in siblings), ())
    if len(weight) < _MATRIX:
        return _Fans()
    classes = owner.classes if owner is not None else ()
    if "NonDynamicallyQuantizableLinear" in classes:
        return _Fans(why="of an attention's output: 0 in torch")
    if "Bilinear" in classes:
        return _Fans(weight[1])
    own = siblings.get(leaf, ())
    size = math.prod(weight[2:])
    if not classes and len(weight) == _MATRIX and own == weight[1:] != weight[:1]:
        return _Fans(weight[0])
    return _Fans(weight[1] * size, transposed=owner is not None and owner.transposed)
