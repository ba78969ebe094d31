"""Each call that a checkpoint makes, from torch itself where it still makes it."""

from __future__ import annotations

import re
import subprocess
import sys
import types
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch._weights_only_unpickler import _get_allowed_globals

import paramcli
from paramcli.errors import SourceError
from paramcli.sources.pickles.rebuild import BUILDERS, UNDERSTOOD, WEIGHTS_ONLY
from tests import torch_objects
from tests.handmade import (
    Built,
    Call,
    Name,
    Pairs,
    Persistent,
    Raw,
    encode,
    storage,
    tensor,
    torch_zip,
)
from tests.sample_files import saved

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

    Open = Callable[..., Checkpoint]
    Refuse = Callable[..., str]

DTYPE_SIZE = {"float32": 4, "uint16": 2, "int64": 8, "float8_e5m2": 1, "complex32": 4}


@pytest.fixture
def rebuilt(opened: Open) -> Callable[..., TensorInfo]:
    """Give a function that opens a file of one tensor, made by this call."""

    def rebuilt(call: object, storages: dict[str, bytes] | None = None) -> TensorInfo:
        (info,) = opened(torch_zip({"w": call}, storages))
        assert info.name == "w"
        return info

    return rebuilt


# --- plain tensors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", ["torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"]
)
def test_tensors(function: str, rebuilt: Callable[..., TensorInfo]) -> None:
    info = rebuilt(Call(function, (storage(), 1, (2, 2), (2, 1))))
    assert tuple(info[1:5]) == (("float32", 32), (2, 2), (2, 1), 1)
    assert (info.kind, info.layout, info.parts) == ("tensor", "strided", ())


@pytest.mark.parametrize("name", DTYPE_SIZE)
def test_tensors_of_untyped_storages(name: str, rebuilt: Callable[..., TensorInfo]) -> None:
    """Offsets count elements of the tensor's own type, sizes of the storage count bytes."""
    of = storage(cls="torch.storage.UntypedStorage", numel=24)
    count = 24 // DTYPE_SIZE[name]
    args = (
        of,
        1,
        (count - 1,),
        (1,),
        False,
        Call("collections.OrderedDict"),
        Name(f"torch.{name}"),
    )
    info = rebuilt(Call("torch._utils._rebuild_tensor_v3", args))
    assert (info.dtype.name, info.shape, info.offset) == (name, (count - 1,), 1)
    assert info.storage.nbytes == 24


def test_an_element_type_of_torch_to_come(refused: Refuse) -> None:
    of, hooks = (
        storage(cls="torch.storage.UntypedStorage", numel=24),
        Call("collections.OrderedDict"),
    )
    for name, what in (
        ("torch.float3_new", "the element type torch.float3_new is not known"),
        ("os.system", "damaged pickle: an element type is wanted"),
    ):
        args = (of, 0, (3,), (1,), False, hooks, Name(name))
        said, hint = refused(torch_zip(Call("torch._utils._rebuild_tensor_v3", args))).split("\n")
        assert what in said
        assert ("a newer paramcli" in hint) is name.startswith("torch.")


def test_untyped_storage_is_not_overrun(refused: Refuse) -> None:
    of = storage(cls="torch.storage.UntypedStorage", numel=24)
    args = (of, 0, (7,), (1,), False, Call("collections.OrderedDict"), Name("torch.float32"))
    assert "past the end" in refused(torch_zip(Call("torch._utils._rebuild_tensor_v3", args)))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((6,), (1,), 0), ((), (), 5), ((2, 3), (0, 0), 5), ((3, 2), (1, 3), 0), ((0,), (1,), 0),
        ((0, 9), (9, 1), 100), ((1,) * 255, (1,) * 255, 0),
    ],
)  # fmt: skip
def test_views_that_fit(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int,
    rebuilt: Callable[..., TensorInfo],
) -> None:  # fmt: skip
    assert rebuilt(tensor(None, size, stride, offset)).shape == size


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((7,), (1,), 0), ((6,), (1,), 1), ((), (), 6), ((2, 3), (3, 2), 0), ((-1,), (1,), 0),
        ((2,), (-1,), 5), ((2,), (1,), -1), ((2, 3), (1,), 0), ((1,) * 256, (1,) * 256, 0),
        ((1 << 62, 4), (1, 1), 0), ((1 << 63,), (0,), 0), ((2,), (1 << 70,), 0),
    ],
)  # fmt: skip
def test_views_that_do_not_fit(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, refused: Refuse
) -> None:
    assert "damaged pickle" in refused(torch_zip(tensor(None, size, stride, offset)))


