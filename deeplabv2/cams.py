"""Class maps of a trained network, restricted to each image's tags, for a second round of pseudo labels.

The network mostly confuses classes that are not in the image, and the tags of training images rule these out. The maps
are CAM files like those of test_l2g.py, which evaluate.py and gen_gt.py (with saliency and CRF) can read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.inference import open_logits_in
from deeplabv2.logits import StoredLogits, logits_record, read_logits
from deeplabv2.step_settings import CamSettings
from utils.cam.artefact import read_cam_keys, write_cam
from utils.cam.labels import to_uint8
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import find_image
from utils.errors import UserError
from utils.files.atomic import write_json
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, to_do
from utils.runtime.shared_work import share_work


@dataclass(frozen=True)
class _Job:
    """An image's tags, and the paths of its logits and its CAM file."""

    entry: ImageEntry
    logits: Path
    cam: Path


def run(settings: CamSettings) -> Path:
    """Write the missing maps of the training list. Returns their folder. torchrun distributes the images.

    Raises UserError if --out contains maps of another network or other settings, unless --overwrite is given.
    """
    if settings.out is None:
        raise UserError("--out is missing", rule="cams needs a folder to write to")
    data = inputs.open_data(settings.DATASET)
    image_dir = inputs.find_image_dir(settings.DATASET, data)
    entries = read_image_list(data.train_list, len(data.classes))
    files = {entry.name: find_image(image_dir, entry.name) for entry in entries}
    out = Path(settings.out).expanduser().absolute()
    logits_dir = out / "logits"
    with open_logits_in(logits_dir, settings, entries, files, data.classes) as missing:
        missing.compute()
    jobs = [_Job(entry, logits_dir / f"{entry.name}.npz", out / f"{entry.name}.npz") for entry in entries]
    with share_work(out) as work:
        own = work.own(jobs)
        outdated = {job.entry.name for job in to_do(own, lambda job: (job.cam, job.logits))}
        todo = [job for job in own if job.entry.name in outdated or not _has_its_tags(job)]
        for _ in parallel_map(_write, todo, num_workers=settings.num_workers, description="class maps", **work.mapping):
            pass
    if work.is_main:
        made_with = logits_record(logits_dir).read() or {}
        write_json(logits_record(out).path, {**made_with, "classes": list(data.classes)})
    return out


def _has_its_tags(job: _Job) -> bool:
    """Whether the maps that are there are intact, and those of the image's present tags."""
    try:
        return read_cam_keys(job.cam).tolist() == list(job.entry.tags)
    except UserError:
        return False


def _write(job: _Job) -> None:
    keys = np.asarray(job.entry.tags, dtype=np.int64)
    cams = class_maps(read_logits(job.logits), keys)
    write_cam(job.cam, keys, to_uint8(cams), made_from=digest_of(job.logits))


def class_maps(stored: StoredLogits, keys: np.ndarray) -> np.ndarray:
    """Compute each pixel's class probabilities (K, H, W) given that the image only shows `keys` (K,), zero-based.

    Probabilities are normalised over background and tags. At each pixel, the tags are scaled so that the strongest one
    has the value of the total foreground: a threshold on it is then a threshold on the foreground.
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
