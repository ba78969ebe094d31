"""`show`: a module's own state dict, patterns, statistics as IEEE 754 has them, the file itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import paramcli
from paramcli.checkpoint import Checkpoint, Tree
from paramcli.errors import PatternError, SourceError, UsageError
from paramcli.sources import Request, open_request
from paramcli.verbs.show import Finite, check_finite, show_file, show_tensors
from sample_models.tiny_gpt import TinyGPT
from tests import sample_files, torch_objects
from tests.unit.numeric.reference import (
    array_file,
    in_memory,
    numbers_of,
    quantized,
    safetensors,
    saved,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paramcli.verbs.show import Shown, ShowReport, Stats

FILES = Path(__file__).parents[3] / "sample_models" / "files"
NAN, INF = math.nan, math.inf


class Net(nn.Module):
    """Modules in modules, a tie, both kinds of buffer, and names that begin alike."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.fc2 = nn.Linear(4, 3)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"attn": nn.Linear(2, 2), "norm": nn.BatchNorm1d(2)}) for _ in range(11)
        )
        self.head = nn.Linear(3, 4)
        self.head.weight = self.fc.weight
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))
        self.register_buffer("hidden", torch.ones(2), persistent=False)


def sequential() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3), nn.Linear(3, 2))


def opened(path: Path, module: nn.Module) -> Checkpoint:
    return paramcli.open(torch_objects.save(module.state_dict(), path))


def assert_is(report: ShowReport, state: Mapping[str, Tensor]) -> None:
    """Assert that a report lists a state dict: names, order, shapes, element types, values."""
    assert [shown.name for shown in report.tensors] == list(state)
    for shown in report.tensors:
        tensor = state[shown.name]
        assert shown.info.shape == tuple(tensor.shape)
        assert shown.info.dtype.name == str(tensor.dtype).removeprefix("torch.")
        assert shown.values == tensor.tolist()
        assert shown.sliced == tuple(tensor.shape)
        assert shown.stats is not None
        numbers = numbers_of(tensor).astype(np.float64)
        assert shown.stats.mean == pytest.approx(float(numbers.mean()), rel=1e-10, abs=1e-15)
        assert shown.stats.max == numbers.max()


# --- module paths --------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_layer_of_a_sequence_as_the_tutorial_prints_it(index: int, tmp_path: Path) -> None:
    net = sequential()
    report = show_tensors(opened(tmp_path / "x.pt", net), [str(index)], values=True)
    assert report.module == str(index)
    assert_is(report, net[index].state_dict())


@pytest.mark.parametrize(
    "path", ["fc", "fc2", "blocks.0", "blocks.1.attn", "blocks.10.norm", "head"]
)
def test_a_module_of_a_checkpoint(path: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Net()
    report = show_tensors(opened(tmp_path / "x.pt", net), [path], values=True)
    assert report.module == path
    assert_is(report, net.get_submodule(path).state_dict())
    assert [shown.info.name for shown in report.tensors] == [
        f"{path}.{shown.name}" for shown in report.tensors
    ]


@pytest.mark.parametrize("path", ["blocks.0.attn", "blocks.3.mlp", "ln_f", "blocks", "lm_head"])
def test_a_module_of_a_class(path: str) -> None:
    """Built with the values that its constructor draws from seed 0."""
    checkpoint = open_request(Request("sample_models.tiny_gpt:TinyGPT", values=True))
    torch.manual_seed(0)
    report = show_tensors(checkpoint, [path], values=True)
    assert report.format == "module"
    assert_is(report, TinyGPT().get_submodule(path).state_dict())


def test_class_and_checkpoint_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    kept = opened(tmp_path / "x.pt", TinyGPT())
    built = open_request(Request("sample_models.tiny_gpt:TinyGPT", values=True))
    one, two = (show_tensors(checkpoint, ["*"], values=True) for checkpoint in (kept, built))
    assert [shown.name for shown in one.tensors] == [shown.name for shown in two.tensors]
    for first, second in zip(one.tensors, two.tensors, strict=True):
        assert first.stats == second.stats
        assert first.values == second.values
        assert first.group == second.group


def test_a_module_whose_name_begins_anothers_is_shown_alone(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", **{"fc.w": torch.ones(1), "fc2.w": torch.ones(2)})
    assert [shown.info.name for shown in show_tensors(checkpoint, ["fc"]).tensors] == ["fc.w"]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["fc.weight"], ["fc.weight"]), (["mask", "fc"], ["mask", "fc.weight", "fc.bias"]),
        (["fc", "mask"], ["mask", "fc.weight", "fc.bias"]),
        (["fc", "fc.*"], ["fc.weight", "fc.bias"]),
        (["fc*.bias"], ["fc.bias", "fc2.bias"]), (["/^m/"], ["mask"]),
        (["blocks.{9..10}.attn.bias"], ["blocks.9.attn.bias", "blocks.10.attn.bias"]),
        (["*.num_batches_tracked", "fc.bias"], None),
    ],
)  # fmt: skip
def test_patterns_keep_whole_names(
    patterns: list[str], names: list[str] | None, tmp_path: Path
) -> None:
    net = Net()
    if names is None:
        names = [name for name in net.state_dict() if "num_batches" in name or name == "fc.bias"]
    report = show_tensors(opened(tmp_path / "x.pt", net), patterns)
    assert report.module is None
    assert [shown.name for shown in report.tensors] == names


