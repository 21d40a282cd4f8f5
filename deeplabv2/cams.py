"""Class maps of a trained network, restricted to each image's tags -> one CAM file an image: a second round of labels.

The tags are known where the network was trained, and what it confuses most are classes that are not there. The maps are
CAM files as test_l2g.py writes them, so that evaluate.py and gen_gt.py, joined with saliency and with a CRF, go on.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.inference import logits_record, make_logits_in
from deeplabv2.logits import StoredLogits, read_logits
from deeplabv2.step_settings import CamSettings
from utils.cam.artefact import read_cam_keys, write_cam
from utils.cam.labels import to_uint8
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import find_image
from utils.errors import UserError
from utils.files.atomic import write_json
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, to_do


@dataclass(frozen=True)
class _Job:
    """An image's tags, and the files of its logits and of its maps."""

    entry: ImageEntry
    logits: Path
    cam: Path


def run(settings: CamSettings) -> Path:
    """Makes the maps of the training list that are not there yet, and returns their folder.

    Raises UserError where --out holds maps of another network or other settings, unless --overwrite is given.
    """
    if settings.out is None:
        raise UserError("--out is missing", rule="cams needs a folder to write to")
    data = inputs.open_data(settings.DATASET)
    image_dir = inputs.find_image_dir(settings.DATASET, data)
    entries = read_image_list(data.train_list, len(data.classes))
    files = {entry.name: find_image(image_dir, entry.name) for entry in entries}
    out = Path(settings.out).expanduser().absolute()
    logits_dir = out / "logits"
    if not make_logits_in(logits_dir, settings, entries, files, data.classes):
        return out
    jobs = [_Job(entry, logits_dir / f"{entry.name}.npz", out / f"{entry.name}.npz") for entry in entries]
    outdated = {job.entry.name for job in to_do(jobs, lambda job: (job.cam, job.logits))}
    todo = [job for job in jobs if job.entry.name in outdated or not _has_its_tags(job)]
    for _ in parallel_map(_write, todo, num_workers=settings.num_workers, description="class maps"):
        pass
    made_with = logits_record(logits_dir).read() or {}
    write_json(logits_record(out).path, {**made_with, "classes": list(data.classes)})
    return out


def _has_its_tags(job: _Job) -> bool:
    """Whether the maps that are there are those of the image's present tags."""
    return read_cam_keys(job.cam).tolist() == list(job.entry.tags)


def _write(job: _Job) -> None:
    keys = np.asarray(job.entry.tags, dtype=np.int64)
    cams = class_maps(read_logits(job.logits), keys)
    write_cam(job.cam, keys, to_uint8(cams), made_from=digest_of(job.logits))


def class_maps(stored: StoredLogits, keys: np.ndarray) -> np.ndarray:
    """How much each pixel is of each class of an image that shows these alone: (K, H, W) in 0..1; keys (K,) zero-based.

    The probabilities of background and tags alone; of the tags, the strongest has the value of all together, so that a
    threshold on it is one on the foreground, and the others keep their proportion to it.
    """
    allowed = np.isin(stored.labels, [0, *(keys + 1)])
    maps = np.zeros((len(keys), *stored.size), np.float32)
    if not allowed.any():
        return maps
    chosen = StoredLogits(stored.labels[allowed], stored.logits[allowed], stored.size)
    for label, probability in zip(chosen.labels, chosen.probabilities()):
        maps[keys + 1 == label] = probability
    strongest = maps.max(axis=0, initial=0.0)
    return maps * np.divide(maps.sum(axis=0), strongest, out=np.zeros_like(strongest), where=strongest > 0)
