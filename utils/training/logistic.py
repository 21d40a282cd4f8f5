"""Logistic regression with several labels per sample."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

LEAST_DEVIATION = 1e-3


class Fitted(NamedTuple):
    """Logits are features @ weights.T + constants. weights: (C, D) float32. constants: (C,) float32."""

    weights: np.ndarray
    constants: np.ndarray


def fit_logistic(features: np.ndarray, targets: np.ndarray, *, penalty: float) -> Fitted:
    """Fit targets (N, C) in 0..1 from features (N, D). Returns what applies to the features as they are.

    Minimises the binary cross entropy, summed over the classes and averaged over the samples, plus penalty times the
    sum of the squared weights of standardised features (mean 0, deviation 1).
    """
    mean, deviation = features.mean(0), features.std(0) + LEAST_DEVIATION
    samples = ((features - mean) / deviation).astype(np.float64)
    number, width, classes = len(samples), features.shape[1], targets.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(classes, width + 1)
        weights, logits = parameters[:, :-1], samples @ parameters[:, :-1].T + parameters[:, -1]
        value = (np.logaddexp(0, logits) - targets * logits).sum() / number + penalty * (weights**2).sum()
        error = (1 / (1 + np.exp(-np.clip(logits, -500, 500))) - targets) / number
        gradient = np.hstack([error.T @ samples + 2 * penalty * weights, error.sum(0)[:, None]])
        return value, gradient.ravel()

    found = minimize(loss, np.zeros(classes * (width + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    parameters = found.x.reshape(classes, width + 1)
    weights = parameters[:, :-1] / deviation
    return Fitted(weights.astype(np.float32), (parameters[:, -1] - weights @ mean).astype(np.float32))
