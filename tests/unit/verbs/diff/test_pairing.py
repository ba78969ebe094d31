"""Names that mean the same tensor are found by prefix, by rule and by bytes, and never guessed."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import paramcli
from paramcli.checkpoint import Checkpoint
from paramcli.content.samples import Sampler
from paramcli.errors import PatternError, UsageError
from paramcli.numeric import turned
from paramcli.tensors import DTYPES, Storage, TensorInfo
from paramcli.verbs.diff import DiffReport, Options, diff
from paramcli.verbs.diff import turned as transposes
from paramcli.verbs.diff.names import parse_rename
from tests.handmade import safetensors, written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from paramcli.content.places import Stretch

    Shapes = Mapping[str, tuple[int, ...]]


def shapes(names: Shapes) -> Checkpoint:
    """Make a checkpoint of names and shapes alone."""
    entries = tuple(
        TensorInfo(name, DTYPES["float32"], shape, (1,) * len(shape), 0, Storage("", name, 0))
        for name, shape in names.items()
    )
    return Checkpoint(origin="made", format="module", entries=entries)


def renames(report: DiffReport) -> dict[str, str]:
    return {one.a: one.b for one in report.renamed}


GPT = {
    f"transformer.h.{i}.{name}": shape
    for i in range(3)
    for name, shape in {
        "ln_1.weight": (8,), "ln_1.bias": (8,), "ln_2.weight": (8,), "ln_2.bias": (8,),
        "attn.c_attn.weight": (24, 8), "attn.c_attn.bias": (24,),
        "attn.c_proj.weight": (8, 8), "mlp.c_fc.weight": (32, 8), "mlp.c_fc.bias": (32,),
        "mlp.c_proj.weight": (8, 32),
    }.items()
} | {"transformer.wte.weight": (100, 8), "transformer.wpe.weight": (64, 8)}  # fmt: skip

TO_LLAMA = {
    "transformer.h": "model.layers", "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm",
    "attn.c_attn": "self_attn.qkv", "attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj", "transformer.wte": "model.embed_tokens",
    "transformer.wpe": "model.positions",
}  # fmt: skip


def llama(name: str) -> str:
    for old, new in TO_LLAMA.items():
        name = name.replace(old, new)
    return name


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model.", "a.b.c.", "x."]
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_any_prefix_that_makes_the_rest_match(prefix: str, side: str) -> None:
    longer = {prefix + name: shape for name, shape in GPT.items()}
    a, b = map(shapes, (longer, GPT) if side == "a" else (GPT, longer))
    report = diff(a, b)
    assert len(report.renamed) == len(GPT)
    assert {one.by for one in report.renamed} == {"prefix"}
    assert not report.only_a
    assert not report.only_b
    assert not report.same
    assert report.cause is not None
    assert report.cause.text.startswith(f"all {len(GPT)} names match after")
    assert report.cause.option is not None
    option = report.cause.option.removeprefix("--rename '").removesuffix("'")
    again = diff(a, b, Options(renames=[parse_rename(option)]))
    assert again.same, "the option that is advised does what it says"


def test_a_prefix_holds_where_a_shape_differs() -> None:
    other = {f"module.{name}": shape for name, shape in GPT.items()}
    other["module.transformer.wte.weight"] = (101, 8)
    report = diff(shapes(GPT), shapes(other))
    assert len(report.renamed) == len(GPT)
    assert [one.name for one in report.shape] == ["transformer.wte.weight"]


def test_two_prefixes_that_explain_as_much_are_not_chosen_from() -> None:
    a = {"x.w": (3,), "x.v": (4,), "y.w": (3,), "y.v": (4,)}
    report = diff(shapes(a), shapes({"w": (3,), "v": (4,)}))
    assert not report.renamed
    assert len(report.only_a) == 4


def test_wrappers_in_the_middle_of_names() -> None:
    wrapped = {
        name.replace(".attn", "._checkpoint_wrapped_module.attn"): shape
        for name, shape in GPT.items()
    }
    report = diff(shapes(wrapped), shapes(GPT))
    assert len(report.renamed) == 9
    assert not report.only_a
    assert not report.only_b


def test_rules_are_learned_from_shapes() -> None:
    other = {llama(name): shape for name, shape in GPT.items()}
    report = diff(shapes(GPT), shapes(other))
    found = renames(report)
    assert found == {name: llama(name) for name in GPT if ".ln_" not in name}
    assert {one.by for one in report.renamed} == {"rewrite"}
    # Which norm is which, shapes do not tell, and nothing is guessed.
    open_ = {name for one in report.ambiguous for name in one.a}
    assert open_ == {
        f"transformer.h.0.ln_{i}.{what}" for i in (1, 2) for what in ("weight", "bias")
    }
    assert all(".ln_" in name for name in report.only_a)


def saved(path: Path, state: Mapping[str, torch.Tensor]) -> Checkpoint:
    save_file(dict(state), path)
    return paramcli.open(path)


def tensors(names: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in names.items()}


def test_bytes_settle_what_shapes_leave_open(tmp_path: Path) -> None:
    state = tensors(GPT)
    other = {llama(name): tensor for name, tensor in state.items()}
    report = diff(saved(tmp_path / "a", state), saved(tmp_path / "b", other))
    assert renames(report) == {name: llama(name) for name in GPT}
    assert not report.ambiguous
    assert not report.values
    assert report.equal == len(GPT)
    assert report.cause is not None
    assert report.cause.option is not None
    texts = report.cause.option.removeprefix("--rename '").removesuffix("'").split("' --rename '")
    again = diff(
        saved(tmp_path / "a", state), saved(tmp_path / "b", other),
        Options(renames=[parse_rename(text) for text in texts]),
    )  # fmt: skip
    assert again.same


def test_rules_hold_for_what_was_fine_tuned(tmp_path: Path) -> None:
    state = tensors(GPT)
    other = {llama(name): tensor + 0.01 for name, tensor in state.items()}
    report = diff(saved(tmp_path / "a", state), saved(tmp_path / "b", other))
    assert renames(report) == {name: llama(name) for name in GPT if ".ln_" not in name}
    assert {one.name for one in report.values} == set(renames(report))


def test_what_was_replaced_is_not_renamed(tmp_path: Path) -> None:
    """A head of the same shape with other numbers is another head."""
    body = {"body.weight": (5, 5), "body.bias": (5,)}
    a = tensors(body | {"fc.weight": (3, 5), "fc.bias": (3,)})
    b = {name: a[name] for name in body} | tensors({"cls.weight": (3, 5), "cls.bias": (3,)}, 1)
    report = diff(saved(tmp_path / "a", a), saved(tmp_path / "b", b))
    assert not report.renamed
    assert set(report.only_a) == {"fc.weight", "fc.bias"}
    assert set(report.only_b) == {"cls.weight", "cls.bias"}


def test_moves_by_bytes(tmp_path: Path) -> None:
    state = tensors({"one": (40,), "two": (40,)})
    moved = {"alpha": state["two"], "beta": state["one"]}
    report = diff(saved(tmp_path / "a", state), saved(tmp_path / "b", moved))
    assert renames(report) == {"one": "beta", "two": "alpha"}
    assert {one.by for one in report.renamed} == {"bytes"}


def test_equals_are_ambiguous(tmp_path: Path) -> None:
    twin = torch.arange(50.0)
    a = {"one": twin, "two": twin.clone()}
    b = {"alpha": twin.clone(), "beta": twin.clone()}
    report = diff(saved(tmp_path / "a", a), saved(tmp_path / "b", b))
    assert not report.renamed
    (one,) = report.ambiguous
    assert set(one.a) == {"one", "two"}
    assert set(one.b) == {"alpha", "beta"}
    assert len(report.only_a) == len(report.only_b) == 2


def test_zeros_prove_nothing(tmp_path: Path) -> None:
    a, b = {"one.bias": torch.zeros(9)}, {"two.bias": torch.zeros(9)}
    report = diff(saved(tmp_path / "a", a), saved(tmp_path / "b", b))
    assert not report.renamed
    assert report.only_a == ("one.bias",)


@pytest.mark.parametrize(
    ("old", "new"),
    [("blocks", "blocks.layer"), ("blocks", "model.h"), ("w", "inner.w"), ("w", "x")],
)
def test_the_option_that_is_named_does_it(old: str, new: str, tmp_path: Path) -> None:
    state = tensors({f"blocks.{layer}.{part}.w": (4, 4) for layer in range(3) for part in "qk"})
    a = saved(tmp_path / "a", state)
    renamed = {name.replace(old, new): weight for name, weight in state.items()}
    b = saved(tmp_path / "b", renamed)
    cause = diff(a, b).cause
    assert cause is not None
    assert cause.option is not None
    words = shlex.split(cause.option)
    assert set(words[::2]) == {"--rename"}
    assert diff(a, b, Options(renames=[*map(parse_rename, words[1::2])])).same


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("split", ["a", "b"])
def test_stacked_tensors(tmp_path: Path, axis: int, split: str) -> None:
    parts = tensors({"q": (6, 8), "k": (6, 8), "v": (6, 8)})
    whole = {"qkv": torch.cat(list(parts.values()), axis)}
    sides = (parts, whole) if split == "a" else (whole, parts)
    a, b = (saved(tmp_path / name, side) for name, side in zip("ab", sides, strict=True))
    report = diff(a, b)
    (one,) = report.fused
    assert (one.whole, one.parts, one.axis) == ("qkv", ("q", "k", "v"), axis)
    assert not report.only_a
    assert not report.only_b
    assert not report.same


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("split", ["a", "b"])
@pytest.mark.parametrize("length", [6, 90])
def test_stacked_transposes(tmp_path: Path, axis: int, split: str, length: int) -> None:
    """As GPT-2's `c_attn` is of the weights of three linear layers."""
    parts = tensors({"q": (6, length), "k": (6, length), "v": (6, length)})
    whole = {"qkv": torch.cat([part.T for part in parts.values()], axis)}
    sides = (parts, whole) if split == "a" else (whole, parts)
    a, b = (saved(tmp_path / name, side) for name, side in zip("ab", sides, strict=True))
    report = diff(a, b)
    (one,) = report.fused
    assert (one.whole, one.parts, one.axis) == ("qkv", ("q", "k", "v"), axis)
    assert one.transposed
    assert not report.only_a
    assert not report.only_b
    whole["qkv"][-1, -1] += 1
    worse = saved(tmp_path / "worse", whole)
    assert not (diff(a, worse) if split == "a" else diff(worse, b)).fused


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int8, torch.float64])
def test_stacks_of_any_type(tmp_path: Path, kind: torch.dtype) -> None:
    parts = [(torch.randn(5, 70) * 50).to(kind) for _ in range(3)]
    a = saved(tmp_path / "a", dict(zip("qkv", parts, strict=True)))
    report = diff(a, saved(tmp_path / "b", {"w": torch.cat([part.T for part in parts], 1)}))
    assert [one.parts for one in report.fused] == [("q", "k", "v")]


