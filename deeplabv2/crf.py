"""Step 3: dense CRF on stored logits -> data/features/EXP/VAL/crf/NAME.png, data/scores/EXP/scores_crf.json."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from deeplabv2 import inputs
from deeplabv2.inputs import masked_split
from deeplabv2.logits import StoredLogits, logits_record, read_logits, strongest
from deeplabv2.scoring import Scoring, report_scores
from deeplabv2.seen_size import bounded
from deeplabv2.step_settings import StepSettings
from utils.config.valid import CrfBackend
from utils.crf.competing import COMPETING_AREA, COMPETING_RATIO, refine
from utils.crf.original import backend_record, check_backend
from utils.crf.strengths import Strengths
from utils.data.images import open_header, read_label, read_rgb, write_label_png
from utils.errors import UserError
from utils.files.lock import hold
from utils.files.manifest import RECORD, FolderSettings
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, is_made_from, to_do
from utils.runs.inputs import check_present
from utils.runs.segmentation import SegmentationPaths


@dataclass(frozen=True)
class _Job:
    """The files of one image."""

    name: str
    image: Path
    logits: Path
    label: Path


def run(settings: StepSettings) -> Path:
    """Refine the remaining logits of SPLIT.VAL, score all labels, and return scores_crf.json."""
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN)
    split = masked_split(settings.DATASET, data, step="the CRF")
    name = settings.DATASET.SPLIT.VAL
    paths.remember()
    labels = refine_all(
        split.names,
        split.files,
        paths.logits_dir(name),
        paths.crf_dir(name),
        Crf.of(settings),
        settings.num_workers,
        classes=data.classes,
    )
    scoring = Scoring(labels, split.label_dir, label_of=read_label, num_labels=data.num_labels)
    scores, photos = scoring.finish(settings.num_workers)
    made_with = label_record(paths.crf_dir(name)).read() or {}
    facts = {**made_with, "list": str(split.list_file), "images": len(split.entries)}
    return report_scores(paths.crf_scores, scores, photos, data.classes, facts, experiment=settings.EXP.ID)


def label_record(folder: Path, option: str = "--EXP.ID") -> FolderSettings:
    """Return the record of a label folder's settings. option: the one that names the folder."""
    return FolderSettings(folder / RECORD, "*.png", "labels", "main.py", option)


@dataclass(frozen=True)
class Crf:
    """Settings of the dense CRF: parameters by their names in utils.crf.dense_crf, largest longer side, and backend."""

    strengths: Strengths
    size: int | None
    backend: CrfBackend = "lattice"

    @classmethod
    def of(cls, settings: StepSettings) -> Self:
        check_backend(settings.crf_backend)
        crf = settings.CRF
        strengths: Strengths = {
            "iterations": crf.ITER_MAX,
            "pos_w": crf.POS_W,
            "pos_xy_std": crf.POS_XY_STD,
            "bi_w": crf.BI_W,
            "bi_xy_std": crf.BI_XY_STD,
            "bi_rgb_std": crf.BI_RGB_STD,
        }
        return cls(strengths, None if settings.full_size else crf.SIZE, settings.crf_backend)

    def as_json(self) -> dict[str, Any]:
        # not options, but labels made with another rule are different labels
        rule = {"competing_ratio": COMPETING_RATIO, "competing_area": COMPETING_AREA, "winners": "all"}
        return {**self.strengths, **rule, "size": self.size, **backend_record(self.backend)}


def refine_all(
    names: Sequence[str],
    files: Mapping[str, Path],
    logits_dir: Path,
    label_dir: Path,
    crf: Crf | None,
    num_workers: int,
    *,
    classes: Sequence[str],
    option: str = "--EXP.ID",
) -> dict[str, Path]:
    """Write the labels of all images from their logits, with the CRF unless it is None. Returns name -> label PNG.

    files: name -> image; option: the one that names the folder. Up-to-date labels are kept. Raises UserError if logits
    are missing or were computed from another image.
    """
    with hold(label_dir):
        jobs = [_Job(name, files[name], logits_dir / f"{name}.npz", label_dir / f"{name}.png") for name in names]
        check_present([job.logits for job in jobs], "logits", "run main.py test first, with the same settings")
        made_with = {
            "logits": logits_record(logits_dir).read(),
            "crf": crf.as_json() if crf else None,
            "classes": list(classes),
        }
        record = label_record(label_dir, option)
        record.check(made_with, may_replace=True)
        removed = record.start(made_with)
        if removed:
            print(f"{label_dir}: {removed} labels of other weights or settings are replaced", file=sys.stderr)
        todo = to_do(jobs, lambda job: (job.label, job.logits))
        make = partial(_make_label, crf=crf)
        description = "dense CRF" if crf else "labels"
        for _ in parallel_map(make, todo, num_workers=num_workers, description=description):
            pass
        print(f"{label_dir}: {len(todo)} labels written, {len(jobs) - len(todo)} kept", file=sys.stderr)
        return {job.name: job.label for job in jobs}


def _make_label(job: _Job, *, crf: Crf | None) -> None:
    stored = read_logits(job.logits)
    if not is_made_from(job.logits, job.image):
        rule, remedy = f"they were not computed from {job.image}", "run main.py test (or predict) again"
        raise UserError("contains logits of another image", job.logits, rule, remedy)
    photo = read_rgb(job.image) if crf else open_header(job.image)
    if photo.size[::-1] != stored.size:
        raise UserError(
            f"contains logits of an image of {stored.size[1]}x{stored.size[0]}",
            job.logits,
            f"{job.image} is {photo.width}x{photo.height}",
            "delete the logits and compute them again",
        )
    label = _refined(stored, photo, crf) if crf else stored.label()
    write_label_png(job.label, label, made_from=digest_of(job.logits))


def _refined(stored: StoredLogits, photo: Image.Image, crf: Crf) -> np.ndarray:
    """Compute the label (H, W) uint8 by the CRF, on the photo scaled down to the CRF's size limit."""
    size = bounded(stored.size, crf.size)
    if size != stored.size:
        photo = photo.resize(size[::-1], Image.Resampling.BILINEAR)
    labels, refined = refine(np.asarray(photo), stored.probabilities(size), backend=crf.backend, **crf.strengths)
    return stored.labels[labels[strongest(refined, stored.size)]]
