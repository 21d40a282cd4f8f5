"""Writes the labels of images from their logits, with or without a dense CRF, beside the network."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image

from deeplabv2.logits import StoredLogits, logits_record, read_logits, strongest
from deeplabv2.seen_size import bounded
from deeplabv2.step_settings import StepSettings
from utils.config.valid import CrfBackend
from utils.crf.competing import COMPETING_AREA, COMPETING_RATIO, refine
from utils.crf.original import backend_record, check_backend
from utils.crf.strengths import Strengths
from utils.data.images import open_header, read_rgb, write_label_png
from utils.errors import UserError
from utils.files.background import Background, in_background
from utils.files.lock import hold
from utils.files.manifest import RECORD, FolderSettings
from utils.files.sources import digest_of, is_made_from
from utils.runtime.shared_work import SharedWork


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


@dataclass(frozen=True)
class LabelJob:
    """The files of one image."""

    name: str
    image: Path
    logits: Path
    label: Path


def label_record(folder: Path, option: str = "--EXP.ID") -> FolderSettings:
    """Return the record of a label folder's settings. option: the one that names the folder."""
    return FolderSettings(folder / RECORD, "*.png", "labels", "main.py", option)


class Labelling:
    """The labels of a folder, see labelling."""

    def __init__(
        self,
        jobs: Mapping[str, LabelJob],
        record: FolderSettings,
        made_with: Callable[[], dict[str, Any]],
        workers: Background[LabelJob, tuple[bool, Any]],
        work: SharedWork,
    ) -> None:
        self._jobs, self._record, self._made_with, self._workers, self._work = jobs, record, made_with, workers, work
        self._added: list[str] = []

    def start(self) -> None:
        """Remove the labels of other weights or settings. The folder of logits must have its record.

        The other processes wait for the main one.
        """
        if self._work.is_main:
            made_with, folder = self._made_with(), self._record.path.parent
            self._record.check(made_with, may_replace=True)
            removed = self._record.start(made_with)
            if removed:
                print(f"{folder}: {removed} labels of other weights or settings are replaced", file=sys.stderr)
        self._work.from_main(None)

    def add(self, name: str) -> None:
        """Label one image, whose logits exist. May be called in threads. Raises the error of an earlier image."""
        self._workers.add(self._jobs[name])
        self._added.append(name)

    def finish(self) -> dict[str, Any]:
        """Label the images that no process has added, and wait for all. The logits of all must exist.

        Returns name -> result of then in the main process.
        """
        names = [*self._added, *self._work.remaining(list(self._jobs), self._added)]
        made = self._workers.finish([self._jobs[name] for name in names])
        found: dict[str, tuple[bool, Any]] = {}
        for part in self._work.gather(dict(zip(names, made, strict=True))):
            found |= part
        if self._work.is_main:
            written = sum(was_written for was_written, _ in found.values())
            print(f"{self._record.path.parent}: {written} labels written, {len(found) - written} kept", file=sys.stderr)
        return {name: found[name][1] for name in self._jobs if name in found}


def nothing(job: LabelJob) -> None:
    """What labelling does with a label by default."""


@contextmanager
def labelling(
    files: Mapping[str, Path],
    logits_dir: Path,
    label_dir: Path,
    crf: Crf | None,
    num_workers: int,
    *,
    classes: Sequence[str],
    work: SharedWork,
    option: str = "--EXP.ID",
    then: Callable[[LabelJob], Any] = nothing,
) -> Iterator[Labelling]:
    """Lock label_dir for the labels of all images, made from their logits in processes, with the CRF unless it is None.

    files: name -> image; option: the one that names the folder. then: called with every job in these processes, when
    its label exists; its result must be JSON. work: the processes of torchrun, which all call the same methods.
    Up-to-date labels are kept. Raises UserError if logits are missing or were computed from another
    image.
    """
    jobs = {
        name: LabelJob(name, file, logits_dir / f"{name}.npz", label_dir / f"{name}.png")
        for name, file in files.items()
    }

    def made_with() -> dict[str, Any]:
        return {
            "logits": logits_record(logits_dir).read(),
            "crf": crf.as_json() if crf else None,
            "classes": list(classes),
        }

    make = partial(_make_label, crf=crf, then=then)
    description = "dense CRF" if crf else "labels"
    with (
        hold(label_dir),
        in_background(
            make, num_items=len(jobs), num_workers=num_workers, description=description, **work.mapping
        ) as workers,
    ):
        yield Labelling(jobs, label_record(label_dir, option), made_with, workers, work)


def _make_label(job: LabelJob, *, crf: Crf | None, then: Callable[[LabelJob], Any]) -> tuple[bool, Any]:
    is_missing = not is_made_from(job.label, job.logits)
    if is_missing:
        write_label_png(job.label, _label(job, crf), made_from=digest_of(job.logits))
    return is_missing, then(job)


def _label(job: LabelJob, crf: Crf | None) -> np.ndarray:
    """Return the label (H, W) uint8. Raises UserError if the logits are those of another image."""
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
    return _refined(stored, photo, crf) if crf else stored.label()


def _refined(stored: StoredLogits, photo: Image.Image, crf: Crf) -> np.ndarray:
    """Compute the label (H, W) uint8 by the CRF, on the photo scaled down to the CRF's size limit."""
    size = bounded(stored.size, crf.size)
    if size != stored.size:
        photo = photo.resize(size[::-1], Image.Resampling.BILINEAR)
    labels, refined = refine(np.asarray(photo), stored.probabilities(size), backend=crf.backend, **crf.strengths)
    return stored.labels[labels[strongest(refined, stored.size)]]
