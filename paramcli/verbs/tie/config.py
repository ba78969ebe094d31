"""What a model directory's config.json says of tied word embeddings, held against the weights.

`tie_word_embeddings` is transformers' own key (`PreTrainedConfig`); what stands in `text_config`
is that of a model of several modalities. A config that leaves it out says nothing here.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from paramcli.errors import SourceError
from paramcli.files import open_file
from paramcli.verbs.tie.report import Stated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from paramcli.checkpoint import Checkpoint
    from paramcli.sharing import Group

__all__ = ["stated"]

_MOST = 1 << 22
_KEY = "tie_word_embeddings"
_PREDICTING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForMaskedLM")
_INPUTS = (
    "embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in", "token_embedding",
    "shared", "embeddings", "embed",
)  # fmt: skip
_OUTPUTS = ("lm_head", "embed_out", "output_projection", "decoder", "output", "head")
"""What models call the module of their word embeddings, and of their head, likeliest first."""


def stated(checkpoint: Checkpoint, groups: Sequence[Group]) -> Stated | None:
    """Return what the config beside a checkpoint says, None where there is none or it is silent."""
    path = _beside(checkpoint)
    told = _read(path) if path else {}
    tied = next((one[_KEY] for one in (told, told.get("text_config"))
                 if isinstance(one, dict) and isinstance(one.get(_KEY), bool)), None)  # fmt: skip
    if path is None or tied is None:
        return None
    names = [info.name for info in checkpoint]
    source, head = _find(names, _INPUTS), _find(names, _OUTPUTS)
    if not source:
        return Stated(path, tied, source, head, agrees=True, text="no word embeddings are known")
    if not head:
        missed = not tied and _has_head(told)
        end = ", to stand for the head too" if tied else ", and the head is missing" * missed
        return Stated(path, tied, source, head, not missed, f"{source} is there alone{end}")
    shared = any({source, head} <= set(group.names) for group in groups)
    text = f"{head} {'shares' if shared else 'does not share'} the bytes of {source}"
    return Stated(path, tied, source, head, agrees=shared == tied, text=text)


def _has_head(told: dict[str, object]) -> bool:
    """Whether the config is of a model that predicts words, by the name of its class."""
    classes = told.get("architectures")
    return isinstance(classes, list) and any(
        isinstance(name, str) and name.endswith(_PREDICTING) for name in classes
    )


def _beside(checkpoint: Checkpoint) -> str | None:
    if checkpoint.format in ("module", "lock"):
        return None
    origin = os.path.expanduser(checkpoint.origin)
    folder = origin if os.path.isdir(origin) else os.path.dirname(origin)
    path = os.path.join(folder, "config.json")
    return path if os.path.isfile(path) else None


def _read(path: str) -> dict[str, object]:
    """Read a config. One that cannot be read says nothing: it is another program's."""
    try:
        with open_file(path) as file:
            told = json.loads(file.read(0, file.size)) if file.size <= _MOST else None
    except (SourceError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _find(names: Iterable[str], modules: Sequence[str]) -> str:
    """Find the weight of the module that is called by the likeliest of these names."""
    found = {name.split(".")[-2]: name for name in names if name.endswith(".weight")
             and name.count(".")}  # fmt: skip
    return next((found[module] for module in modules if module in found), "")
