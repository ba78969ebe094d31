"""What each verb prints as JSON is what its schema says, and the schema can refuse."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from jsonschema import Draft202012Validator

from paramcli.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    path.name.partition(".")[0]: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "docs" / "schemas").glob("*.schema.json"))
}
FILES = ROOT / "sample_models" / "files"
NAMES = (
    "model.pt", "trainer.pt", "legacy.pth", "tied.safetensors", "sharded", "whole_module.pt",
    "script.pt",
)  # fmt: skip
GPT, LOCK = "sample_models.tiny_gpt:TinyGPT", str(ROOT / "sample_models" / "tiny_gpt.lock")
MODEL, TRAINER = str(FILES / "model.pt"), str(FILES / "trainer.pt")
RUNS = [
    *(["list", str(FILES / name), "--all"] for name in NAMES),
    ["list", LOCK],
    ["list", GPT],
    ["list", str(FILES / "whole_module.pt"), "--check", "safe"],
    *(["show", str(FILES / name)] for name in NAMES),
    *(["show", str(FILES / name), "*"] for name in NAMES),
    ["show", LOCK, "*"],
    ["show", "ODD", "*", "--values"],
    ["init", GPT, "--scheme", "gpt2", "--dry-run"],
    ["init", GPT, "--scheme", "gpt2"],
    ["init", GPT, "--scheme", "model", "-o", "OUT"],
    ["init", "--verify", "OUT"],
    *(["tie", str(FILES / name), "--find-equal"] for name in NAMES),
    ["tie", "sample_models.shared_mlp:SharedMLP", "--probe", "--input", "2,4"],
    ["tie", MODEL, "fc.0.bias", "fc.0.bias"],
    ["diff", MODEL, MODEL],
    ["diff", MODEL, TRAINER],
    ["diff", TRAINER, TRAINER, "--key", "state_dict", "--key", "ema"],
    ["diff", LOCK, GPT],
    ["diff", LOCK, MODEL],
    ["diff", GPT, str(FILES / "sharded")],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a file of what is seldom: NaN, infinities, complex numbers, nothing, bool."""
    folder = tmp_path_factory.mktemp("schemas")
    state = {
        "nan": torch.tensor([1.0, float("nan"), float("-inf")]),
        "complex": torch.tensor([1 + 2j, 3.0]),
        "empty": torch.ones(0, 3),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(1.5),
        "sparse": torch.eye(3).to_sparse(),
    }
    torch.save(state, folder / "odd.pt")
    return folder


def printed(argv: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    places = {"ODD": str(folder / "odd.pt"), "OUT": str(folder / "out.safetensors")}
    argv = [places.get(word, word) for word in argv]
    if argv[1] == "--verify" and not Path(argv[2]).exists():
        main(["init", GPT, "--scheme", "gpt2", "-o", argv[2]])
        capsys.readouterr()
    main([*argv, "--format", "json"])
    return json.loads(capsys.readouterr().out or "null")


def described(schema: dict[str, Any], value: Any, where: str = "") -> Iterator[str]:
    """Yield the fields of a value that its schema does not describe."""
    known = schema.get("properties")
    if isinstance(value, dict) and known is not None:
        for name, inner in value.items():
            if name not in known:
                yield f"{where}.{name}"
            else:
                yield from described(known[name], inner, f"{where}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for inner in value:
            yield from described(schema["items"], inner, f"{where}[]")


def required(schema: dict[str, Any], value: Any, path: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Yield where the required fields of a value stand, the first of each list."""
    if isinstance(value, dict):
        for name in schema.get("required", ()):
            yield (*path, name)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from required(inner, value[name], (*path, name))
    if isinstance(value, list) and value and isinstance(schema.get("items"), dict):
        yield from required(schema["items"], value[0], (*path, 0))


def test_schemas_are_schemas() -> None:
    assert set(SCHEMAS) == {"list", "show", "init", "tie", "diff"}
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("argv", RUNS, ids=" ".join)
def test_what_is_printed(
    argv: list[str], folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(ROOT)
    value = printed(argv, folder, capsys)
    if value is None:
        assert argv == ["tie", MODEL, "fc.0.bias", "fc.0.bias"]  # which is refused
        return
    schema = SCHEMAS[argv[0]]
    validator = Draft202012Validator(schema)
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]
    assert not errors
    assert not sorted(set(described(schema, value)))
    for path in required(schema, value):
        less = copy.deepcopy(value)
        inner = less
        for step in path[:-1]:
            inner = inner[step]
        if path[-1] in inner:
            del inner[path[-1]]
            assert not validator.is_valid(less), path


@pytest.mark.parametrize("verb", SCHEMAS)
def test_every_field_is_described(verb: str) -> None:
    def walk(schema: dict[str, Any]) -> Iterator[str]:
        for name, inner in schema.get("properties", {}).items():
            if not inner.get("description"):
                yield name
            yield from walk(inner)
        if isinstance(schema.get("items"), dict):
            yield from walk(schema["items"])

    assert not list(walk(SCHEMAS[verb]))
