"""What the calls of `torch.save` mean: arguments in, a nameless `TensorInfo` or a plain node out.

Sources: `torch/_utils.py` (`_rebuild_*`), `torch/_tensor.py` (`_rebuild_from_type_v2`) and
`torch/_weights_only_unpickler.py` of torch 2.13. Every function takes the argument tuple and
raises ValueError where torch itself could not make a tensor of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from paramcli.sources.pickles.nodes import Dict, Global, Record, Set, TypedStorage
from paramcli.tensors import DTYPES, DType, Storage, TensorInfo, row_major

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Builder = Callable[[tuple[object, ...]], object]

__all__ = [
    "BUILDERS", "MAX_RANK", "STORAGE_DTYPES", "UNDERSTOOD", "WEIGHTS_ONLY", "NewerError",
    "dtype_of", "meaning", "number", "numbers", "span", "strided",
]  # fmt: skip

MAX_RANK = 255
_MAX_ELEMENTS = 1 << 63
_MAX_SHELLS = 4
META = Storage("", "meta", 0)

_STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "BFloat16Storage": "bfloat16", "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64", "QInt8Storage": "qint8", "QInt32Storage": "qint32",
    "QUInt8Storage": "quint8", "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip
_UNTYPED = ("torch.storage.UntypedStorage", "torch.storage._UntypedStorage", "torch.UntypedStorage")

STORAGE_DTYPES: dict[str, DType] = {
    **{f"torch.{cls}": DTYPES[name] for cls, name in _STORAGES.items()},
    **{f"torch.cuda.{cls}": DTYPES[name] for cls, name in _STORAGES.items()},
    **dict.fromkeys(_UNTYPED, DTYPES["uint8"]),
}
"""The element type of each storage class; an untyped storage counts bytes."""

TENSOR_CLASSES = frozenset(
    ["torch.Tensor", "torch._tensor.Tensor", "torch.tensor.Tensor"]
    + [
        f"{module}.{cls.removesuffix('Storage')}Tensor"
        for module in ("torch", "torch.cuda")
        for cls in _STORAGES
    ]
)
PARAMETERS = frozenset(["torch.nn.parameter.Parameter", "torch.nn.Parameter"])
BUFFERS = frozenset(["torch.nn.parameter.Buffer", "torch.nn.Buffer"])


class NewerError(ValueError):
    """The file may be of a newer torch than this program knows."""


def number(value: object) -> int:
    """Return `value` if it is a count: an int that is not negative and fits 63 bits."""
    if type(value) is not int or not 0 <= value < _MAX_ELEMENTS:
        raise ValueError("a size, stride or offset is not a number that a tensor can have")
    return value


def span(size: Sequence[int], stride: Sequence[int]) -> int:
    """Elements of storage from a view's first to its last, both included."""
    if 0 in size:
        return 0
    return sum((n - 1) * step for n, step in zip(size, stride, strict=True)) + 1


def strided(storage: object, offset: object, size: object, stride: object) -> TensorInfo:
    """`torch._utils._rebuild_tensor`: the view must lie inside its storage."""
    if type(storage) is not TypedStorage:
        raise ValueError("a tensor is made of something that is no storage")
    dims, steps = numbers(size), numbers(stride)
    if len(dims) != len(steps):
        raise ValueError("a tensor's size and stride differ in rank")
    first = number(offset)
    if first + span(dims, steps) > storage.numel and 0 not in dims:
        raise ValueError("a tensor reaches past the end of its storage")
    return TensorInfo("", storage.dtype, dims, steps, storage.start + first, storage.storage)


def _tensor_v2(args: tuple[object, ...]) -> TensorInfo:
    info = strided(*args[:4])
    return info if len(args) < 7 else _marked(info, args[6])


def _marked(info: TensorInfo, metadata: object) -> TensorInfo:
    """Keep what torch only marks: the bytes of a conjugate or negative are those of its base."""
    if type(metadata) is not Dict:
        return info
    found = [
        key for key, value in zip(metadata.pairs[::2], metadata.pairs[1::2], strict=True)
        if type(key) is str and value is True
    ]  # fmt: skip
    return info._replace(marks=tuple(mark for mark in ("conj", "neg") if mark in found))


