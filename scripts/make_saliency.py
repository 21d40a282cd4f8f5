"""Create the missing saliency maps of a dataset with rembg or an ONNX model.

python scripts/make_saliency.py --dataset=data/mine --fetch              rembg if it is installed, else U2-Net
python scripts/make_saliency.py --dataset=data/mine --onnx=u2net.onnx
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import SaliencyOptions
    from utils.config.program import main

    main(SaliencyOptions, "scripts.make_saliency")

from dataclasses import replace
from typing import Any

from tqdm import tqdm

from scripts.prepare import saliency_models
from scripts.prepare.onnx_model import NOTHING_SALIENT, model_settings, onnx_detector
from scripts.prepare.u2net import u2net_file
from utils.config.options.prepare import SaliencyOptions
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.data.images import image_files, image_or_guess, read_rgb, write_image
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.sources import digest_of, of_replaced_sources
from utils.files.text import first_few
from utils.runs.inputs import check_present, find_image_dir
from utils.runtime.optional import is_installed

SETTINGS_FILE = "saliency_settings.json"
# U2-Net's own settings, which replace the options for other ONNX models
U2NET_OPTIONS: dict[str, Any] = {
    "input_size": 0,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "output": 0,
    "activation": "none",
    "min_max": True,
}
ONNX_OPTIONS = ("input_size", "mean", "std", "output", "activation", "min_max")


def run(options: SaliencyOptions) -> Path:
    """Create the missing maps. Returns their folder.

    Raises UserError, before any map is written, if the model or images are missing, or the folder contains maps that
    this program made with another model.
    """
    data = open_dataset(options.dataset)
    image_dir = find_image_dir(data, options.image_dir)
    listing = existing_path(options.image_list, "--image_list") if options.image_list else data.train_list
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    images = {name: image_or_guess(image_dir, name) for name in names}
    check_present(images.values(), "images", f"check --image_dir and the list ({listing})")
    folder = Path(options.out).absolute() if options.out else data.sal_dir
    record = FolderSettings(folder / SETTINGS_FILE, SETTINGS_FILE, "maps", "scripts/make_saliency.py", "--out")
    there = image_files(folder) if folder.is_dir() and not options.overwrite else {}
    stale = of_replaced_sources(there, images)
    todo = [name for name in names if name not in there or name in stale]
    if todo:
        options = _with_model(options)
    settings: dict[str, Any] = {}
    if todo or options.onnx is not None:  # a model chosen by this program may be missing if no map is
        settings = _settings(options)
        record.check(settings, may_replace=options.overwrite)
    if stale:
        print(
            f"{len(stale)} maps are of images that were replaced since, and are made again ({first_few(sorted(stale))})"
        )
    nothing = 0
    if todo:
        detector = _detector(options)
        with hold(folder):
            record.start(settings)
            nothing = _make_maps(detector, {name: images[name] for name in todo}, folder)
    if nothing:
        print(
            f"{nothing} of {len(todo)} maps are below {NOTHING_SALIENT:g} of white: nothing is salient in these photos"
        )
    print(f"{len(todo)} saliency maps written, {len(names) - len(todo)} kept: {folder}")
    return folder


def _with_model(options: SaliencyOptions) -> SaliencyOptions:
    """The options with the model's file where no rembg makes the maps."""
    if options.onnx is not None or (options.use_rembg and is_installed("rembg")):
        return options
    return replace(options, onnx=str(u2net_file(fetch=options.fetch)), **U2NET_OPTIONS)


def _settings(options: SaliencyOptions) -> dict[str, Any]:
    """Return the settings that determine the maps. Maps from other sources may be in the same folder."""
    if options.onnx is None:
        return {"rembg_model": options.rembg_model}
    return model_settings(options.onnx) | {name: getattr(options, name) for name in ONNX_OPTIONS}


def _detector(options: SaliencyOptions) -> saliency_models.Detector:
    if options.onnx is None:
        return saliency_models.rembg_detector(options.rembg_model)
    chosen = {name: getattr(options, name) for name in ONNX_OPTIONS}
    return onnx_detector(existing_path(options.onnx, "--onnx"), **chosen)


def _make_maps(detector: saliency_models.Detector, images: dict[str, Path], folder: Path) -> int:
    """Process one image at a time, since the model itself uses all cores. Returns the number of empty maps."""
    nothing = 0
    for name, path in tqdm(images.items(), "making saliency maps", unit="image", mininterval=_interval()):
        photo = read_rgb(path)
        saliency = detector(photo)
        if saliency.shape != photo.size[::-1]:
            raise UserError(f"the model's map is {saliency.shape}", path, f"the image is {photo.size[::-1]}")
        nothing += bool(saliency.max() < NOTHING_SALIENT * 255)
        write_image(folder / f"{name}.png", saliency, made_from=digest_of(path))
    return nothing


def _interval() -> float:
    return 0.1 if sys.stderr.isatty() else 5.0
