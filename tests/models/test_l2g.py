"""The knowledge transfer: numbers of the published implementation, and hand-computed maps."""

import zlib

import pytest
import torch
import torch.nn.functional as F

from models.l2g import cut_patches, normalise_saliency, transfer_loss, transfer_target
from tests.golden_recipe import assert_matches, golden_arrays, golden_input


def published_step(tag: str) -> dict[str, torch.Tensor]:
    """The inputs of the stored step: batch 2, 6 patches of 320 in 448, 20 classes and background, stride 8."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{tag}lab".encode()))
    tags = (torch.rand(2, 20, generator=generator) < 0.15).float()
    tags[:, 3] = 1
    saliency = torch.rand(12, 1, 320, 320, generator=generator)
    boxes = []
    for _ in range(2):
        places = [[0, 0], [0, 128], [128, 0], [128, 128], *torch.randint(0, 128, (2, 2), generator=generator).tolist()]
        boxes.append([[0, x, y, x + 320, y + 320] for x, y in places])
    return {
        "global_cams": golden_input(f"{tag}feat", (2, 21, 56, 56)).requires_grad_(),
        "local_cams": golden_input(f"{tag}fl", (12, 21, 40, 40)),
        "local_scores": golden_input(f"{tag}lg", (12, 20)),
        "tags": tags,
        "saliency": saliency,
        "boxes": torch.tensor(boxes, dtype=torch.float32),
    }


def test_transfer_step_gives_the_published_numbers():
    golden = golden_arrays("l2g_loss.npz")
    inputs = published_step("open-loss")
    assert (golden["boxes"] == inputs["boxes"].numpy()).all()
    assert (golden["label"] == inputs["tags"].numpy()).all()
    target = transfer_target(inputs["local_cams"], inputs["tags"], inputs["saliency"], threshold=0.001)
    loss = 10 * transfer_loss(inputs["global_cams"], target, inputs["boxes"], stride=8)
    loss.backward()
    gradient = inputs["global_cams"].grad
    assert target.sum().item() == pytest.approx(float(golden["target_sum"]), rel=1e-3)
    assert_matches(target[:2, :, ::5, ::5], golden["target_sample"])
    assert loss.item() == pytest.approx(float(golden["loss_kd"]), rel=1e-3)
    assert_matches(gradient[0, :, ::7, ::7], golden["feat_grad"])
    assert gradient.abs().sum().item() == pytest.approx(float(golden["feat_grad_abs_sum"]), rel=1e-3)
    patch_tags = inputs["tags"].repeat_interleave(6, dim=0)
    classification = F.multilabel_soft_margin_loss(inputs["local_scores"], patch_tags)
    assert classification.item() == pytest.approx(float(golden["loss_cls_local"]), rel=1e-3)
