"""Runs a trained network on whole images -> one file of logits per image."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from deeplabv2.input_format import InputFormat
from deeplabv2.logits import finish_logits, missing_logits, start_record
from deeplabv2.models import Segmenter, build_segmenter
from deeplabv2.models.segmenter import WRAPPED, SingleScale
from deeplabv2.models.tag_evidence import PREFIX
from deeplabv2.seen_size import not_too_small, size_of_network
from deeplabv2.settings import ModelSettings, find_path
from deeplabv2.step_settings import CamSettings, PredictSettings, StepSettings
from deeplabv2.views import Views, logits_of
from models.errors import Misfit, ModelOptionError, WeightsError
from models.folding import fold_norms
from models.weights import fit, matching_prefix, tensors_in
from utils.data.class_names import OTHER_DATASET, check_classes
from utils.data.image_batches import REMEDY, ImageBatch, batches_of_one_size, read_batches
from utils.data.image_list import ImageEntry
from utils.errors import UserError, as_user_error
from utils.files.lock import hold
from utils.files.parallel import run_in_threads, worker_ends
from utils.files.published_places import FINAL_CHECKPOINT, first_existing
from utils.runs.segmentation import SegmentationPaths, SegmentationTraining
from utils.runtime.choices import Choices, choose
from utils.runtime.device import autocast, device_errors, inference_batch, move_network
from utils.runtime.process import Process, start_process
from utils.training.checkpoint import read_checkpoint, weights_digest

ItemT = TypeVar("ItemT")

ONE_VIEW = Views()
# network arguments whose setting is not MODEL.<the same name
SETTING_OF = {"num_labels": "DATASET.N_CLASSES", "backbone": "MODEL.NAME"}


def checkpoint_path(model_path: str | None, training: SegmentationTraining) -> Path:
    """Return the given checkpoint, else the experiment's final one. Raises UserError with the remedy."""
    if model_path is not None:
        return find_path(model_path, "--model_path")
    published = training.root / FINAL_CHECKPOINT
    found = first_existing(training.final, [published])
    if not found.is_file():
        remedy = "run main.py train first, or give --model_path"
        raise UserError(f"is missing (also checked: {published})", training.final, remedy=remedy)
    return found


def make_network(settings: ModelSettings, num_labels: int) -> Segmenter:
    """Build the configured network with random weights. Raises UserError naming an unsupported setting."""
    try:
        return build_segmenter(
            settings.NAME,
            num_labels,
            output_stride=settings.OUTPUT_STRIDE,
            atrous_rates=settings.ATROUS_RATES,
            n_blocks=settings.N_BLOCKS,
            scales=settings.SCALES,
            width=settings.WIDTH,
            freeze_batch_norm=settings.FREEZE_BATCH_NORM,
            frozen_stages=settings.FROZEN_STAGES,
            tag_evidence=settings.TAG_EVIDENCE,
        )
    except ModelOptionError as error:
        setting = SETTING_OF.get(error.option, f"MODEL.{error.option.upper()}")
        raise UserError(str(error.value), setting, error.valid) from error


