"""Groups and their evidence: each format's own way of sharing, and what a config states."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file, save_model

import paramcli
from paramcli.save import save
from paramcli.verbs.tie import find_equal, report, tie
from tests import torch_objects
from tests.unit.numeric.test_containers import WRITERS

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.verbs.tie.report import TieReport

MODULES = "tests.tied_modules"


def of(target: object) -> TieReport:
    return report(paramcli.open(str(target)))


def evidence(target: object) -> list[tuple[str, str]]:
    shown = [one for group in of(target).groups for one in group.evidence]
    return [(kind, text) for kind, text in shown if kind != "view"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Twice", [("module", "3 is the module 1 (Linear)")] * 2),
        ("Embedded", [("tensor", "head.weight is the Parameter embed.weight")]),
        ("DataTie", [("storage", "2 tensors on one storage: a.weight, b.weight")]),
        ("Transposed", [("storage", "2 tensors on one storage: enc.weight, dec.weight")]),
        ("Nested", [("storage", "3 tensors on one storage: whole, q, k")]),
        ("Columns", [("storage", "2 tensors on one storage: left, right")]),
        ("Recurrent", [("tensor", "b.weight_hh_l0 is the Parameter a.weight_hh_l0")]),
    ],
)
def test_objects_of_a_class(name: str, found: list[tuple[str, str]]) -> None:
    assert evidence(f"{MODULES}:{name}") == found


@pytest.mark.parametrize(
    ("name", "form", "saved"),
    [("Twice", "same", 64), ("DataTie", "same", 64), ("Transposed", "transposed", 96),
     ("Nested", "nested", 96), ("Columns", "interleaved", 0)],
)  # fmt: skip
def test_forms_and_savings_of_a_class(name: str, form: str, saved: int) -> None:
    found = of(f"{MODULES}:{name}").groups[0]
    assert (found.form, found.saved) == (form, saved)


def test_files(tmp_path: Path) -> None:
    from tests.tied_modules import Embedded

    model = Embedded()
    torch_objects.save(model.state_dict(), tmp_path / "model.pt")
    save_model(model, str(tmp_path / "model.safetensors"))
    assert evidence(tmp_path / "model.pt") == [("storage", "storage model/data/0")]
    assert evidence(tmp_path / "model.safetensors") == [
        ("metadata", "metadata: head.weight is embed.weight")
    ]
    found = of(tmp_path / "model.pt")
    assert (found.saved, found.totals.numel, found.totals.unique_numel) == (160, 80, 40)


def test_views_of_a_file_say_where_they_lie(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    path = torch_objects.save({"w": whole, "t": whole.t()}, tmp_path / "model.pt")
    views = [one.text for one in of(path).groups[0].evidence if one.kind == "view"]
    assert views == [
        "w: float32[4, 6] with steps [6, 1], bytes 0 to 96",
        "t: float32[6, 4] with steps [1, 6], bytes 0 to 96",
    ]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("held", ["shared", "both", "one"])
@pytest.mark.parametrize("nested", [True, False])
def test_config_is_held_against_the_file(
    tmp_path: Path, held: str, *, tied: bool, nested: bool
) -> None:
    weight = torch.arange(12.0).reshape(3, 4)
    names = {"model.embed_tokens.weight": weight}
    metadata = {"lm_head.weight": "model.embed_tokens.weight"} if held == "shared" else None
    if held == "both":
        names["lm_head.weight"] = weight + 1
    save_file(names, tmp_path / "model.safetensors", metadata)
    told: dict[str, Any] = {"tie_word_embeddings": tied}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": told} if nested else told))
    for target in (tmp_path, tmp_path / "model.safetensors"):
        config = of(target).config
        assert config is not None
        assert config.tied is tied
        assert config.input == "model.embed_tokens.weight"
        assert config.output == ("" if held == "one" else "lm_head.weight")
        assert config.agrees is (held == "one" or tied == (held == "shared"))
    kinds = {one.kind for group in of(tmp_path).groups for one in group.evidence}
    assert ("config" in kinds) is (tied and held == "shared")


@pytest.mark.parametrize(
    ("architecture", "agrees"), [("LlamaForCausalLM", False), ("LlamaModel", True)]
)
def test_a_missing_head(tmp_path: Path, architecture: str, *, agrees: bool) -> None:
    """A model that predicts words needs one; the body of it does not."""
    save_file({"embed_tokens.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    told = {"tie_word_embeddings": False, "architectures": [architecture]}
    (tmp_path / "config.json").write_text(json.dumps(told))
    config = of(tmp_path).config
    assert config is not None
    assert config.agrees is agrees
    assert config.text.endswith("head is missing") is not agrees


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"tie_word_embeddings": 1}', "[" * 9999])
def test_a_config_that_is_silent_says_nothing(tmp_path: Path, text: str) -> None:
    save_file({"embed.weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    assert of(tmp_path).config is None


def test_a_lock_ties_too() -> None:
    (found,) = of("sample_models/tiny_gpt.lock").groups
    assert set(found.names) == {"lm_head.weight", "embed.weight"}
    assert [one.kind for one in found.evidence] == ["lock"]


def test_distributed_checkpoints_keep_no_tie(tmp_path: Path) -> None:
    """Each name has bytes of its own there, so the tie is one of equal bytes, and can be remade."""
    weight = torch.randn(8, 6)
    state = {"embed": weight, "head": weight, "other": weight + 1}
    source = paramcli.open(WRITERS["dcp"](tmp_path, state))
    assert not report(source).groups
    assert [one.names for one in find_equal(source)[0]] == [("embed", "head")]
    save(tie(source, ["embed", "head"]).checkpoint, tmp_path / "tied.pt")
    loaded = torch.load(tmp_path / "tied.pt", weights_only=True)
    assert loaded["embed"].data_ptr() == loaded["head"].data_ptr()
    assert torch.equal(loaded["head"], weight)
