"""paramcli: the command line for the parameters of neural networks, and its core as a library.

>>> import paramcli
>>> checkpoint = paramcli.open("model.pt")
>>> [(info.name, info.shape) for info in checkpoint]
"""

from __future__ import annotations

from paramcli.api import diff
from paramcli.checkpoint import Checkpoint
from paramcli.errors import (
    LockError,
    ParamcliError,
    PatternError,
    SourceError,
    UsageError,
    UserCodeError,
)
from paramcli.sharing import Group
from paramcli.sources import open  # noqa: A004 - paramcli.open is the name that users look for
from paramcli.tensors import DType, Storage, TensorInfo

__version__ = "0.1.0"

__all__ = [
    "Checkpoint",
    "DType",
    "Group",
    "LockError",
    "ParamcliError",
    "PatternError",
    "SourceError",
    "Storage",
    "TensorInfo",
    "UsageError",
    "UserCodeError",
    "__version__",
    "diff",
    "open",
]
