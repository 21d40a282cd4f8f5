"""Pasting: what is written where, channel order, and what stays unchanged."""

import builtins
import os
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.small_bank import block
from utils.copy_paste.bank import SALIENT, Foreground
from utils.copy_paste.pasting import MAX_SHARE, PLACES, SCALES, Paster, paste


def scene(height=60, width=80):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, 100, (height, width), np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("max_overlap", [None, 0.2])
def test_paste_leaves_its_inputs_alone(max_overlap):
    image, saliency = scene()
    foreground = block()
    before = image.copy(), saliency.copy(), foreground.image.copy(), foreground.saliency.copy()
    pasted = paste(image, saliency, foreground, rng=rng(), max_overlap=max_overlap)
    for now, then in zip((image, saliency, foreground.image, foreground.saliency), before):
        assert np.array_equal(now, then)
    assert not np.array_equal(pasted.image, image) and not np.array_equal(pasted.saliency, saliency)


@pytest.mark.parametrize("max_overlap", [None, 0.2])
def test_paste_keeps_the_order_of_the_channels(max_overlap):
    """The published CDA+ returned BGR images as RGB."""
    image, saliency = scene()
    pasted = paste(image, saliency, block(color=(250, 120, 10)), rng=rng(), max_overlap=max_overlap)
    assert pasted.mask.any()
    assert (pasted.image[pasted.mask] == (250, 120, 10)).all()
    assert np.array_equal(pasted.image[~pasted.mask], image[~pasted.mask])


def test_saliency_takes_the_object_s_own_and_keeps_the_rest():
    image, saliency = scene()
    pasted = paste(image, saliency, block(saliency=222), rng=rng())
    assert (pasted.saliency[pasted.mask] == 222).all()
    assert np.array_equal(pasted.saliency[~pasted.mask], saliency[~pasted.mask])


def test_pixels_need_mask_and_saliency():
    image, saliency = scene()
    whole = block(10, 10, saliency=SALIENT + 1)
    mask, own = np.zeros((10, 10), bool), whole.saliency.copy()
    mask[:, 5:] = True
    own[:5] = SALIENT  # not above it
    pasted = paste(image, saliency, Foreground(whole.image, mask, own, 0, "x"), rng=rng(3))
    rows, columns = np.nonzero(pasted.mask)
    quarter = pasted.mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert quarter.all()
    assert 0.8 * 5 - 1 <= len(quarter) <= 1.2 * 5 + 1


def test_objects_are_shrunk_to_the_share_and_scaled_within_the_bounds():
    image, saliency = scene(60, 80)
    sides = []
    for seed in range(200):
        mask = paste(image, saliency, block(120, 40), rng=rng(seed)).mask
        sides.append((mask.any(1).sum(), mask.any(0).sum()))
    heights, widths = np.array(sides).T
    assert heights.min() == pytest.approx(60 * MAX_SHARE * SCALES[0], abs=1)
    assert heights.max() == pytest.approx(60 * MAX_SHARE * SCALES[1], abs=1)
    assert np.abs(heights / widths - 3).max() < 0.2


def test_small_objects_are_not_enlarged_beyond_the_scale():
    image, saliency = scene()
    areas = [paste(image, saliency, block(10, 10), rng=rng(seed)).mask.sum() for seed in range(100)]
    assert 64 <= min(areas) <= 70 and 130 <= max(areas) <= 144


def test_places_reach_every_border():
    image, saliency = scene()
    shown = [paste(image, saliency, block(), rng=rng(seed)).mask for seed in range(400)]
    seen = np.any(shown, axis=0)
    assert seen[0].any() and seen[-1].any() and seen[:, 0].any() and seen[:, -1].any()
    assert len({tuple(np.argwhere(mask)[0]) for mask in shown}) > 300


def test_bounded_paste_takes_the_first_place_under_the_bound():
    """With the same draws one at a time: the first of the ten positions with little overlap, else the smallest."""
    image, saliency = scene()
    saliency[:, 20:] = 255
    foreground, bound, firsts, leasts = block(12, 12), 0.2, 0, 0
    for seed in range(60):
        draws = rng(seed)
        draws.uniform(0, 0)
        side = round(12 * draws.uniform(*SCALES))
        tops, lefts = draws.integers(0, 60 - side + 1, PLACES), draws.integers(0, 80 - side + 1, PLACES)
        shares = [(saliency[t : t + side, x : x + side] > SALIENT).mean() for t, x in zip(tops, lefts)]
        under = [index for index, share in enumerate(shares) if share < bound]
        chosen = under[0] if under else int(np.argmin(shares))
        mask = paste(image, saliency, foreground, rng=rng(seed), max_overlap=bound).mask
        assert np.argwhere(mask)[0].tolist() == [tops[chosen], lefts[chosen]]
        firsts, leasts = firsts + bool(under and under[0]), leasts + (not under)
    assert firsts > 5 and leasts > 1


