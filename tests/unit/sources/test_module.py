"""A model class is a checkpoint: its names and ties are its state dict's, its code is harmless."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paramcli.errors import ParamcliError, SourceError, UsageError, UserCodeError
from paramcli.sources import Request
from paramcli.sources.module import looks_like_module, open_module
from paramcli.sources.module_tree import survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from paramcli.checkpoint import Checkpoint
    from paramcli.tensors import TensorInfo

    Write = Callable[..., Path]
    Tree = int | list["Tree"]

ROOT = Path(__file__).parents[3]
ON_THE_CPU = ("built on the CPU: its constructor does not run on the meta device",)
HEAD = "import torch\nfrom torch import nn\n"

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{start}")
    for start in ("enable_nested_tensor", "Initializing zero-element", "Sparse C", ".*torch.jit")
]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a file under the current directory, which is a fresh one."""
    monkeypatch.chdir(tmp_path)

    def write(text: str, name: str = "net.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + textwrap.dedent(text))
        return path

    return write


def opened(target: str, **arguments: object) -> Checkpoint:
    """Open a target with keyword arguments for its constructor."""
    return open_module(Request(target, arguments=arguments))


def layers(*lines: str) -> str:
    """Write the class Net, its constructor made of these lines."""
    body = "\n".join(f"        {line}" for line in ("super().__init__()", *lines))
    return f"class Net(nn.Module):\n    def __init__(self):\n{body}\n"


def ties(entries: Iterable[TensorInfo]) -> set[frozenset[str]]:
    """Return the sets of names that have one storage."""
    sets = defaultdict(set)
    for info in entries:
        sets[info.storage].add(info.name)
    return {frozenset(names) for names in sets.values()}


def assert_agrees(entries: Iterable[TensorInfo], module: nn.Module) -> None:
    """Assert that the entries are those of the module's own state dict."""
    state = module.state_dict(keep_vars=True)
    entries = tuple(entries)
    assert [info.name for info in entries] == list(state)
    sets = defaultdict(set)
    for info, tensor in zip(entries, state.values(), strict=True):
        assert info.shape == tuple(tensor.shape)
        assert info.stride == tensor.stride()
        assert info.offset == tensor.storage_offset()
        assert f"torch.{info.dtype.name}" == str(tensor.dtype)
        assert info.kind == ("parameter" if isinstance(tensor, nn.Parameter) else "buffer")
        assert info.storage.nbytes == tensor.untyped_storage().nbytes()
        sets[tensor.untyped_storage()._cdata].add(info.name)
    assert ties(entries) == {frozenset(names) for names in sets.values()}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("pkg.mod:Net", True),
        ("mod:Outer.Net", True),
        ("file.py:Net", True),
        ("../some dir/my-net.py:Net", True),
        ("C:\\models\\net.py:Net", True),
        ("torchvision.models:resnet18", True),
        ("a:b:c", True),  # malformed, and open_module says so
        ("net.py:", True),
        ("net.py", False),
        ("model.pt", False),
        ("dir/model.safetensors", False),
        ("C:\\x", False),
        ("C:/x.pt", False),
        ("https://host/net.py:Net", False),
        ("https://host/x", False),
        ("hf://org/repo", False),
        ("my-net:Net", False),
        (":Net", False),
        ("", False),
    ],
)
def test_looks_like_module(target: str, expected: bool) -> None:  # noqa: FBT001
    """A dotted name or a .py file, a colon, and no path, drive or URL."""
    assert looks_like_module(target) is expected


def test_looking_needs_no_torch() -> None:
    """The module is imported, and answers, where torch is not installed."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from paramcli.sources.module import looks_like_module\n"
        "assert looks_like_module('a:B')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_without_torch_the_hint_is_to_install_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a class is what needs torch."""
    write("")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ParamcliError, match="needs PyTorch") as caught:
        opened("net.py:Net")
    assert caught.value.hint == "pip install torch"


