"""Seeds derived from integers, and temporary seeding."""

import pytest
import torch

from utils.runtime.seeds import derived_seed, seeded


def test_derived_seeds_differ_by_place():
    seeds = {derived_seed(*parts) for parts in ((0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0))}
    assert len(seeds) == 4


def test_a_seeded_block_leaves_the_global_generators_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the GPU's dropout was reseeded"))
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded(0, 1):
            drawn.append(torch.rand(3))
        torch.rand(5)
    assert torch.equal(*drawn)
    torch.set_rng_state(before)
    with pytest.raises(KeyError), seeded(0, 1):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)
