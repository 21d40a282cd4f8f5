"""Synthetic images for the benchmarks, and plain implementations of the work that the published programs do."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from utils.cam.artefact import read_cam
from utils.cam.labels import to_uint8
from utils.cam.merging import ZERO
from utils.copy_paste.bank import SALIENT, Foreground
from utils.copy_paste.pasting import MAX_SHARE, PLACES, SCALES, Pasted, smooth_interpolation
from utils.files.disk import disk_errors


def blobs(rng: np.random.Generator, count: int, size: tuple[int, int]) -> np.ndarray:
    """Draw (count, H, W) uint8 maps of smooth hills in 0..255."""
    coarse = rng.random((count, 6, 8), dtype=np.float32)
    smooth = [cv2.resize(c, size[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse]
    return to_uint8(np.stack([(s - s.min()) / (s.max() - s.min()) for s in smooth]))


def scene_with_object(
    seed: int, size: tuple[int, int], object_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, Foreground]:
    """Draw an image (H, W, 3) with smooth salient hills (H, W), and a foreground that fills half of its box."""
    rng = np.random.default_rng(seed)
    *channels, saliency = blobs(rng, 4, size)
    *colors, hill = blobs(rng, 4, object_size)
    certain = np.full(object_size, 255, np.uint8)
    foreground = Foreground(np.stack(colors, axis=2), hill > np.median(hill), certain, 0, "benchmark")
    return np.stack(channels, axis=2), saliency, foreground


def plain_paste(
    image: np.ndarray, saliency: np.ndarray, foreground: Foreground, *, max_overlap: float, rng: np.random.Generator
) -> Pasted:
    """Like utils.copy_paste.paste, pixel by pixel: selecting pixels, counting covered ones, and pasting."""
    rng.uniform(0, 0)  # no rotation
    (height, width), size = foreground.mask.shape, image.shape[:2]
    factor = min(1.0, MAX_SHARE * size[0] / height, MAX_SHARE * size[1] / width) * rng.uniform(*SCALES)
    width, height = round(width * factor), round(height * factor)
    color = cv2.resize(foreground.image, (width, height), interpolation=smooth_interpolation(factor))
    trust = cv2.resize(foreground.saliency, (width, height), interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(foreground.mask.view(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    tops, lefts = (rng.integers(0, side - own + 1, PLACES) for side, own in zip(size, (height, width)))
    pixels = [(y, x) for y in range(height) for x in range(width) if mask[y, x] and trust[y, x] > SALIENT]
    best = (2.0, 0, 0)
    for top, left in zip(tops, lefts):
        hidden = sum(saliency[top + y, left + x] > SALIENT for y, x in pixels) / len(pixels)
        best = (hidden, top, left) if hidden < best[0] else best
        if hidden < max_overlap:
            break
    image, saliency, where = image.copy(), saliency.copy(), np.zeros(size, bool)
    for y, x in pixels:
        place = best[1] + y, best[2] + x
        for channel in range(3):
            image[place][channel] = color[y, x, channel]
        saliency[place] = trust[y, x]
        where[place] = True
    return Pasted(image, saliency, where)


def scene_with_labels(seed: int, size: tuple[int, int], num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image (H, W, 3) and probabilities (L, H, W) like those of a trained network of stride 8.

    The image shows background and two objects. Every other label is about e**4 less probable, with noise.
    """
    rng = np.random.default_rng(seed)
    image = np.stack(list(blobs(rng, 3, size)), axis=2)
    hills = blobs(rng, 3, size).astype(np.float32) / 255
    coarse = tuple(side // 8 for side in size)
    logits = rng.normal(0, 0.5, (num_labels, *coarse)).astype(np.float32)
    chosen = [0, *(1 + rng.permutation(num_labels - 1)[:2])]
    for label, hill in zip(chosen, hills):
        logits[label] += 4 + 4 * cv2.resize(hill, coarse[::-1])
    full = np.stack([cv2.resize(logit, size[::-1], interpolation=cv2.INTER_LINEAR) for logit in logits])
    powers = np.exp(full - full.max(axis=0))
    return image, powers / powers.sum(axis=0)


def plain_sweep(pairs: Sequence[tuple[Path, Path]], thresholds: Sequence[float], num_labels: int) -> list[float]:
    """Compute the mIoU at each threshold from (CAM file, mask): reads all files once per threshold, counts per class.

    A class in neither masks nor predictions is left out.
    """
    scores = []
    for threshold in thresholds:
        hit, masked, predicted = (np.zeros(num_labels) for _ in range(3))
        for cam_file, mask_file in pairs:
            keys, cams = read_cam(cam_file)
            mask = np.asarray(Image.open(mask_file))
            label = label_of_stack(keys, cams, threshold, num_labels)
            kept = mask < 255
            for index in range(num_labels):
                own, true = (label == index) & kept, (mask == index) & kept
                hit[index] += (own & true).sum()
                masked[index] += true.sum()
                predicted[index] += own.sum()
        union = masked + predicted - hit
        scores.append(float((hit[union > 0] / union[union > 0]).mean()))
    return scores


def label_of_stack(keys: np.ndarray, cams: np.ndarray, threshold: float, num_labels: int) -> np.ndarray:
    """Label (H, W) from a float stack of all classes, with the threshold as the background's strength."""
    stack = np.zeros((num_labels, *cams.shape[1:]))
    stack[0] = threshold
    for key, cam in zip(keys, cams):
        stack[key + 1] = cam / 255.0
    return stack.argmax(axis=0).astype(np.uint8)


def plain_label(maps: Sequence[tuple[int, Path]], target: Path, threshold: float, num_labels: int) -> None:
    """Write the label PNG of one image from a grey PNG per tag: (zero-based class, file)."""
    read = [np.asarray(Image.open(path)) for _, path in maps]
    label = label_of_stack(np.array([key for key, _ in maps]), np.stack(read), threshold, num_labels)
    with disk_errors(target, "written"):
        Image.fromarray(label).save(target)


def plain_merge(maps: Sequence[Tensor], size: tuple[int, int], keys: Sequence[int]) -> Tensor:
    """Like merge_scales, but every class of every view is resized to the image's size. -> (K, H, W)."""
    full = [m if index % 2 == 0 else m.flip(-1) for index, m in enumerate(maps)]
    resized = [F.interpolate(m[None], size, mode="bicubic", align_corners=False)[0] for m in full]
    merged = torch.stack(resized).mean(0)[:-1].relu()
    return (merged / merged.amax((1, 2), keepdim=True).clamp(min=ZERO))[list(keys)]
