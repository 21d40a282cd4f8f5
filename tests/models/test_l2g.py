"""The knowledge transfer: numbers of the published implementation, and hand-computed maps."""

import copy
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.cam_head import CamOutput
from models.l2g import (
    L2G,
    cut_patches,
    keep_strongest,
    saliency_patches,
    transfer_loss,
    transfer_target,
)
from tests.golden_recipe import assert_matches, golden_arrays, golden_input, saliency_patch_inputs


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


@pytest.fixture(scope="module")
def published_saliency():
    """The stored arrays and their inputs."""
    golden, inputs = golden_arrays("saliency_patches.npz"), saliency_patch_inputs("open-sal")
    assert (golden["saliency"] == inputs["saliency"][:, 0].numpy()).all()
    assert (golden["boxes"] == inputs["boxes"].numpy()).all()
    assert (golden["label"] == inputs["tags"].numpy()).all()
    return golden, inputs


@pytest.mark.parametrize("scale", [1, 255], ids=["0..255", "0..1"])
def test_saliency_patches_are_the_published_ones(published_saliency, scale):
    golden, inputs = published_saliency
    crops = inputs["saliency"] if scale == 1 else inputs["saliency"].float() / scale
    patches = saliency_patches(crops, inputs["boxes"])
    assert patches.shape == (30, 1, 320, 320) and patches.dtype == torch.float32
    for name, own in {
        "patches_sample": patches[:, 0, ::8, ::8],
        "patches_offset": patches[:, 0, 3::16, 5::16],
        "patches_max": patches.amax((1, 2, 3)),
    }.items():
        np.testing.assert_allclose(own, golden[name], rtol=0, atol=1e-6)
    np.testing.assert_allclose(patches.double().sum((1, 2, 3)), golden["patches_sum"], rtol=1e-6)


