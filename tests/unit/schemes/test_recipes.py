"""Recipes that ship: each reads, names schemes that are there, and says where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torch import nn

import paramcli
from paramcli.errors import SourceError
from paramcli.schemes import recipes
from paramcli.schemes.recipes import Rule, shipped
from paramcli.schemes.registry import parse
from paramcli.schemes.roles import subjects
from paramcli.schemes.subject import ROLES
from paramcli.select import compile_pattern
from tests.unit.schemes.test_layers import described

if TYPE_CHECKING:
    from pathlib import Path

ALL = [*recipes.names(), "default"]


@pytest.mark.parametrize("name", ALL)
def test_each_is_whole(name: str) -> None:
    recipe = shipped(name)
    assert recipe is not None
    assert recipe.name == name
    assert recipe.source
    assert recipes.text(name).startswith("# ")
    covered = set()
    for match, scheme in recipe.with_scheme("kaiming").rules:
        parse(scheme)
        if match.startswith("@"):
            assert match[1:] in ROLES
            covered.add(match[1:])
        elif not match.startswith("nn."):
            compile_pattern(match)
    assert name == "model" or covered == set(ROLES) - {"unknown"}


def test_default_takes_a_scheme() -> None:
    recipe = shipped("default")
    assert recipe is not None
    rule = recipe.with_scheme("kaiming_normal(a=0.1)").rules[0]
    assert rule == Rule("@weight", "kaiming_normal(a=0.1)")
    assert "default" not in recipes.names()
    assert shipped("nonesuch") is None
    assert shipped("T-Fixup") is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules = 3", "has rules"),
        ("", "has rules"),
        ("rules = [1]", "rule 1 is not a match and a scheme"),
        ("rules = [{match = 'a'}]", "rule 1 is not"),
        (
            "rules = [{match = 'a', scheme = 'zeros'}, {match = 1, scheme = 'b'}]",
            "rule 2 are texts",
        ),
        ("name = 3\nrules = [{match = 'a', scheme = 'zeros'}]", "name and source"),
        ("rules = [", "not TOML"),
    ],
)
def test_malformed(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(SourceError, match=message) as caught:
        recipes.read(str(path))
    assert str(path) in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        recipes.read(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(SourceError, match="not UTF-8"):
        recipes.read(str(tmp_path / "latin.toml"))


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("mup", "model")])
@pytest.mark.parametrize(
    "target", ["sample_models.tiny_gpt:TinyGPT", "sample_models.network:Network", "lstm"]
)
def test_what_a_role_gets_can_be_drawn(name: str, target: str) -> None:
    recipe = shipped(name)
    assert recipe is not None
    schemes = dict(recipe.with_scheme("kaiming").rules)
    known = described(nn.LSTM(3, 4)) if target == "lstm" else subjects(paramcli.open(target))
    for of in known.values():
        law = parse(schemes[f"@{of.role}"]).law(of)
        assert law.pieces[0].start == 0
        assert law.pieces[-1].stop == of.numel
