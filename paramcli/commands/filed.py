"""`--report FILE.json`: what a command found, and how it ended, for a program that comes later.

Under torchrun, which folds all exit codes into one, it is where the verdict stands.
"""

from __future__ import annotations

from typing import Any

from paramcli.errors import ParamcliError, UsageError

__all__ = ["Filed"]

_RENDERERS = {
    "list": "paramcli.render.json",
    "show": "paramcli.render.show.json",
    "init": "paramcli.render.init.json",
    "tie": "paramcli.render.tie.json",
    "diff": "paramcli.render.diff.json",
}


class Filed:
    """The report of one run of a verb, if `path` asks for one."""

    def __init__(self, verb: str, path: str | None) -> None:
        self._verb, self._path = verb, path
        self._report: Any = None

    def check(self) -> None:
        """Raise UsageError, before any work, for a file that it will not write."""
        if self._path is not None and not self._path.endswith(".json"):
            raise UsageError(
                f"--report {self._path}: a report is JSON", hint="name it with .json at its end"
            )

    def keep(self, report: object) -> None:
        """Keep what was found."""
        if self._path is not None and self._report is not None:
            raise UsageError("--report is of one target", hint="write one for each")
        self._report = report

    def write(self, code: int) -> None:
        """Write the report with its exit code. Raises OutputError."""
        if self._path is not None:
            told: dict[str, Any] = {"schema": f"paramcli.{self._verb}/1"}
            if self._report is not None:
                import json
                from importlib import import_module

                text = import_module(_RENDERERS[self._verb]).as_json(self._report)
                told = json.loads("".join(text))
            self._put(told | {"status": code})

    def fail(self, error: Exception) -> None:
        """Write what went wrong instead, where that can be."""
        usable = self._path is not None and self._path.endswith(".json")
        if usable:
            told = {
                "schema": f"paramcli.{self._verb}/1",
                "status": ParamcliError.exit_code,
                "error": str(error),
                "hint": getattr(error, "hint", None),
            }
            try:
                self._put(told)
            except ParamcliError:  # one error is enough
                return

    def _put(self, told: dict[str, Any]) -> None:
        import json

        from paramcli.save.atomic import Draft

        text = json.dumps(told, ensure_ascii=False, indent=1) + "\n"
        with Draft(str(self._path)) as draft:
            draft.output.write(text.encode("utf-8", "backslashreplace"))