@pytest.mark.parametrize(
    ("background", "threshold", "stored"), [("network", 0.001, "target"), ("activation", 0.1, "target_coco")]
)
def test_targets_of_saliency_patches_are_the_published_ones(published_saliency, background, threshold, stored):
    golden, inputs = published_saliency
    patches = saliency_patches(inputs["saliency"], inputs["boxes"])
    target = transfer_target(inputs["local_cams"], inputs["tags"], patches, threshold=threshold, background=background)
    np.testing.assert_allclose(target[:, :, ::5, ::5], golden[f"{stored}_sample"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(target.double().sum((2, 3)), golden[f"{stored}_sum"], rtol=1e-5, atol=1e-5)
    if background == "network":
        flat = torch.zeros(5, 21, 56, 56)
        loss = 10 * transfer_loss(flat, target, inputs["boxes"], stride=8)
        assert loss.item() == pytest.approx(float(golden["loss_kd_flat"]), rel=1e-6)


def test_haze_beside_an_object_stays_haze_and_empty_crops_stay_empty():
    crops = torch.zeros(2, 1, 4, 8, dtype=torch.uint8)
    crops[0, 0, :, :4], crops[0, 0, :, 4:] = 250, 3
    halves = torch.tensor([[[0, 0, 4, 4], [4, 0, 8, 4]]]).expand(2, 2, 4)
    peaks = saliency_patches(crops, halves).amax((1, 2, 3))
    assert peaks.tolist() == pytest.approx([1, 3 / 250, 0, 0])


def maps(*rows):
    """One image of one row of pixels: a list per channel -> (1, C + 1, 1, w)."""
    return torch.tensor(rows, dtype=torch.float32)[None, :, None]


# cat, dog, background; the image is a cat. Divided by their maxima, cat is 1 .5 .25 and background .5 .25 1
LOCAL = maps([4.0, 2.0, 1.0], [0.0, 0.0, 8.0], [1.0, 0.5, 2.0])
CAT = torch.tensor([[1.0, 0.0]])
SALIENCY = maps([0.8, 0.4, 0.1])


def rounded(target):
    return [[round(value, 4) for value in row] for row in target[0, :, 0].tolist()]


def test_target_without_saliency_is_the_strongest_activation():
    target = transfer_target(LOCAL, CAT, None, threshold=0.6)  # the threshold is for saliency only
    assert rounded(target) == [[1, 0.5, 0], [0, 0, 0], [0, 0, 1]]


def test_target_with_saliency_takes_its_values_from_it():
    target = transfer_target(LOCAL, CAT, SALIENCY, threshold=0.001)
    assert rounded(target) == [[0.8, 0.4, 0], [0, 0, 0], [0, 0, 0.9]]


def test_target_leaves_out_weak_activations():
    target = transfer_target(LOCAL, CAT, SALIENCY, threshold=0.6)
    assert rounded(target) == [[0.8, 0, 0], [0, 0, 0], [0, 0, 0.9]]


def test_absent_classes_are_zeroed_and_background_stays():
    both = transfer_target(LOCAL, torch.ones(1, 2), None, threshold=0.0)
    assert rounded(both)[1] == [0, 0, 1]
    none = transfer_target(LOCAL, torch.zeros(1, 2), None, threshold=0.0)
    assert rounded(none) == [[0, 0, 0], [0, 0, 0], [0.5, 0.25, 1]]


def test_complement_background_is_what_the_objects_leave():
    target = transfer_target(LOCAL, CAT, None, threshold=0.6, background="complement")
    assert rounded(target) == [[1, 0.5, 0.25], [0, 0, 0], [0, 0.5, 0.75]]
    target = transfer_target(LOCAL, CAT, SALIENCY, threshold=0.3, background="complement")
    assert rounded(target) == [[0.8, 0.4, 0], [0, 0, 0], [0.2, 0.6, 0.9]]


def test_activation_background_keeps_its_strength_below_the_threshold():
    local = maps([4.0, 1.0, 1.0], [0.0, 0.0, 8.0], [1.0, 1.5, 2.0])  # cat 1 .25 .25, background .5 .75 1
    options = {"threshold": 0.8, "background": "activation"}
    assert rounded(transfer_target(local, CAT, SALIENCY, **options)) == [[0.8, 0, 0], [0, 0, 0], [0, 0.45, 0.9]]
    assert rounded(transfer_target(local, CAT, SALIENCY, threshold=0.8))[2] == [0, 0, 0.9]
    without = transfer_target(local, CAT, None, threshold=0.8)
    assert torch.equal(transfer_target(local, CAT, None, **options), without)


def test_negative_maps_give_an_empty_target():
    for saliency in (None, SALIENCY):
        assert rounded(transfer_target(-LOCAL, CAT, saliency, threshold=0.001)) == [[0, 0, 0]] * 3


def test_saliency_is_brought_to_the_maps_by_the_nearest_pixel():
    fine = SALIENCY.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    target = transfer_target(LOCAL, CAT, fine, threshold=0.001)
    assert torch.equal(target, transfer_target(LOCAL, CAT, SALIENCY, threshold=0.001))


def test_tags_belong_to_all_patches_of_their_image():
    local = LOCAL.repeat(4, 1, 1, 1)
    target = transfer_target(local, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), None, threshold=0.0)
    shown = target.amax(dim=(2, 3)) > 0
    assert shown[:, :2].tolist() == [[True, False], [True, False], [False, True], [False, True]]


def test_target_has_no_gradient_and_leaves_its_inputs_alone():
    local, saliency, tags = LOCAL.clone().requires_grad_(), SALIENCY.clone(), CAT.clone()
    assert not transfer_target(local, tags, saliency, threshold=0.001).requires_grad
    assert torch.equal(local, LOCAL) and torch.equal(saliency, SALIENCY) and torch.equal(tags, CAT)


def test_keep_strongest_zeroes_the_others():
    kept = keep_strongest(maps([0.2, 0.9, 0.0], [0.3, 0.1, 0.0], [0.1, 0.8, 0.5]))
    assert rounded(kept) == [[0, 0.9, 0], [0.3, 0, 0], [0, 0, 0.5]]


def target_of(*channels, size=4):
    """A target (1, 3, size, size) whose pixels, row by row, are of the given channels; the last one fills up."""
    flat = torch.tensor([*channels, *[channels[-1]] * (size * size - len(channels))])
    return F.one_hot(flat, 3).T.reshape(1, 3, size, size).float()


def constant_logits(*values, size=4):
    return torch.tensor(values)[None, :, None, None].expand(1, 3, size, size).clone().requires_grad_()


WHOLE = torch.tensor([[[0.0, 0.0, 32.0, 32.0]]])


def loss_of(logits, target, kind):
    return transfer_loss(logits, target, WHOLE, stride=8, kind=kind)


def test_mse_weighs_every_pixel_and_class_alike():
    uniform = constant_logits(0.0, 0.0, 0.0)
    # (2/3)^2 for the pixel's own class and (1/3)^2 for each of the other two, over three classes
    for target in (target_of(2), target_of(0), target_of(0, 2), target_of(0, 0, 1, 2)):
        assert loss_of(uniform, target, "mse").item() == pytest.approx(2 / 9, rel=1e-5)
    # an empty target pixel still pulls the softmax down: 3 * (1/3)^2 / 3
    assert loss_of(uniform, torch.zeros(1, 3, 4, 4), "mse").item() == pytest.approx(1 / 9, rel=1e-5)


def test_cross_entropy_is_the_mean_surprise_of_a_pixel():
    logits = constant_logits(0.0, 0.0, 2.0)
    surprise = -logits[0, :, 0, 0].log_softmax(0).detach()
    target = target_of(0, 0, 0, 0, 2)  # 4 of 16 pixels are cat
    expected = (4 * surprise[0] + 12 * surprise[2]) / 16
    assert loss_of(logits, target, "cross_entropy").item() == pytest.approx(expected.item(), rel=1e-5)
    # a weak target is normalised over classes
    assert loss_of(logits, 0.1 * target, "cross_entropy").item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("cats", [1, 4, 15])
def test_balanced_gives_object_pixels_half_the_weight(cats):
    logits = constant_logits(0.0, 0.0, 2.0)
    surprise = -logits[0, :, 0, 0].log_softmax(0).detach()
    loss = loss_of(logits, target_of(*[0] * cats, 2), "balanced")
    assert loss.item() == pytest.approx((surprise[0] + surprise[2]).item() / 2, rel=1e-5)


@pytest.mark.parametrize("channel", [0, 2])
def test_balanced_without_object_or_background_is_the_other_side_alone(channel):
    logits = constant_logits(0.0, 0.0, 2.0)
    loss = loss_of(logits, target_of(channel), "balanced")
    loss.backward()
    surprise = -logits[0, :, 0, 0].log_softmax(0)[channel]
    assert loss.item() == pytest.approx(surprise.item() / 2, rel=1e-5)
    assert logits.grad.isfinite().all() and logits.grad.any()


@pytest.mark.parametrize("kind", ["mse", "cross_entropy", "balanced"])
def test_losses_are_finite_for_an_empty_target(kind):
    logits = constant_logits(50.0, 0.0, -50.0)
    loss = loss_of(logits, torch.zeros(1, 3, 4, 4), kind)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()


def test_an_unknown_loss_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'l1'.*mse, cross_entropy, balanced"):
        loss_of(constant_logits(0.0, 0.0, 0.0), target_of(2), "l1")


def test_cross_entropy_learns_where_mse_has_given_up():
    """A network that confidently predicts background everywhere, while half of the image is a cat."""
    norms = {}
    for kind in ("mse", "cross_entropy", "balanced"):
        logits = constant_logits(0.0, 0.0, 6.0)
        loss_of(logits, target_of(*[0] * 8, 2), kind).backward()
        norms[kind] = logits.grad.norm().item()
    assert norms["cross_entropy"] > 50 * norms["mse"]
    assert norms["balanced"] > 50 * norms["mse"]


def test_maps_are_compared_at_the_place_of_the_patch():
    logits = torch.zeros(1, 3, 8, 8)
    logits[:, 0, :, :4], logits[:, 2, :, 4:] = 9.0, 9.0  # cat on the left, background on the right
    boxes = torch.tensor([[[0, 0, 24, 64], [40, 0, 64, 64]]])
    target = torch.cat([target_of(0), target_of(2)])
    assert transfer_loss(logits, target, boxes, stride=8).item() < 1e-4
    assert transfer_loss(logits, target.flip(0), boxes, stride=8).item() > 0.5


def test_boxes_may_have_the_published_first_column():
    logits, target = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), target_of(0, 2)
    with_column = torch.tensor([[[7.0, 8, 0, 40, 32]]])
    plain = with_column[..., 1:]
    assert transfer_loss(logits, target, with_column, stride=8) == transfer_loss(logits, target, plain, stride=8)


