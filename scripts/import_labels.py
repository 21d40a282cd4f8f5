"""Convert label PNGs of other programs (IRN's ir_label and sem_seg, coloured ones) to a folder of pseudo labels.

python scripts/import_labels.py --labels FOLDER --out data/voc12/pseudo_seg_labels_EXP
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.labels import ImportLabelsOptions
    from utils.config.program import main

    main(ImportLabelsOptions, "scripts.import_labels")

from functools import partial

import numpy as np
from PIL import Image

from utils.config.options.labels import ImportLabelsOptions
from utils.data.catalog import IGNORE_INDEX
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.data.images import decode, image_or_guess, open_header, write_label_png
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.manifest import FolderSettings
from utils.files.parallel import parallel_map
from utils.runs.inputs import check_present, find_image_dir

SETTINGS_FILE = "label_settings.json"


def run(options: ImportLabelsOptions) -> Path:
    """Write the label of every listed image. Returns their folder. Raises UserError naming inconsistent files."""
    data, source, folder = open_dataset(options.dataset), existing_path(options.labels, "--labels"), Path(options.out)
    if "{name}" not in options.file_name:
        raise UserError(options.file_name, "--file_name", "expected a name with {name}")
    listing = existing_path(options.image_list, "--image_list") if options.image_list else data.train_list
    image_dir = find_image_dir(data, options.image_dir)
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    jobs = [
        (source / options.file_name.replace("{name}", name), image_or_guess(image_dir, name), folder / f"{name}.png")
        for name in names
    ]
    check_present([label for label, _, _ in jobs], "labels", f"check --labels, --file_name and the list ({listing})")
    check_present([image for _, image, _ in jobs], "images", f"check --image_dir and the list ({listing})")
    settings = {"imported": str(source), "file_name": options.file_name, "resize": options.resize}
    record = FolderSettings(folder / SETTINGS_FILE, "*.png", "labels", "scripts/import_labels.py", "--out")
    record.check(settings, may_replace=options.overwrite)
    record.start(settings)
    convert = partial(import_label, num_classes=len(data.classes), resize=options.resize)
    for _ in parallel_map(convert, jobs, num_workers=options.num_workers, description="importing labels"):
        pass
    print(f"{len(jobs)} labels written: {folder}")
    return folder


def import_label(job: tuple[Path, Path, Path], *, num_classes: int, resize: bool) -> None:
    """Check and write one label. job: (label, image, file to write). Raises UserError naming the label."""
    source, image, target = job
    label = read_indices(source)
    strange = [int(value) for value in np.unique(label) if num_classes < value < IGNORE_INDEX]
    if strange:
        raise UserError(f"contains {strange[0]}", source, f"expected labels in 0..{num_classes} or {IGNORE_INDEX}")
    size = open_header(image).size
    if label.shape != size[::-1]:
        if not resize:
            what = f"is {label.shape[1]}x{label.shape[0]}, its image {size[0]}x{size[1]}"
            raise UserError(what, source, "expected equal sizes", "add --resize")
        label = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
    write_label_png(target, label)


def read_indices(path: Path) -> np.ndarray:
    """Read class indices (H, W) uint8 from a grey or palette PNG, or one in VOC's colours. Raises UserError."""
    image = decode(path)
    if image.mode in ("P", "L"):
        return np.asarray(image)
    pixels = np.asarray(image.convert("RGB"), np.int64) @ [1 << 16, 1 << 8, 1]
    codes = PALETTE.astype(np.int64) @ [1 << 16, 1 << 8, 1]
    order = np.argsort(codes)
    found = order[np.searchsorted(codes, pixels, sorter=order).clip(max=len(codes) - 1)]
    if (codes[found] != pixels).any():
        raise UserError("contains colours that are not VOC's", path, "expected indices, or colours of the palette")
    return found.astype(np.uint8)