@pytest.mark.parametrize(("name", "bits"), [("F4", 4), ("F6_E3M2", 6), ("F8_E5M2", 8)])
def test_stacks_of_narrow_types(name: str, bits: int, tmp_path: Path) -> None:
    """Elements that share a byte are not turned; stacked as they lie they are found."""
    generator = torch.Generator().manual_seed(1)
    size = 8 * 16 * bits // 8
    parts = [
        torch.randint(256, (size,), generator=generator).to(torch.uint8).numpy().tobytes()
        for _ in range(3)
    ]

    def stored(path: Path, shapes: dict[str, list[int]]) -> Checkpoint:
        header: dict[str, object] = {}
        at = 0
        for key, shape in shapes.items():
            end = at + shape[0] * shape[1] * bits // 8
            header[key] = {"dtype": name, "shape": shape, "data_offsets": [at, end]}
            at = end
        content = safetensors(json.dumps(header), b"".join(parts))
        return paramcli.open(written(path, content))

    a = stored(tmp_path / "a", {"q": [8, 16], "k": [8, 16], "v": [8, 16]})
    b = stored(tmp_path / "b", {"qkv": [24, 16]})
    (one,) = diff(a, b).fused
    assert (one.parts, one.axis, one.transposed) == (("q", "k", "v"), 0, False)
    other = stored(tmp_path / "c", {"other": [16, 24]})
    assert not diff(a, other).fused


