"""CAMs, labels and logits from a CUDA device equal those of the CPU."""

import numpy as np
import torch

from deeplabv2.inference import infer_batch
from deeplabv2.settings import Settings
from tests.fake_cuda import CUDA
from tests.gpu.needed import needs_gpu
from tests.planned import classifier_task, segmentation_task
from utils import cam
from utils.cam.multi_scale import cams_of_image
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.runtime.choices import Choices, choose

pytestmark = needs_gpu

CPU, DEVICE = torch.device("cpu"), CUDA
SAME = 0.999  # of the pixels


def photograph():
    """Smooth colours, (3, 120, 160) uint8."""
    coarse = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(coarse, (120, 160), mode="bicubic")[0].clamp(0, 1) * 255).byte()


def test_cams_and_labels_are_those_of_the_cpu():
    choose(DEVICE, Choices(tf32=False))
    network = classifier_task(
        TrainOptions(width=0.25, attention="se"), classes=3, values=True
    ).network.global_net.eval()
    found = []
    for device in (CPU, DEVICE):
        cams = cams_of_image(
            network.to(device), photograph(), [0, 2], scales=(0.5, 1.0, 1.5), mean=network.mean, std=network.std
        )
        levels = cam.to_uint8(cams)
        found.append((levels.astype(int), cam.to_label([0, 2], levels, 0.3)))
    assert (abs(found[0][0] - found[1][0]) <= 1).mean() >= SAME
    assert (found[0][1] == found[1][1]).mean() >= SAME
    assert len(np.unique(found[0][1])) > 1


def test_labels_of_the_segmentation_network_are_those_of_the_cpu():
    choose(DEVICE, Choices(tf32=False))
    settings = parse_options(Settings, ["--MODEL.WIDTH=0.25", "--MODEL.N_BLOCKS=[1,1,2,1]"])
    network = segmentation_task(settings, labels=3, values=True).segmenter.eval().requires_grad_(False)
    images = photograph().permute(1, 2, 0)[None].numpy()
    labels = [
        infer_batch(
            network.to(device), images, input_format=network.normalisation, device=device, amp="off"
        ).argmax(dim=1).cpu()
        for device in (CPU, DEVICE)
    ]  # fmt: skip
    assert (labels[0] == labels[1]).float().mean() >= SAME
