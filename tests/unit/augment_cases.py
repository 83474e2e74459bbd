"""Batches of windows that the tests of augmentations change."""

import torch

from tsforecast.nn.window_network import WindowBatch

T, H, SEASON = 24, 8, 4
L = T + H


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(curves, there=None, *, context=T, signed=True, **more) -> WindowBatch:
    curves = torch.as_tensor(curves, dtype=torch.float64)
    there = torch.ones_like(curves, dtype=torch.bool) if there is None else torch.as_tensor(there)
    curves = torch.where(there, curves, 0.0)
    return WindowBatch(
        past=curves[:, :context], seen=there[:, :context], future=curves[:, context:], known=there[:, context:],
        signed=torch.full((len(curves), 1), signed), **more,
    )  # fmt: skip


def curves_of(batch):
    return torch.cat([batch.past, batch.future], 1)


def there_of(batch):
    return torch.cat([batch.seen, batch.known], 1)


def noisy(windows=64, *, level=0.0, seed=0):
    return level + torch.randn(windows, L, generator=generator(seed), dtype=torch.float64)


def applied(recipe, batch, *, seed=0, season=SEASON, series=None):
    return recipe.apply(batch, generator(seed), season=season, series=series)


def same(a, b):
    return all(
        (x is y) or (x is not None and torch.equal(x, y))
        for x, y in ((getattr(a, n), getattr(b, n)) for n in WindowBatch.__slots__)
    )


def full_batch(windows=16, seed=0, **more):
    """With everything a batch can have, and holes."""
    g = generator(seed)
    return batch_of(
        noisy(windows, level=3.0, seed=seed),
        torch.rand(windows, L, generator=g) < 0.8,
        covariates=torch.randn(windows, L, 2, generator=g),
        past_covariates=torch.randn(windows, T, 3, generator=g),
        static=torch.randn(windows, 2, generator=g),
        category=torch.arange(windows).unsqueeze(1),
        **more,
    )
