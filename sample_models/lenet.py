"""LeNet, the model whose `named_parameters()` listing the tutorial prints."""

from torch import Tensor, nn


class LeNet(nn.Module):
    """LeNet-5 for 28x28 grey images and ten classes."""

    def __init__(self) -> None:
        """Build the layers; activations and pools take the indices between parameters."""
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 6, 5),
            nn.Sigmoid(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Sigmoid(),
            nn.MaxPool2d(2),
        )
        self.fc = nn.Sequential(
            nn.Linear(16 * 4 * 4, 120),
            nn.Sigmoid(),
            nn.Linear(120, 84),
            nn.Sigmoid(),
            nn.Linear(84, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 1, 28, 28] to [N, 10]."""
        out: Tensor = self.fc(self.conv(x).flatten(1))
        return out
