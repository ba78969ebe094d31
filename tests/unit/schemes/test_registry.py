"""Schemes by name: aliases, arguments, carets, near names, entry points."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from paramcli.errors import UsageError
from paramcli.schemes import registry
from paramcli.schemes.registry import ALIASES, SCHEMES, Scheme, function, names, parse
from tests.unit.schemes.made import law, subject

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_is_there_and_says_what_it_is(name: str) -> None:
    assert function(name).__name__ == name
    assert function(name).__doc__
    assert name in names()


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_stand_for_schemes(alias: str) -> None:
    assert alias not in SCHEMES
    assert ALIASES[alias] in SCHEMES
    assert function(alias) is function(ALIASES[alias])


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("kaiming", Scheme("kaiming_normal")),
        ("kaiming_normal_", Scheme("kaiming_normal")),
        ("Kaiming-Normal()", Scheme("kaiming_normal")),
        ("kaiming_normal(mode=fan_out, a=0.1)",
         Scheme("kaiming_normal", (("mode", "fan_out"), ("a", 0.1)))),
        (" normal ( std = 2e-2 , ) ", Scheme("normal", (("std", 0.02),))),
        ("normal(0.02)", Scheme("normal", (("std", 0.02),))),
        ("normal(1, mean=-3)", Scheme("normal", (("std", 1.0), ("mean", -3.0)))),
        ("trunc_normal(a=none, b='inf')", None),
        ("trunc_normal(a=none, b=inf)",
         Scheme("trunc_normal", (("a", None), ("b", float("inf"))))),
        ("dirac(groups=2.0)", Scheme("dirac", (("groups", 2),))),
        ('kaiming_normal(nonlinearity="relu²")',
         Scheme("kaiming_normal", (("nonlinearity", "relu²"),))),
    ],
)  # fmt: skip
def test_reading(text: str, scheme: Scheme | None) -> None:
    if scheme is None:
        with pytest.raises(UsageError, match="a number"):
            parse(text)
        return
    assert parse(text) == scheme
    assert parse(scheme.text) == scheme


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "starts with its name", 0),
        ("(std=1)", "starts with its name", 0),
        ("normal(std=1", "expected , or )", 12),
        ("normal(std=)", "expected a value for std", 11),
        ("normal(=1)", "expected an argument", 7),
        ("normal(std=1 mean=2)", "expected , or )", 13),
        ("normal(std=1) x", "nothing more", 14),
        ("normal(std=1, std=2)", "given twice", 14),
        ("normal(std=1, 2)", "without a name", 14),
        ("normal(std=@)", "'@' means nothing", 11),
        ("normal std", "nothing more", 7),
    ],
)
def test_a_caret_shows_the_place(text: str, message: str, place: int) -> None:
    with pytest.raises(UsageError, match="malformed scheme") as caught:
        parse(text)
    assert message in str(caught.value)
    assert caught.value.hint == f"in the scheme\n  {text}\n  {' ' * place}^"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("kaimin_normal", "no scheme is called 'kaimin_normal'", "did you mean kaiming_normal?"),
        ("zzz", "no scheme is called", "there are constant, model"),
        ("normal(sdt=1)", "normal takes no argument 'sdt'", "did you mean std?"),
        ("normal(q=1)", "takes no argument", "normal(std=1.0, mean=0.0)"),
        ("normal(std=wide)", "std is to be a number, not 'wide'", None),
        ("normal(std=true)", "std is to be a number, not True", None),
        ("dirac(groups=1.5)", "groups is to be a whole number", None),
        ("dirac(groups=inf)", "groups is to be a whole number", None),
        ("kaiming_normal(mode=3)", "mode is to be a word", None),
        ("constant", "constant needs the argument value", "constant(value)"),
        ("zeros(1)", "takes at most 0 arguments", "zeros takes no arguments"),
        ("normal(1, std=2)", "given std twice", None),
    ],
)
def test_wrong_names_and_values(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in str(caught.value)
    if hint is not None:
        assert caught.value.hint is not None
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "kaiming_normal(mode=sideways)", "kaiming_normal(nonlinearity=gelo)", "uniform(a=2, b=1)",
        "normal(std=-1)", "trunc_normal(cut=-1)", "trunc_normal(std=1, a=2, b=1)",
        "variance_scaling(distribution=cauchy)", "variance_scaling(scale=-1)", "sparse(1.5)",
        "t_fixup(stack=tower)",
    ],
)  # fmt: skip
def test_values_out_of_range(text: str) -> None:
    with pytest.raises(UsageError):
        law(text, subject(8, 8))


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another package that brings schemes, as one installed would."""
    (tmp_path / "brought.py").write_text(
        "from paramcli.schemes.law import constant\n"
        "def sevens(subject, *, times: int = 1):\n"
        "    return constant(subject, 7.0 * times)\n"
    )
    info = tmp_path / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[paramcli.schemes]\nsevens = brought:sevens\nbroken = brought:missing\nzeros = x:y\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._foreign.cache_clear()
    yield
    registry._foreign.cache_clear()
    sys.modules.pop("brought", None)


@pytest.mark.usefixtures("distribution")
def test_entry_points_add_schemes() -> None:
    assert "sevens" in names()
    scheme = parse("sevens(times=2)")
    assert scheme.law(subject(3)).mean == 14
    assert parse("zeros").law(subject(3)).mean == 0, "ours are not replaced"
    with pytest.raises(UsageError, match="cannot be loaded from brought:missing"):
        parse("broken")
    with pytest.raises(UsageError) as caught:
        parse("seven")
    assert caught.value.hint == "did you mean sevens?"


def test_without_them_there_are_none() -> None:
    with pytest.raises(UsageError, match="no scheme is called 'sevens'"):
        parse("sevens")
