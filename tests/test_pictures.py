"""The pictures show what the commands draw, and need nothing from elsewhere."""

from __future__ import annotations

import re

import pytest

from tests.pictures import COMMANDS, FOLDER, ROOT, svg, words


@pytest.mark.parametrize("name", COMMANDS)
def test_a_picture_is_what_its_command_draws(name: str) -> None:
    kept = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert words(kept) == words(svg(name, COMMANDS[name]))
    assert len(words(kept)) > 20
    links = re.findall(r"https?://[^\s\"']+", kept)
    assert set(links) <= {"http://www.w3.org/2000/svg"}
    assert "<script" not in kept
    assert "@font-face" not in kept


def test_the_readme_shows_them_all() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {f"docs/pictures/{name}.svg" for name in COMMANDS} <= set(
        re.findall(r"docs/pictures/\w+\.svg", text)
    )
