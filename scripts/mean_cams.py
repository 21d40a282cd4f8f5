"""Average the CAMs of several classifiers, for evaluate.py and gen_gt.py --pred_dir.

python scripts/mean_cams.py --experiment_name=mine --other_dirs=runs/mine_linear/cam --out=runs/mine/cam_mean
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.cams import MeanCamsOptions
    from utils.config.program import main

    main(MeanCamsOptions, "scripts.mean_cams")

from dataclasses import dataclass

import numpy as np

from utils.cam.artefact import write_cam
from utils.cam.folders import CamFiles, CamFolder
from utils.cam.labels import to_uint8
from utils.config.options.cams import MeanCamsOptions
from utils.data.image_list import read_image_list
from utils.errors import UserError
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import RECORD, FolderSettings
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, to_do
from utils.runs.handing_on import check_apart, check_stored_classes, made_of
from utils.runs.inputs import check_present, open_run
from utils.runs.paths import RunPaths


@dataclass(frozen=True)
class _Job:
    """The CAMs of one image from each folder, and the file of their mean."""

    cams: tuple[CamFiles, ...]
    mean: Path

    @property
    def sources(self) -> tuple[Path, ...]:
        return tuple(path for files in self.cams for path in files.paths)


def run(options: MeanCamsOptions) -> Path:
    """Write the mean of the CAMs of every listed image. Returns their folder.

    Raises UserError, before anything is written, if CAMs are missing or of other classes, or if the folder contains
    means of other CAMs and --update is not given.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    trained = open_run(paths, None)
    classes = trained.data.classes
    first = existing_path(options.pred_dir, "--pred_dir") if options.pred_dir else paths.cam_dir
    folders = [first, *(existing_path(folder, "--other_dirs") for folder in options.other_dirs)]
    out = Path(options.out).absolute()
    check_apart(out, "--out", pred_dir=first)
    for folder in folders[1:]:
        check_apart(out, "--out", other_dirs=folder)
    for folder in folders:
        check_stored_classes(folder, classes)
    sources = [CamFolder.open(folder, num_classes=len(classes)) for folder in folders]
    entries = read_image_list(trained.train_list(options.image_list), len(classes))
    jobs = [
        _Job(tuple(source.files(entry.name, entry.tags) for source in sources), out / f"{entry.name}.npz")
        for entry in entries
    ]
    check_present([path for job in jobs for path in job.sources], "CAMs", "run test_l2g.py first for each run")
    settings = {
        "mean_of": [str(folder) for folder in folders],
        "made_of": [made_of(folder) for folder in folders],
        "classes": list(classes),
    }
    record = FolderSettings(out / RECORD, "*.npz", "CAMs", "scripts/mean_cams.py", "--out")
    renewed = record.check(settings, may_replace=options.update)
    todo = jobs if renewed else to_do(jobs, lambda job: (job.mean, *job.sources))
    if todo:
        with hold(out):
            record.start(settings)
            for _ in parallel_map(_average, todo, num_workers=options.num_workers, description="averaging CAMs"):
                pass
    print(f"{len(todo)} CAMs averaged, {len(jobs) - len(todo)} kept: {out}", file=sys.stderr)
    return out


def _average(job: _Job) -> None:
    keys, first = job.cams[0].read()
    total = _levels(first)
    for files in job.cams[1:]:
        others, cams = files.read()
        if cams.shape != first.shape or sorted(others.tolist()) != sorted(keys.tolist()):
            what = f"has the classes {others.tolist()} and the size {cams.shape[1:]}"
            rule = f"expected those of {job.cams[0].paths[0]}: {keys.tolist()}, {first.shape[1:]}"
            raise UserError(what, files.paths[0], rule, "run test_l2g.py again for each")
        total += _levels(cams)[[others.tolist().index(key) for key in keys.tolist()]]
    write_cam(job.mean, keys, to_uint8(total / len(job.cams)), made_from=digest_of(*job.sources))


def _levels(cams: np.ndarray) -> np.ndarray:
    """Convert CAMs, bytes or floats, to float32 in 0..1."""
    return cams.astype(np.float32) / 255 if cams.dtype == np.uint8 else cams.astype(np.float32)
