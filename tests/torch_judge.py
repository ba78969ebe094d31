"""`torch.load(weights_only=True)` asked about one file after another, in a process it may crash.

`python -m tests.torch_judge` reads paths from stdin and answers each with a line of JSON:
`{"tensors": [...], "sharing": [...]}`, or `{"refused": "..."}`.
"""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[1]
_MEMORY = 6 << 30
_PATIENCE = 5.0


class TorchJudge:
    """A process that asks torch. Where torch crashes or hangs it is started again."""

    def __init__(self) -> None:
        self.crashes = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def ask(self, path: str) -> dict[str, Any]:
        """Return torch's answer; `{"refused": "crashed"}` where there is none."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.torch_judge"], cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert self._process.stdout is not None
            self._process.stdout.readline()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(path.encode() + b"\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], _PATIENCE)
            line = self._process.stdout.readline() if ready else b""
        except OSError:
            line = b""
        if not line:
            self.crashes += 1
            self._stop()
            return {"refused": "crashed"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _answer(path: str) -> dict[str, Any]:
    from tests import torch_objects

    try:
        root = torch_objects.load(path, weights_only=True)
    except BaseException as error:  # noqa: BLE001 - any refusal counts
        return {"refused": f"{type(error).__name__}: {str(error)[-400:]}"}
    try:
        tensors, sharing = torch_objects.described(list(torch_objects.leaves(root)))
    except (RecursionError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        return {"refused": f"cannot be walked: {error}"[:200]}
    return {"tensors": tensors, "sharing": sharing}


if __name__ == "__main__":
    _out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what torch itself prints goes elsewhere
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    _out.write("ready\n")
    _out.flush()
    for _line in sys.stdin:
        _out.write(json.dumps(_answer(_line.rstrip("\n"))) + "\n")
        _out.flush()
