"""Class activation maps after the network: merging scales, the CAM file, exports, and the rule that creates labels.

The networks that compute the raw maps are in `models`.
"""

from typing import TYPE_CHECKING, Any

from utils.cam.artefact import read_cam, read_cam_keys, write_cam
from utils.cam.labels import to_label, to_uint8

if TYPE_CHECKING:
    from utils.cam.merging import high_res_cam, merge_scales, strided_cam

__all__ = [
    "high_res_cam",
    "merge_scales",
    "read_cam",
    "read_cam_keys",
    "strided_cam",
    "to_label",
    "to_uint8",
    "write_cam",
]


def __getattr__(name: str) -> Any:
    """Import names that need torch on first use: reading CAMs and creating labels do not need it."""
    if name in ("high_res_cam", "merge_scales", "strided_cam"):
        from utils.cam import merging

        return getattr(merging, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