# What it lists


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Linear", {"in_features": 3, "out_features": 2}),
        ("Linear", {"in_features": 3, "out_features": 2, "bias": False}),
        ("Conv3d", {"in_channels": 2, "out_channels": 4, "kernel_size": 3}),
        ("ConvTranspose2d", {"in_channels": 2, "out_channels": 4, "kernel_size": 3}),
        ("BatchNorm2d", {"num_features": 4}),
        ("BatchNorm2d", {"num_features": 4, "affine": False}),
        ("BatchNorm1d", {"num_features": 4, "track_running_stats": False}),
        ("Embedding", {"num_embeddings": 5, "embedding_dim": 3, "padding_idx": 0}),
        ("EmbeddingBag", {"num_embeddings": 5, "embedding_dim": 3}),
        ("LSTM", {"input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True}),
        ("LSTM", {"input_size": 3, "hidden_size": 4, "proj_size": 2}),
        ("GRUCell", {"input_size": 3, "hidden_size": 4}),
        ("MultiheadAttention", {"embed_dim": 8, "num_heads": 2}),
        ("MultiheadAttention", {"embed_dim": 8, "num_heads": 2, "kdim": 4, "add_bias_kv": True}),
        ("Transformer", {"d_model": 8, "nhead": 2, "num_encoder_layers": 2, "dim_feedforward": 4}),
        ("Linear", {"in_features": 3, "out_features": 2, "dtype": torch.bfloat16}),
        ("PReLU", {}),
        ("Bilinear", {"in1_features": 2, "in2_features": 3, "out_features": 4}),
        ("AdaptiveLogSoftmaxWithLoss", {"in_features": 8, "n_classes": 10, "cutoffs": [3, 5]}),
        ("ReLU", {}),
    ],
)
def test_modules_of_torch_agree_with_their_state_dict(
    name: str, arguments: dict[str, object]
) -> None:
    """Names in order, shapes, strides, dtypes, kinds and ties are those of the real thing."""
    found = opened(f"torch.nn:{name}", **arguments)
    assert_agrees(found, getattr(nn, name)(**arguments))
    assert found.notes == ()


@pytest.mark.parametrize(
    "wrapped",
    [
        "nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))",
        "nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))",
        "nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))",
        "nn.utils.spectral_norm(nn.Conv2d(3, 2, 3))",
        "torch.compile(nn.Linear(3, 2))",
        "nn.Sequential(nn.Linear(3, 2), nn.ParameterList([torch.ones(2), torch.ones(3)]))",
        "nn.ParameterDict({'b': torch.ones(2), 'a': torch.ones(3)})",
        "nn.Linear(3, 2).to(memory_format=torch.preserve_format).half()",
        "nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last)",
    ],
)
def test_wrapped_modules_agree_with_their_state_dict(write: Write, wrapped: str) -> None:
    """Parametrizations rename what they hold, and so do wrappers."""
    write(f"def make():\n    return {wrapped}\n")
    assert_agrees(opened("net.py:make"), eval(wrapped))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_instance_agrees_with_its_state_dict(write: Write) -> None:
    """A ScriptModule keeps its tensors in C++."""
    write("net = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))")
    found = opened("net.py:net")
    assert [info.name for info in found][-2:] == ["1.running_var", "1.num_batches_tracked"]
    assert [info.kind for info in found][3:5] == ["parameter", "buffer"]


def test_the_checkpoint_around_the_entries() -> None:
    """Origin is the target, format "module", and there is nothing else."""
    found = opened("torch.nn:Linear", in_features=2, out_features=1)
    assert (found.origin, found.format) == ("torch.nn:Linear", "module")
    assert (found.metadata, found.key, found.problems) == ({}, None, ())
    weight, bias = found
    assert (weight.storage, bias.storage) == (("", 0, 8), ("", 1, 4))