def test_sizes_may_be_lists(rebuilt: Callable[..., TensorInfo]) -> None:
    """So other programs write them."""
    call = Call("torch._utils._rebuild_tensor_v2", (storage(), 0, [2, 3], [3, 1], False, None))
    assert rebuilt(call).shape == (2, 3)


# --- parameters and subclasses -------------------------------------------------------------------

PARAMETERS = {
    "_rebuild_parameter": Call("torch._utils._rebuild_parameter", (tensor(), True, {})),
    "with state": Call(
        "torch._utils._rebuild_parameter_with_state", (tensor(), True, {}, {"tag": 1})
    ),
    "new object": Call("torch.nn.parameter.Parameter", (tensor(), True), b"\x81"),
    "a short name": Call("torch.nn.Parameter", (tensor(),)),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters(case: str, rebuilt: Callable[..., TensorInfo]) -> None:
    info = rebuilt(PARAMETERS[case])
    assert (info.kind, info.shape) == ("parameter", (2, 3))


def test_buffers(rebuilt: Callable[..., TensorInfo]) -> None:
    assert rebuilt(Call("torch.nn.parameter.Buffer", (tensor(),), b"\x81")).kind == "buffer"


class Tagged(Tensor):
    """A subclass that is still one plain tensor."""


def test_subclasses(opened: Open) -> None:
    plain = torch.arange(6.0).reshape(2, 3)
    tagged = plain.as_subclass(Tagged)
    checkpoint = opened(saved({"plain": plain, "tagged": tagged, "t": nn.Parameter(tagged.T)}))
    assert [info.shape for info in checkpoint] == [(2, 3), (2, 3), (3, 2)]
    assert [group.names for group in checkpoint.groups()] == [("plain", "tagged", "t")]
    assert checkpoint.pickle is not None
    assert any(name.endswith(".Tagged") for name in checkpoint.pickle.inert)


# --- quantized, sparse, nested, meta -------------------------------------------------------------


def quantized(dtype: torch.dtype, *, by_channel: bool) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dense = torch.ones(4, 6)
        if by_channel:
            return torch.quantize_per_channel(dense, torch.ones(4), torch.zeros(4), 0, dtype)
        return torch.quantize_per_tensor(dense, 0.5, 3, dtype)


def test_quantized_per_tensor(opened: Open) -> None:
    (info,) = opened(saved({"q": quantized(torch.qint8, by_channel=False)}))
    assert (info.dtype.name, info.layout, info.nbytes, info.parts) == ("qint8", "quantized", 24, ())


def test_quantized_per_channel(opened: Open) -> None:
    (info,) = opened(saved({"q": quantized(torch.quint8, by_channel=True)}))
    assert [part.name for part in info.parts] == ["scale", "zero_point"]
    assert [part.shape for part in info.parts] == [(4,), (4,)]
    assert len({info.storage, *(part.storage for part in info.parts)}) == 3


@pytest.mark.parametrize("dtype", [torch.quint4x2, torch.quint2x4])
def test_quantized_and_packed(dtype: torch.dtype, opened: Open) -> None:
    """Two or four elements in a byte: the storage counts bytes, and the shape elements."""
    checkpoint = opened(saved({"q": quantized(dtype, by_channel=True)}))
    (info,) = checkpoint
    loaded = torch_objects.load(checkpoint.origin, weights_only=True)["q"]
    assert info.dtype.name == str(dtype).removeprefix("torch.")
    assert (info.shape, info.stride) == (tuple(loaded.shape), loaded.stride())
    assert info.storage.nbytes == loaded.untyped_storage().nbytes()


def test_sparse_values_that_are_shared(opened: Open) -> None:
    """The parts of a sparse tensor take part in sharing like any tensor."""
    values = torch.ones(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sparse = torch.sparse_csr_tensor([0, 1, 3], [0, 0, 1], values, (2, 2))
    checkpoint = opened(saved({"sparse": sparse, "values": sparse.values()}))
    assert checkpoint["sparse"].layout == "sparse_csr"
    assert checkpoint["sparse"].nbytes == sum(part.nbytes for part in checkpoint["sparse"].parts)
    assert [group.names for group in checkpoint.groups()] == [("sparse", "values")]


def test_nested_tensor(opened: Open) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.zeros(2, 3), torch.ones(4, 3)])
        content = saved({"n": nested})
    (info,) = opened(content)
    assert info.layout == "nested"
    assert [part.name for part in info.parts] == ["buffer", "sizes", "strides", "offsets"]
    assert info.parts[0].shape == (18,)


