"""Write pseudo labels, or predictions, for annotation tools and for trainers of other projects.

python scripts/export_labels.py --experiment_name EXP --format=coco
python scripts/export_labels.py --label_dir=seen/labels --image_dir=photos --dataset=data/mine --format=cvat --out=cvat
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the imports below, which --help and a mistyped option do not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only
    from utils.config.options.labels import ExportLabelsOptions
    from utils.config.program import main

    main(ExportLabelsOptions, "scripts.export_labels")

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from utils.annotations.formats import module_of
from utils.annotations.regions import LabelledPhoto, Region, regions_of
from utils.cam.artefact import read_cam
from utils.config.options.labels import ExportLabelsOptions
from utils.data.images import image_or_guess, open_header, read_label
from utils.data.label_check import unknown_labels
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import RECORD, FolderSettings
from utils.files.parallel import parallel_map
from utils.runs.handing_on import check_apart, check_stored_classes
from utils.runs.inputs import check_present, find_image_dir, open_run
from utils.runs.paths import RunPaths, pseudo_label_dir


@dataclass(frozen=True)
class _Job:
    """The files of one photo; cam None: nothing says how sure the network was."""

    name: str
    image: Path
    label: Path
    cam: Path | None


def run(options: ExportLabelsOptions) -> Path:
    """Writes the annotations of every label in the folder, and returns theirs. Raises UserError for bad input."""
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    run_ = open_run(paths, options.dataset)
    own = pseudo_label_dir(run_.data.name, options.experiment_name)
    label_dir = existing_path(options.label_dir, "--label_dir") if options.label_dir else own
    out = Path(options.out).expanduser().absolute() if options.out else paths.root / "export" / options.format
    if options.label_dir and not options.out:
        raise UserError("--label_dir without --out", rule="labels of other folders are written to one that is named")
    image_dir = find_image_dir(run_.data, options.image_dir) if options.image_dir else run_.image_dir(None)
    names = sorted(path.relative_to(label_dir).with_suffix("").as_posix() for path in label_dir.rglob("*.png"))
    check_stored_classes(label_dir, run_.data.classes)
    check_apart(out, "--out", label_dir=label_dir, image_dir=image_dir)
    if not names:
        remedy = f"run gen_gt.py --experiment_name={options.experiment_name}, or give --label_dir"
        raise UserError("holds no label", label_dir, "labels are NAME.png", remedy)
    cam_dir = existing_path(options.pred_dir, "--pred_dir") if options.pred_dir else None
    if cam_dir is None and not options.label_dir and paths.cam_dir.is_dir():
        cam_dir = paths.cam_dir
    jobs = [
        _Job(
            name,
            image_or_guess(image_dir, name),
            label_dir / f"{name}.png",
            cam if cam_dir and (cam := cam_dir / f"{name}.npz").is_file() else None,
        )
        for name in names
    ]
    check_present([job.image for job in jobs], "photos", f"give --image_dir (labels: {label_dir})")
    settings = {"format": options.format, "objects": options.objects, "min_area": options.min_area}
    record = FolderSettings(out / RECORD, RECORD, "annotations", "scripts/export_labels.py", "--out")
    with hold(out):
        record.check(settings, may_replace=options.overwrite)
        record.start(settings)
        write = partial(_write, out=out, classes=run_.data.classes, options=options)
        entries = list(parallel_map(write, jobs, num_workers=options.num_workers, description="exporting"))
        result = module_of(options.format).finish(out, entries, run_.data.classes)
    scored = sum(job.cam is not None for job in jobs)
    print(f"{len(jobs)} photos written, {scored} with scores of their CAMs: {result}")
    return out


def _write(job: _Job, *, out: Path, classes: Sequence[str], options: ExportLabelsOptions) -> object:
    """What the format's file of all photos holds of one, or nothing where each photo has a file."""
    label = read_label(job.label)
    if strange := unknown_labels(label, len(classes) + 1):
        raise UserError(f"holds {strange[0]}", job.label, f"labels are 0 to {len(classes)}, and 255")
    width, height = open_header(job.image).size
    if label.shape != (height, width):
        what = f"is {label.shape[1]}x{label.shape[0]}, its photo {width}x{height}"
        raise UserError(what, job.label, "label and photo have one size", "give another --image_dir")
    regions = tuple(regions_of(label, objects=options.objects, min_area=options.min_area))
    if job.cam is not None:
        regions = _scored(regions, job.cam)
    copying = {"copy": options.copy} if options.format == "yolo" else {}
    photo = LabelledPhoto(job.name, job.image, (height, width), regions)
    return module_of(options.format).of_photo(photo, out, classes, **copying)


def _scored(regions: Sequence[Region], cam: Path) -> tuple[Region, ...]:
    """The regions with the mean of their class's CAM over them, 0..1."""
    keys, cams = read_cam(cam)
    index = {int(key) + 1: number for number, key in enumerate(keys)}
    fitting = [region.label in index and cams[index[region.label]].shape == region.mask.shape for region in regions]
    return tuple(
        replace(region, score=float(cams[index[region.label]][region.mask].mean()) / 255) if fits else region
        for region, fits in zip(regions, fitting)
    )