def test_sample_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tied pairs are groups, and the buffer that no state dict has is named."""
    pytest.importorskip("sample_models")
    monkeypatch.chdir(ROOT)
    found = opened("sample_models.tiny_gpt:TinyGPT", layers=1)
    assert [group.names for group in found.groups()] == [("embed.weight", "lm_head.weight")]
    assert found.notes == ("1 non-persistent buffer is not in its state dict: positions",)
    found = opened("sample_models/shared_mlp.py:SharedMLP")
    expected = [("2.weight", "4.weight"), ("2.bias", "4.bias")]
    assert [group.names for group in found.groups()] == expected


def test_non_persistent_buffers_are_counted_and_three_are_named() -> None:
    """They are in no file, so they are not entries."""
    net = nn.Module()
    for name in "abcd":
        net.register_buffer(name, torch.ones(1), persistent=False)
    assert survey(net, values=False)[:2] == (
        (),
        ("4 non-persistent buffers are not in its state dict: a, b, c, …",),
    )


def test_lazy_parameters_are_named_in_a_note(write: Write) -> None:
    """A LazyLinear has no shapes before its first forward; what it does have is listed."""
    write("def make():\n    return nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())")
    found = opened("net.py:make")
    assert [info.name for info in found] == ["1.num_batches_tracked"]
    (note,) = found.notes
    assert note.startswith("6 tensors are left out, having no fixed shape (lazy or nested): ")
    assert note.endswith(": 0.weight, 0.bias, 1.weight, …")


def test_extra_state_is_ignored(write: Write) -> None:
    """It is in the state dict, but as no tensor of the model's."""
    write(layers("self.w = nn.Parameter(torch.ones(2))"))
    with Path("net.py").open("a") as file:
        file.write("    def get_extra_state(self):\n        return torch.ones(3)\n")
    found = opened("net.py:Net")
    assert ([info.name for info in found], found.notes) == (["w"], ())


def test_a_customized_state_dict_is_told(write: Write) -> None:
    """The names are those of the tree; a note says that state_dict() gives others."""
    write(layers("self.w = nn.Parameter(torch.ones(2))"))
    with Path("net.py").open("a") as file:
        file.write("    def state_dict(self, **_):\n        return {}\n")
    found = opened("net.py:Net")
    assert [info.name for info in found] == ["w"]
    assert "customized" in found.notes[0]


def test_a_module_inside_itself_is_left_out() -> None:
    """A cycle, over which state_dict() itself never ends, is cut and named."""
    inner = nn.Sequential()
    net = nn.Sequential(nn.Linear(1, 1), inner)
    inner.append(net)
    entries, notes = survey(net, values=False)[:2]
    assert [info.name for info in entries] == ["0.weight", "0.bias"]
    assert notes == ("1 module is left out, being inside itself: 1.0",)


# What it shares


@pytest.mark.parametrize("cpu", ["", "torch.ones(1).item()"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["w = nn.Parameter(torch.ones(3))", "self.a = self.b = w"], {"a", "b"}),
        (["w = nn.Parameter(torch.ones(3))", "self.a = w", "self.b = nn.Parameter(w.data)"],
         {"a", "b"}),
        (["w = torch.ones(3, 2)", "self.a = nn.Parameter(w)", "self.b = nn.Parameter(w.t())"],
         {"a", "b"}),
        (["w = torch.ones(3)", "self.a = nn.Parameter(w[:2])", "self.b = nn.Parameter(w[1:])"],
         {"a", "b"}),
        (["self.a = nn.Parameter(torch.ones(2))", "self.register_buffer('b', self.a.detach())"],
         {"a", "b"}),
        (["self.e = nn.Embedding(5, 3)", "self.h = nn.Linear(3, 5, bias=False)",
          "self.h.weight = self.e.weight"], {"e.weight", "h.weight"}),
        (["self.a = nn.PReLU()", "self.b = self.a"], {"a.weight", "b.weight"}),
        (["self.a = nn.Parameter(torch.ones(3))",
          "self.b = nn.Parameter(self.a.clone().detach())"], None),
    ],
)  # fmt: skip
def test_ties_are_kept(write: Write, cpu: str, lines: list[str], expected: set[str] | None) -> None:
    """Both names are listed, with one storage, on the meta device as on the CPU."""
    path = write(layers(*lines, cpu))
    found = opened("net.py:Net")
    assert found.notes == (ON_THE_CPU if cpu else ())
    assert [set(group.names) for group in found.groups()] == ([expected] if expected else [])
    space: dict[str, type[nn.Module]] = {}
    exec(path.read_text(), space)
    assert_agrees(found, space["Net"]())


