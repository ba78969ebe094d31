"""Rules: which scheme fills which tensors. The last rule that matches a tensor wins it.

What a rule matches by are names (glob, `/regex/`, module path), roles (`@bias`) and types of
modules: `nn.Conv2d` for their weights, `nn.Conv2d.bias` for another tensor, `nn.Conv2d.*` for all.
Names are matched with and without what wraps a model, `module.` and `_orig_mod.` say.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from paramcli.errors import PatternError, UsageError, a_few
from paramcli.schemes.recipes import Rule
from paramcli.schemes.subject import ROLES
from paramcli.select import compile_pattern, near

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from paramcli.schemes.subject import Subject

    Test = Callable[[Subject, Sequence[str]], bool]

__all__ = ["Rule", "assign", "generic", "parse_rule", "written"]

_SCHEME = re.compile(r"[^\W\d][\w.]*(?:\(.*\))?", re.DOTALL)
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
_MODULE = re.compile(r"(?:torch\.)?nn\.(?P<type>[^\W\d]\w*)(?:\.(?P<leaf>.+))?")
_NOT_WEIGHTS = frozenset({"bias", "norm_bias", "running_mean", "running_var", "counter", "buffer"})


def written(rule: Rule) -> str:
    """A rule as it is given on the command line."""
    return f"{rule.match}={rule.scheme}"


def parse_rule(text: str) -> Rule:
    """Read `PATTERN=SCHEME` or `PATTERN=SCHEME(name=value)`.

    The pattern may hold `=` itself. Raises PatternError, with a caret, for what is no rule.
    """
    equals = [place for place, character in enumerate(text) if character == "="]
    if not equals:
        raise PatternError("a rule is PATTERN=SCHEME", text, len(text))
    regex = text.startswith("/")
    for place in equals:
        pattern, scheme = text[:place], text[place + 1 :].strip()
        if regex and not (len(pattern) > 1 and pattern.endswith("/")):
            continue
        if _SCHEME.fullmatch(scheme):
            if not pattern:
                raise PatternError("this rule has no pattern", text, 0)
            _test(pattern)
            return Rule(pattern, scheme)
    place = text.find("/=", 1) + 1 if regex else equals[0]
    if regex and not place:
        raise PatternError("the regular expression has no closing /", text, len(text))
    raise PatternError("no scheme stands behind this =", text, place)


def generic(rule: Rule) -> bool:
    """Whether a rule goes by role or type of module: a recipe for many models has such."""
    return rule.match.startswith("@") or _MODULE.fullmatch(rule.match) is not None


def assign(
    rules: Sequence[Rule],
    subjects: Iterable[Subject],
    aliases: Mapping[str, Sequence[str]],
    needed: Iterable[Rule] = (),
) -> dict[str, Rule]:
    """Say which rule wins each subject, by its name.

    `aliases` are the other names of those that are tied, which patterns match too. Raises
    UsageError for a tensor that no rule matches and for a `needed` rule that matches no tensor.
    """
    subjects = list(subjects)
    tests = [(rule, _test(rule.match)) for rule in rules]
    won: dict[str, Rule] = {}
    used: set[Rule] = set()
    for subject in subjects:
        names = _names(subject.name, aliases.get(subject.name, ()))
        for rule, test in tests:
            if test(subject, names):
                won[subject.name] = rule
                used.add(rule)
    for rule in needed:
        if rule not in used:
            raise _matches_nothing(rule, subjects, aliases)
    missed = [subject for subject in subjects if subject.name not in won]
    if missed:
        raise _unmatched(missed)
    return won


def _names(name: str, others: Sequence[str]) -> list[str]:
    """Every name that a pattern may mean: those of a tie, and each without its wrappers."""
    return list(dict.fromkeys(each for one in (name, *others) for each in (one, _unwrapped(one))))


def _unwrapped(name: str) -> str:
    if "module" not in name and "_mod" not in name:
        return name
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while len(parts) > 1 and parts[0] == "module":
        del parts[0]
    return ".".join(parts)


def _test(match: str) -> Test:
    """Compile the pattern of a rule."""
    if match.startswith("@"):
        role = match[1:]
        if role not in ROLES:
            close = get_close_matches(role, ROLES, 1) or ROLES
            raise UsageError(
                f"no role is called {role!r}",
                hint=f"did you mean @{close[0]}?" if len(close) == 1
                else f"there are {', '.join(f'@{one}' for one in close)}",
            )  # fmt: skip
        return lambda subject, _: subject.role == role
    found = _MODULE.fullmatch(match)
    if found:
        kind = found["type"]
        leaf = compile_pattern(found["leaf"]) if found["leaf"] else None

        def of_module(subject: Subject, _: Sequence[str]) -> bool:
            if kind not in (subject.module, *subject.classes):
                return False
            return leaf.matches(subject.leaf) if leaf else subject.role not in _NOT_WEIGHTS

        return of_module
    pattern = compile_pattern(match)
    return lambda _, names: any(map(pattern.matches, names))


def _matches_nothing(
    rule: Rule, subjects: Sequence[Subject], aliases: Mapping[str, Sequence[str]]
) -> UsageError:
    if rule.match.startswith("@"):
        there = dict.fromkeys(f"@{subject.role}" for subject in subjects)
        return UsageError(
            f"the rule {written(rule)} matches no tensor", hint=f"there are {', '.join(there)}"
        )
    if _MODULE.fullmatch(rule.match):
        there = dict.fromkeys(f"nn.{one.module}" for one in subjects if one.module)
        hint = f"there are {', '.join(there)}" if there else "only a class target has modules"
        return UsageError(f"the rule {written(rule)} matches no tensor", hint=hint)
    names = [name for one in subjects for name in (one.name, *aliases.get(one.name, ()))]
    close = near(rule.match.strip("/"), names)
    return UsageError(
        f"the rule {written(rule)} matches no tensor",
        hint=f"did you mean {' or '.join(close)}?" if close else "paramcli list shows the names",
    )


def _unmatched(missed: Sequence[Subject]) -> UsageError:
    shown = a_few([f"{one.name} ({one.role}, {list(one.shape)})" for one in missed])
    many = len(missed) > 1
    return UsageError(
        f"no rule matches {len(missed):,} tensor{'s' * many}: {shown}",
        hint=f"give a --scheme for the rest, or rules: --rule '{missed[0].name}=zeros'",
    )
