"""Runs a CAM network on images at several scales, each plain and mirrored."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.cam.merging import Activation, merge_scales
from utils.runtime.device import autocast, to_device


def scaled_sizes(size: Sequence[int], scales: Sequence[float], *, base_size: int = 0) -> list[tuple[int, int]]:
    """Return (h, w) at each scale. Scale 1 is the image's size (H, W), or a short side of base_size if above 0."""
    factor = base_size / min(size) if base_size > 0 else 1.0
    height, width = size
    return [(max(1, round(height * factor * scale)), max(1, round(width * factor * scale))) for scale in scales]


def scaled_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, 3, H, W) uint8 -> (N, 3, *size) float32 in 0..1 on the same device.

    Bicubic, within two grey levels of PIL, which resized the images of the published training and scores.
    """
    if tuple(images.shape[2:]) != size:
        # on uint8, because PIL rounds between its two passes; only the CPU has this kernel
        scaled = F.interpolate(images.cpu(), size, mode="bicubic", antialias=True, align_corners=False)
        images = scaled.to(images.device)
    return images.float() / 255


def mirrored_pair(
    images: Tensor, size: tuple[int, int], *, mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Tensor:
    """Resize and normalise images (N, 3, H, W) uint8 -> (2N, 3, *size) float32 on the device: plain, then mirrored."""
    shift, scale = (to_device(torch.tensor(v), device).view(1, 3, 1, 1) for v in (mean, std))
    plain = (to_device(scaled_images(images, size), device) - shift) / scale
    return torch.cat([plain, plain.flip(-1)]).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def raw_maps(
    network: nn.Module,
    images: Tensor,
    *,
    scales: Sequence[float],
    base_size: int = 0,
    mean: Sequence[float],
    std: Sequence[float],
    amp: str = "off",
) -> list[Tensor]:
    """Compute the network's class maps at all scales in the order of utils.cam: plain, mirrored, plain, mirrored, …

    images: (N, 3, H, W) uint8, preferably on the CPU, which resizes them. Returns 2 * len(scales) tensors
    (N, C + 1, h, w) on the network's device. Plain and mirrored images share a forward pass. Scales run one after
    another, so that only the largest determines the memory.
    """
    device = next(network.parameters(), images).device
    maps: list[Tensor] = []
    for size in scaled_sizes(images.shape[2:], scales, base_size=base_size):
        both = mirrored_pair(images, size, mean=mean, std=std, device=device)
        with autocast(device, amp):
            cams = network(both).cams
        maps += cams.float().chunk(2)
    return maps


@torch.inference_mode()
def cams_of_image(
    network: nn.Module,
    image: Tensor,
    keys: Sequence[int],
    *,
    scales: Sequence[float],
    base_size: int = 0,
    mean: Sequence[float],
    std: Sequence[float],
    activation: Activation = "relu",
    amp: str = "off",
) -> Tensor:
    """Compute one image's CAMs. image (3, H, W) uint8, zero-based keys -> (K, H, W) float32 in 0..1."""
    size = tuple(image.shape[1:])
    if len(keys) == 0:
        return torch.zeros(0, *size, device=image.device)
    maps = raw_maps(network, image[None], scales=scales, base_size=base_size, mean=mean, std=std, amp=amp)
    return merge_scales([m[0] for m in maps], size, keys=keys, activation=activation)