def test_views_keep_stride_and_offset(write: Write) -> None:
    """A slice and a transpose say where in the shared storage they lie."""
    write(
        layers(
            "w = torch.ones(3, 4)", "self.a = nn.Parameter(w[1:])", "self.b = nn.Parameter(w.t())"
        )
    )
    a, b = opened("net.py:Net")
    assert (a.shape, a.stride, a.offset) == ((2, 4), (4, 1), 4)
    assert (b.shape, b.stride, b.offset) == ((4, 3), (1, 4), 0)
    assert a.storage == b.storage == ("", 0, 48)


@given(st.recursive(st.integers(0, 4), lambda inside: st.lists(inside, max_size=4), max_leaves=12))
@settings(deadline=None)
def test_any_tree_of_shared_modules_agrees(shape: Tree) -> None:
    """Leaves drawn from a small pool, so that many stand in several places."""
    pool = [nn.Linear(2, 2), nn.BatchNorm1d(2), nn.PReLU(), nn.ReLU(), nn.Linear(2, 2, bias=False)]
    pool[4].weight = pool[0].weight

    def grow(shape: Tree) -> nn.Module:
        return pool[shape] if isinstance(shape, int) else nn.Sequential(*map(grow, shape))

    module = grow(shape)
    entries, notes = survey(module, values=False)[:2]
    assert_agrees(entries, module)
    assert notes == ()


def test_two_views_of_one_array_are_tied() -> None:
    """Each has a storage object of its own, over the same memory."""
    array = torch.ones(2).numpy()
    net = nn.Module()
    net.a, net.b = (nn.Parameter(torch.from_numpy(array)) for _ in range(2))
    entries, _ = survey(net, values=False)[:2]
    assert ties(entries) == {frozenset("ab")}


# Tensors that are not plain


def test_sparse_parameters_have_parts() -> None:
    """A sparse tensor has no storage of its own; its indices and values have."""
    net = nn.Module()
    net.register_buffer("coo", torch.eye(3).to_sparse())
    net.register_buffer("csr", torch.eye(3).to_sparse_csr())
    net.register_buffer("csc", torch.eye(3).to_sparse_csc())
    (coo, csr, csc), _ = survey(net, values=False)[:2]
    assert (coo.layout, coo.shape, coo.stride) == ("sparse_coo", (3, 3), (3, 1))
    assert [(part.name, part.shape) for part in coo.parts] == [
        ("indices", (2, 3)),
        ("values", (3,)),
    ]
    assert [part.name for part in csr.parts] == ["compressed_indices", "plain_indices", "values"]
    assert csc.layout == "sparse_csc"
    assert coo.nbytes == 2 * 3 * 8 + 3 * 4
    assert len({coo.storage, csr.storage, csc.storage}) == 3


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_odd_tensors_do_not_crash() -> None:
    """Quantized, nested and wrapped tensors are described as far as they go."""
    from torch.testing._internal.two_tensor import TwoTensor

    two_tensor = TwoTensor(torch.ones(2), torch.ones(2))  # type: ignore[no-untyped-call]
    net = nn.Module()
    net.register_buffer("q", torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8))
    net.register_buffer("n", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))
    net.register_buffer(
        "j", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
    )
    net.two = net.again = nn.Parameter(two_tensor)
    net.register_buffer("m", torch.ones(2).to_mkldnn())
    entries, notes = survey(net, values=False)[:2]
    two, again, quantized, opaque = entries
    assert (quantized.layout, quantized.dtype.name, quantized.nbytes) == ("quantized", "qint8", 4)
    assert (two.layout, [part.name for part in two.parts], two.nbytes) == (
        "wrapper",
        ["a", "b"],
        16,
    )
    assert two.storage == again.storage
    assert opaque.shape == (2,)
    assert "no fixed shape (lazy or nested): n, j" in notes[0]


def test_a_storage_without_an_address_is_told_apart() -> None:
    """A wrapper that hides what it wraps looks strided, but its memory must not be asked for."""

    class Opaque(torch.Tensor):
        def __new__(cls, size: int) -> Self:
            made: Self = torch.Tensor._make_wrapper_subclass(cls, (size,), dtype=torch.int8)
            return made

        @classmethod
        def __torch_dispatch__(cls, *_: object) -> Self:
            return cls(2)

    net = nn.Module()
    net.register_buffer("a", Opaque(2))
    net.register_buffer("b", Opaque(2))
    (a, b), _ = survey(net, values=False)[:2]
    assert (a.shape, a.dtype.name) == ((2,), "int8")
    assert a.storage != b.storage


