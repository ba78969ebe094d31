"""What `init` was asked for, brought together: the recipe, the target opened, the plan of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paramcli.commands.streams import introduce, opened, say
from paramcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramcli.checkpoint import Checkpoint
    from paramcli.schemes.recipe import Recipe
    from paramcli.sources import Request
    from paramcli.verbs.initialize import Plan

__all__ = ["Asked", "Opened", "composed", "open_target", "planned"]


class Asked(NamedTuple):
    """What the command line says of how to fill."""

    scheme: str | None
    recipe: str | None
    rules: list[str]
    apply: str
    seed: int | None

    @property
    def anything(self) -> bool:
        """Whether it says anything at all."""
        return bool(self.scheme or self.recipe or self.rules or self.apply)


class Opened(NamedTuple):
    """The target and the recipe; and what an applied function wrote, by name."""

    request: Request
    checkpoint: Checkpoint
    recipe: Recipe
    touched: dict[str, tuple[str, ...]]

    def given(self, plan: Plan) -> Callable[[], Checkpoint]:
        """How the values are had that the model's constructor gives."""

        def given() -> Checkpoint:
            if self.request.values:
                return self.checkpoint
            if plan.constructed:
                from paramcli.sources import open_request

                return open_request(self.request._replace(values=True))
            from paramcli.sources.module import open_buffers

            return open_buffers(self.request)

        return given


def composed(asked: Asked, *, project: bool) -> Recipe:
    """The recipe that is asked for, its seed known; the project's where none is."""
    from paramcli.schemes.recipe import compose

    scheme, seed = asked.scheme, asked.seed
    if project:
        from paramcli.project import initialization

        default = initialization()
        scheme = scheme if asked.anything else default.scheme
        seed = default.seed if seed is None else seed
    recipe = compose(scheme, asked.recipe, asked.rules, asked.apply)
    if recipe.apply and scheme is None:
        recipe = compose("model", asked.recipe, asked.rules, recipe.apply)
    elif recipe.apply and scheme != "model":
        raise UsageError(
            "--apply starts from what the model's constructor draws",
            hint="leave --scheme out; --rule fills single tensors otherwise",
        )
    elif not recipe.rules:
        say("note: no --scheme, so each layer gets what PyTorch gives it (torch)")
        recipe = compose("torch")
    return recipe._replace(seed=recipe.seed or 0 if seed is None else seed)


def open_target(request: Request, recipe: Recipe) -> Opened:
    """Open the target, and apply a function to it if there is one."""
    request = request._replace(seed=recipe.seed or 0)
    if not recipe.apply:
        checkpoint = opened(request)
        introduce(checkpoint)
        for problem in checkpoint.problems:
            say(f"warning: {problem}")
        return Opened(request, checkpoint, recipe, {})
    from paramcli.schemes.stream import key
    from paramcli.sources.apply import open_applied
    from paramcli.sources.module import looks_like_module

    if not looks_like_module(request.target):
        raise UsageError("--apply wants a model class", hint="such as pkg.mod:Net")
    request = request._replace(values=True)
    found, touched = open_applied(
        request, recipe.apply, lambda name: key(request.seed, name, "apply").start
    )
    introduce(found)
    return Opened(request, found, recipe, touched)


def planned(opened: Opened, dtype: str | None, missing_only: str | None, base: str | None) -> Plan:
    """Plan the target's initialization; what is kept and what muP was tuned on are opened."""
    from paramcli.sources import Request, open_request
    from paramcli.verbs.initialize import make_plan

    kept = None if missing_only is None else open_request(Request(missing_only))
    narrow = () if base is None else open_request(Request(base))
    return make_plan(
        opened.checkpoint, opened.recipe, dtype=dtype, base=kept, touched=opened.touched,
        narrow={info.name: info.shape for info in narrow},
    )  # fmt: skip