def test_meta_tensors_share_nothing(opened: Open) -> None:
    """They have no bytes that they could share; torch makes each anew."""
    state = {name: torch.empty(3, device="meta") for name in "ab"}
    checkpoint = opened(saved(state))
    assert [info.layout for info in checkpoint] == ["meta", "meta"]
    assert checkpoint.locate(checkpoint["a"].storage) is None
    assert checkpoint.groups() == ()


# --- wrappers ------------------------------------------------------------------------------------

DTENSORS = """
import sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

folder = sys.argv[1]
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
made = distribute_tensor(torch.arange(6.0).reshape(2, 3), mesh, [Shard(0)])
torch.save({"d": made, "t": made.T}, f"{folder}/model.pt")
dist.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
def test_distributed_tensors(tmp_path: Path) -> None:
    """A DTensor has its global shape, and its local shard as its part; the class stays inert."""
    command = [sys.executable, "-W", "ignore", "-c", DTENSORS, str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    checkpoint = paramcli.open(tmp_path / "model.pt")
    shard = checkpoint["d"]
    assert (shard.layout, shard.shape, shard.dtype.name) == ("dtensor", (2, 3), "float32")
    assert [(part.name, part.shape) for part in shard.parts] == [("local_tensor", (2, 3))]
    assert shard.nbytes == 24
    assert checkpoint.read(shard.parts[0].storage) == torch.arange(6.0).numpy().tobytes()
    assert [group.names for group in checkpoint.groups()] == [("d", "t")]
    assert checkpoint.pickle is not None
    assert "torch.distributed.tensor.DTensor" in checkpoint.pickle.inert


def wrapper(state: object, kind: str = "lost.Wrapper") -> Call:
    args = (Name(kind), Name("torch.float32"), (4, 3), (3, 1), 0, "strided", "cpu", False)
    inner = Name("torch._utils._rebuild_wrapper_subclass")
    return Call("torch._tensor._rebuild_from_type_v2", (inner, Name(kind), args, state))


@pytest.mark.parametrize(
    "state",
    [{"_inner": tensor(), "_spec": 3}, ({"_inner": tensor()}, None), (None, {"_inner": tensor()})],
)
def test_wrapper_subclasses(state: object, rebuilt: Callable[..., TensorInfo]) -> None:
    """The state of an object with slots is a pair: its dictionary, and its slots."""
    info = rebuilt(wrapper(state))
    assert (info.layout, info.shape) == ("wrapper", (4, 3))
    assert [part.name for part in info.parts] == ["inner"]
    assert info.nbytes == 24


def test_wrappers_without_parts_share_nothing(opened: Open) -> None:
    checkpoint = opened(torch_zip({"a": wrapper({}), "b": wrapper({})}))
    assert checkpoint.groups() == ()
    assert [info.nbytes for info in checkpoint] == [0, 0]


def test_a_type_around_a_plain_tensor(rebuilt: Callable[..., TensorInfo]) -> None:
    inner = tensor()
    args = (Name(inner.function), Name("lost.Tensor"), inner.args, {"tag": 1})
    info = rebuilt(Call("torch._tensor._rebuild_from_type_v2", args))
    assert (info.layout, info.shape, info.parts) == ("strided", (2, 3), ())


def test_types_around_types_around_types(opened: Open, refused: Refuse) -> None:
    """A few are followed; thousands are refused, not recursed into."""
    function = Name("torch._tensor._rebuild_from_type_v2")
    inner = tensor()
    args: tuple[object, ...] = (Name(inner.function), Name("lost.T"), inner.args, None)
    for _ in range(3):
        args = (function, Name("lost.T"), args, None)
    assert len(opened(torch_zip({"w": Call(function.path, args)}))) == 1
    deep, depth = encode(function), 5_000
    root = Raw(deep + (b"(" + deep + b"N") * depth + b")" + b"Nt" * depth + b"R")
    assert "pickle" in refused(torch_zip({"w": root}))


@pytest.mark.parametrize(
    "function",
    [
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._utils._rebuild_device_tensor_from_numpy",
        "torch._utils._rebuild_xla_tensor",
    ],
)
def test_tensors_of_other_devices(function: str, rebuilt: Callable[..., TensorInfo]) -> None:
    info = rebuilt(Call(function, (tensor(), Name("torch.int32"), "cuda:0", False)))
    assert (info.dtype.name, info.shape) == ("int32", (2, 3))


def test_tensors_by_way_of_numpy_are_no_tensors(opened: Open) -> None:
    """An array of NumPy is none of torch's storages: it stays an inert record."""
    call = Call(
        "torch._utils._rebuild_device_tensor_from_numpy", (Call("numpy.array"), None, "", False)
    )
    assert len(opened(torch_zip({"w": tensor(), "n": call}))) == 1


