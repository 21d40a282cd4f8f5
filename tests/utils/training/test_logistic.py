import numpy as np
import pytest

from utils.training.logistic import fit_logistic


def samples():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3)).astype(np.float32)
    return features, np.stack([features[:, 0] > 0, features[:, 1] + 0.5 * features[:, 2] > 0.2], 1).astype(float)


def test_each_label_finds_the_features_that_it_depends_on():
    weights, constants = fit_logistic(*samples(), penalty=0.01)
    assert weights.shape == (2, 3) and weights.dtype == constants.dtype == np.float32
    assert weights[0, 0] > 10 * abs(weights[0, 1:]).max()
    assert weights[1, 1] > weights[1, 2] > 5 * abs(weights[1, 0])


def test_the_minimum_of_one_feature_is_that_of_the_formula():
    # two samples each of -1 and 1, which are already standardised; three of four labels follow the sign
    features, targets = np.array([[-1.0], [-1.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [1.0], [1.0]])
    weight = float(fit_logistic(features, targets, penalty=0.05).weights[0, 0]) * 1.001  # LEAST_DEVIATION is added to 1
    # at the minimum, with the best constant b: mean of (sigmoid(b + w x) - y) x is -2 * penalty * w
    constants = np.linspace(-5, 5, 200001)
    error = [1 / (1 + np.exp(-(constants + sign * weight))) for sign in (-1, 1)]
    best = np.abs(error[0] - 0.5 + error[1] - 1).argmin()
    slope = (-(error[0][best] - 0.5) + (error[1][best] - 1)) / 2
    assert slope == pytest.approx(-2 * 0.05 * weight, abs=2e-3)


def test_units_and_offsets_of_the_features_do_not_matter():
    features, targets = samples()
    weights, constants = fit_logistic(features, targets, penalty=0.1)
    others = features * np.float32([1, 100, 10]) + 5
    changed, moved = fit_logistic(others, targets, penalty=0.1)
    assert changed * [1, 100, 10] == pytest.approx(weights, rel=2e-2, abs=2e-3)
    assert others @ changed.T + moved == pytest.approx(features @ weights.T + constants, abs=2e-2)


def test_without_informative_features_the_constant_is_the_share_of_the_class():
    features = np.zeros((10, 2), np.float32)
    fitted = fit_logistic(features, np.array([[1.0]] * 3 + [[0.0]] * 7), penalty=0.1)
    assert 1 / (1 + np.exp(-fitted.constants)) == pytest.approx([0.3], abs=1e-3)


def test_a_class_that_no_or_every_sample_has_stays_finite():
    features, _ = samples()
    weights, constants = fit_logistic(features, np.stack([np.zeros(200), np.ones(200)], 1), penalty=0.1)
    assert np.isfinite(weights).all() and abs(weights).max() < 1e-3
    assert constants[0] < -5 and constants[1] > 5
