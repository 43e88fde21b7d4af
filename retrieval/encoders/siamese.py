"""The small siamese network: four convolutions of different sizes, three dense layers.

After Koch, Zemel and Salakhutdinov, "Siamese Neural Networks for One-shot Image Recognition"
(2015), figure 4: its kernels, pooling and input of 105 pixels, with three colours, fewer channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.encoders.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

SIZE = 105
PREPROCESSING = Preprocessing(
    size=SIZE,
    resize=120,
    crop="center",
    interpolation="bicubic",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
_SEED = 0


def siamese(dim: int = 128) -> nn.Module:
    """Make the network untrained: the same weights each time, drawn from a fixed seed.

    Args:
        dim: Length of its features.

    Returns:
        Maps float32 `(n, 3, 105, 105)` to `(n, dim)`.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):  # the caller's own seed goes on undisturbed
        torch.manual_seed(_SEED)
        module = nn.Sequential(
            *_convolution(3, 16, kernel=10),  # 105 px → 96
            nn.MaxPool2d(2),  # 48
            *_convolution(16, 32, kernel=7),  # 42
            nn.MaxPool2d(2),  # 21
            *_convolution(32, 64, kernel=4),  # 18
            nn.MaxPool2d(2),  # 9
            *_convolution(64, 128, kernel=4),  # 6
            nn.Flatten(),
            nn.Linear(128 * 6 * 6, 512),
            nn.ReLU(),
            nn.Linear(512, 256),
            nn.ReLU(),
            nn.Linear(256, dim),
        )
        for layer in module:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                # Torch's own default lets the signal fade from layer to layer.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    module.head_hidden_size = dim  # type: ignore[assignment]
    return module


def _convolution(channels: int, out: int, *, kernel: int) -> tuple[nn.Module, nn.Module]:
    from torch import nn

    return nn.Conv2d(channels, out, kernel), nn.ReLU()