# --- before PyTorch 0.4 --------------------------------------------------------------------------

VIEW = (storage(), 0, (2, 3), (3, 1))


def old(cls: str = "torch.FloatTensor", state: object = VIEW) -> Built:
    """Make an empty tensor and give it its storage as a state."""
    return Built(Call(cls, (), b"\x81"), state)


@pytest.mark.parametrize("cls", ["torch.FloatTensor", "torch.cuda.FloatTensor", "torch.Tensor"])
def test_empty_tensors_with_a_state(cls: str, opened: Open) -> None:
    """torch.load takes them under weights_only to this day."""
    for root, name in (({"w": old(cls)}, "w"), ({"deep": [old(cls)]}, "deep.0")):
        checkpoint = opened(torch_zip(root))
        assert [(info.name, info.shape) for info in checkpoint] == [(name, (2, 3))]
        if "cuda" not in cls:
            loaded = torch_objects.load(checkpoint.origin, weights_only=True)
            assert [name for name, _ in torch_objects.leaves(loaded)] == [name]


def test_empty_parameters_with_a_state(opened: Open) -> None:
    parameter = old("torch.nn.parameter.Parameter", (old(), True, {}))
    for root in ({"w": parameter}, module({"w": parameter})):
        (info,) = opened(torch_zip(root))
        assert (info.name, info.kind, info.shape) == ("w", "parameter", (2, 3))


def module(parameters: object = (), buffers: object = (), modules: object = ()) -> Built:
    """Make a module of a class that nobody has."""
    state = {
        "_parameters": parameters or {}, "_buffers": buffers or {}, "_modules": modules or {},
        "training": True,
    }  # fmt: skip
    return Built(Call("lost.Net", (), b"\x81"), state)


@pytest.mark.parametrize(
    "state", [(1, 2, 3, 4), (storage(), 0, (7,), (1,)), (storage(), None, (), ())]
)
def test_states_that_do_not_fit(state: object, refused: Refuse) -> None:
    assert refused(torch_zip(module({"w": old(state=state)})))
    assert refused(torch_zip({"w": old(state=state)}))


