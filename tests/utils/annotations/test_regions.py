"""Outlines of regions with holes and parts, drawn again by those whose formats they are for."""

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as run_lengths

from utils.annotations.coco import segmentation
from utils.annotations.regions import bridged, outlines, regions_of

SIZE = (41, 57)


def blobs(seed):
    """A mask of several parts with holes, islands in holes, single pixels and lines of one pixel."""
    noise = np.random.default_rng(seed).random(SIZE).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 1.0 + seed % 3) > 0.5
    mask[24:33, 20:31] = True
    mask[28:30, 24] = False
    mask[0, :5] = mask[-1, -1] = mask[3:20, 50] = True
    return mask


@pytest.mark.parametrize("seed", range(12))
def test_bridged_outlines_are_drawn_as_the_same_pixels_by_opencv_and_pillow(seed):
    mask = blobs(seed)
    by_opencv, by_pillow = np.zeros(SIZE, np.uint8), Image.new("1", SIZE[::-1])
    for outer, holes in outlines(mask):
        ring = bridged(outer, holes)
        part = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(part, [ring.astype(np.int32)], color=[1])
        by_opencv |= part
        ImageDraw.Draw(by_pillow).polygon([tuple(point) for point in ring.astype(float).tolist()], outline=1, fill=1)
    assert (by_opencv.astype(bool) == mask).all()
    assert (np.asarray(by_pillow) == mask).mean() > 0.995


@pytest.mark.parametrize("seed", range(12))
def test_polygons_and_run_lengths_of_coco_are_the_same_pixels(seed):
    mask = blobs(seed)
    if seed % 2:  # without holes
        filled = np.zeros(SIZE, np.uint8)
        cv2.drawContours(filled, [outer for outer, _ in outlines(mask)], -1, 1, cv2.FILLED)
        mask = filled.astype(bool)
    shape = segmentation(mask)
    assert isinstance(shape, list) == bool(seed % 2)
    encoded = run_lengths.merge(run_lengths.frPyObjects(shape, *SIZE)) if isinstance(shape, list) else shape
    assert (run_lengths.decode(encoded).astype(bool) == mask).all()


def test_objects_are_classes_or_connected_parts_and_ignored_pixels_are_none():
    label = np.zeros((6, 8), np.uint8)
    label[:2, :2] = label[4:, 4:] = 2
    label[2, 2], label[5, 0] = 2, 255  # the pixel touches a corner: one part
    assert [(r.label, r.area) for r in regions_of(label, objects="class")] == [(2, 13)]
    assert [(r.label, r.area) for r in regions_of(label, objects="part")] == [(2, 5), (2, 8)]
    assert [r.area for r in regions_of(label, objects="part", min_area=6)] == [8]