def test_patches_are_cut_at_their_boxes_image_by_image():
    images = torch.arange(2 * 1 * 4 * 5).reshape(2, 1, 4, 5).float()
    boxes = torch.tensor([[[0, 0, 2, 2], [3, 2, 5, 4]], [[1, 0, 3, 2], [0, 1, 2, 3]]])
    patches = cut_patches(images, boxes)
    assert patches[:, 0].tolist() == [
        [[0, 1], [5, 6]],
        [[13, 14], [18, 19]],
        [[21, 22], [26, 27]],
        [[25, 26], [30, 31]],
    ]


class Fixed(nn.Module):
    """A network that always returns the same maps."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, images):
        n, _, height, width = images.shape
        cams = self.values[None, :, None, None].expand(n, -1, height // 8, width // 8)
        return CamOutput(cams, cams[:, :-1].mean((2, 3)))


def l2g(global_net, local_net, **more):
    options = {"kd_weight": 10.0, "kd_loss": "mse", "bg_threshold": 0.001, "background_target": "network"}
    options |= {"local_cls_weight": 2.0, "global_cls_weight": 0.0}
    return L2G(global_net, local_net, **{**options, **more})


BATCH = (torch.zeros(2, 3, 32, 32), torch.eye(2), torch.tensor([[[0, 0, 16, 16], [16, 16, 32, 32]]]).expand(2, 2, 4))


class Convolved(nn.Module):
    """A network whose maps depend on the image."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 8, 8)

    def forward(self, images):
        cams = self.layer(images)
        return CamOutput(cams, cams[:, :-1].mean((2, 3)))


