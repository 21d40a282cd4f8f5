"""Draw training images before and after copy-paste: python scripts/draw_pastes.py --dataset=… --cda_bank=…"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.foregrounds import DrawPastesOptions
    from utils.config.program import main

    main(DrawPastesOptions, "scripts.draw_pastes")

from collections.abc import Sequence

import numpy as np

from utils.config.options.foregrounds import DrawPastesOptions
from utils.copy_paste.bank import ForegroundBank
from utils.copy_paste.pasting import Paster
from utils.data.dataset import open_dataset
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import find_image, read_gray, read_rgb, write_image
from utils.drawing import Cell, gray, sheet
from utils.files.locate import existing_path
from utils.fonts import class_labels

COLUMNS = ("photo", "its saliency", "with an object", "saliency with it")


def run(options: DrawPastesOptions) -> Path:
    """Write the sheet and return its path."""
    dataset = open_dataset(options.dataset)
    bank = ForegroundBank.open(existing_path(options.cda_bank, "--cda_bank"), dataset.classes)
    paster = Paster(
        bank,
        max_overlap=options.cda_tr,
        rotation=options.cda_rotation,
        feather=options.cda_edge,
    )
    entries = read_image_list(dataset.train_list, len(dataset.classes), need_tags=True)
    chosen = np.random.default_rng(options.seed).permutation(len(entries))[: options.count]
    names, notes = class_labels(dataset.classes)
    rows = [
        _row(entries[index], dataset.image_dir, dataset.sal_dir, names, paster, seed=(options.seed, int(index)))
        for index in chosen
    ]
    path = Path(options.out).absolute()
    write_image(path, np.asarray(sheet(rows, cell_size=(240, 180), columns=COLUMNS, notes=notes)))
    print(path)
    return path


def _row(
    entry: ImageEntry,
    image_dir: Path,
    sal_dir: Path,
    classes: Sequence[str],
    paster: Paster,
    *,
    seed: tuple[int, int],
) -> list[Cell]:
    image = np.array(read_rgb(find_image(image_dir, entry.name)))
    saliency = np.array(read_gray(find_image(sal_dir, entry.name)))
    twin = paster(image, saliency, entry.tags, rng=np.random.default_rng(seed))
    added = "nothing" if twin.tag is None else f"+ {classes[twin.tag]}"
    names = ", ".join(classes[tag] for tag in entry.tags)
    pasted = None if twin.saliency is None else gray(twin.saliency)
    return [Cell(image, names), Cell(gray(saliency)), Cell(twin.image, added), Cell(pasted)]
