"""Parameter sharing: one linear layer stands at two positions and gathers both gradients."""

from torch import nn


class SharedMLP(nn.Sequential):
    """An MLP whose layers 2 and 4 are the same object."""

    def __init__(self) -> None:
        """Build the layers around the shared one."""
        shared = nn.Linear(8, 8)
        super().__init__(
            nn.Linear(4, 8),
            nn.ReLU(),
            shared,
            nn.ReLU(),
            shared,
            nn.ReLU(),
            nn.Linear(8, 1),
        )