def numbers(value: object) -> tuple[int, ...]:
    """Return a tuple or list of counts as a tuple; at most 255 of them, as torch allows."""
    if isinstance(value, (tuple, list)) and len(value) <= MAX_RANK:
        return tuple(map(number, value))
    raise ValueError("a size or stride is not a list of numbers")


def _tensor(value: object) -> TensorInfo:
    if type(value) is not TensorInfo:
        raise ValueError("a tensor is wanted where something else stands")
    return value


def dtype_of(value: object) -> DType:
    """The element type that a global like `torch.float8_e5m2` names."""
    path = value.path if type(value) is Global else ""
    found = DTYPES.get(path.removeprefix("torch."))
    if found is None and re.fullmatch(r"torch\.[a-z][a-z0-9_]*", path):
        raise NewerError(f"the element type {path} is not known")
    if found is None:
        raise ValueError("an element type is wanted where something else stands")
    return found


def _tensor_v3(args: tuple[object, ...]) -> TensorInfo:
    storage, offset, size, stride, _, _, dtype = args[:7]
    if type(storage) is not TypedStorage:
        raise ValueError("a tensor is made of something that is no storage")
    named = dtype_of(dtype)
    elements = storage.storage.nbytes * 8 // named.bits
    start = storage.start * storage.dtype.bits // named.bits
    typed = TypedStorage(storage.storage, named, start, elements - start)
    return _marked(strided(typed, offset, size, stride), args[7] if len(args) > 7 else None)


def _parameter(args: tuple[object, ...]) -> object:
    if not args:  # torch 0.1 and 0.2 gave an empty shell its tensor afterwards, as state
        return Record(Global("torch.nn.parameter.Parameter"), args)
    return _tensor(args[0])._replace(kind="parameter")


def _buffer(args: tuple[object, ...]) -> TensorInfo:
    return _tensor(args[0])._replace(kind="buffer")


def _quantized(args: tuple[object, ...]) -> TensorInfo:
    """Elements are the integers that are stored; scale and zero point are facts, or parts."""
    base, scheme = strided(*args[:4]), args[4]
    if type(scheme) is not tuple or not scheme:
        return base._replace(layout="quantized")
    named = list(zip(("scheme", "scale", "zero_point", "axis"), scheme, strict=False))
    return base._replace(
        layout="quantized",
        parts=tuple(part._replace(name=name) for name, part in named if type(part) is TensorInfo),
        facts=tuple(
            (name, part.path if type(part) is Global else str(part))
            for name, part in named
            if type(part) in (Global, float, int)
        ),
    )


def _sparse(args: tuple[object, ...]) -> TensorInfo:
    layout, data = args[:2]
    name = _layout_name(layout)
    if type(data) is not tuple:
        raise ValueError("a sparse tensor without its parts")
    labels: tuple[str, ...] = ("compressed_indices", "plain_indices", "values")
    if name == "sparse_coo":
        labels = ("indices", "values")
    size = data[len(labels)]
    parts = tuple(
        _tensor(part)._replace(name=label) for label, part in zip(labels, data, strict=False)
    )
    return TensorInfo(
        "", parts[-1].dtype, numbers(size), row_major(numbers(size)), 0, META, "tensor", name, parts
    )


def _layout_name(value: object) -> str:
    """`torch.serialization._get_layout` wraps the layout's name in a call of its own."""
    text = (
        value.args[0]
        if type(value) is Record and type(value.args) is tuple and value.args
        else value
    )
    name = text.removeprefix("torch.") if type(text) is str else ""
    if name not in ("sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"):
        raise ValueError("a sparse tensor of no known layout")
    return name


def _meta(args: tuple[object, ...]) -> TensorInfo:
    dtype, size, stride = args[:3]
    return TensorInfo("", dtype_of(dtype), numbers(size), numbers(stride), 0, META, layout="meta")


