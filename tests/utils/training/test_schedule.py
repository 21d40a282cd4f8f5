"""Learning rates by step."""

import numpy as np
import pytest

from tests.golden_recipe import GOLDEN
from utils.training.schedule import poly, step_decay, warm_up
from utils.training.settings import Schedule


def test_poly_gives_the_published_rates():
    published = np.load(GOLDEN / "poly_lr.npy", allow_pickle=False)
    rates = [2.5e-4 * poly(step, 1000, power=0.9, every=10) for step in range(1, 1001)]
    np.testing.assert_allclose(rates, published, rtol=1e-6, atol=1e-12)


def test_poly_by_hand():
    assert poly(0, 10, power=0.9) == 1
    assert poly(5, 10, power=2.0) == pytest.approx(0.25)
    assert poly(5, 10, power=1.0, every=4) == pytest.approx(0.6)
    assert poly(11, 10, power=0.9) == 0


def test_step_decay_multiplies_from_each_decay_step_on():
    factors = [step_decay(epoch, (4, 2), factor=0.1) for epoch in range(6)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert step_decay(100, (), factor=0.1) == 1


def test_warm_up_rises_linearly_and_ends():
    assert [warm_up(step, 4, start=0.2) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert warm_up(0, 0, start=0.01) == 1


def test_rate_is_a_function_of_the_step_alone():
    schedule = Schedule(100, kind="step", decay_steps=(50,))
    # called in any order, like in a resumed run
    assert [schedule.factor(step) for step in (50, 99, 49)] == pytest.approx([0.1, 0.1, 1])


def test_poly_and_warm_up_go_together():
    schedule = Schedule(20, kind="poly", power=1.0, warmup_steps=10, warmup_factor=0.0)
    assert [schedule.factor(step) for step in (0, 5, 10, 15)] == pytest.approx([0, 0.75 * 0.5, 0.5, 0.25])