def test_parameter_that_is_its_own_state(opened: Open) -> None:
    """It means no tensor, and ends."""
    around = Raw(b"ctorch.nn.parameter\nParameter\n)\x81q\x05h\x05\x85b")
    checkpoint = opened(torch_zip(module({"w": around, "v": tensor()})))
    assert [info.name for info in checkpoint] == ["v"]


def test_long_chain_of_parameters(opened: Open) -> None:
    chain: bytes = b"ctorch.nn.parameter\nParameter\n)\x81" * 5_000 + b"N" + b"\x85b" * 5_000
    checkpoint = opened(torch_zip(module({"w": Raw(chain), "v": tensor()})))
    assert [info.name for info in checkpoint] == ["v"]


# --- whole modules -------------------------------------------------------------------------------


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.body = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3, bias=False))
        self.body[2].weight = self.body[0].weight
        self.again = self.norm
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mask", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(9), persistent=False)
        self.register_parameter("absent", None)
        self.plain = torch.ones(7)


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_module_of_a_lost_class(
    opened: Open, monkeypatch: pytest.MonkeyPatch, *, zipped: bool
) -> None:
    """The class cannot be imported where the file is read; its tensors are listed all the same."""
    lost = types.ModuleType("a_module_that_is_gone")
    net_class = type("Net", (_Net,), {"__module__": lost.__name__})
    lost.Net = net_class  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, lost.__name__, lost)
        net = net_class()
        content = saved(net, zipped=zipped)
    checkpoint = opened(content)
    state = net.state_dict(keep_vars=True)
    ours = torch_objects.listed([info._replace(kind="tensor") for info in checkpoint])
    theirs, sharing = torch_objects.described(list(state.items()))
    assert ours == ([fact._replace(kind="tensor") for fact in theirs], sharing)
    assert {info.name: info.kind for info in checkpoint} == {
        name: "parameter" if isinstance(found, nn.Parameter) else "buffer"
        for name, found in state.items()
    }
    assert checkpoint.pickle is not None
    assert f"{lost.__name__}.Net" in checkpoint.pickle.inert


def test_modules_in_a_dictionary(opened: Open) -> None:
    checkpoint = opened(saved({"model": nn.Linear(2, 2), "epoch": 3}))
    assert [(info.name, info.kind) for info in checkpoint] == [
        ("weight", "parameter"), ("bias", "parameter"),
    ]  # fmt: skip
    assert checkpoint.key == "model"


def test_module_within_itself(opened: Open) -> None:
    parameters = encode({"w": Call("torch._utils._rebuild_tensor", VIEW)})
    state = (
        encode("_parameters") + parameters + encode("_modules") + b"}" + encode("me") + b"h\x05s"
    )
    around = Raw(b"clost\nNet\n)\x81q\x05}(" + state + b"ub")
    assert [info.name for info in opened(torch_zip(around))] == ["w"]


# --- everything else that is understood ----------------------------------------------------------


def test_dictionaries_of_every_kind(opened: Open) -> None:
    two = [("a", tensor()), ("b", 2)]
    calls = {
        "OrderedDict of Python 2": Call("collections.OrderedDict", ([list(pair) for pair in two],)),
        "OrderedDict of tuples": Call("collections.OrderedDict", (two,)),
        "defaultdict": Call("collections.defaultdict", (Name("builtins.list"), two)),
        "Counter": Call("collections.Counter", ({"a": tensor(), "b": 2},)),
        "dict": Call("builtins.dict", (two,)),
    }
    for name, call in calls.items():
        checkpoint = opened(torch_zip(call))
        assert [info.name for info in checkpoint] == ["a"], name
        assert checkpoint.values == (("b", 2),), name


@pytest.mark.parametrize("root", ["list", "tuple", "set", "frozenset"])
def test_lists_of_every_kind(root: str, opened: Open) -> None:
    checkpoint = opened(torch_zip(Call(f"builtins.{root}", ([tensor(), 5],))), everything=True)
    assert [info.name for info in checkpoint] == ["0"]


