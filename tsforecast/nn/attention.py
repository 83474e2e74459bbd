"""Queries and keys -> what the queries find in them: weights over the steps that sum to 1.

Masks are bool, True = may be looked at. A query that may look at nothing finds zeros.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsforecast.errors import OptionError
from tsforecast.nn.mlp import MLP

EXPAND = 4  # hidden width of the perceptron in a layer, in widths


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, dropout: float = 0.0) -> Tensor:
    """softmax(query @ key.T / sqrt(D)) @ value, (…, L, E).

    Args:
        query: (…, L, D).
        key: (…, T, D).
        value: (…, T, E).
        mask: bool, broadcasts to (…, L, T).

    Source: Vaswani et al. 2017.
    """
    if mask is None:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    some = mask.any(-1, keepdim=True)  # (…, L, 1)
    found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask | ~some, dropout_p=dropout)
    return torch.where(some, found, 0.0)


class MultiHeadAttention(nn.Module):
    """Each head looks with a share of the width."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise OptionError(f"heads must divide the width {width}, got {heads!r}", field="heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor | None = None, *, pairs: Tensor | None = None) -> Tensor:
        """(B, L, D).

        Args:
            query: (B, L, D).
            keys: (B, T, D), the values too.
            mask: (B, T) bool, the keys that may be looked at in each window.
            pairs: (L, T) bool, the keys that each query may look at, in all windows.
        """
        allowed = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        if pairs is not None:
            allowed = pairs if allowed is None else allowed & pairs  # (B, 1, L, T)
        q, k, v = self._split(self.query(query)), self._split(self.key(keys)), self._split(self.value(keys))
        found = scaled_dot_product(q, k, v, allowed, dropout=self.dropout if self.training else 0.0)  # (B, heads, L, D / heads)
        y: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return y

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1).transpose(1, 2)  # (B, heads, L, D / heads)


class AdditiveAttention(nn.Module):
    """Weights from tanh(query + key), for one query in each window; query and key may differ in width.

    Source: Bahdanau et al. 2015.
    """

    def __init__(self, query: int, key: int, hidden: int) -> None:
        super().__init__()
        self.of_query, self.of_key = nn.Linear(query, hidden), nn.Linear(key, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, Dq), (B, T, Dk), (B, T) bool -> context (B, Dk), weights (B, T)."""
        scores = self.score(torch.tanh(self.of_query(query).unsqueeze(1) + self.of_key(keys))).squeeze(-1)  # (B, T)
        if mask is not None:
            scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
        weights: Tensor = scores.softmax(-1)
        if mask is not None:
            weights = weights * mask
        return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def sinusoidal_positions(steps: int, width: int) -> Tensor:
    """(T, D) sines and cosines, in turn, of ever longer waves. Source: Vaswani et al. 2017."""
    step = torch.arange(steps, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10_000.0) / width))
    waves = torch.stack([torch.sin(step * rate), torch.cos(step * rate)], dim=-1)  # (T, D / 2, 2)
    return waves.flatten(1)[:, :width]


class LearnedPositions(nn.Module):
    """x + one learned vector for each step."""

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(steps, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > len(self.table):
            raise OptionError(f"there are positions for {len(self.table)} steps, got {x.shape[1]}", field="steps")
        return x + self.table[: x.shape[1]]


class EncoderLayer(nn.Module):
    """Self-attention, then a perceptron, each added to what it read: pre-norm (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), MultiHeadAttention(width, heads, dropout)
        self.last_norm, self.inner = nn.LayerNorm(width), MLP(width, width, hidden=(EXPAND * width,), dropout=dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, pairs: Tensor | None = None, newest: int | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); masks as in `MultiHeadAttention`. With `newest`, only its last rows, which saves the others."""
        z = self.norm(x)
        asks = slice(None if newest is None else -newest, None)
        x = x[:, asks] + self.drop(self.attention(z[:, asks], z, mask, pairs=None if pairs is None else pairs[asks]))
        y: Tensor = x + self.drop(self.inner(self.last_norm(x)))
        return y


class DecoderLayer(nn.Module):
    """Self-attention, attention to a memory, then a perceptron, each added to what it read: pre-norm."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), MultiHeadAttention(width, heads, dropout)
        self.cross_norm, self.cross = nn.LayerNorm(width), MultiHeadAttention(width, heads, dropout)
        self.last_norm, self.inner = nn.LayerNorm(width), MLP(width, width, hidden=(EXPAND * width,), dropout=dropout)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, *, pairs: Tensor | None = None) -> Tensor:
        """(B, L, D), (B, T, D) -> (B, L, D).

        Args:
            mask: (B, T) bool, the steps of the memory that may be looked at.
            pairs: (L, L) bool, what the self-attention may look at.
        """
        z = self.norm(x)
        x = x + self.drop(self.attention(z, z, pairs=pairs))
        x = x + self.drop(self.cross(self.cross_norm(x), memory, mask))
        y: Tensor = x + self.drop(self.inner(self.last_norm(x)))
        return y
