"""The dense CRF by pydensecrf, which published implementations call: the reference, and a choice."""

from importlib.util import find_spec
from typing import Unpack

import numpy as np

from utils.config.valid import CrfBackend
from utils.crf.strengths import Strengths
from utils.errors import UserError


def check_backend(backend: CrfBackend) -> None:
    """Raises UserError where a backend is chosen that is not installed; tried before any image is read."""
    if backend == "pydensecrf" and find_spec("pydensecrf") is None:
        raise UserError(
            "pydensecrf is not installed",
            "--crf_backend=pydensecrf",
            remedy="pip install pydensecrf2, which needs a C++ compiler, or use --crf_backend=lattice",
        )


def backend_record(backend: CrfBackend) -> dict[str, str]:
    """What a label folder records of the backend: nothing for the default, so that older labels stay."""
    return {} if backend == "lattice" else {"backend": backend}


def pydensecrf(image: np.ndarray, probabilities: np.ndarray, **strengths: Unpack[Strengths]) -> np.ndarray:
    """As utils.crf.dense_crf: image (H, W, 3) uint8, probabilities (L, H, W) -> (L, H, W) float32."""
    from pydensecrf.densecrf import DenseCRF2D
    from pydensecrf.utils import unary_from_softmax

    labels, height, width = probabilities.shape
    # it takes only memory that is contiguous and writable, which PIL's images are not
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