def load_trained(network: Segmenter, path: Path, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Load the complete network from a checkpoint of this trainer or a published state dict. Returns facts about it.

    Raises UserError naming the file and the differences.
    """
    content = read_checkpoint(path)
    if classes is not None:
        check_classes(content.get("classes"), classes, path, OTHER_DATASET)
    load_whole(network, content, path)
    return {"checkpoint": str(path), "step": content.get("step"), "weights": weights_digest(network)}


def load_whole(network: Segmenter, content: Mapping[str, Any], path: Path) -> None:
    """Load the complete network from the content of `path`. Raises UserError naming the file and the differences."""
    with as_user_error(WeightsError, path):
        given = tensors_in(content, network=network.name)
        check_scales(network, given)
        found = fit(
            network.state_dict(),
            given,
            network=f"{network.name} of {network.num_labels} labels",
            exact=True,
            explain=_explain,
        )
    network.load_state_dict(found, strict=False)


def _explain(misfit: Misfit) -> str:
    if any(name.startswith(PREFIX) for name in misfit.unexpected):
        return "it has a classifier of whole images: give --MODEL.TAG_EVIDENCE=1"
    if misfit.missing and all(name.startswith(PREFIX) for name in misfit.missing):
        return "it has no classifier of whole images: give --MODEL.TAG_EVIDENCE=0"
    return "check the MODEL.* settings and DATASET.N_CLASSES"


def check_scales(network: Segmenter, given: Mapping[str, Tensor]) -> None:
    """Raise WeightsError if weights trained at several scales would be loaded into a single-scale network.

    Their names only differ by a prefix.
    """
    if isinstance(network, SingleScale) and matching_prefix(network.state_dict(), given).endswith(WRAPPED):
        raise WeightsError(
            network.name,
            "they were trained at several scales",
            f"give --MODEL.NAME={network.name}_MSC, or start a training from them with --MODEL.INIT_MODEL",
        )


@dataclass(frozen=True)
class MissingLogits:
    """The images whose logits a folder lacks, and the network that computes them. files: name -> image."""

    network: Segmenter
    settings: StepSettings
    entries: Sequence[ImageEntry]
    files: Mapping[str, Path]
    folder: Path
    process: Process
    facts: dict[str, Any]

    def compute(self, then: Callable[[str], None] | None = None) -> dict[str, Any]:
        """See Missing.compute. The images are distributed over the processes. Returns facts about the checkpoint."""
        settings, process = self.settings, self.process
        choose(process.device, Choices(settings.SOLVER.TF32))
        move_network(self.network, process.device)
        network = self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        fold_norms(network)
        infer = partial(
            infer_batch,
            network,
            input_format=network.normalisation.with_mean(settings.IMAGE.MEAN.as_rgb()),
            device=process.device,
            amp=settings.SOLVER.AMP,
            views=Views(settings.TEST.SCALES, settings.TEST.MIRROR),
        )
        own = self.entries[process.rank :: process.world_size]
        groups = batches_of_one_size(own, self.files, inference_batch(settings.SOLVER.BATCH_SIZE.TEST, process.device))
        num_workers = settings.DATALOADER.NUM_WORKERS
        resize = partial(not_too_small, resize=size_of_network(settings.IMAGE.SIZE, full_size=settings.full_size))
        batches = read_batches(groups, self.files, num_workers=num_workers, resize=resize)
        jobs = _jobs(infer, batches, self.files, self.folder, then)
        start = time.monotonic()
        bar = tqdm(total=len(own), desc="network", unit="image", disable=not process.is_main)
        with bar, worker_ends(remedy=REMEDY), device_errors(process.device, "give --SOLVER.BATCH_SIZE.TEST=1"):
            for _ in run_in_threads(jobs, num_threads=max(1, num_workers)):
                bar.update()
        rate = len(own) / (time.monotonic() - start)
        process.wait()
        return {**self.facts, "images_per_second": round(rate * process.world_size, 2)} if own else self.facts


def open_logits(
    settings: StepSettings,
    entries: Sequence[ImageEntry],
    files: Mapping[str, Path],
    folder: Path,
    process: Process,
    *,
    classes: Sequence[str],
    checkpoint: Path,
    may_replace: bool = True,
    option: str = "--EXP.ID",
) -> MissingLogits:
    """Load the network, record it in `folder`, and find the images without logits.

    files: name -> image; option: the one that names the folder. Raises UserError if the folder contains logits of other
    weights and may_replace is false.
    """
    network = make_network(settings.MODEL, len(classes) + 1)
    facts = load_trained(network, checkpoint, classes)
    if isinstance(settings, CamSettings):  # the images' tags are known
        network.single_scale().tags = None
    if process.is_main:
        start_record(folder, _made_with(settings, network, facts["weights"]), may_replace=may_replace, option=option)
    process.wait()  # all processes must see the same missing files before any of them writes
    todo = missing_logits(entries, files, folder)
    if process.is_main:
        print(f"{folder}: {len(entries) - len(todo)} images done, {len(todo)} to do, {checkpoint}")
    process.wait()
    return MissingLogits(network, settings, todo, files, folder, process, facts)


@contextmanager
def open_logits_in(
    folder: Path,
    settings: PredictSettings | CamSettings,
    entries: Sequence[ImageEntry],
    files: Mapping[str, Path],
    classes: Sequence[str],
) -> Iterator[MissingLogits]:
    """Open the logits of a folder in --out, locking it."""
    training = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training
    checkpoint = checkpoint_path(settings.model_path, training)
    with start_process(settings.SOLVER.DEVICE) as process, hold(folder):
        yield open_logits(
            settings,
            entries,
            files,
            folder,
            process,
            classes=classes,
            checkpoint=checkpoint,
            may_replace=settings.overwrite,
            option="--out",
        )


def _made_with(settings: StepSettings, network: Segmenter, weights: str) -> dict[str, Any]:
    """Return the settings that determine logits. None means as published, and is missing in older records."""
    size, views, tags = settings.IMAGE.SIZE, settings.TEST, network.single_scale().tags
    seen = None if settings.full_size else size.TEST or size.BASE
    return {
        "weights": weights,
        "mean": settings.IMAGE.MEAN.as_rgb(),
        "amp": settings.SOLVER.AMP,
        "tag_evidence": None if tags is None else tags.strength,
        "seen": None if seen is None else {"longer_side": seen, "enlarges": size.BASE is not None},
        "views": None if Views(views.SCALES, views.MIRROR).is_one else asdict(views),
    }


def _jobs(
    infer: Callable[[np.ndarray], Tensor],
    batches: Iterable[ImageBatch],
    files: Mapping[str, Path],
    folder: Path,
    then: Callable[[str], None] | None,
) -> Iterator[Callable[[], None]]:
    """Yield a job per image that writes its logits.

    The logits of a batch are fetched after the network has started the next batch, so that a GPU does not wait.
    """
    for batch, size, answer in one_behind((batch, size, infer(images).half()) for batch, images, size in batches):
        for entry, logits in zip(batch, answer.cpu().numpy()):
            yield partial(finish_logits, entry.name, logits, size, files, folder, then)


def one_behind(items: Iterable[ItemT]) -> Iterator[ItemT]:
    """Yield each item after the next one has been created."""
    waiting: list[ItemT] = []
    for item in items:
        yield from waiting
        waiting = [item]
    yield from waiting


@torch.inference_mode()
def infer_batch(
    network: Segmenter,
    images: np.ndarray,
    *,
    input_format: InputFormat,
    device: torch.device,
    amp: str,
    views: Views = ONE_VIEW,
) -> Tensor:
    """Compute logits (N, L, h, w) float32 of images (N, H, W, 3) uint8 RGB, at all scales of the network."""
    with autocast(device, amp):
        return logits_of(network, input_format.prepare_batch(images, device), views)
