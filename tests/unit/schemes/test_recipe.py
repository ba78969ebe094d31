"""The recipe of a run: composed in order, written and read the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramcli.errors import SourceError, UsageError
from paramcli.schemes import recipes
from paramcli.schemes.recipe import Recipe, compose, read_recipe, write_recipe
from paramcli.schemes.recipes import Rule
from paramcli.schemes.stream import STREAM

if TYPE_CHECKING:
    from pathlib import Path

MATCHES = st.one_of(
    st.text("abé.*\\\"'\t\x7f", min_size=1),
    st.sampled_from(["@bias", "nn.Linear", r"/a\.b$/", "fc.{0..3}"]),
)
RULES = st.lists(
    st.builds(
        Rule, MATCHES, st.sampled_from(["zeros", "normal(std=0.02)", "sparse(sparsity=0.1)"])
    ),
    min_size=1,
)


@given(
    rules=RULES,
    seed=st.integers(-(1 << 70), 1 << 70),
    dtype=st.sampled_from([None, "bfloat16"]),
    name=st.text('ab"\\\n'),
)
def test_what_is_written_reads_the_same(
    rules: list[Rule], seed: int, dtype: str | None, name: str
) -> None:
    recipe = Recipe(name, tuple(rules), seed=seed, dtype=dtype, apply="a.b:c")
    found = read_recipe(write_recipe(recipe, recipe.rules), "x")
    assert found._replace(needed=frozenset()) == recipe
    assert all(not rule.match.startswith(("@", "nn.")) for rule in found.needed)


def test_order(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('name = "own"\nrules = [{ match = "fc", scheme = "ones" }]\n')
    shipped = recipes.shipped("gpt2")
    assert shipped is not None
    found = compose("gpt2", str(path), ["*.bias=zeros"])
    assert found.rules == (*shipped.rules, Rule("fc", "ones"), Rule("*.bias", "zeros"))
    assert found.name == "own"
    assert found.needed == {Rule("fc", "ones"), Rule("*.bias", "zeros")}
    found = compose("orthogonal(gain=2)", str(path))
    assert found.rules[0] == Rule("fc", "ones")
    assert Rule("@weight", "orthogonal(gain=2.0)") in found.rules
    assert found.needed == {Rule("fc", "ones")}


def test_a_scheme_is_for_weights_and_the_rest_has_its_own() -> None:
    rules = dict(compose("kaiming(mode=fan_out)").rules)
    assert rules["@weight"] == "kaiming_normal(mode=fan_out)"
    assert (rules["@bias"], rules["@norm_weight"]) == ("zeros", "ones")
    rules = dict(compose("normal(std=0.3)").rules)
    assert rules["@embedding"] == rules["@weight"] == "normal(std=0.3)"
    assert rules["@bias"] == "zeros"
    rules = dict(compose("constant(value=2)").rules)
    assert rules["@norm_weight"] == rules["@bias"] == "constant(value=2.0)"
    assert rules["@running_var"] == "ones"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rules = [{match='a', scheme='zeros'}]\nsede = 3", "no key 'sede'"),
        ("rules = [{match='a', scheme='zeros'}]\nseed = 1.5", "seed is no whole number"),
        ("rules = [{match='a', scheme='zeros'}]\nseed = true", "seed is no whole number"),
        ("rules = [{match='a', scheme='zeros'}]\nseed = 'x'", "seed is no whole number"),
        ("rules = [{match='a', scheme='zeros'}]\ndtype = 3", "dtype is no text"),
        ("rules = [{match='a', scheme='zeros'}]\nstream = 'other-9'", "'other-9'; this is"),
        ("rules = []", "has rules"),
        ("rules = [", "not TOML"),
    ],
)
def test_no_recipe(content: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_recipe(content, "x.toml")


def test_stream_of_this_version() -> None:
    content = f"stream = '{STREAM}'\nrules = [{{match='a', scheme='zeros'}}]"
    assert read_recipe(content, "x.toml").rules == (Rule("a", "zeros"),)


def test_near_names() -> None:
    for text, near in (("kaimin", "kaiming"), ("gpt3", "gpt2"), ("resnt", "resnet")):
        with pytest.raises(UsageError, match="no scheme is called") as caught:
            compose(text)
        assert near in str(caught.value.hint)
    with pytest.raises(UsageError, match="no scheme"):
        compose("torch", None, ["fc=nothing_like_it"])


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        compose(None, str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(SourceError, match="not UTF-8"):
        compose(None, str(tmp_path / "latin.toml"))