def _nested(args: tuple[object, ...]) -> TensorInfo:
    buffer = _tensor(args[0])
    labels = ("buffer", "sizes", "strides", "offsets")
    parts = tuple(
        part._replace(name=label)
        for label, part in zip(labels, args, strict=False)
        if type(part) is TensorInfo
    )
    return buffer._replace(storage=META, offset=0, layout="nested", parts=parts)


def _wrapper(args: tuple[object, ...]) -> TensorInfo:
    _, dtype, size, stride = args[:4]
    return TensorInfo(
        "", dtype_of(dtype), numbers(size), numbers(stride), 0, META, layout="wrapper"
    )


def _from_type(args: tuple[object, ...]) -> object:
    """`func(*args)`, then its class set to `type` and its state filled in."""
    func, kind, inner, state = args[:4]
    if type(func) is not Global or type(inner) is not tuple or func.path not in BUILDERS:
        return Record(func, inner)
    layers, within = 0, args
    while type(within[0]) is Global and BUILDERS.get(within[0].path) is _from_type:
        layers, within = layers + 1, within[2]  # type: ignore[assignment]
        if layers > _MAX_SHELLS or type(within) is not tuple or len(within) < 4:
            raise ValueError("a tensor's type is set again and again")
    made = BUILDERS[func.path](inner)
    if type(made) is TensorInfo and made.layout == "wrapper":
        named = kind.path if type(kind) is Global else ""
        layout = "dtensor" if named.endswith(".DTensor") else "wrapper"
        parts = tuple(
            value._replace(name=label.lstrip("_"))
            for label, value in _pairs(state)
            if type(label) is str and type(value) is TensorInfo
        )
        return made._replace(layout=layout, parts=parts)
    return made


def _pairs(state: object) -> list[tuple[object, object]]:
    """Attributes and slots of an object, in whatever of the two ways they were saved."""
    parts = state if type(state) is tuple else (state,)
    dicts = [part.pairs for part in parts if type(part) is Dict]
    return [pair for pairs in dicts for pair in zip(pairs[::2], pairs[1::2], strict=True)]


def _cast(args: tuple[object, ...]) -> object:
    """A tensor of another device, saved by way of the CPU (from NumPy in older versions)."""
    data, dtype = args[:2]
    return (
        data._replace(dtype=dtype_of(dtype))
        if type(data) is TensorInfo
        else Record(Global("torch._utils._rebuild_device_tensor_from_numpy"), args)
    )


def _ordered(args: tuple[object, ...]) -> Dict:
    """`OrderedDict()` of Python 3 is filled later; that of Python 2 has a list of pairs."""
    pairs: list[object] = []
    for pair in _items(args[0]) if args else ():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError("a dictionary made of something that is no list of pairs")
        pairs.extend(pair)
    return Dict(pairs)


def _items(value: object) -> Sequence[object]:
    if type(value) is Dict:
        return list(zip(value.pairs[::2], value.pairs[1::2], strict=True))
    if type(value) is Set:
        return value.items
    if isinstance(value, (list, tuple)) and type(value) is not TensorInfo:
        return value
    raise ValueError("a list is wanted where something else stands")


def _defaultdict(args: tuple[object, ...]) -> Dict:
    return _ordered(args[1:])


def _set(args: tuple[object, ...]) -> Set:
    return Set(list(_items(args[0])) if args else [])


