"""The sharing groups of a checkpoint with what shows them, whatever the format's own way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.verbs.survey import survey
from paramcli.verbs.tie.config import stated
from paramcli.verbs.tie.overlap import form_of
from paramcli.verbs.tie.report import Evidence, Tie, TieReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.owners import Held
    from paramcli.sharing import Group
    from paramcli.tensors import TensorInfo
    from paramcli.verbs.tie.report import Change

__all__ = ["report"]


def report(checkpoint: Checkpoint, changes: tuple[Change, ...] = ()) -> TieReport:
    """Report the groups of a checkpoint, made by these changes. Values are not read."""
    made = {name: one.kept for one in changes if one.kind != "untied" for name in one.names}
    listed = survey(checkpoint)
    by_name = {info.name: info for info in checkpoint}
    config = stated(checkpoint, listed.groups)
    groups = []
    for group in listed.groups:
        members = [by_name[name] for name in group.names]
        ids = {info.name: info for info in members}
        evidence = tuple(_evidence(checkpoint, group, ids, made))
        if config and config.tied and {config.input, config.output} <= ids.keys():
            evidence += (Evidence("config", "config.json: tie_word_embeddings"),)
        first = members[0]
        groups.append(
            Tie(
                *group[:3], form_of(members), group.bytes, _saved(members),
                first.dtype.name, first.shape, evidence,
            )
        )  # fmt: skip
    return TieReport(
        target=checkpoint.origin,
        format=checkpoint.format,
        key=checkpoint.key,
        groups=tuple(groups),
        totals=listed.totals,
        config=config,
        changes=changes,
    )


def _saved(members: Sequence[TensorInfo]) -> int:
    """Bytes that the members would fill, one after another, beyond those that they do."""
    named = sum(info.nbytes for info in members)
    if len({info.view for info in members}) == 1:
        return named - members[0].nbytes
    covered = reach = 0
    for start, end in sorted(view.extent for info in members for view in info.views()):
        covered += max(0, end - max(start, reach))
        reach = max(reach, end)
    return named - min(named, covered)


def _evidence(
    checkpoint: Checkpoint,
    group: Group,
    members: Mapping[str, TensorInfo],
    made: Mapping[str, str],
) -> Iterator[Evidence]:
    yield from (
        Evidence("command", f"{name} is tied to {made[name]} now")
        for name in members
        if name in made
    )
    if checkpoint.lock is not None:
        yield Evidence("lock", "the lock says so")
        return
    if checkpoint.held:
        yield from _of_objects(checkpoint.held, members)
    elif checkpoint.format in ("safetensors", "sharded-safetensors"):
        yield from _of_metadata(checkpoint, group.names, known=bool(made.keys() & members.keys()))
    else:
        keys = dict.fromkeys(view.storage.key for one in members.values() for view in one.views())
        yield Evidence("storage", f"storage {', '.join(map(str, keys))}")
    if group.relation == "overlap":
        yield from (Evidence("view", _where(info)) for info in members.values())


def _of_objects(
    objects: Mapping[str, Held], members: Mapping[str, TensorInfo]
) -> Iterator[Evidence]:
    """Say which names are one module, one Parameter, or only one storage."""
    held = {name: objects[name] for name in members if name in objects}
    first: dict[int, str] = {}
    for name, (tensor, module, cls) in held.items():
        path = name.rpartition(".")[0]
        if path != module and first.get(tensor, "").rpartition(".")[0] == module:
            yield Evidence("module", f"{path} is the module {module or 'itself'} ({cls})")
        elif tensor in first:
            kind = "buffer" if members[name].kind == "buffer" else "Parameter"
            yield Evidence("tensor", f"{name} is the {kind} {first[tensor]}")
        first.setdefault(tensor, name)
    if len(first) > 1:
        names = list(first.values())
        yield Evidence("storage", f"{len(first)} tensors on one storage: {', '.join(names)}")


def _of_metadata(
    checkpoint: Checkpoint, names: Sequence[str], *, known: bool
) -> Iterator[Evidence]:
    told = checkpoint.metadata
    for name in names:
        if told.get(name) in names:
            yield Evidence("metadata", f"metadata: {name} is {told[name]}")
    if not known and not any(told.get(name) in names for name in names):
        yield Evidence("metadata", "metadata: views that paramcli wrote")


def _where(info: TensorInfo) -> str:
    start, end = info.extent
    sizes = ", ".join(map(str, info.shape))
    steps = ", ".join(map(str, info.stride))
    return (
        f"{info.name}: {info.dtype.name}[{sizes}] with steps [{steps}], bytes {start:,} to {end:,}"
    )