@pytest.mark.parametrize("saliency", [None, torch.rand(2, 1, 32, 32)])
def test_patches_may_be_taken_in_several_passes(saliency):
    torch.manual_seed(0)
    networks, images = (Convolved(), Convolved()), torch.randn(2, 3, 32, 32)
    tags = torch.tensor([[1.0, 0], [0, 0]])  # an image without tags
    found = []
    for passes in (1, 2, 4):
        model = l2g(*copy.deepcopy(networks), local_passes=passes)
        assert model.parts == ("local",) * passes + ("global",)
        target, sizes, local_cls = None, [], 0.0
        for part in model.parts:
            output = model(images, tags, BATCH[2], saliency, target, part)
            sum(output.losses.values()).backward()
            target = output.target
            sizes.append(len(target))
            local_cls += output.losses["local_cls"].item() if part == "local" else 0.0
        assert sizes == [*range(4 // passes, 5, 4 // passes), 4]
        found.append((target, local_cls, [p.grad for p in model.parameters()]))
    for target, local_cls, gradients in found[1:]:
        torch.testing.assert_close(target, found[0][0])
        assert local_cls == pytest.approx(found[0][1])
        for ours, expected in zip(gradients, found[0][2], strict=True):
            torch.testing.assert_close(ours, expected)


def test_losses_are_weighted_and_named():
    local = Fixed(1.0, 1.0, -1.0)
    output = l2g(Fixed(0.0, 0.0, 0.0), local)(*BATCH)
    assert output.losses.keys() == {"transfer", "local_cls"}
    # every patch's target is its image's class, at 1: see test_mse_weighs_every_pixel_and_class_alike
    assert output.losses["transfer"].item() == pytest.approx(10 * 2 / 9, rel=1e-5)
    scores, tags = torch.ones(4, 2), torch.eye(2).repeat_interleave(2, dim=0)
    expected = 2 * F.multilabel_soft_margin_loss(scores, tags)
    assert output.losses["local_cls"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_transfer_teaches_the_global_network_only():
    model = l2g(Fixed(0.0, 0.0, 0.0), Fixed(1.0, 1.0, -1.0))
    model(*BATCH).losses["transfer"].backward()
    assert model.global_net.values.grad.any()
    assert model.local_net.values.grad is None


def test_training_divides_saliency_by_the_maximum_of_the_crop():
    model = l2g(Fixed(0.0, 0.0, 0.0), Fixed(1.0, 1.0, -1.0))
    dim = torch.full((2, 1, 32, 32), 0.25)
    assert model(*BATCH, dim).losses["transfer"].item() == pytest.approx(10 * 2 / 9, rel=1e-5)
    dim[:, :, 16:, 16:] = 0.01  # the second patch only contains haze beside an object
    haze = target_of(0) * 0.04
    expected = (2 / 9 + loss_of(constant_logits(0.0, 0.0, 0.0), haze, "mse").item()) / 2
    assert model(*BATCH, dim).losses["transfer"].item() == pytest.approx(10 * expected, rel=1e-5)


def test_global_classification_is_added_on_request():
    output = l2g(Fixed(1.0, 0.0, 0.0), Fixed(1.0, 1.0, -1.0), global_cls_weight=0.5)(*BATCH)
    assert output.losses.keys() == {"global_cls", "transfer", "local_cls"}
    expected = 0.5 * F.multilabel_soft_margin_loss(torch.tensor([[1.0, 0.0]] * 2), torch.eye(2))
    assert output.losses["global_cls"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_classifier_alone_has_only_the_global_loss():
    model = l2g(Fixed(1.0, 0.0, 0.0), None, kd_weight=0.0, global_cls_weight=1.0)
    assert model(*BATCH).losses.keys() == {"global_cls"}


@pytest.mark.parametrize(
    ("values", "share"), [((3.0, 2.0, 5.0), 0.0), ((1.0, -1.0, 0.5), 0.5), ((-1.0, -0.5, -2.0), 1.0)]
)
def test_active_tags_is_the_share_of_tags_that_the_global_map_shows(values, share):
    assert l2g(Fixed(*values), Fixed(1.0, 1.0, 1.0))(*BATCH).active_tags.item() == share
