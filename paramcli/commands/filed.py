"""`--report FILE`: what a command found, besides what it prints.

FILE.json also says how it ended, for a program that comes later: under torchrun, which folds all
exit codes into one, it is where the verdict stands. FILE.html is a page to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paramcli.errors import ParamcliError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Filed"]

_RENDERERS = {
    "list": "paramcli.render.json",
    "show": "paramcli.render.show.json",
    "init": "paramcli.render.init.json",
    "tie": "paramcli.render.tie.json",
    "diff": "paramcli.render.diff.json",
}
_PAGES = {
    "list": "paramcli.render.html.list",
    "show": "paramcli.render.html.show",
    "diff": "paramcli.render.html.diff",
}


class Filed:
    """The report of one run of a verb, if `path` asks for one."""

    def __init__(self, verb: str, path: str | None) -> None:
        self._verb, self._path = verb, path
        self._report: Any = None

    def check(self) -> None:
        """Raise UsageError, before any work, for a file that it will not write."""
        if self._path is None or self._path.endswith(".json"):
            return
        if not self._path.endswith(".html"):
            raise UsageError(
                f"--report {self._path}: a report is JSON or HTML",
                hint="name it with .json or .html at its end",
            )
        if self._verb not in _PAGES:
            raise UsageError(
                f"{self._verb} has no page", hint=f"a .json report; {', '.join(_PAGES)} have pages"
            )

    def keep(self, report: object) -> None:
        """Keep what was found."""
        if self._path is not None and self._report is not None:
            raise UsageError("--report is of one target", hint="write one for each")
        self._report = report

    def write(self, code: int) -> None:
        """Write the report with its exit code. Raises OutputError."""
        if self._path is None:
            return
        from importlib import import_module

        if self._path.endswith(".html"):
            if self._report is not None:
                self._put(import_module(_PAGES[self._verb]).html(self._report))
            return
        import json

        told: dict[str, Any] = {"schema": f"paramcli.{self._verb}/1"}
        if self._report is not None:
            told = json.loads("".join(import_module(_RENDERERS[self._verb]).as_json(self._report)))
        self._put([json.dumps(told | {"status": code}, ensure_ascii=False, indent=1), "\n"])

    def fail(self, error: Exception) -> None:
        """Write what went wrong into a JSON report, where that can be."""
        if self._path is None or not self._path.endswith(".json"):
            return
        import json

        told = {
            "schema": f"paramcli.{self._verb}/1",
            "status": ParamcliError.exit_code,
            "error": str(error),
            "hint": getattr(error, "hint", None),
        }
        try:
            self._put([json.dumps(told, ensure_ascii=False, indent=1), "\n"])
        except ParamcliError:  # one error is enough
            return

    def _put(self, text: Iterable[str]) -> None:
        from paramcli.save.atomic import Draft

        with Draft(str(self._path)) as draft:
            for chunk in text:
                draft.output.write(chunk.encode("utf-8", "backslashreplace"))