# How it is built


def test_nothing_is_allocated_or_drawn(write: Write) -> None:
    """A model of 40 GB is listed at once."""
    write(layers("self.a = nn.Linear(100_000, 100_000)"))
    start = time.perf_counter()
    found = opened("net.py:Net")
    assert time.perf_counter() - start < 2
    assert found["a.weight"].nbytes == 40_000_000_000
    assert found.notes == ()


@pytest.mark.parametrize("name", ["orthogonal_", "sparse_", "trunc_normal_", "eye_", "dirac_"])
def test_init_functions_touch_nothing_while_building(write: Write, name: str) -> None:
    """They return their tensor, and are themselves again afterwards."""
    before = getattr(nn.init, name)
    write(layers(
        "self.a = nn.Parameter(torch.empty(4, 4, 4))",
        f"assert nn.init.{name}(tensor=self.a) is self.a",
        f"assert nn.init.{name}(self.a, 0.5) is self.a",
        "assert self.a.is_meta",
    ))  # fmt: skip
    assert opened("net.py:Net").notes == ()
    assert getattr(nn.init, name) is before


@pytest.mark.parametrize(
    "line",
    [
        "[nn.Dropout(p) for p in torch.linspace(0, 0.5, 3).tolist()]",
        "torch.ones(1).item()",
        "torch.ones(2).numpy()",
        "assert torch.ones(2).sum() > 1",
        "__import__('sys').exit(3) if torch.ones(1).is_meta else None",
    ],
)
def test_a_constructor_that_reads_values_is_built_on_the_cpu(write: Write, line: str) -> None:
    """What does not run on the meta device runs where it was written for, and a note says so."""
    write(layers(line, "self.a = nn.Linear(2, 1)"))
    found = opened("net.py:Net")
    assert [info.name for info in found] == ["a.weight", "a.bias"]
    assert found.notes == ON_THE_CPU


def test_a_class_a_factory_and_an_instance_are_the_same(write: Write) -> None:
    """So is a class inside another, a factory that is no function, and an instance's part."""
    write("""
        import functools
        class Outer:
            class Net(nn.Sequential):
                def __init__(self, width=2):
                    super().__init__(nn.Linear(width, 1))
        def make(width=2): return Outer.Net(width)
        partial = functools.partial(make, width=2)
        net = Outer.Net()
        whole = nn.ModuleDict({"part": net})
    """)
    found = [opened(f"net.py:{name}") for name in ("Outer.Net", "make", "partial", "net")]
    found += [opened("net:Outer.Net"), opened("net:whole.part")]
    assert {checkpoint.entries for checkpoint in found} == {found[0].entries}
    assert opened("net.py:make", width=7)["0.weight"].shape == (1, 7)


# Where the code is found


def test_current_directory_is_importable(write: Write) -> None:
    """As a module and as a package, and sys.path is left as it was."""
    write(layers(), "pkg/deep.py")
    write(layers())
    path = list(sys.path)
    assert opened("net:Net").format == opened("pkg.deep:Net").format == "module"
    assert sys.path == path


def test_a_file_imports_its_neighbours(write: Write) -> None:
    """From its own folder first, also while its constructor runs, and from the current one."""
    write("WIDTH = 3", "elsewhere/sizes.py")
    write("DEPTH = 2", "late.py")
    write("DEPTH = 4", "elsewhere/late.py")
    write("HEIGHT = 5", "here.py")
    write(
        "import here, sizes\n"
        + layers("import late", "self.a = nn.Linear(sizes.WIDTH, late.DEPTH * here.HEIGHT)"),
        "elsewhere/my-net.py",
    )
    assert opened("elsewhere/my-net.py:Net")["a.weight"].shape == (20, 3)


