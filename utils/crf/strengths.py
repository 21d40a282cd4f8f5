"""The published parameters of the dense CRF, in a module that does not import the filter."""

from typing import TypedDict


class Strengths(TypedDict):
    """The keyword arguments of utils.crf.dense_crf."""

    iterations: int
    pos_w: float
    pos_xy_std: float
    bi_w: float
    bi_xy_std: float
    bi_rgb_std: float


# DeepLab v2 (Chen et al., TPAMI 2017), on a network's probabilities
DEEPLAB_CRF: Strengths = {
    "iterations": 10,
    "pos_w": 3.0,
    "pos_xy_std": 1.0,
    "bi_w": 4.0,
    "bi_xy_std": 67.0,
    "bi_rgb_std": 3.0,
}
# IRN (Ahn et al., CVPR 2019), step "cam_to_ir_label": the usual CRF on labels that were made from CAMs
CAM_CRF: Strengths = {
    "iterations": 10,
    "pos_w": 3,
    "pos_xy_std": 3,
    "bi_w": 10,
    "bi_xy_std": 50,
    "bi_rgb_std": 5,
}
CAM_CONFIDENCE = 0.7