def test_a_tensor_that_is_also_a_module_keeps_its_name(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", **{"fc": torch.ones(1), "fc.weight": torch.ones(2)})
    report = show_tensors(checkpoint, ["fc"])
    assert report.module is None
    assert [shown.name for shown in report.tensors] == ["fc", "fc.weight"]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("fc.wieght", "fc.weight"),
        ("block.0.attn", "blocks.0.attn"),
        ("fcc", "fc"),
        ("maks", "mask"),
    ],
)
def test_an_unknown_name_is_met_with_near_ones(pattern: str, meant: str, tmp_path: Path) -> None:
    checkpoint = opened(tmp_path / "x.pt", Net())
    with pytest.raises(UsageError, match="no tensor or module matches") as caught:
        show_tensors(checkpoint, ["mask", pattern])
    assert pattern in str(caught.value)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean ")
    assert meant in caught.value.hint


def test_an_unknown_name_that_is_like_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        show_tensors(opened(tmp_path / "x.pt", Net()), ["?!"])
    assert caught.value.hint == "paramcli list shows all"


def test_a_malformed_pattern(tmp_path: Path) -> None:
    with pytest.raises(PatternError):
        show_tensors(opened(tmp_path / "x.pt", Net()), ["fc.[a"])


def test_tied_tensors_are_measured_once_and_shown_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paramcli.numeric import summary

    measured: list[int] = []
    real = summary.summarize

    def summarize(checkpoint: Checkpoint, infos: tuple[object, ...], **options: object) -> object:
        measured.append(len(infos))
        return real(checkpoint, infos, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(summary, "summarize", summarize)
    checkpoint = opened(tmp_path / "x.pt", Net())
    report = show_tensors(checkpoint, ["fc.weight", "head.weight", "mask"])
    other, one, two = report.tensors
    assert measured == [2]
    assert one.stats is not None
    assert one.stats == two.stats
    assert (one.group, two.group, other.group) == ("g1", "g1", None)


def test_what_the_report_says_of_its_target() -> None:
    checkpoint = paramcli.open(FILES / "trainer.pt")
    report = show_tensors(checkpoint, ["ln_f"])
    assert (report.target, report.format) == (str(FILES / "trainer.pt"), "torch-zip")
    assert report.key == "state_dict"


# --- statistics as they are reported -------------------------------------------------------------


def stats_of(checkpoint: Checkpoint, name: str = "w") -> Stats:
    (shown,) = show_tensors(checkpoint, [name]).tensors
    assert shown.stats is not None
    return shown.stats


def same(one: float | tuple[float, float] | None, two: object) -> bool:
    return one == two or (one != one and two != two)  # noqa: PLR0124 - NaN is not itself


REPORTED = {
    "plain": ([1.0, 3.0], (2.0, 1.0, 1.0, 3.0, math.sqrt(10))),
    "a nan": ([NAN, 1.0, 3.0], (NAN, NAN, NAN, NAN, NAN)),
    "an infinity": ([INF, 1.0, 3.0], (INF, NAN, 1.0, INF, INF)),
    "minus infinity": ([1.0, -INF, 3.0], (-INF, NAN, -INF, 3.0, INF)),
    "both": ([INF, -INF, 2.0], (NAN, NAN, -INF, INF, INF)),
    "infinity alone": ([INF], (INF, NAN, INF, INF, INF)),
    "minus infinity alone": ([-INF, -INF], (-INF, NAN, -INF, -INF, INF)),
    "nan alone": ([NAN], (NAN, NAN, NAN, NAN, NAN)),
    "nan and infinity": ([NAN, INF], (NAN, NAN, NAN, NAN, NAN)),
    "nothing": ([], (None, None, None, None, 0.0)),
}


@pytest.mark.parametrize("name", REPORTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nan_and_infinities_count_as_torch_counts_them(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    numbers, want = REPORTED[name]
    tensor = torch.tensor(numbers, dtype=dtype)
    found = stats_of(saved(tmp_path / "x.pt", w=tensor))
    got = (found.mean, found.std, found.min, found.max, found.l2)
    assert all(map(same, got[:4], want[:4])), got
    assert same(got[4], want[4]) or got[4] == pytest.approx(want[4])
    if numbers:
        double = tensor.double()
        for one, other in zip(
            got,
            (double.mean(), double.std(correction=0), double.min(), double.max(), double.norm()),
            strict=True,
        ):
            assert one == pytest.approx(float(other), nan_ok=True)
    assert found.nan == sum(map(math.isnan, numbers))
    assert found.positive_inf == numbers.count(INF)
    assert found.negative_inf == numbers.count(-INF)


def test_the_finite_ones_are_told_where_others_are(tmp_path: Path) -> None:
    found = stats_of(saved(tmp_path / "x.pt", w=torch.tensor([NAN, 1.0, 3.0, -INF])))
    assert found.finite == Finite(2.0, 1.0, 1.0, 3.0)
    assert found.percentiles["50"] == 2.0
    assert sum(found.histogram) == 2
    assert stats_of(saved(tmp_path / "x.pt", w=torch.ones(3))).finite is None
    assert stats_of(saved(tmp_path / "x.pt", w=torch.full((3,), NAN))).finite is None


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_statistics(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = (rng.standard_normal(500) + 1j * rng.standard_normal(500)).astype(dtype)
    found = stats_of(saved(tmp_path / "x.pt", w=torch.from_numpy(numbers)))
    wide = numbers.astype(np.complex128)
    assert found.mean == pytest.approx((wide.mean().real, wide.mean().imag), rel=1e-10)
    assert found.std == pytest.approx(float(wide.std()), rel=1e-10)
    assert found.l2 == pytest.approx(float(np.linalg.norm(wide)), rel=1e-10)
    assert (found.min, found.max, found.finite) == (None, None, None)
    assert list(found.percentiles) == ["1", "5", "25", "50", "75", "95", "99"]
    assert set(found.percentiles.values()) == {None}
    assert found.histogram == ()


def test_complex_numbers_that_are_none(tmp_path: Path) -> None:
    found = stats_of(saved(tmp_path / "x.pt", w=torch.tensor([1 + 1j, complex(NAN, 0)])))
    assert found.nan == 1
    assert found.mean is not None
    assert same(found.std, NAN)
    assert same(found.l2, NAN)
    nothing = stats_of(saved(tmp_path / "x.pt", w=torch.ones(0, dtype=torch.complex64)))
    assert (nothing.mean, nothing.std, nothing.l2) == (None, None, 0.0)


def test_quantized_tensors_are_shown_as_integers_with_their_scale(tmp_path: Path) -> None:
    for kind in (np.int8, np.uint8, np.int32):
        tensor = quantized(np.arange(12).astype(kind).reshape(3, 4), 0.25, 7)
        checkpoint = saved(tmp_path / "x.pt", w=tensor)
        (shown,) = show_tensors(checkpoint, ["w"], values=True).tensors
        assert shown.values == np.arange(12).reshape(3, 4).tolist()
        assert shown.stats is not None
        assert (shown.stats.mean, shown.stats.max) == (5.5, 11)
        assert shown.facts["scale"] == "0.25"
        assert shown.facts["zero_point"] == "7"
        assert shown.facts["layout"] == "quantized"


# --- values and slices ---------------------------------------------------------------------------


def test_values_and_parts(tmp_path: Path) -> None:
    checkpoint = array_file(tmp_path / "x", w=np.arange(12, dtype=np.int32).reshape(3, 4))
    (whole,) = show_tensors(checkpoint, ["w"], values=True).tensors
    assert whole.values == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    (part,) = show_tensors(checkpoint, ["w"], values=True, part="1:,::2").tensors
    assert (part.values, part.sliced) == ([[4, 6], [8, 10]], (2, 2))
    assert part.info.shape == (3, 4)
    assert part.stats == whole.stats, "statistics are of the whole tensor"
    (none,) = show_tensors(checkpoint, ["w"]).tensors
    assert (none.values, none.sliced) == (None, None)
    (bare,) = show_tensors(checkpoint, ["w"], statistics=False).tensors
    assert bare.stats is None


def test_too_many_values_and_wrong_slices(tmp_path: Path) -> None:
    checkpoint = array_file(tmp_path / "x", w=np.zeros(1_000_001, np.uint8))
    with pytest.raises(UsageError, match="too many to print"):
        show_tensors(checkpoint, ["w"], values=True, statistics=False)
    with pytest.raises(UsageError, match="does not run forwards"):
        show_tensors(checkpoint, ["w"], values=True, part="::-1")


def test_composites_have_parts_and_no_values(tmp_path: Path) -> None:
    dense = torch.eye(3)
    path = torch_objects.save(
        {
            "coo": dense.to_sparse(),
            "meta": torch.ones(2, device="meta"),
            "bits": torch.zeros(4, dtype=torch.uint8).view(torch.bits8),
            "w": dense,
        },
        tmp_path / "x.pt",
    )
    report = show_tensors(paramcli.open(path), ["*"], values=True)
    coo, meta, bits, plain = report.tensors
    for shown in (coo, meta, bits):
        assert (shown.stats, shown.values, shown.sliced) == (None, None, None)
    assert coo.facts == {
        "layout": "sparse_coo", "indices": "int64[2, 3]", "values": "float32[3]",
    }  # fmt: skip
    assert meta.facts == {"layout": "meta"}
    assert plain.values == dense.tolist()


HOLDERS = """
import torch
from torch import nn
class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("odd", {})
"""


@pytest.mark.filterwarnings("ignore:Sparse C")
@pytest.mark.parametrize(
    "odd",
    [
        "torch.eye(2).to_sparse()",
        "torch.eye(2).to_sparse_csr()",
        "torch.zeros(8, dtype=torch.uint8).view(torch.bits8)",
    ],
)
def test_a_class_with_a_buffer_that_cannot_be_measured(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held.py").write_text(HOLDERS.format(odd))
    checkpoint = open_request(Request("held.py:Holder", values=True))
    last, *plain = show_tensors(checkpoint, ["*"], values=True).tensors
    assert [shown.name for shown in plain] == ["fc.weight", "fc.bias"]
    assert all(shown.stats and shown.values for shown in plain)
    assert (last.name, last.stats, last.values) == ("odd", None, None)
    report, read = check_finite(checkpoint, [])
    assert report.tensors == ()
    assert read >= 2


def test_a_class_that_leaves_a_buffer_on_the_meta_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no values, which must be said, or shown as unknown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "held.py").write_text(HOLDERS.format("torch.ones(2, device='meta')"))
    checkpoint = open_request(Request("held.py:Holder", values=True))
    assert all(shown.stats for shown in show_tensors(checkpoint, ["fc"]).tensors)
    try:
        (odd,) = show_tensors(checkpoint, ["odd"]).tensors
    except SourceError:
        return
    assert odd.stats is None


def test_a_class_opened_without_its_values_has_none() -> None:
    checkpoint = paramcli.open("sample_models.lenet:LeNet")
    with pytest.raises(SourceError, match="no values"):
        show_tensors(checkpoint, ["fc"], values=True)
    report = show_tensors(checkpoint, ["fc"])
    assert len(report.tensors) == 6
    assert all(shown.stats is None for shown in report.tensors)


def test_progress_is_told_what_is_measured(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", a=torch.ones(5), b=torch.ones(2, dtype=torch.int8))
    told: list[int] = []
    show_tensors(checkpoint, ["*"], progress=lambda done, _: told.append(done))
    assert sum(told) == 22


# --- the check for NaN and infinities ------------------------------------------------------------


def checked(checkpoint: Checkpoint, *patterns: str) -> tuple[dict[str, Shown], int]:
    report, read = check_finite(checkpoint, patterns)
    assert report.module is None
    return {shown.info.name: shown for shown in report.tensors}, read


def test_only_bad_tensors_are_reported(tmp_path: Path) -> None:
    base = torch.zeros(4, 5)
    base[2, 3] = NAN
    checkpoint = saved(
        tmp_path / "x.pt", good=torch.ones(3), whole=base, turned=base.T, part=base[:2],
        inf=torch.tensor(-INF), ints=torch.arange(3), empty=torch.ones(0),
    )  # fmt: skip
    bad, read = checked(checkpoint)
    assert read == 7
    assert {name: shown.first_bad for name, shown in bad.items()} == {
        "whole": (2, 3), "turned": (3, 2), "inf": (),
    }  # fmt: skip
    assert bad["whole"].stats is not None
    assert bad["whole"].stats.nan == 1
    assert bad["whole"].group is not None
    assert checked(checkpoint, "good", "ints") == ({}, 2)
    assert set(checked(checkpoint, "in*")[0]) == {"inf"}


@pytest.mark.parametrize(
    "name", ["fc", "a*", "a?", "[ab]", "{a,b}", "a{", "[a", "/a", "/a/", "", "/("]
)
def test_the_name_of_a_bad_tensor_is_no_pattern(name: str, tmp_path: Path) -> None:
    """Whatever it looks like, neither more nor less than that tensor is reported."""
    nan, good = np.float32(NAN).tobytes(), np.float32(1).tobytes()
    others = {other: ("F32", [1], good) for other in ("fc.weight", "a", "ab", "b", "xax")}
    checkpoint = safetensors(tmp_path / "x", **{name: ("F32", [1], nan)}, **others)
    bad, read = checked(checkpoint)
    assert list(bad) == [name]
    assert bad[name].first_bad == (0,)
    assert read == 6


def test_nan_in_the_parts_of_a_sparse_tensor_is_not_passed_over(tmp_path: Path) -> None:
    """CI must not be told that all is well when only some of the numbers were looked at."""
    path = torch_objects.save({"w": torch.tensor([0.0, NAN]).to_sparse()}, tmp_path / "x.pt")
    bad, _ = checked(paramcli.open(path))
    assert list(bad) == ["w"]


def test_an_unknown_pattern_is_refused_there_too(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path / "x.pt", weight=torch.ones(3))
    with pytest.raises(UsageError, match="no tensor or module matches"):
        check_finite(checkpoint, ["wieght"])


def test_nothing_to_check() -> None:
    empty = Checkpoint(origin="", format="made", entries=())
    with pytest.raises(UsageError):
        check_finite(empty, ["w"])
    bare, info = in_memory(np.ones(3))
    assert checked(bare, info.name) == ({}, 1)


# --- the file itself -----------------------------------------------------------------------------


def test_the_file_of_a_trainer() -> None:
    report = show_file(paramcli.open(FILES / "trainer.pt"), 1234)
    assert (report.format, report.key, report.size) == ("torch-zip", "state_dict", 1234)
    assert report.producer == "torch.save, archive version 3"
    assert report.byteorder == "little"
    values = dict(report.values)
    assert (values["epoch"], values["lr"]) == ("3", "0.0003")
    assert values["hyper_parameters.d_model"] == "16"
    assert report.trees[0] == Tree("state_dict", 30)
    assert {tree.path for tree in report.trees} >= {"state_dict", "ema"}
    assert report.totals.tensors == 30
    assert report.groups == 1
    assert report.pickle is not None
    assert not report.pickle.refused
    assert report.problems == ()


def test_the_file_of_safetensors() -> None:
    report = show_file(paramcli.open(FILES / "tied.safetensors"), 932)
    assert report.format == "safetensors"
    assert report.metadata == {"4.bias": "2.bias", "4.weight": "2.weight"}
    assert (report.trees, report.values, report.pickle, report.producer) == ((), (), None, None)
    assert report.totals.tensors == 8
    assert report.groups == 2


def test_values_of_every_kind_are_shortened_and_none_is_run(tmp_path: Path) -> None:
    path = torch_objects.save(
        {
            "state_dict": {"w": torch.ones(2)}, "text": "x" * 5000, "many": list(range(5000)),
            "none": None, "on": True, "deep": {"er": {"lr": 0.1}}, "raw": b"\0" * 5000,
        },
        tmp_path / "x.pt",
    )  # fmt: skip
    values = dict(show_file(paramcli.open(path), None).values)
    assert (values["none"], values["on"], values["deep.er.lr"]) == ("None", "True", "0.1")
    assert values["text"].startswith(("x", "'x"))
    assert all(len(text) < 500 for text in values.values())


@pytest.mark.parametrize(
    ("name", "producer"),
    [
        ("model.pt", "torch.save, archive version 3"),
        ("legacy.pth", "torch.save of before PyTorch 1.6, protocol 1001"),
        ("tied.safetensors", None),
    ],
)
def test_who_wrote_it(name: str, producer: str | None) -> None:
    assert show_file(paramcli.open(FILES / name), None).producer == producer


def test_a_directory_and_a_class_have_no_size() -> None:
    for target in (str(FILES / "sharded"), "sample_models.lenet:LeNet"):
        report = show_file(paramcli.open(target), None)
        assert report.size is None
        assert report.totals.tensors > 0


def test_problems_are_told(tmp_path: Path) -> None:
    index = sample_files.write_index(tmp_path / "m")
    index.write_text(index.read_text().replace('"b":', '"c":'))
    report = show_file(paramcli.open(str(index)), None)
    assert any("in no shard" in problem for problem in report.problems)