def test_a_file_of_a_package_has_relative_imports(write: Write) -> None:
    """It is imported as the package's module, from wherever."""
    write("WIDTH = 3", "src/bundle/sizes.py")
    write("", "src/bundle/__init__.py")
    write("", "src/bundle/inner/__init__.py")
    write("from ..sizes import WIDTH\n" + layers("self.a = nn.Linear(WIDTH, 1)"),
          "src/bundle/inner/net.py")  # fmt: skip
    write("from .sizes import WIDTH\n" + layers(), "src/other/__init__.py")
    write("WIDTH = 1", "src/other/sizes.py")
    assert opened("src/bundle/inner/net.py:Net")["a.weight"].shape == (1, 3)
    assert sys.modules["bundle.inner.net"].__package__ == "bundle.inner"
    assert opened("src/other/__init__.py:Net").entries == ()


def test_two_files_of_one_name_each_have_their_own_neighbours(write: Write) -> None:
    """The old and the new version of a model can be compared."""
    for width, folder in enumerate(("old", "new", "."), 1):
        write(f"WIDTH = {width}", f"{folder}/blocks.py")
        write("import blocks\n" + layers("self.a = nn.Linear(blocks.WIDTH, 1)"), f"{folder}/net.py")
    for width, folder in ((1, "old"), (2, "new"), (3, "."), (1, "old")):
        assert opened(f"{folder}/net.py:Net")["a.weight"].shape == (1, width)


def test_a_file_is_imported_once(write: Write) -> None:
    """Two classes of one file share its import: registering an operator twice fails."""
    path = write("print('imported')\nclass A(nn.Module): pass\nclass B(nn.Module): pass")
    opened("net.py:A")
    module = sys.modules["net"]
    opened(f"{path}:B")
    assert sys.modules["net"] is module


@pytest.mark.parametrize("name", ["json.py", "torch.py", "__main__.py", "net.v2.py", "2net.py"])
def test_a_file_may_have_the_name_of_something_else(write: Write, name: str) -> None:
    """It does not take the place of what has the name already."""
    before = {key: sys.modules.get(key) for key in ("json", "torch", "__main__")}
    write(layers("self.a = nn.Linear(1, 1)"), name)
    assert len(opened(f"{name}:Net")) == 2
    assert {key: sys.modules.get(key) for key in before} == before


def test_a_package_may_not(write: Write) -> None:
    """Its files cannot be imported under a name that is taken."""
    write("", "json/__init__.py")
    write(layers(), "json/decoder.py")
    with pytest.raises(SourceError, match=r"cannot be imported as json\.decoder"):
        opened("json/decoder.py:Net")


# What goes wrong


def test_prints_go_to_stderr(write: Write, capfd: pytest.CaptureFixture[str]) -> None:
    """At import and while building; from Python, from C and from a child process."""
    lines = ("print('built')", "import os", "os.write(1, b'raw')", "os.system('echo child')")
    write("print('imported')\n" + layers(*lines))
    opened("net.py:Net")
    sys.stdout.write("ours\n")
    out, err = capfd.readouterr()
    assert out == "ours\n"
    assert all(word in err for word in ("imported", "built", "raw", "child"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raise ValueError('odd\\n  width')", r"ValueError: odd width \(net\.py:6\)"),
        ("raise ValueError", r"ValueError \(net\.py:6\)"),
        ("import sys; sys.exit(3)", r"SystemExit: 3 \(net\.py:6\)"),
        ("import sys; sys.exit()", r"SystemExit \(net\.py:6\)"),
        ("nn.Conv2d(3, 2, 3, groups=2)", r"ValueError: in_channels must be .* \(net\.py:6\)"),
        ("import wordless", r"ModuleNotFoundError: No module named 'wordless' \(net\.py:6\)"),
    ],
)
def test_a_constructor_that_fails(write: Write, line: str, message: str) -> None:
    """One line says what, why and where in the user's file; the cause is kept."""
    write(layers(line))
    with pytest.raises(UserCodeError, match=f"^net.py:Net: building it raised {message}$") as e:
        opened("net.py:Net")
    assert e.value.__cause__ is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no')", r"RuntimeError: no \(net\.py:3\)"),
        ("import sys\nsys.exit('bye')", r"SystemExit: bye \(net\.py:4\)"),
        ("def (", r"SyntaxError: .* \(net\.py:3\)"),
        ("import broken", r"SyntaxError: .* \(broken\.py:3\)"),
        ("import wordless", r"ModuleNotFoundError: No module named 'wordless' \(net\.py:3\)"),
        ("from torch import nothing", r"ImportError: cannot import .* \(net\.py:3\)"),
    ],
)
@pytest.mark.parametrize("target", ["net.py:Net", "net:Net"])
def test_an_import_that_fails(write: Write, target: str, text: str, message: str) -> None:
    """So does one at import, and the broken module does not stay."""
    write("def (", "broken.py")
    write(text)
    with pytest.raises(UserCodeError, match=f"^{target}: importing it raised {message}$"):
        opened(target)
    assert "net" not in sys.modules