def test_many_unmatched_tensors_are_read_a_few_times_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each that they could be paired with."""
    reads: list[int] = []
    read = Sampler.read

    def counted(self: Sampler, place: Stretch, start: int, size: int) -> bytes:
        reads.append(size)
        return read(self, place, start, size)

    monkeypatch.setattr(Sampler, "read", counted)
    a = saved(tmp_path / "a", {f"a{number}.x": torch.randn(6, 6) for number in range(300)})
    b = saved(tmp_path / "b", {f"b{number}.y": torch.randn(6, 6) for number in range(300)})
    report = diff(a, b)
    assert (len(report.only_a), len(report.only_b)) == (300, 300)
    assert 0 < len(reads) < 20 * 600


def test_a_transpose_under_another_name(tmp_path: Path) -> None:
    state = tensors({"w": (6, 8), "square": (7, 7)})
    other = {"kernel": state["w"].T.contiguous(), "square": state["square"].T.contiguous()}
    report = diff(saved(tmp_path / "a", state), saved(tmp_path / "b", other))
    assert set(report.transposed) == {("w", "kernel"), ("square", "square")}
    assert [one.name for one in report.values] == ["square"]
    named = {f"module.{name}": weight for name, weight in other.items()}
    report = diff(saved(tmp_path / "a", state), saved(tmp_path / "c", named))
    assert set(report.transposed) == {("w", "module.kernel"), ("square", "module.square")}


def test_matrices_alike_at_first_are_told_apart(tmp_path: Path) -> None:
    """Each of several with one first row finds its own; where two of them are one, none does."""
    weights = [torch.randn(9, 80) for _ in range(3)]
    for weight in weights[1:]:
        weight[0] = weights[0][0]
    a = {f"a{number}": weight for number, weight in enumerate(weights)}
    b = {f"b{number}": weight.T.contiguous() for number, weight in enumerate(weights)}
    report = diff(saved(tmp_path / "a", a), saved(tmp_path / "b", b))
    assert report.transposed == (("a0", "b0"), ("a1", "b1"), ("a2", "b2"))
    twice = b | {"b3": b["b2"].clone()}
    report = diff(saved(tmp_path / "a", a), saved(tmp_path / "c", twice))
    assert report.transposed == (("a0", "b0"), ("a1", "b1"))


def test_a_transpose_is_proven_tile_by_tile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its size does not matter; and the last element counts."""
    monkeypatch.setattr(transposes, "_MOST_READ", 300)
    monkeypatch.setattr(turned, "_LINE", 16)
    weight = torch.randn(9, 90)
    other = weight.T.contiguous()
    a, b = saved(tmp_path / "a", {"w": weight}), saved(tmp_path / "b", {"kernel": other})
    assert diff(a, b).transposed == (("w", "kernel"),)
    other[-1, -1] += 1
    assert not diff(a, saved(tmp_path / "c", {"kernel": other})).transposed