def test_a_full_image_gets_the_object_all_the_same():
    image, saliency = scene()
    saliency[:] = 255
    assert paste(image, saliency, block(), rng=rng(), max_overlap=0.2).mask.any()


def test_paste_without_saliency():
    image, _ = scene()
    pasted = paste(image, None, block(), rng=rng())
    assert pasted.saliency is None and pasted.mask.any()
    with pytest.raises(ValueError, match=r"0\.2"):
        paste(image, None, block(), rng=rng(), max_overlap=0.2)


def test_maps_of_other_sizes_are_refused():
    image, saliency = scene()
    with pytest.raises(ValueError, match=r"not \(59, 80\)"):
        paste(image, saliency[1:], block(), rng=rng())
    with pytest.raises(ValueError, match="float64"):
        paste(image / 255, saliency, block(), rng=rng())


def test_rotation_keeps_the_whole_object():
    image, saliency = scene(200, 200)
    areas = [paste(image, saliency, block(40, 20), rng=rng(seed), rotation=90).mask for seed in range(50)]
    assert {mask.any(1).sum() > mask.any(0).sum() for mask in areas} == {True, False}
    shares = [mask.sum() / 800 for mask in areas]
    assert min(shares) > 0.6 and max(shares) < 1.5
    straight = paste(image, saliency, block(40, 20), rng=rng(1)).mask
    assert straight.sum() == straight.any(1).sum() * straight.any(0).sum()


def test_a_feathered_rim_mixes_object_and_image_inside_the_mask():
    image, saliency = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
    foreground = block(20, 20, color=(200, 200, 200))
    foreground.mask[:, :5] = False
    hard, soft = (paste(image, saliency, foreground, rng=rng(), feather=feather) for feather in (0, 2))
    assert np.array_equal(hard.mask, soft.mask)
    assert set(np.unique(hard.image[..., 2])) == {0, 200}
    assert set(np.unique(soft.image[..., 2])) == {0, 67, 133, 200}
    assert not soft.image[~soft.mask].any()


def test_an_object_without_trusted_pixels_changes_nothing():
    image, saliency = scene()
    pasted = paste(image, saliency, block(saliency=SALIENT), rng=rng(), max_overlap=0.2)
    assert not pasted.mask.any()
    assert np.array_equal(pasted.image, image)


class Bank:
    """Returns the first requested class."""

    def __init__(self, num_classes):
        self.tags = tuple(range(num_classes))

    def draw(self, absent, rng):
        self.asked = list(absent)
        return block(tag=absent[0]) if absent else None


def test_paster_pastes_a_class_that_the_image_does_not_have():
    image, saliency = scene()
    paster = Paster(Bank(4))
    twin = paster(image, saliency, (0, 2), rng=rng())
    assert paster.bank.asked == [1, 3] and twin.tag == 1
    assert (twin.image[twin.mask] == (250, 120, 10)).all()


def test_paster_gives_the_image_itself_where_no_class_is_left_or_chance_says_so():
    image, saliency = scene()
    for paster, tags in ((Paster(Bank(2)), (0, 1)), (Paster(Bank(2), probability=0.0), (0,))):
        twin = paster(image, saliency, tags, rng=rng())
        assert twin.image is image and twin.saliency is saliency and twin.mask is twin.tag is None
    draws = rng(5)
    shown = [Paster(Bank(2), probability=0.3)(image, saliency, (0,), rng=draws).tag for _ in range(300)]
    assert 60 < sum(tag == 1 for tag in shown) < 120


def lines_run(height, width):
    """Return the number of Python lines executed by one paste of a large object into an image of this size."""
    image, saliency = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    foreground, count = block(height // 2, width // 2), 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        paste(image, saliency, foreground, rng=rng(), max_overlap=0.2)
    finally:
        sys.settrace(before)
    return count


def test_pasting_has_no_loop_over_pixels():
    """The published code looped over every pixel in Python, at each position it tried."""
    assert 20 < lines_run(40, 60) == lines_run(400, 600) < 400


def test_pasting_writes_no_file(monkeypatch, tmp_path):
    """The published code wrote four JPEG files per position."""
    image, saliency = scene()
    for owner, name in ((cv2, "imwrite"), (Image.Image, "save"), (builtins, "open")):
        monkeypatch.setattr(owner, name, lambda *args, **_: pytest.fail(f"wrote {args}"))
    monkeypatch.chdir(tmp_path)
    paste(image, saliency, block(), rng=rng(), max_overlap=0.2)
    assert os.listdir(tmp_path) == []