def test_ctrl_c_passes(write: Write) -> None:
    """It is not the user's code that failed."""
    write(layers("raise KeyboardInterrupt"))
    path = list(sys.path)
    with pytest.raises(KeyboardInterrupt):
        opened("net.py:Net")
    assert sys.path == path


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        ("a:b:c", "malformed", "write pkg.mod:Net or path/to/file.py:Net"),
        ("net.py:", "names no class", "write pkg.mod:Net or path/to/file.py:Net"),
        ("net.py:Net.", "malformed", "write pkg.mod:Net or path/to/file.py:Net"),
        (":Net", "malformed", "write pkg.mod:Net or path/to/file.py:Net"),
        ("nett.py:Net", "nett.py: no such file", "did you mean net.py?"),
        ("wordless:Net", "no module named 'wordless'", "it is looked for in the current directory"),
        ("net.sub:Net", "no module named 'net.sub'", "it is looked for in the current directory"),
        ("net.py:LENET", "the module has no attribute 'LENET'", "did you mean LeNet?"),
        ("net.py:make_lent", "no attribute 'make_lent'", "did you mean make_lenet?"),
        ("net:Quite", "the module has no attribute 'Quite'", "it has LeNet, make_lenet"),
        ("net:Config.Net", "the object has no attribute 'Net'", None),
        ("torch.nn:Liner", "no attribute 'Liner'", "did you mean Linear?"),
        ("net:Config", "net:Config is the class Config, not a torch.nn.Module", "name a subclass"),
        ("net:SIZE", "net:SIZE is int, not a torch.nn.Module", "name a subclass"),
        ("net:wrong", "net:wrong returned dict, not a torch.nn.Module", "name a subclass"),
        ("net:LeNet", "net:LeNet needs the argument hidden, depth",
         "give it as --arg hidden=… --arg depth=…"),
    ],
)  # fmt: skip
def test_wrong_targets(write: Write, target: str, message: str, hint: str | None) -> None:
    """Each says what is wrong, and what to write instead."""
    write("""
        SIZE = 3
        class Config: pass
        class LeNet(nn.Module):
            def __init__(self, hidden, *, depth, bias=True): super().__init__()
        def make_lenet(): return LeNet(1, depth=1)
        def wrong(): return {}
    """)
    with pytest.raises(ParamcliError) as caught:
        opened(target)
    assert message in str(caught.value)
    assert (caught.value.hint or "").startswith(hint or "")
    assert not isinstance(caught.value, UserCodeError)


def test_wrong_arguments(write: Write) -> None:
    """Names are compared with the signature before anything runs."""
    write("""
        class Net(nn.Module):
            def __init__(self, hidden=3, bias=True): super().__init__()
        def loose(**sizes): return Net(**sizes)
        net = Net()
    """)
    with pytest.raises(UsageError, match="does not take the argument hiden") as caught:
        opened("net.py:Net", hiden=1)
    assert caught.value.hint == "it takes hidden, bias"
    with pytest.raises(UserCodeError, match=r"TypeError: .*unexpected .* 'hiden'.* \(net\.py:6\)"):
        opened("net.py:loose", hiden=1)
    with pytest.raises(UsageError, match="already built"):
        opened("net.py:net", hidden=1)
    assert opened("net.py:loose", hidden=1).entries == ()
