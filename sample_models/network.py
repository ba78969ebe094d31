"""A network that initialises itself: its constructor ends by walking `self.modules()`."""

from torch import Tensor, nn


class Network(nn.Module):
    """A convolution, a batch norm and a ReLU."""

    def __init__(self) -> None:
        """Build the layers, then initialise them."""
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3)
        self.bn = nn.BatchNorm2d(10)
        self.relu = nn.ReLU()
        self._init_weight()

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, H, W] to [N, 10, H-2, W-2]."""
        out: Tensor = self.relu(self.bn(self.conv(x)))
        return out

    def _init_weight(self) -> None:
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)
            elif isinstance(m, nn.BatchNorm2d):
                nn.init.ones_(m.weight)
                nn.init.zeros_(m.bias)
