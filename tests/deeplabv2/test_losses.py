"""Losses compared with hand-computed numbers, and without labelled pixels."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from deeplabv2.losses import KINDS, cross_entropy, resize_labels, segmentation_loss, total_loss

EACH = pytest.mark.parametrize("kind", KINDS)
# two labels, four pixels: the label's probability is 1/2, 3/4, 1/4, 1/2
LOGITS = torch.tensor([[0.0, math.log(3), 0.0, 0.0], [0.0, 0.0, math.log(3), 0.0]]).view(1, 2, 2, 2)
LABELS = torch.tensor([[[0, 0], [0, 1]]])
HALF, THREE_QUARTERS, QUARTER = -math.log(0.5), -math.log(0.75), -math.log(0.25)


@pytest.mark.parametrize(("kind", "gamma"), [("cross_entropy", 2.0), ("focal", 0.0)])
def test_a_mean_over_all_pixels_counts_ignored_ones_with_nothing(kind, gamma):
    """The combined system's loss is focal with gamma 0, over all pixels; those of CLIMS and L2G over labelled ones."""
    labels = LABELS.clone()
    labels[0, 0, 1] = 255
    sums = HALF + QUARTER + HALF
    for mean, count in (("labelled", 3), ("all", 4)):
        loss = segmentation_loss(LOGITS, labels, kind, gamma=gamma, mean=mean)
        assert loss.item() == pytest.approx(sums / count, abs=1e-6)
    whole = total_loss([LOGITS, LOGITS], labels, kind, gamma=gamma, mean="all")
    assert whole.item() == pytest.approx(2 * sums / 4, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "gamma", "expected"),
    [
        ("cross_entropy", 2.0, (HALF + THREE_QUARTERS + QUARTER + HALF) / 4),
        ("focal", 0.0, (HALF + THREE_QUARTERS + QUARTER + HALF) / 4),
        ("focal", 2.0, (0.25 * HALF + 0.0625 * THREE_QUARTERS + 0.5625 * QUARTER + 0.25 * HALF) / 4),
        ("focal", 0.5, (0.5**0.5 * HALF + 0.25**0.5 * THREE_QUARTERS + 0.75**0.5 * QUARTER + 0.5**0.5 * HALF) / 4),
        ("balanced", 2.0, ((HALF + THREE_QUARTERS + QUARTER) / 3 + HALF) / 2),
    ],
)
def test_losses_by_hand(kind, gamma, expected):
    assert segmentation_loss(LOGITS, LABELS, kind, gamma=gamma).item() == pytest.approx(expected, abs=1e-6)


@EACH
def test_weights_multiply_the_loss_of_their_images_alone(kind):
    logits, labels = LOGITS.repeat(2, 1, 1, 1), LABELS.repeat(2, 1, 1)
    plain = segmentation_loss(logits, labels, kind)
    torch.testing.assert_close(segmentation_loss(logits, labels, kind, weights=torch.ones(2)), plain)
    torch.testing.assert_close(segmentation_loss(logits, labels, kind, weights=torch.tensor([3.0, 0.0])), 1.5 * plain)
    torch.testing.assert_close(total_loss([logits], labels, kind, weights=torch.tensor([0.5, 0.5])), 0.5 * plain)


@EACH
def test_ignored_pixels_count_nowhere(kind):
    logits = LOGITS.clone().requires_grad_()
    labels = LABELS.clone()
    labels[0, 1, 0] = 255
    segmentation_loss(logits, labels, kind).backward()
    assert (logits.grad[:, :, 1, 0] == 0).all() and (logits.grad[:, :, 0, 0] != 0).all()
    kept = torch.cat([LOGITS[:, :, 0], LOGITS[:, :, 1, 1:]], 2).unsqueeze(2)
    alone = segmentation_loss(kept, torch.tensor([[[0, 0, 1]]]), kind)
    torch.testing.assert_close(segmentation_loss(logits.detach(), labels, kind), alone)


@EACH
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_nothing_labelled_is_zero_with_a_zero_gradient(kind, gamma):
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = segmentation_loss(logits, torch.full((2, 4, 4), 255), kind, gamma=gamma)
    loss.backward()
    assert loss.item() == 0 and torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("present", [0, 2])
def test_balanced_without_a_foreground_or_a_background_is_finite(present):
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.full((1, 4, 4), present)
    labels[0, 0] = 255
    loss = segmentation_loss(logits, labels, "balanced")
    loss.backward()
    torch.testing.assert_close(loss, cross_entropy(logits, labels) / 2)
    assert logits.grad.isfinite().all() and logits.grad.any()


@EACH
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_certain_pixels_give_finite_gradients(kind, gamma):
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()
    segmentation_loss(logits, torch.tensor([[[0, 1]]]), kind, gamma=gamma).backward()
    assert logits.grad.isfinite().all() and logits.grad[..., 1].any()


@EACH
def test_half_precision_logits_are_summed_in_single_precision(kind):
    logits = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    labels = torch.randint(0, 3, (1, 64, 64), generator=torch.Generator().manual_seed(1))
    loss = segmentation_loss(logits, labels, kind)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, segmentation_loss(logits.double().float(), labels, kind))


@pytest.mark.parametrize("size", [(41, 41), (21, 33), (31, 1), (97, 129), (200, 140)])
def test_labels_are_resized_as_pillow_does(size):
    labels = torch.randint(0, 256, (2, 97, 129), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = [np.asarray(Image.fromarray(x.numpy()).resize(size[::-1], Image.Resampling.NEAREST)) for x in labels]
    np.testing.assert_array_equal(resize_labels(labels, size).numpy(), np.stack(expected))


def test_labels_of_the_published_crop_are_resized_as_pillow_does():
    labels = torch.arange(321 * 321).remainder(251).view(1, 321, 321)
    for side in (41, 21, 31):
        expected = Image.fromarray(labels[0].numpy().astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
        np.testing.assert_array_equal(resize_labels(labels, (side, side))[0].numpy(), np.asarray(expected))


def test_the_total_is_the_sum_over_scales_at_their_own_sizes():
    generator = torch.Generator().manual_seed(0)
    all_logits = [torch.randn(2, 3, side, side, generator=generator) for side in (9, 5, 7, 9)]
    labels = torch.randint(0, 3, (2, 65, 65), generator=generator)
    by_hand = sum(cross_entropy(x, resize_labels(labels, x.shape[2:])) for x in all_logits)
    torch.testing.assert_close(total_loss(all_logits, labels), by_hand)


def test_an_unknown_loss_is_answered_with_the_legal_ones():
    with pytest.raises(ValueError, match=r"'dice'.*cross_entropy, focal, balanced"):
        total_loss([LOGITS], LABELS, "dice")
