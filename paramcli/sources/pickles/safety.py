"""What the pickles of a file asked for, and whether `torch.load(weights_only=True)` would agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paramcli.checkpoint import Pickle
from paramcli.sources.pickles.rebuild import UNDERSTOOD, WEIGHTS_ONLY

if TYPE_CHECKING:
    from paramcli.sources.pickles.machine import Machine

__all__ = ["judge"]

_OPCODES = {
    0x46: "FLOAT", 0x49: "INT", 0x4C: "LONG", 0x53: "STRING", 0x56: "UNICODE", 0x64: "DICT",
    0x67: "GET", 0x6C: "LIST", 0x70: "PUT", 0x8C: "SHORT_BINUNICODE", 0x93: "STACK_GLOBAL",
    0x94: "MEMOIZE", 0x95: "FRAME",
}  # fmt: skip
"""Names of those that a pickler of protocol 0, 1, 4 or 5 writes, and torch does not follow."""


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
            protocol = max(machine.protocol for machine in machines) or "0 or 1"
            name = _OPCODES.get(foreign[0], f"0x{foreign[0]:02x}")
            refused = f"opcode {name} of pickle protocol {protocol} is not one it follows"
    return Pickle(understood, inert, refused)
