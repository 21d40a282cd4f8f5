"""CVAT for images 1.1, one XML file. A region is a `mask`: run lengths of its box, which hold holes and parts.

Scores are an attribute `score`, which CVAT shows where the task's label has it.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.annotations.regions import AnnotatedPhoto, LabelledPhoto, Region, Shape
from utils.data.palette import PALETTE
from utils.data.run_lengths import draw_segmentation
from utils.errors import UserError
from utils.files.atomic import write_text
from utils.files.disk import disk_errors

FILE = "annotations.xml"


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
    """Every image of the file, with its masks, polygons and boxes by z_order. Raises UserError."""
    try:
        with disk_errors(path):
            root = ET.parse(path).getroot()
        if root.tag != "annotations":
            raise ValueError(f"its root is <{root.tag}>")
        return [_photo(path, image) for image in root.iter("image")]
    except (ET.ParseError, KeyError, ValueError) as error:
        rule = "expected the XML of `CVAT for images 1.1`"
        raise UserError(f"is not an export of CVAT ({error!r})", path, rule, "export it again") from error


def _photo(path: Path, image: ET.Element) -> AnnotatedPhoto:
    size = int(image.attrib["height"]), int(image.attrib["width"])
    shapes = []
    for element in image:
        if element.tag in DRAWN:
            draw = partial(DRAWN[element.tag], dict(element.attrib))
            draw(size)  # whether it can be
            shapes.append((int(element.get("z_order", "0")), Shape(element.attrib["label"], draw)))
    ordered = tuple(shape for _, shape in sorted(shapes, key=lambda pair: pair[0]))
    return AnnotatedPhoto(image.attrib["name"], size, ordered, f"{path.name}: image {image.get('id')}")


def draw_mask(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of run lengths in a box."""
    left, top, width, height = (int(float(attributes[key])) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in attributes["rle"].split(",")]
    part = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    if len(part) != width * height or left + width > size[1] or top + height > size[0]:
        raise ValueError(f"a mask of {len(part)} pixels at {left},{top} in a box of {width}x{height}")
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = part.reshape(height, width)
    return mask


def draw_polygon(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of the pixels whose centre is inside the polygon."""
    points = [float(value) for pair in attributes["points"].split(";") for value in pair.split(",")]
    return draw_segmentation([points], *size)


def draw_box(attributes: dict[str, str], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool of a box."""
    left, top, right, bottom = (attributes[key] for key in ("xtl", "ytl", "xbr", "ybr"))
    return draw_polygon({"points": f"{left},{top};{right},{top};{right},{bottom};{left},{bottom}"}, size)


DRAWN = {"mask": draw_mask, "polygon": draw_polygon, "box": draw_box}
