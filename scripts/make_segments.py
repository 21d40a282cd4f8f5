"""Create class-agnostic segments of a dataset's images, to which gen_gt.py --segments snaps labels.

python scripts/make_segments.py --dataset=data/mine                                superpixels, no model
python scripts/make_segments.py --dataset=data/mine --onnx=segmenter.onnx
python scripts/make_segments.py --dataset=data/mine --masks=data/mine/SegmentationClass --out=data/mine/regions
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import SegmentOptions
    from utils.config.program import main

    main(SegmentOptions, "scripts.make_segments")

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scripts.prepare.onnx_model import model_settings
from scripts.prepare.segment_makers import Segmenter, onnx_segmenter, regions, scikit_image, superpixels
from utils.cam.segments import FORMS
from utils.config.options.prepare import SegmentOptions
from utils.data.dataset import open_dataset
from utils.data.image_list import read_image_list
from utils.data.images import image_or_guess, read_label, read_rgb, write_image
from utils.errors import UserError
from utils.files.atomic import write_json
from utils.files.disk import remove_file
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, note_of, of_replaced_sources
from utils.runs.handing_on import check_apart
from utils.runs.inputs import check_present, find_image_dir

SETTINGS_FILE = "segment_settings.json"
SEGMENT_FOLDER = "Segments"  # in a dataset
MOST_IDS = 2**16 - 1  # limit of a 16-bit PNG
ONNX_OPTIONS = ("input_size", "mean", "std", "output", "mask_threshold", "score_output", "min_score")


@dataclass(frozen=True)
class _Job:
    """One image's source (a photo or a mask), and the file of its segments without suffix."""

    source: Path
    target: Path


def run(options: SegmentOptions) -> Path:
    """Create the missing segments. Returns their folder.

    Raises UserError, before any file is written, if images are missing or the folder contains segments of other
    settings, also if none is missing.
    """
    data = open_dataset(options.dataset)
    source_dir = find_image_dir(data, options.image_dir)
    if options.masks:
        source_dir = existing_path(options.masks, "--masks")
    listing = existing_path(options.image_list, "--image_list") if options.image_list else data.train_list
    names = [entry.name for entry in read_image_list(listing, len(data.classes))]
    sources = {
        name: source_dir / f"{name}.png" if options.masks else image_or_guess(source_dir, name) for name in names
    }
    option = "--masks" if options.masks else "--image_dir"
    check_present(sources.values(), "masks" if options.masks else "images", f"check {option} and the list ({listing})")
    folder = Path(options.out).absolute() if options.out else data.root / SEGMENT_FOLDER
    check_apart(folder, "--out", masks=source_dir if options.masks else None, image_dir=source_dir)
    record = FolderSettings(folder / SETTINGS_FILE, SETTINGS_FILE, "segments", "scripts/make_segments.py", "--out")
    settings = _settings(options)
    record.check(settings, may_replace=options.overwrite)
    there = {} if options.overwrite else {p.stem: p for form in FORMS for p in folder.glob(f"*{form}")}
    stale = of_replaced_sources(there, sources)
    todo = [_Job(sources[name], folder / name) for name in names if name not in there or name in stale]
    if todo:
        make = _maker(options)
        with hold(folder):
            record.start(settings)
            # a model itself uses all cores
            num_workers = 1 if options.onnx else options.num_workers
            for _ in parallel_map(make, todo, num_workers=num_workers, description="making segments"):
                pass
    print(f"segments of {len(todo)} images written, {len(names) - len(todo)} kept: {folder}", file=sys.stderr)
    return folder


def _maker(options: SegmentOptions) -> Callable[[_Job], None]:
    if options.onnx:
        chosen = {name: getattr(options, name) for name in ONNX_OPTIONS}
        return partial(_write_masks, segmenter=onnx_segmenter(existing_path(options.onnx, "--onnx"), **chosen))
    if options.masks:
        return _write_regions
    if options.method != "watershed":
        scikit_image()
    return partial(_write_superpixels, method=options.method, size=options.size, scale=options.scale)


def _settings(options: SegmentOptions) -> dict[str, Any]:
    """Return the settings that determine the segments."""
    if options.onnx:
        return model_settings(options.onnx) | {name: getattr(options, name) for name in ONNX_OPTIONS}
    if options.masks:
        return {"masks": str(Path(options.masks).absolute())}
    scale = {"scale": options.scale} if options.method == "felzenszwalb" else {}
    return {"method": options.method, "size": options.size, **scale}


def _write_superpixels(job: _Job, *, method: Any, size: int, scale: float) -> None:
    _write_ids(job, superpixels(np.asarray(read_rgb(job.source)), method, size=size, scale=scale))


def _write_regions(job: _Job) -> None:
    _write_ids(job, regions(read_label(job.source)))


def _write_ids(job: _Job, ids: np.ndarray) -> None:
    if ids.max() > MOST_IDS:
        what = f"has {ids.max()} segments"
        raise UserError(what, job.source, f"a file allows {MOST_IDS}", "raise --size, or prepare smaller images")
    write_image(_file(job, ".png"), ids.astype(np.uint16), made_from=digest_of(job.source))
    _remove(_file(job, ".json"))


def _write_masks(job: _Job, *, segmenter: Segmenter) -> None:
    # in front, where noted_digest looks for it
    content = {"source": note_of(digest_of(job.source)), "annotations": segmenter(read_rgb(job.source))}
    write_json(_file(job, ".json"), content, indent=None)
    _remove(_file(job, ".png"))


def _file(job: _Job, form: str) -> Path:
    return job.target.with_name(f"{job.target.name}{form}")


def _remove(other: Path) -> None:
    """Remove segments of another source: an image must have a single file of segments."""
    if other.is_file():
        remove_file(other)
