"""The help of each verb fits a screen, says what every option does, and has two examples."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
import typer.main
from typer.core import TyperArgument
from typer.models import OptionInfo

from paramcli import cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Outcome

VERBS = ("list", "show", "init", "tie", "diff")


def params(verb: str) -> list[Any]:
    group: Any = typer.main.get_command(cli.app)
    found: list[Any] = group.commands[verb].params
    return found


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_it_fits_a_screen(
    verb: str, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run(*[verb] * bool(verb), "--help")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) < 24  # and the prompt of the shell
    assert max(map(len, lines)) <= 80
    assert run(*[verb] * bool(verb), "-h").out == out


@pytest.mark.parametrize("width", ["40", "60", "80", "120", "200"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_in_it(
    verb: str, width: str, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    out = run(verb, "--help").out
    body = out.partition("Examples:")[0]
    assert max(map(len, body.splitlines())) <= int(width)
    words = body.replace(",", " ").split()
    for param in params(verb):
        if param.param_type_name == "option":
            assert words.count(max(param.opts, key=len)) == 1
            assert param.help or param.name == "help"
        else:
            assert f"{param.metavar}:" in body
    assert "runs that code" in " ".join(words)


@pytest.mark.parametrize("verb", VERBS)
def test_it_has_two_examples(verb: str, run: Callable[..., Outcome]) -> None:
    examples = run(verb, "--help").out.partition("Examples:")[2].strip().splitlines()
    assert len(examples) == 2
    known = {name for param in params(verb) for name in param.opts}
    for example in examples:
        program, said, *words = example.split()
        assert (program, said) == ("paramcli", verb)
        assert {word for word in words if word.startswith("-")} <= known


def test_a_narrow_screen_has_one_column(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run("init", "--help").out
    monkeypatch.setenv("COLUMNS", "80")
    assert len(narrow.splitlines()) > len(run("init", "--help").out.splitlines())


def test_colour_is_for_terminals_alone(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in run("list", "--help").out
    plain = run("list", "--help").out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    coloured = run("list", "--help").out
    assert "\x1b[" in coloured
    assert coloured.count("\n") == plain.count("\n")


@pytest.mark.parametrize("verb", VERBS)
def test_names_do_not_hang_on_metavars(verb: str) -> None:
    """Typer 0.27 makes `--DEVICE` of an option `device` whose metavar is DEVICE, if not told."""
    command = import_module(cli._COMMANDS[verb][0].partition(":")[0])
    function = getattr(command, cli._COMMANDS[verb][0].partition(":")[2])
    for name, hint in get_type_hints(function, include_extras=True).items():
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, OptionInfo) and (option.metavar or "").lower() == name:
                assert str(option.default).startswith("--"), name  # where Typer keeps it


def test_an_argument_whose_help_was_lost(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = TyperArgument.__init__

    def forgetful(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs)
        self.help = None

    monkeypatch.setattr(TyperArgument, "__init__", forgetful)
    out = run("diff", "--help").out
    assert "[OPTIONS] A [B]" in out
    assert "None" not in out
