"""A Sequential, whose layers are reached by index: `MLP()[2].state_dict()`."""

from torch import nn


class MLP(nn.Sequential):
    """Two linear layers, at indices 0 and 2."""

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
