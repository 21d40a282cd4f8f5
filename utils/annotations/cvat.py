"""CVAT for images 1.1, one XML file. A region is a `mask`: run lengths of its box, which hold holes and parts.

Scores are an attribute `score`, which CVAT shows where the task's label has it.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.regions import (
    AnnotatedPhoto,
    LabelledPhoto,
    Region,
    Shape,
    damaged,
    draw_nothing,
    stated_size,
)
from utils.data.palette import PALETTE
from utils.data.run_lengths import checked_segmentation, draw_segmentation
from utils.errors import UserError
from utils.files.atomic import write_text
from utils.files.disk import disk_errors

FILE = "annotations.xml"
RULE = "expected the XML of `CVAT for images 1.1`"
ELLIPSE = 180  # corners


def of_photo(photo: LabelledPhoto, out: Path, classes: Sequence[str]) -> dict[str, Any]:
    """Attributes of a photo and of its masks, still without number."""
    name = f"{photo.name}{photo.image.suffix}"
    masks = [_mask(region, classes[region.label - 1]) for region in photo.regions]
    return {"image": {"name": name, "width": str(photo.size[1]), "height": str(photo.size[0])}, "masks": masks}


def _mask(region: Region, label: str) -> tuple[dict[str, str], float | None]:
    left, top, width, height = region.box
    counts = run_lengths_of(region.mask[top : top + height, left : left + width])
    box = {"left": left, "top": top, "width": width, "height": height}
    attributes = {"label": label, "source": "auto", "occluded": "0", "rle": ", ".join(map(str, counts))}
    return {**attributes, **{key: str(value) for key, value in box.items()}, "z_order": "0"}, region.score


def run_lengths_of(mask: np.ndarray) -> list[int]:
    """Lengths of runs of 0 and 1 in turn, row by row, the first one of 0 and perhaps 0. mask (h, w) bool."""
    flat = np.concatenate([[False], mask.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()


def finish(out: Path, entries: Sequence[dict[str, Any]], classes: Sequence[str]) -> Path:
    root = ET.Element("annotations")
    ET.SubElement(root, "version").text = "1.1"
    labels = ET.SubElement(ET.SubElement(ET.SubElement(root, "meta"), "task"), "labels")
    for number, name in enumerate(classes, start=1):
        label = ET.SubElement(labels, "label")
        ET.SubElement(label, "name").text = name
        ET.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*PALETTE[number])
        attribute = ET.SubElement(ET.SubElement(label, "attributes"), "attribute")
        for key, value in {"name": "score", "mutable": "False", "input_type": "text", "default_value": ""}.items():
            ET.SubElement(attribute, key).text = value
        ET.SubElement(attribute, "values").text = ""
    for number, entry in enumerate(entries):
        image = ET.SubElement(root, "image", {"id": str(number), **entry["image"]})
        for attributes, score in entry["masks"]:
            mask = ET.SubElement(image, "mask", attributes)
            if score is not None:
                ET.SubElement(mask, "attribute", {"name": "score"}).text = f"{score:.4f}"
    ET.indent(root)
    write_text(out / FILE, ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n")
    return out / FILE


def read(path: Path) -> list[AnnotatedPhoto]:
    """Every image of the file, with its masks and outlines by z_order, and its tags. Raises UserError."""
    try:
        with disk_errors(path):
            root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise UserError(f"is not XML ({error})", path, RULE, "export it again") from error
    if root.tag != "annotations":
        raise UserError(f"is not an export of CVAT: its root is <{root.tag}>", path, RULE, "export it again")
    if root.find("track") is not None:
        raise UserError("holds tracks of a video", path, RULE, "export the task as `CVAT for images`")
    return [_photo(path, image) for image in root.iter("image")]


def _photo(path: Path, image: ET.Element) -> AnnotatedPhoto:
    where = f"{path}: image {image.get('id')}"
    shapes = []
    with damaged(where, RULE):
        name, size = image.attrib["name"], stated_size(image.attrib["height"], image.attrib["width"])
    for number, element in enumerate(image, start=1):
        with damaged(f"{where}, element {number} (<{element.tag}>)", RULE):
            shapes.append((int(element.get("z_order", "0")), _shape(element, size)))
    ordered = tuple(shape for _, shape in sorted(shapes, key=lambda pair: pair[0]))
    return AnnotatedPhoto(name, size, ordered, f"{path.name}: image {image.get('id')}")


def _shape(element: ET.Element, size: tuple[int, int]) -> Shape:
    if element.tag in WITHOUT_PIXELS:
        return Shape(element.attrib["label"], draw_nothing, "none")
    if element.tag not in DRAWN:
        raise ValueError("no shape that CVAT has")
    draw = partial(DRAWN[element.tag], dict(element.attrib))
    draw(size)  # whether it can be
    return Shape(element.attrib["label"], draw, "box" if element.tag == "box" else "region")


def draw_mask(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of run lengths in a box."""
    left, top, width, height = (int(float(attributes[key])) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in attributes["rle"].split(",")]
    if min(counts) < 0 or sum(counts) != width * height:
        raise ValueError(f"run lengths of {sum(counts)} pixels in a box of {width}x{height}")
    if min(left, top) < 0 or left + width > size[1] or top + height > size[0]:
        raise ValueError(f"a box of {width}x{height} at {left},{top} in a photo of {size[1]}x{size[0]}")
    mask = np.zeros(size, bool)
    part = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    mask[top : top + height, left : left + width] = part.reshape(height, width)
    return mask


def draw_polygon(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of the pixels whose centre is inside the polygon."""
    points = [[float(value) for value in pair.split(",")] for pair in attributes["points"].split(";")]
    return _drawn(np.array(points), size)


def draw_box(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a box."""
    left, top, right, bottom = _numbers(attributes, "xtl", "ytl", "xbr", "ybr")
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    return _drawn(_turned(corners, attributes), size)


def draw_ellipse(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of an ellipse, as a polygon of ELLIPSE corners."""
    x, y, rx, ry = _numbers(attributes, "cx", "cy", "rx", "ry")
    angles = np.linspace(0, 2 * np.pi, ELLIPSE, endpoint=False)
    return _drawn(_turned(np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1), attributes), size)


def _numbers(attributes: dict[str, str], *keys: str) -> list[float]:
    values = [float(attributes[key]) for key in keys]
    if not np.isfinite(values).all():
        raise ValueError(f"{', '.join(keys)}: expected finite numbers")
    return values


def _turned(points: np.ndarray, attributes: dict[str, str]) -> np.ndarray:
    """Turn points (K, 2) around their centre by the attribute `rotation`, degrees clockwise."""
    angle = np.deg2rad(_numbers({"rotation": "0", **attributes}, "rotation")[0])
    cos, sin = np.cos(angle), np.sin(angle)
    centre = points.mean(axis=0)
    return (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre


def _drawn(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return draw_segmentation(checked_segmentation([points.ravel().tolist()], *size), *size)


DRAWN = {"mask": draw_mask, "polygon": draw_polygon, "box": draw_box, "ellipse": draw_ellipse}
WITHOUT_PIXELS = ("tag", "points", "polyline", "cuboid", "skeleton")  # they say what is in the photo, not where
