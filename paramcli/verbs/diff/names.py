"""Which tensor of A is which of B, by name: as they stand, as `--rename` says, without a prefix."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from paramcli.errors import PatternError, UsageError
from paramcli.verbs.diff.report import Renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from paramcli.tensors import TensorInfo

    Named = dict[str, TensorInfo]

__all__ = ["Matching", "match", "parse_rename", "replaced"]

WRAPPERS = frozenset(
    {
        "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "model",
        "state_dict", "net", "network",
    }
)  # fmt: skip
"""Path parts that DataParallel, torch.compile, FSDP, activation checkpointing and trainers add."""
_ROUNDS = 8
_DEEPEST = 64


class Matching(NamedTuple):
    """Pairs of names, those that only a prefix keeps apart, and what is left on either side.

    `left` and `right` map the names that are left to their tensors.
    """

    pairs: list[tuple[str, str]]
    renamed: list[Renamed]
    left: Named
    right: Named


def parse_rename(text: str) -> Callable[[str], str]:
    r"""Read `old=new`: how A's names are to be read. Raises UsageError where it is malformed.

    `module.=` takes the leading `module.` away and `=model.` puts one there; `transformer.h=layers`
    replaces these parts of a path wherever they stand; `/regex/=new` replaces what the expression
    finds, with `\1` for its groups.
    """
    if text.startswith("/"):
        pattern, slash, new = text[1:].rpartition("/=")
        if not slash:
            raise UsageError(f"--rename {text!r} is not /regex/=new")
        try:
            regex = re.compile(pattern)
            regex.sub(new, "")
        except re.error as error:
            message = f"malformed regular expression: {error.msg}"
            raise PatternError(message, text, 1 + (error.pos or 0)) from None
        return lambda name: regex.sub(new, name)
    old, equals, new = text.partition("=")
    if not equals or text == "=":
        raise UsageError(
            f"--rename {text!r} is not OLD=NEW", hint="for example --rename 'module.='"
        )
    if not old or old.endswith("."):
        start = new if not new or new.endswith(".") else f"{new}."
        return lambda name: start + name[len(old) :] if name.startswith(old) else name
    return lambda name: replaced(name, old, new)


def replaced(name: str, old: str, new: str) -> str:
    """Put a run of parts of a path, "" for none, wherever another run stands."""
    return ".".join(_replaced(name.split("."), old.split("."), new.split(".") if new else []))


def _replaced(parts: list[str], before: list[str], after: list[str]) -> Iterator[str]:
    at, size = 0, len(before)
    while at < len(parts):
        if parts[at : at + size] == before:
            yield from after
            at += size
        else:
            yield parts[at]
            at += 1


def match(a: Named, b: Named, renames: Sequence[Callable[[str], str]]) -> Matching:
    """Pair names that are equal once renamed, then those that only a leading prefix keeps apart."""
    called: dict[str, str] = {}
    for name in a:
        new = name
        for rename in renames:
            new = rename(new)
        if new in called:
            raise UsageError(f"--rename makes one name of {called[new]!r} and {name!r}: {new!r}")
        called[new] = name
    pairs = [(name, new) for new, name in called.items() if new in b]
    left = {new: a[name] for new, name in called.items() if new not in b}
    right = {name: info for name, info in b.items() if name not in called}
    renamed: list[Renamed] = []
    if left and right:
        renamed = _without_prefixes(left, right)
        for one in renamed:
            del left[one.a], right[one.b]
    back = {new: name for new, name in called.items() if new != name}
    return Matching(
        pairs + [(back.get(one.a, one.a), one.b) for one in renamed],
        [one._replace(a=back.get(one.a, one.a)) for one in renamed],
        {back.get(name, name): info for name, info in left.items()},
        right,
    )


def _without_prefixes(
    left: Mapping[str, TensorInfo], right: Mapping[str, TensorInfo]
) -> list[Renamed]:
    """Find the prefixes that, taken away on one side, make the most names match."""
    left, right = dict(left), dict(right)
    found: list[Renamed] = []
    for _ in range(_ROUNDS):
        votes = [(count, prefix, 0) for prefix, count in _votes(left, right).items()]
        votes += [(count, prefix, 1) for prefix, count in _votes(right, left).items()]
        votes.sort(key=lambda vote: (-vote[0], vote[1:]))
        best = next((vote for vote in votes if _convincing(vote, left, right)), None)
        if best is None or sum(vote[0] == best[0] for vote in votes) > 1:
            break  # none, or two that explain as much: no guess between equals
        _, prefix, side = best
        longer, shorter = (right, left) if side else (left, right)
        for name in [name for name in longer if name.startswith(prefix)]:
            rest = name[len(prefix) :]
            if rest in shorter:
                a, b = (rest, name) if side else (name, rest)
                found.append(Renamed(a, b, "prefix", ((prefix, "") if not side else ("", prefix),)))
                del longer[name], shorter[rest]
    return found


def _votes(longer: Mapping[str, TensorInfo], shorter: Mapping[str, TensorInfo]) -> Counter[str]:
    """How many names, of tensors of one shape, each prefix keeps apart."""
    votes: Counter[str] = Counter()
    for name, info in longer.items():
        for prefix in _prefixes(name):
            other = shorter.get(name[len(prefix) :])
            if other is not None and other.shape == info.shape:
                votes[prefix] += 1
    return votes


def _prefixes(name: str) -> Iterable[str]:
    at = -1
    for _ in range(_DEEPEST):
        at = name.find(".", at + 1)
        if at < 0 or at == len(name) - 1:
            break
        yield name[: at + 1]


def _convincing(
    vote: tuple[int, str, int], left: Mapping[str, TensorInfo], right: Mapping[str, TensorInfo]
) -> bool:
    """One name alone is no evidence, but under a wrapper's name or where nothing else is left."""
    count, prefix, _ = vote
    known = WRAPPERS.issuperset(prefix.removesuffix(".").split("."))
    return count > 1 or known or count == min(len(left), len(right))
