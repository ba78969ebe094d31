"""What the pickles of a file asked for, and whether `torch.load(weights_only=True)` would agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.checkpoint import Pickle
from paramcli.sources.pickles.rebuild import UNDERSTOOD, WEIGHTS_ONLY

if TYPE_CHECKING:
    from paramcli.sources.pickles.machine import Machine

__all__ = ["judge"]

_OPCODES = {0x70: "PUT", 0x67: "GET", 0x94: "MEMOIZE", 0x93: "STACK_GLOBAL", 0x95: "FRAME"}


def judge(*machines: Machine, refused: str = "") -> Pickle:
    """Sum up the globals of the machines that ran; `refused` is a reason that holds anyway."""
    asked = dict.fromkeys(path for machine in machines for path in machine.asked)
    understood = tuple(path for path in asked if path in UNDERSTOOD)
    inert = tuple(path for path in asked if path not in UNDERSTOOD)
    foreign = sorted(op for machine in machines for op in machine.foreign)
    if not refused:
        unlisted = [path for path in asked if path not in WEIGHTS_ONLY]
        if unlisted:
            more = f" and {len(unlisted) - 1} more" if len(unlisted) > 1 else ""
            refused = f"{unlisted[0]}{more} not on its list"
        elif foreign:
            protocol = max(machine.protocol for machine in machines)
            name = _OPCODES.get(foreign[0], f"0x{foreign[0]:02x}")
            refused = f"opcode {name} of pickle protocol {protocol} is not one it follows"
    return Pickle(understood, inert, refused)
