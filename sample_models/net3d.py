"""A network initialised from outside, once it is built: `net.apply(weight_init)`."""

import math

from torch import Tensor, nn


class Net3d(nn.Module):
    """A 3-d convolution with batch norm, averaged over space and classified."""

    def __init__(self) -> None:
        """Build the layers with PyTorch's own initialisation."""
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.bn = nn.BatchNorm3d(4)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 1, D, H, W] to [N, 2]."""
        features: Tensor = self.relu(self.bn(self.conv(x)))
        out: Tensor = self.fc(features.mean(dim=(2, 3, 4)))
        return out


def weight_init(m: nn.Module) -> None:
    """Initialise one module in place; `Module.apply` calls this on every submodule."""
    if isinstance(m, nn.Conv3d):
        fan_out = math.prod(m.kernel_size) * m.out_channels
        nn.init.normal_(m.weight, std=math.sqrt(2 / fan_out))
    elif isinstance(m, nn.BatchNorm3d):
        nn.init.ones_(m.weight)
    elif isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, std=0.02)
    else:
        return
    if m.bias is not None:
        nn.init.zeros_(m.bias)