def test_objects_of_protocol_0(opened: Open) -> None:
    """`copy_reg._reconstructor(class, base, state)`: of a dictionary, and of a plain object."""
    dictionary = Call(
        "copy_reg._reconstructor",
        (Name("collections.OrderedDict"), Name("builtins.dict"), {"w": tensor()}),
    )
    assert [info.name for info in opened(torch_zip(dictionary))] == ["w"]
    plain = Call("copy_reg._reconstructor", (Name("lost.Net"), Name("builtins.object"), None))
    net = Built(plain, {"_parameters": {"w": tensor()}, "_buffers": {}, "_modules": {}})
    assert [info.kind for info in opened(torch_zip(net))] == ["parameter"]


def test_bytes_of_protocol_2(opened: Open) -> None:
    root = {"w": tensor(), "x": Call("_codecs.encode", ("caf\xe9", "latin1"))}
    assert opened(torch_zip(root)).values == (("x", b"caf\xe9"),)


def test_sizes(opened: Open) -> None:
    root = {"w": tensor(), "size": Call("torch.Size", ((2, 3),))}
    assert opened(torch_zip(root)).values == (("size", (2, 3)),)


def test_storages_alone_are_no_tensors(opened: Open) -> None:
    assert [info.name for info in opened(torch_zip({"s": storage(), "w": tensor()}))] == ["w"]


ARGUMENTS: list[tuple[object, ...]] = [
    (), (None,), (1, 2), (storage(),), (tensor(),), (tensor(), None), (storage(), 0, 1, 2),
    (storage(), 0, (2,), None, None, None, None), (Name("os.system"), ()), ([1, 2],),
    ("x", "rot13"),
    ("torch.sparse_coo", ()), ("torch.sparse_coo", (tensor(),)), ("torch.sparse_csr", (1, 2, 3, 4)),
    ("torch.sparse_none", (tensor(), tensor(), (2,))), (Name("torch.float32"), None, None),
    (Name("torch.FloatTensor"), (2,), (1,)), ({}, {}, {}, {}), (1.0, "x"),
    (Name("torch._tensor._rebuild_from_type_v2"), Name("x.Y"), (), None), ([[1]],), ([[1, 2, 3]],),
]  # fmt: skip


@pytest.mark.parametrize("function", sorted(BUILDERS))
def test_calls_with_other_arguments(function: str, opened: Open) -> None:
    """Each is refused as a damaged pickle, or means something; nothing else can come of it."""
    for args in ARGUMENTS:
        try:
            opened(torch_zip({"w": Call(function, args)}), everything=True)
        except SourceError as error:
            assert "pickle" in str(error)  # noqa: PT017 - both ways are good


def test_persistent_id_of_a_call(refused: Refuse) -> None:
    assert refused(torch_zip(Persistent(Call("os.system", ("x",)))))


def test_pairs_as_keys(opened: Open) -> None:
    """Two keys that have no text of their own stay two."""
    root = Pairs(
        [((1, 2), tensor()), ((1, 3), tensor()), (b"1", tensor()), (1, tensor()), ("1", tensor())]
    )
    checkpoint = opened(torch_zip(root), everything=True)
    assert len(checkpoint) == 5
    assert len({info.name for info in checkpoint}) == 5


def _is_named(path: str) -> bool:
    """Whether torch has such a thing at all: `torch.QInt8Tensor` never was one."""
    found: object = torch
    for name in path.split(".")[1:]:
        found = getattr(found, name, None)
    return found is not None or not path.startswith("torch.")


@pytest.mark.parametrize("path", sorted(filter(_is_named, UNDERSTOOD)))
def test_what_weights_only_allows(path: str) -> None:
    """What is said to be allowed is on torch's own list, and the other way round."""
    allowed = _get_allowed_globals()
    if re.fullmatch(r"torch\.u?int[1-7]", path) and "torch.int4" not in allowed:
        pytest.skip(f"torch {torch.__version__} did not allow {path} yet")
    assert (path in WEIGHTS_ONLY) == (path in allowed)
