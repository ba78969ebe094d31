"""Operations of torch, seen one by one as they run."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Dispatch"]


class Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The base of what sees operations by `__torch_dispatch__`, while it is entered."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Keep torch from importing its compiler, for seconds, only to leave this alone."""
        return False
