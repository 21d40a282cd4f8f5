"""Images without any class: their target is background everywhere, and all values stay finite."""

import pytest
import torch

from models.l2g import active_tags, background_where_untagged, transfer_loss, transfer_target

SALIENCY = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("background", ["network", "activation", "complement"])
@pytest.mark.parametrize("saliency", [None, SALIENCY], ids=["without saliency", "with saliency"])
def test_a_negative_is_background_in_every_patch_whatever_is_salient(background, saliency):
    cams = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    tags = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    target = transfer_target(cams, tags, saliency, threshold=0.1, background=background)
    target = background_where_untagged(target, tags)
    assert (target[2:, :-1] == 0).all() and (target[2:, -1] == 1).all()
    alone = transfer_target(
        cams[:2], tags[:1], None if saliency is None else saliency[:2], threshold=0.1, background=background
    )
    torch.testing.assert_close(target[:2], alone)


@pytest.mark.parametrize("kind", ["mse", "cross_entropy", "balanced"])
def test_a_batch_of_negatives_alone_has_a_finite_loss_that_falls_towards_background(kind):
    boxes = torch.tensor([[[0, 0, 6, 6]]])
    target = background_where_untagged(torch.zeros(1, 3, 6, 6), torch.zeros(1, 2))
    losses = []
    for height in (0.0, 5.0):
        maps = torch.zeros(1, 3, 6, 6)
        maps[:, -1] = height
        losses.append(transfer_loss(maps, target, boxes, stride=1.0, kind=kind).item())
    assert 0 <= losses[1] < losses[0] < float("inf")


def test_the_share_of_shown_tags_is_one_where_there_is_no_tag():
    cams = torch.zeros(2, 3, 4, 4)
    assert active_tags(cams, torch.zeros(2, 2), has_background=True) == 1
    assert active_tags(cams, torch.tensor([[1.0, 0.0], [0.0, 0.0]]), has_background=True) == 0
