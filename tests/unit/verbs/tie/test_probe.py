"""The two claims on modules that share in every way, and what breaks ties, by torch's own doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import paramcli
from paramcli.errors import UserCodeError
from paramcli.sources import Request
from paramcli.verbs.tie import report
from paramcli.verbs.tie.inputs import parse_input
from paramcli.verbs.tie.probe import probe
from paramcli.verbs.tie.probe.twin import named, twin, untied
from tests import tied_modules

if TYPE_CHECKING:
    from pathlib import Path

    from paramcli.verbs.tie.report import Probed

KEPT, LOST, WEAKENED = "kept", "lost", "weakened"
OBJECTS = {
    "to(dtype)": KEPT, "to_empty()": KEPT, "deepcopy": KEPT, "load_state_dict": KEPT,
    "load_state_dict(assign=True)": WEAKENED, "load_state_dict, conflicting": KEPT,
    "torch.save": KEPT, "safetensors save_file": "failed", "safetensors save_model": KEPT,
}  # fmt: skip
STORAGES = OBJECTS | {
    "to(dtype)": LOST, "to_empty()": LOST, "deepcopy": LOST, "load_state_dict(assign=True)": KEPT,
}  # fmt: skip


def probed(target: str, *inputs: str) -> tuple[Probed, ...]:
    checkpoint = paramcli.open(target)
    given = [parse_input(text) for text in inputs]
    return probe(Request(target), checkpoint, report(checkpoint).groups, given)


def of(name: str, *inputs: str) -> tuple[Probed, ...]:
    return probed(f"tests.tied_modules:{name}", *inputs)


@pytest.mark.parametrize(
    ("name", "text"),
    [("Twice", "2,4"), ("Embedded", "int64[2,3]<10"), ("Recurrent", "2,3,4")],
)
def test_both_claims_hold_for_one_object(name: str, text: str) -> None:
    for one in of(name, text):
        assert one.holds
        assert (one.write_visible, one.gradient_is_sum, one.precision) == (True, True, "float64")
        assert one.max_error is not None
        assert one.scale is not None
        assert one.max_error <= 1e-12 * max(1, one.scale)
        assert one.scale > 0
        assert one.text == "2 of 2 names take part"
        # One module has one place to assign to.
        expected = OBJECTS | ({"load_state_dict(assign=True)": KEPT} if name == "Twice" else {})
        assert {each.operation: each.outcome for each in one.survival} == expected


def test_two_parameters_on_one_storage_do_not_add_up() -> None:
    (one,) = of("DataTie", "2,4")
    assert (one.write_visible, one.gradient_is_sum, one.holds) == (True, False, False)
    assert "2 Parameters on one storage" in one.text
    assert {each.operation: each.outcome for each in one.survival} == STORAGES


def test_a_transposed_view_does_not_either() -> None:
    (one,) = of("Transposed", "2,4")
    assert (one.write_visible, one.gradient_is_sum) == (True, False)


def test_parts_of_one_parameter() -> None:
    (one,) = of("Nested", "2,4")
    assert (one.write_visible, one.gradient_is_sum, one.holds) == (True, None, True)
    assert one.text == "whole alone has a gradient"


def test_one_storage_as_two_types() -> None:
    (one,) = of("Recast", "2,4")
    assert (one.write_visible, one.gradient_is_sum) == (True, None)


def test_columns_share_nothing() -> None:
    (one,) = of("Columns", "2,4")
    assert (one.write_visible, one.gradient_is_sum, one.holds) == (None, None, True)


def test_what_does_not_learn() -> None:
    for one in of("Frozen", "2,4"):
        assert (one.write_visible, one.gradient_is_sum) == (True, None)
        assert one.text == "no gradient: a buffer, or frozen"


def test_conflicting_values_leave_the_last_name_standing() -> None:
    (one,) = of("Embedded", "int64[2,3]<10")
    texts = {each.operation: each.text for each in one.survival}
    assert texts["load_state_dict, conflicting"] == "the last name wins, and nothing is said"


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.e = nn.Embedding(5, 3); self.f = nn.Linear(3, 5, bias=False)\n"
        "        self.f.weight = self.e.weight\n"
        "    def forward(self, x, tokens, mask):\n"
        "        return {'a': [self.f(x) * mask], 'b': (self.e(tokens), tokens, None)}\n"
    )
    (one,) = probed(f"{tmp_path}/net.py:Net", "4,3", "int64[6]<5", "bool[4,5]")
    assert one.gradient_is_sum
    assert one.text == "2 of 2 names take part"


def test_a_model_that_insists_on_float32(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(3, 3); self.b = nn.Linear(3, 3)\n"
        "        self.b.weight = self.a.weight\n"
        "    def forward(self, x):\n"
        "        return self.b(self.a(x)) @ torch.ones(3, 3)\n"
    )
    (one,) = probed(f"{tmp_path}/net.py:Net", "4,3")
    assert (one.gradient_is_sum, one.precision) == (True, "float32")


@pytest.mark.parametrize(
    ("text", "message"),
    [("2,5", "running it raised RuntimeError"), ("int64[2]<3", "running it raised")],
)
def test_a_model_that_does_not_run(text: str, message: str) -> None:
    with pytest.raises(UserCodeError, match=message):
        of("DataTie", text)


def test_user_code_that_leaves(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "import sys\nfrom torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(2, 2)\n"
        "    def forward(self, x):\n"
        "        print('noise'); sys.exit(0)\n"
    )
    with pytest.raises(UserCodeError, match="SystemExit"):
        probed(f"{tmp_path}/net.py:Net", "2,2")


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in ("Twice", "DataTie", "Transposed", "Nested", "Recurrent")
     for dtype in (None, torch.float64)] + [("Recast", None)],
)  # fmt: skip
def test_a_twin_shares_alike_and_with_nobody_else(name: str, dtype: torch.dtype | None) -> None:
    model = getattr(tied_modules, name)()
    before = {key: tensor.clone() for key, tensor in named(model).items()}
    other = twin(model, dtype)
    ours, theirs = named(model), named(other)
    assert list(ours) == list(theirs)
    for one in ours:
        assert torch.equal(ours[one].double(), theirs[one].double())
        assert theirs[one].dtype == (dtype or ours[one].dtype)
        for another in ours:
            shared = [of[one].untyped_storage()._cdata == of[another].untyped_storage()._cdata
                      for of in (ours, theirs)]  # fmt: skip
            assert shared[0] is shared[1]
            assert (ours[one] is ours[another]) is (theirs[one] is theirs[another])
    with torch.no_grad():
        for tensor in theirs.values():
            tensor.zero_()
    assert all(torch.equal(ours[one], before[one]) for one in ours)


@pytest.mark.parametrize("name", ["Twice", "Embedded", "DataTie", "Transposed", "Recurrent"])
def test_an_untied_copy_shares_nothing(name: str) -> None:
    model = getattr(tied_modules, name)()
    found = named(untied(model))
    assert list(found) == list(named(model))
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == len(found)
    assert len({id(tensor) for tensor in found.values()}) == len(found)
    for one, tensor in named(model).items():
        assert torch.equal(tensor, found[one])