def test_absent_but_tied_is_a_matter_of_ties(tmp_path: Path) -> None:
    weight = torch.randn(5, 3)
    torch.save({"embed": weight, "head": weight, "other": torch.ones(2)}, tmp_path / "a.pt")
    b = saved(tmp_path / "b", {"embed": weight, "other": torch.ones(2)})
    report = diff(paramcli.open(tmp_path / "a.pt"), b)
    assert not report.only_a
    assert report.ties.only_a == (("embed", "head"),)
    assert not report.same
    assert diff(paramcli.open(tmp_path / "a.pt"), b, Options(ignore_ties=True)).same


def test_ties_are_compared_by_what_b_calls_them(tmp_path: Path) -> None:
    weight = torch.randn(5, 3)
    torch.save({"module.x": weight, "module.y": weight, "module.z": torch.ones(4)}, tmp_path / "a")
    torch.save({"x": weight, "y": weight, "z": torch.ones(4)}, tmp_path / "b")
    report = diff(paramcli.open(tmp_path / "a"), paramcli.open(tmp_path / "b"))
    assert len(report.renamed) == 3
    assert not report.ties.only_a
    assert not report.ties.only_b


@pytest.mark.parametrize(
    ("text", "name", "new"),
    [
        ("module.=", "module.fc.module.weight", "fc.module.weight"),
        ("module.=", "modules.fc", "modules.fc"),
        ("=model.", "fc.weight", "model.fc.weight"),
        ("=model", "fc.weight", "model.fc.weight"),
        ("a.=b.", "a.w", "b.w"),
        ("h=layers", "t.h.0.h.w", "t.layers.0.layers.w"),
        ("t.h=m.layers", "t.h.0.w", "m.layers.0.w"),
        ("h=layers", "th.h0.w", "th.h0.w"),
        ("wrapped=", "a.wrapped.b.wrapped", "a.b"),
        (r"/^blocks\.(\d+)/=layer.\1", "blocks.3.w", "layer.3.w"),
        ("a=b", "a", "b"),
    ],
)
def test_rename(text: str, name: str, new: str) -> None:
    assert parse_rename(text)(name) == new


@pytest.mark.parametrize("text", ["", "=", "abc", "/abc/", "/a/b"])
def test_malformed_rename(text: str) -> None:
    with pytest.raises(UsageError, match="--rename"):
        parse_rename(text)


def test_malformed_expression_has_a_caret() -> None:
    with pytest.raises(PatternError) as caught:
        parse_rename("/a(b/=c")
    assert caught.value.position == 2


def test_two_names_made_one() -> None:
    with pytest.raises(UsageError, match="one name of"):
        diff(
            shapes({"a.w": (1,), "b.w": (1,)}),
            shapes({}),
            Options(renames=[parse_rename("/^../=")]),
        )


@pytest.fixture
def many() -> Callable[[str], Checkpoint]:
    return lambda stem: shapes({f"{stem}.{i}.p{i % 7}": (i % 5,) for i in range(2000)})


def test_thousands_of_unmatched_names_are_no_trouble(many: Callable[[str], Checkpoint]) -> None:
    report = diff(many("left"), many("right"))
    assert len(report.renamed) + len(report.only_a) == 2000


@given(
    st.lists(st.text("ab.01", max_size=8), unique=True),
    st.lists(st.text("ab.01", max_size=8), unique=True),
)
def test_every_name_is_accounted_for_once(left: list[str], right: list[str]) -> None:
    a = shapes({name: (len(name),) for name in left})
    b = shapes({name: (len(name),) for name in right})
    report = diff(a, b)
    pairs = report.not_compared + len(report.shape)
    empty = sum(not name for name in left if name in right)
    assert len(report.only_a) + pairs + report.equal == len(left)
    assert len(report.only_b) + pairs + report.equal == len(right)
    assert report.equal >= empty
