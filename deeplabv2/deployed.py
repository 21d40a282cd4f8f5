"""An exported network over photos, without torch -> one file of logits an image, as deeplabv2.inference writes them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deeplabv2.logits import finish_logits, missing_logits, start_record
from utils.data.image_batches import batches_of_one_size
from utils.data.image_list import ImageEntry
from utils.data.images import read_rgb
from utils.errors import UserError
from utils.files.lock import hold
from utils.files.parallel import run_in_threads
from utils.files.sources import digest_of
from utils.runtime.onnx_session import first_line, open_session
from utils.runtime.optional import optional_module
from utils.runtime.shared_work import SharedWork


@dataclass(frozen=True)
class Deployed:
    """A file of main.py export: its session, the names of its classes, and what tells it from others."""

    path: Path
    session: Any
    classes: tuple[str, ...]
    weights: str

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Logits (N, L, h, w) float32 of images (N, H, W, 3) uint8 RGB. Raises UserError where the file fails."""
        options = _runtime_options()
        try:
            logits = self.session.run(["logits"], {"image": images}, options)[0]
        except Exception as error:  # onnxruntime's exceptions share no base class
            what = f"fails on an image of {images.shape[2]}x{images.shape[1]} pixels ({first_line(error)})"
            raise UserError(what, self.path, remedy="export it again: main.py export") from error
        if logits.ndim != 4 or logits.shape[:2] != (len(images), len(self.classes) + 1):
            rule = f"expected (N, {len(self.classes) + 1}, h, w), a map for each of its labels"
            raise UserError(f"gives logits of shape {logits.shape}", self.path, rule, "export it again: main.py export")
        return logits


def _runtime_options() -> Any:
    """Only what leads to the logits is computed: labels at the size of a large photo would need gigabytes."""
    options = optional_module("onnxruntime", "onnxruntime").RunOptions()
    options.only_execute_path_to_fetches = True
    return options


def open_deployed(path: Path, *, device: str) -> Deployed:
    """Raises UserError where the file is not one of main.py export."""
    session = open_session(path, device=device)
    content = session.get_modelmeta().custom_metadata_map
    try:
        labels, weights = json.loads(content["labels"]), json.loads(content["weights"])
        if not isinstance(labels, list) or len(labels) < 2 or not all(isinstance(name, str) for name in labels):
            raise ValueError(f"labels={content['labels'][:40]}")
        inputs, outputs = ([one.name for one in some] for some in (session.get_inputs(), session.get_outputs()))
        if "image" not in inputs or "logits" not in outputs:
            raise ValueError("it has no input image or no output logits")
    except (KeyError, ValueError, RecursionError) as error:
        rule, remedy = "its metadata hold the names of its labels", "export the network by main.py export"
        raise UserError(f"is not a file of main.py export ({error!r})", path, rule, remedy) from error
    return Deployed(path, session, tuple(labels[1:]), weights)


@dataclass(frozen=True)
class MissingLogits:
    """The images whose logits a folder lacks, and the exported network that computes them. files: name -> image."""

    model: Deployed
    entries: Sequence[ImageEntry]
    files: Mapping[str, Path]
    folder: Path
    batch_size: int
    num_threads: int
    work: SharedWork

    def compute(self, then: Callable[[str], None] | None = None) -> None:
        """See Missing.compute."""
        batches = batches_of_one_size(self.entries, self.files, self.batch_size)
        jobs = _jobs(self.model, batches, self.files, self.folder, then)
        with tqdm(total=len(self.entries), desc="network", unit="image", disable=not self.work.is_main) as bar:
            for _ in run_in_threads(jobs, num_threads=max(1, self.num_threads)):
                bar.update()
        self.work.barrier()


@contextmanager
def open_logits(
    model: Deployed,
    files: Mapping[str, Path],
    folder: Path,
    work: SharedWork,
    *,
    batch_size: int,
    may_replace: bool,
    num_threads: int,
) -> Iterator[MissingLogits]:
    """Lock `folder`, record the network in it, and find the images without logits. files: name -> image.

    Raises UserError where the folder holds logits of another network and may_replace is false.
    """
    with hold(folder):
        made_with = {"weights": model.weights, "onnx": digest_of(model.path)}
        if work.is_main:
            start_record(folder, made_with, may_replace=may_replace, option="--out")
        work.from_main(None)  # logits of another network are removed before any process writes
        todo = missing_logits(work.own([ImageEntry(name) for name in files]), files, folder)
        number = sum(work.gather(len(todo)))
        if work.is_main:
            print(f"{folder}: {len(files) - number} images done, {number} to do, {model.path}")
        yield MissingLogits(model, todo, files, folder, batch_size, num_threads, work)


def _jobs(
    model: Deployed,
    batches: Sequence[Sequence[ImageEntry]],
    files: Mapping[str, Path],
    folder: Path,
    then: Callable[[str], None] | None,
) -> Iterator[Callable[[], None]]:
    """For each image, the writing of its logits; the next batch is read while the network works."""

    def read(batch: Sequence[ImageEntry]) -> np.ndarray:
        return np.stack([np.asarray(read_rgb(files[entry.name])) for entry in batch])

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert coming is not None
            images = coming.result()
            coming = reader.submit(read, batches[number + 1]) if number + 1 < len(batches) else None
            size = images.shape[1], images.shape[2]
            for entry, logits in zip(batch, model.logits(images)):
                yield partial(finish_logits, entry.name, logits, size, files, folder, then)
