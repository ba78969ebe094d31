"""What a model directory's config.json says of tied word embeddings, held against the weights.

`tie_word_embeddings` is transformers' own key (`PreTrainedConfig`); what stands in `text_config`
is that of a model of several modalities. A config that leaves it out says nothing here.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from paramcli.errors import SourceError
from paramcli.sources.files import File
from paramcli.verbs.tie.report import Stated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paramcli.checkpoint import Checkpoint, Group

__all__ = ["stated"]

_MOST = 1 << 22
_KEY = "tie_word_embeddings"
_INPUTS = (
    "embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in", "token_embedding",
    "shared", "embeddings", "embed",
)  # fmt: skip
_OUTPUTS = ("lm_head", "embed_out", "output_projection", "decoder", "output", "head")
"""What models call the module of their word embeddings, and of their head, likeliest first."""


def stated(checkpoint: Checkpoint, groups: Sequence[Group]) -> Stated | None:
    """Return what the config beside a checkpoint says, None where there is none or it is silent."""
    path = _beside(checkpoint)
    tied = _tied(path) if path else None
    if path is None or tied is None:
        return None
    names = [info.name for info in checkpoint]
    source, head = _find(names, _INPUTS), _find(names, _OUTPUTS)
    if not source:
        return Stated(path, tied, source, head, agrees=True, text="no word embeddings are known")
    shared = any({source, head} <= set(group.names) for group in groups)
    if not head:
        text = f"{source} is there alone" + (", to stand for the head too" if tied else "")
        return Stated(path, tied, source, head, agrees=tied, text=text)
    text = f"{head} {'shares' if shared else 'does not share'} the bytes of {source}"
    return Stated(path, tied, source, head, agrees=shared == tied, text=text)


def _beside(checkpoint: Checkpoint) -> str | None:
    if checkpoint.format in ("module", "lock"):
        return None
    origin = os.path.expanduser(checkpoint.origin)
    folder = origin if os.path.isdir(origin) else os.path.dirname(origin)
    path = os.path.join(folder, "config.json")
    return path if os.path.isfile(path) else None


def _tied(path: str) -> bool | None:
    try:
        with File(path) as file:
            told = json.loads(file.read(0, file.size)) if file.size <= _MOST else None
    except (SourceError, ValueError, RecursionError):  # it is another program's; this is an aside
        return None
    for place in (told, told.get("text_config")) if isinstance(told, dict) else ():
        if isinstance(place, dict) and isinstance(place.get(_KEY), bool):
            return bool(place[_KEY])
    return None


def _find(names: Iterable[str], modules: Sequence[str]) -> str:
    """Find the weight of the module that is called by the likeliest of these names."""
    found = {name.split(".")[-2]: name for name in names if name.endswith(".weight")
             and name.count(".")}  # fmt: skip
    return next((found[module] for module in modules if module in found), "")
