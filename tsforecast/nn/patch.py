"""(B, T, C) -> (B, T / patch, D): steps are read in patches, so a recurrence is `patch` times shorter.

Source: SegRNN (Lin et al. 2023), PatchTST (Nie et al. 2023).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """Linear map of non-overlapping patches; a context that is not a multiple of `patch` is padded on its old side."""

    def __init__(self, channels: int, width: int, *, patch: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.patch = patch
        self.embed = nn.Linear(channels * patch, width)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, channels = x.shape
        short = -steps % self.patch
        if short:
            x = F.pad(x, (0, 0, short, 0))
        patches = x.reshape(batch, -1, self.patch * channels)  # (B, T / patch, patch * C)
        y: Tensor = self.drop(self.norm(self.embed(patches)))
        return y
