"""Cut and mix: which square comes from which photo, and how much of each is its own."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.training.mixing import cut_and_mixed


@pytest.mark.parametrize(("high", "wide"), [(7, 7), (5, 8), (1, 1)])
def test_each_pixel_is_the_photos_own_or_its_partners(high: int, wide: int) -> None:
    import torch

    torch.manual_seed(0)
    shares = []
    for _ in range(100):
        # Every value says which photo, channel and place it comes from.
        maps = torch.arange(6 * 2 * high * wide, dtype=torch.float32).view(6, 2, high, wide)
        before = maps.clone()
        mixed, partners, own = cut_and_mixed(maps)
        assert maps.equal(before)
        assert sorted(partners.tolist()) == list(range(6))
        made, mine = mixed.numpy(), maps.numpy()
        theirs = mine[partners.numpy()]
        assert ((made == mine) | (made == theirs)).all()
        foreign = ((made == theirs) & (made != mine)).any(axis=(0, 1))
        if partners.tolist() != list(range(6)):
            rows, columns = np.flatnonzero(foreign.any(axis=1)), np.flatnonzero(foreign.any(axis=0))
            assert len(rows) == len(columns)
            assert foreign.sum() == len(rows) * len(columns)  # one square, without holes
            assert own == pytest.approx(1 - foreign.mean())
            shares.append(1 - own)
    if high * wide > 1:
        assert np.mean(shares) == pytest.approx(0.5 * min(high, wide) / max(high, wide), abs=0.12)
        assert len(set(shares)) > 4


def test_a_seed_mixes_the_same_way() -> None:
    import torch

    maps = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        made.append(cut_and_mixed(maps))
    assert made[0][0].equal(made[1][0])
    assert made[0][1].equal(made[1][1])
    assert made[0][2] == made[1][2]