def _tuple(args: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(_items(args[0])) if args else ()


def _list(args: tuple[object, ...]) -> list[object]:
    return list(_items(args[0])) if args else []


def _encode(args: tuple[object, ...]) -> object:
    text, codec = (*args, "utf-8")[:2] if len(args) < 2 else args[:2]
    if type(text) is not str or codec not in ("latin1", "latin-1", "utf-8", "ascii"):
        raise ValueError("bytes in a codec that no pickler uses")
    return text.encode(str(codec), "surrogatepass" if codec == "utf-8" else "strict")


def _bytearray(args: tuple[object, ...]) -> object:
    return (
        args[0] if args and type(args[0]) is bytes else Record(Global("builtins.bytearray"), args)
    )


def _complex(args: tuple[object, ...]) -> complex:
    real, imaginary = args
    if type(real) is float and type(imaginary) is float:
        return complex(real, imaginary)
    raise ValueError("a complex number made of something that is no number")


def _plain_object(args: tuple[object, ...]) -> object:
    """`copy_reg._reconstructor(cls, base, state)`: how protocols 0 and 1 write an object."""
    cls, base, state = args[:3]
    if type(cls) is Global and type(base) is Global:
        builder = BUILDERS.get(cls.path) if base.path != "builtins.object" else None
        if builder is not None:
            return builder((state,))
    return Record(cls, (state,))


def _shell(path: str) -> Builder:
    """Build an inert record of a call that is known and harmless but means no tensor."""
    return lambda args: Record(Global(path), args)


def _intlist(args: tuple[object, ...]) -> object:
    return args[0] if args else []


BUILDERS: dict[str, Builder] = {
    "torch._utils._rebuild_tensor": lambda args: strided(*args[:4]),
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _cast,
    "torch._utils._rebuild_device_tensor_from_numpy": _cast,
    "torch._utils._rebuild_xla_tensor": _cast,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    **dict.fromkeys(PARAMETERS, _parameter),
    **dict.fromkeys(BUFFERS, _buffer),
    "torch.Size": _tuple,
    "torch.serialization._get_layout": _shell("torch.serialization._get_layout"),
    "torch.device": _shell("torch.device"),
    "torch.jit._pickle.build_intlist": _intlist,
    "torch.jit._pickle.build_doublelist": _intlist,
    "torch.jit._pickle.build_boollist": _intlist,
    "torch.jit._pickle.build_tensorlist": _intlist,
    "torch.jit._pickle.restore_type_tag": _intlist,
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _defaultdict,
    "collections.Counter": _ordered,
    "builtins.dict": _ordered,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.list": _list,
    "builtins.tuple": _tuple,
    "builtins.bytearray": _bytearray,
    "builtins.complex": _complex,
    "_codecs.encode": _encode,
    "copyreg._reconstructor": _plain_object,
}
"""What each understood global builds from its arguments."""

_NAMED_ONLY = frozenset(
    [f"torch.{name}" for name in DTYPES]
    + [f"torch.per_{scheme}" for scheme in (
        "tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric",
        "channel_affine_float_qparams")]
    + ["builtins.object", "builtins.int", "builtins.float", "builtins.str", "builtins.bool"]
)  # fmt: skip

_REFUSED_BY_TORCH = frozenset(
    name for name in BUILDERS if name.startswith("torch.jit._pickle")
) | {
    "builtins.dict", "builtins.frozenset", "builtins.list", "builtins.tuple",
    "collections.defaultdict", "copyreg._reconstructor", "torch._utils._rebuild_xla_tensor",
    "builtins.object", "builtins.int", "builtins.float", "builtins.str", "builtins.bool",
    *BUFFERS, "torch.nn.Parameter", "torch._tensor.Tensor", "torch.tensor.Tensor",
    "torch.storage._UntypedStorage", "torch.UntypedStorage",
}  # fmt: skip

UNDERSTOOD = frozenset(BUILDERS) | frozenset(STORAGE_DTYPES) | TENSOR_CLASSES | _NAMED_ONLY
WEIGHTS_ONLY = UNDERSTOOD - _REFUSED_BY_TORCH
"""The globals that `torch.load(weights_only=True)` of torch 2.13 allows without being told."""


def meaning(record: Record) -> object:
    """Return the tensor that a filled record turned out to be, else the record itself.

    torch before 0.4 wrote an empty tensor or parameter and set it from its state afterwards.
    Raises ValueError where the state does not fit.
    """
    node: object = record
    for _ in range(_MAX_SHELLS):
        state = node.state if type(node) is Record else None
        if type(node) is not Record or type(state) is not tuple or not state:
            break
        if node.path in TENSOR_CLASSES and len(state) == 4:
            node = strided(*state)
        elif node.path in PARAMETERS:
            node = state[0]
        else:
            return record
    if type(node) is not TensorInfo:
        return record
    return node._replace(kind="parameter") if record.path in PARAMETERS else node
