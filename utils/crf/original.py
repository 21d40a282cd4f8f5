"""The dense CRF of pydensecrf, which published implementations use: the tests' reference, and an optional backend."""

from importlib.util import find_spec
from typing import Unpack

import numpy as np

from utils.config.valid import CrfBackend
from utils.crf.strengths import Strengths
from utils.errors import UserError


def check_backend(backend: CrfBackend) -> None:
    """Raise UserError if the chosen backend is not installed. Called before any image is read."""
    if backend == "pydensecrf" and find_spec("pydensecrf") is None:
        raise UserError(
            "pydensecrf is not installed",
            "--crf_backend=pydensecrf",
            remedy="pip install pydensecrf2, which needs a C++ compiler, or use --crf_backend=lattice",
        )


def backend_record(backend: CrfBackend) -> dict[str, str]:
    """Return the backend's entry in a label folder's settings: none for the default, so older labels stay valid."""
    return {} if backend == "lattice" else {"backend": backend}


def pydensecrf(image: np.ndarray, probabilities: np.ndarray, **strengths: Unpack[Strengths]) -> np.ndarray:
    """Like utils.crf.dense_crf: image (H, W, 3) uint8, probabilities (L, H, W) -> (L, H, W) float32."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    labels, height, width = probabilities.shape
    # it needs contiguous, writable memory, which PIL images do not have
    unary = unary_from_softmax(np.array(probabilities, dtype=np.float32, order="C"))
    crf = DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=strengths["pos_xy_std"], compat=strengths["pos_w"])
    crf.addPairwiseBilateral(
        sxy=strengths["bi_xy_std"],
        srgb=strengths["bi_rgb_std"],
        rgbim=np.array(image, order="C"),
        compat=strengths["bi_w"],
    )
    return np.array(crf.inference(strengths["iterations"]), dtype=np.float32).reshape(labels, height, width)
