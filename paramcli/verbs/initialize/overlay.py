"""The initialized checkpoint: nothing of it is computed until somebody asks for its bytes."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from paramcli.checkpoint import Checkpoint
from paramcli.errors import ParamcliError
from paramcli.owners import Owner
from paramcli.schemes.draws import DTYPES
from paramcli.schemes.recipe import write_recipe
from paramcli.schemes.stream import key
from paramcli.workers import available

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from paramcli.schemes.draws import Filler
    from paramcli.tensors import Storage
    from paramcli.verbs.initialize.on_device import OnDevice
    from paramcli.verbs.initialize.plan import Plan, Planned
    from paramcli.verbs.initialize.values import Stored

__all__ = ["initialized", "metadata_of", "workers_for"]

_WIDEST = 64
"""Bits of NumPy's largest integers."""
_MEMORY = 1 << 30
"""Bytes that workers may take together for what is made as a whole; one may always work."""


def initialized(
    plan: Plan,
    version: str,
    given: Callable[[], Checkpoint] | None = None,
    *,
    device: str = "cpu",
) -> Checkpoint:
    """Return what the plan says as a checkpoint that draws itself, on the CPU or on CUDA.

    `given` opens the model with the values of its constructor; it is called once, if there are
    any in the plan. The bytes depend on seed, name, shape, dtype and scheme alone.
    """
    constructed = given() if given is not None and plan.given else None
    drawing = _Drawing(plan, constructed, device)
    return Checkpoint(
        origin=plan.target,
        format=plan.format,
        producer=f"paramcli {version}",
        entries=tuple(item.info for item in plan.items),
        metadata=metadata_of(plan, version),
        key=plan.key,
        modules=plan.modules,
        notes=constructed.notes if constructed is not None else (),
        draw=drawing.draw,
        whole=frozenset(one.info.storage for one in plan.tensors if one.memory),
    )


def workers_for(plan: Plan, device: str = "cpu") -> int | None:
    """How many may draw at once, None for as many as the work is worth.

    One on a device; fewer than there are processors where each needs much memory.
    """
    if device != "cpu":
        return 1
    return max(1, min(available(), _MEMORY // plan.memory)) if plan.memory else None


def metadata_of(plan: Plan, version: str) -> dict[str, str]:
    """What the file remembers of its making, so that it can be checked against it.

    `format` is what readers of model hubs ask for.
    """
    told = {
        "format": "pt",
        "paramcli.recipe": write_recipe(plan.recipe, plan.rules or plan.recipe.rules),
        "paramcli.seed": str(plan.seed),
        "paramcli.stream": plan.stream,
        "paramcli.version": version,
    }
    modules = _modules(plan)
    if modules:
        told["paramcli.modules"] = json.dumps(modules, ensure_ascii=False, separators=(",", ":"))
    if plan.narrow:
        told["paramcli.base"] = json.dumps(plan.narrow, ensure_ascii=False, sort_keys=True)
    kept = [one.info.name for one in plan.tensors if one.kept is not None]
    if kept:
        told["paramcli.kept"] = json.dumps(kept, ensure_ascii=False)
    return told


def _modules(plan: Plan) -> list[list[object]]:
    """What was known of modules, on which roles and fans depend: facts, and the names they hold of.

    A list of [kind, type, classes, groups, transposed, padding, names]; the type is "" where the
    kind alone is known.
    """
    facts: dict[tuple[object, ...], list[str]] = {}
    for item in plan.items:
        owner = plan.modules.get(item.info.name)
        if owner is not None or item.info.kind != "tensor":
            owner = owner or Owner("", "")
            facts.setdefault((item.info.kind, *owner[1:]), []).append(item.info.name)
    return [[*fact, names] for fact, names in facts.items()]


class _Drawing:
    """Fills buffers with stretches of the result's storages."""

    def __init__(self, plan: Plan, constructed: Checkpoint | None, device: str) -> None:
        self._plan = plan
        self._constructed = constructed
        self._given = {info.name: info for info in constructed} if constructed else {}
        self._device: torch.device | None = None
        self._own = threading.local()
        if device != "cpu":  # what is missing is said before anything is written
            from paramcli.numeric.device import device_of

            self._device = device_of(device)

    def draw(self, storage: Storage, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with bytes of a storage from `offset` on."""
        if not buffer:
            return
        one = self._plan.tensors[int(storage.key)]
        width = max(one.info.dtype.bits // 8, 1)
        start, ahead = divmod(offset, width)
        stop = -(-(offset + len(buffer)) // width)
        if ahead == 0 and stop * width == offset + len(buffer):
            self._fill(one, start, buffer)
            return
        whole = memoryview(bytearray((stop - start) * width))
        self._fill(one, start, whole)
        buffer[:] = whole[ahead : ahead + len(buffer)]

    def _fill(self, one: Planned, start: int, buffer: memoryview) -> None:
        if one.kept is not None or one.given:
            self._stored(one).fill(start, buffer)
            return
        assert one.law is not None
        if self._device is not None and one.info.dtype.name in DTYPES:
            self._on_device(self._device).fill(one, start, buffer, self._made(one))
            return
        import numpy as np

        from paramcli.schemes.fill import fill

        name = one.info.dtype.name
        out = np.frombuffer(buffer, _kind(name, one.info.dtype.bits))
        where = key(self._plan.seed, one.info.name)
        fill(one.law, name, where, start, out, filler=self._filler(), made=self._made(one))

    def _filler(self) -> Filler:
        """The filler of this thread; a forked process has a copy of what there was."""
        if not hasattr(self._own, "filler"):
            from paramcli.schemes.draws import Filler

            self._own.filler = Filler()
        found: Filler = self._own.filler
        return found

    def _on_device(self, device: torch.device) -> OnDevice:
        """What draws for this thread."""
        if not hasattr(self._own, "on_device"):
            from paramcli.verbs.initialize.on_device import OnDevice

            self._own.on_device = OnDevice(device, self._plan.seed)
        found: OnDevice = self._own.on_device
        return found

    def _made(self, one: Planned) -> dict[Any, Any]:
        """Matrices that were made as a whole, of the tensor that is being drawn."""
        if getattr(self._own, "making", None) != one.info.name:
            self._own.making, self._own.made = one.info.name, {}
        found: dict[Any, Any] = self._own.made
        return found

    def _stored(self, one: Planned) -> Stored:
        """Where the values of the tensor that is being drawn are stored."""
        if getattr(self._own, "reading", None) != one.info.name:
            from paramcli.verbs.initialize.values import Stored

            checkpoint, info = one.source, one.kept
            if info is None:
                checkpoint, info = self._constructed, _constructed(self._given, one)
            assert checkpoint is not None
            self._own.stored = Stored(checkpoint, info, one.info.dtype.name)
            self._own.reading = one.info.name
        found: Stored = self._own.stored
        return found


def _constructed(given: Mapping[str, Any], one: Planned) -> Any:  # noqa: ANN401 - a TensorInfo
    names = (one.info.name, *(other.name for other in one.others))
    found = next((given[name] for name in names if name in given), None)
    if found is None or found.shape != one.info.shape:
        raise ParamcliError(
            f"{one.info.name}: the model's constructor gave no such tensor this time",
            hint="its names or shapes depend on what it draws; give a rule for it",
        )
    return found


def _kind(name: str, bits: int) -> str:
    """NumPy's type for the elements of a tensor, or for the integers that are their codes."""
    if name in ("float32", "float64"):
        return f"f{bits // 8}"
    return f"V{bits // 8}" if bits > _WIDEST else f"u{bits // 8}"
