"""Schemes by name: ours, and those of the entry points `paramcli.schemes`.

The table and the entry points are one mechanism: a name and "module:function", imported only when
wanted. A function takes a subject and keywords with defaults, and returns a law.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import UsageError
from paramcli.schemes.syntax import read, write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from inspect import Parameter

    from paramcli.schemes.law import Law
    from paramcli.schemes.subject import Subject
    from paramcli.schemes.syntax import Value

__all__ = ["ALIASES", "SCHEMES", "Scheme", "function", "names", "parse"]

_FILES = {
    "constants": "constant model ones zeros",
    "distributions": "normal trunc_normal uniform",
    "variance": (
        "glorot_normal glorot_uniform he_normal he_uniform kaiming_normal kaiming_uniform "
        "lecun_normal lecun_uniform variance_scaling xavier_normal xavier_uniform"
    ),
    "matrices": "delta_orthogonal dirac eye icnr orthogonal sparse",
    "transformers": (
        "deepnorm depth_scaled fixup mitchell mup scaled_normal small_init t_fixup vit wang_init"
    ),
    "layers": "lstm_forget torch tutorial zero_residual",
}

SCHEMES = {
    name: f"paramcli.schemes.{file}:{name}"
    for file, names in _FILES.items()
    for name in names.split()
}
"""Every scheme of ours."""

ALIASES = {
    "zero": "zeros", "one": "ones", "fill": "constant", "const": "constant",
    "identity": "eye", "delta": "dirac", "gaussian": "normal", "randn": "normal",
    "rand": "uniform", "truncated_normal": "trunc_normal", "truncated": "trunc_normal",
    "kaiming": "kaiming_normal", "he": "he_normal", "xavier": "xavier_uniform",
    "glorot": "glorot_uniform", "lecun": "lecun_normal", "ortho": "orthogonal",
    "default": "torch", "pytorch": "torch", "reset_parameters": "torch", "constructor": "model",
    "gpt2": "scaled_normal", "megatron": "scaled_normal", "olmo": "mitchell", "wang": "wang_init",
    "small": "small_init", "deep_norm": "deepnorm", "tfixup": "t_fixup", "forget": "lstm_forget",
    "mu_p": "mup", "zero_init_residual": "zero_residual", "net3d": "tutorial",
}  # fmt: skip
"""Other names of these. Where PyTorch and JAX draw differently, both have schemes of their own."""

_GROUP = "paramcli.schemes"


class Scheme(NamedTuple):
    """A scheme with its arguments: what is drawn, of whatever tensor it is put to."""

    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    @property
    def text(self) -> str:
        """How it is written."""
        return write(self.name, self.arguments)

    def law(self, subject: Subject) -> Law:
        """What fills a tensor. Raises UsageError where the scheme is not for such a one."""
        return function(self.name)(subject, **dict(self.arguments))


def parse(text: str) -> Scheme:
    """Read a scheme: its name and arguments, checked. Raises UsageError with near names."""
    call = read(text)
    name = _canonical(call.name)
    wanted = _parameters(function(name))
    given: dict[str, Value] = {}
    for place, (key, value) in enumerate(call.arguments):
        if not key and place >= len(wanted):
            raise UsageError(
                f"{name} takes at most {len(wanted)} arguments", hint=_signature(name, wanted)
            )
        known = key or list(wanted)[place]
        if known not in wanted:
            raise UsageError(
                f"{name} takes no argument {known!r}",
                hint=_did_you_mean(known, wanted) or _signature(name, wanted),
            )
        if known in given:
            raise UsageError(f"{name} is given {known} twice", hint=_signature(name, wanted))
        given[known] = _checked(name, wanted[known], value)
    for parameter in wanted.values():
        if parameter.default is parameter.empty and parameter.name not in given:
            raise UsageError(
                f"{name} needs the argument {parameter.name}", hint=_signature(name, wanted)
            )
    return Scheme(name, tuple(given.items()))


def names() -> tuple[str, ...]:
    """Every scheme's own name, those of entry points last."""
    return (*SCHEMES, *sorted(_foreign().keys() - SCHEMES.keys() - ALIASES.keys()))


def function(name: str) -> Callable[..., Law]:
    """Import the function of a scheme by its name or an alias."""
    name = _canonical(name)
    place = SCHEMES.get(name) or _foreign()[name]
    module, _, attribute = place.partition(":")
    try:
        found: Callable[..., Law] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the scheme {name} cannot be loaded from {place}: {error}") from error
    return found


def _canonical(name: str) -> str:
    plain = name.lower().replace("-", "_").removesuffix("_")
    plain = ALIASES.get(plain, plain)
    if plain in SCHEMES:
        return plain
    if name in _foreign():
        return name
    known = [*names(), *ALIASES]
    raise UsageError(
        f"no scheme is called {name!r}",
        hint=_did_you_mean(plain, known) or f"there are {', '.join(names())}",
    )


@cache
def _foreign() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=_GROUP)}


def _parameters(scheme: Callable[..., Law]) -> dict[str, Parameter]:
    """The arguments of a scheme, without the subject."""
    return dict(list(inspect.signature(scheme).parameters.items())[1:])


def _checked(name: str, parameter: Parameter, value: Value) -> Value:
    """Return the value in the type that the parameter is annotated with."""
    annotation = parameter.annotation
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    kinds = {kind.strip() for kind in written.split("|")}
    if value is None and "None" in kinds:
        return None
    if isinstance(value, bool):
        if "bool" in kinds:
            return value
    elif isinstance(value, int | float):
        if "int" in kinds and float(value).is_integer():
            return int(value)
        if "float" in kinds:
            return float(value)
    elif isinstance(value, str) and "str" in kinds:
        return value
    if not kinds & {"bool", "int", "float", "str"}:
        return value
    wanted = " or ".join(sorted(_KINDS[kind] for kind in kinds & _KINDS.keys()))
    raise UsageError(f"{name}: {parameter.name} is to be {wanted}, not {value!r}")


_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a word"}


def _signature(name: str, wanted: Mapping[str, Parameter]) -> str:
    if not wanted:
        return f"{name} takes no arguments"
    parts = [
        one.name if one.default is one.empty else f"{one.name}={str(one.default).lower()}"
        for one in wanted.values()
    ]
    return f"{name}({', '.join(parts)})"


def _did_you_mean(name: str, known: Mapping[str, object] | list[str]) -> str | None:
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else None
