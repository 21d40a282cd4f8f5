"""Export public-domain photographs from scikit-image and matplotlib, with a table of their tags.

They may be published, so the README shows a network's results on them: see scripts/make_hero.sh.
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import ExportPhotographsOptions
    from utils.config.program import main

    main(ExportPhotographsOptions, "scripts.export_photographs")

from importlib.util import find_spec

import numpy as np
from PIL import Image

from utils.config.options.prepare import ExportPhotographsOptions
from utils.data.images import write_image
from utils.errors import UserError
from utils.files.atomic import write_lines

# All photographs of people, animals and objects that these packages contain without restrictions, regardless of the
# results on them, with their VOC classes. skimage.data names the sources: NASA and SpaceX (public domain), S. van der
# Walt, L. Varshney and R. Michetti (CC0). grace_hopper is by the US Navy (public domain).
PHOTOGRAPHS = {
    "chelsea.png": ("skimage", "data", "cat"),
    "astronaut.png": ("skimage", "data", "person"),
    "camera.png": ("skimage", "data", "person"),
    "grace_hopper.jpg": ("matplotlib", "mpl-data/sample_data", "person"),
    "coffee.png": ("skimage", "data", ""),
    "rocket.jpg": ("skimage", "data", ""),
}


def run(options: ExportPhotographsOptions) -> Path:
    """Write NAME.png for each photograph, and OUT_tags.csv beside the folder. Returns the folder."""
    out = Path(options.out).absolute()
    rows = ["file,tags"]
    for name, (package, folder, tags) in PHOTOGRAPHS.items():
        path = _folder_of(package) / folder / name
        if not path.is_file():
            raise UserError("is missing", path, remedy="pip install -r requirements-dev.txt")
        target = out / path.with_suffix(".png").name
        write_image(target, np.asarray(Image.open(path).convert("RGB")))
        rows.append(f"{target.name},{tags}")
    write_lines(out.with_name(f"{out.name}_tags.csv"), rows)
    print(f"{out}: {len(PHOTOGRAPHS)} photographs")
    return out


def _folder_of(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"{package} is not installed", rule="it contains the photographs", remedy="pip install scikit-image"
        )
    return Path(spec.origin).parent
