"""Pretrained salient-object detectors: functions from an RGB photo to its saliency map."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from utils.errors import UserError
from utils.runtime.optional import optional_module

Detector = Callable[[Image.Image], np.ndarray]  # RGB photo -> (H, W) uint8 at its size


def rembg_detector(model: str) -> Detector:
    """Load a model of the rembg package by name, e.g. u2net; the package downloads it on first use.

    Raises UserError if rembg is not installed, has no such model, or would send photos to a server.
    """
    rembg = optional_module("rembg", "'rembg[cpu]'", "; it downloads its model on first use; or give --onnx=FILE")
    try:
        session = rembg.new_session(model)
    except OSError as error:  # network errors of any download library are OSErrors
        remedy = "check the network, or give --use_rembg=false --fetch, --onnx=FILE, or SALIENCY=none"
        raise UserError(f"its model cannot be loaded ({error})", f"--rembg_model={model}", remedy=remedy) from error
    if not getattr(session, "is_local", lambda: True)():
        raise UserError(
            "sends the photos to a server",
            f"--rembg_model={model}",
            remedy="give one that runs locally, --rembg_model=u2net",
        )

    def detect(photo: Image.Image) -> np.ndarray:
        # without EXIF data, since rembg would rotate the photo and the map would not fit
        plain = Image.fromarray(np.asarray(photo))
        return np.asarray(rembg.remove(plain, session=session, only_mask=True).convert("L"))

    return detect
