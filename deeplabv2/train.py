"""Step 1: train the segmentation network on pseudo labels -> data/models/EXP/checkpoint_final.pth."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deeplabv2 import inputs
from deeplabv2.dataset import Augmentation, SegmentationDataset
from deeplabv2.inference import load_whole, make_network
from deeplabv2.initial_weights import check_start, initial_path, load_initial
from deeplabv2.inputs import LabelledSplit
from deeplabv2.losses import MeanOver, total_loss
from deeplabv2.models import Segmenter
from deeplabv2.pasting import ObjectPaster
from deeplabv2.settings import DatasetSettings, Settings, SolverSettings
from deeplabv2.step_settings import TrainSettings
from deeplabv2.tags import fit_tags, tagged_images
from models.errors import ModelOptionError
from models.folding import fold_norms
from utils.data.catalog import VOC_CLASSES
from utils.data.dataset import Dataset
from utils.data.image_list import ImageEntry, digest_of_list, read_image_list
from utils.data.label_check import LabelSummary, check_labels
from utils.errors import UserError, as_user_error
from utils.files.lock import hold
from utils.files.sources import sizes_digest
from utils.files.text import first_few
from utils.runs.handing_on import check_stored_classes
from utils.runs.segmentation import SegmentationPaths, SegmentationTraining
from utils.runtime.log import open_log
from utils.runtime.process import Process, start_process
from utils.training import checkpoint as ckpt
from utils.training.measure import without_values
from utils.training.plan import Length, Names, Plan, planned_device
from utils.training.resume import check_new
from utils.training.settings import Machine, Optimiser, Run, Sampling, Saving, Schedule, TrainerSettings
from utils.training.show_plan import show_plan
from utils.training.task import WHOLE, Losses
from utils.training.trainer import Trainer

PREFIX = "checkpoint"
NAMES = Names("--SOLVER.BATCH_SIZE.TRAIN", "--SOLVER.ITER_SIZE", "--SOLVER.AMP", "--SOLVER.CHECKPOINT_ACTIVATIONS")


class LossOfSegmenter(nn.Module):
    """A network and its loss in one module: images and labels -> loss."""

    def __init__(self, network: Segmenter, *, kind: str, gamma: float, mean: MeanOver) -> None:
        super().__init__()
        self.network, self.kind, self.gamma, self.mean = network, kind, gamma, mean

    def forward(self, images: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Compute the loss, summed over the network's scales. images (N, 3, S, S) prepared, labels (N, S, S) long.

        weights (N,): see losses.segmentation_loss.
        """
        return total_loss(self.network(images), labels, self.kind, gamma=self.gamma, mean=self.mean, weights=weights)


class SegmentationTask:
    """A segmentation network as a task of the engine, see utils.training.task.Task."""

    parts = (WHOLE,)

    def __init__(self, segmenter: Segmenter, samples: SegmentationDataset, solver: SolverSettings) -> None:
        self.segmenter, self.samples, self.solver = segmenter, samples, solver
        self.network = LossOfSegmenter(segmenter, kind=solver.LOSS, gamma=solver.FOCAL_GAMMA, mean=solver.LOSS_MEAN)

    def example(self, count: int) -> dict[str, Tensor]:
        """Return a dummy batch of `count` samples."""
        side = self.samples.augmentation.crop_size
        batch = {"images": torch.zeros(count, 3, side, side), "labels": torch.zeros(count, side, side).long()}
        return batch if self.samples.weights is None else {**batch, "weights": torch.ones(count)}

    def losses(self, network: nn.Module, batch: dict[str, Tensor], part: str) -> Losses:
        return Losses({"loss": network(**batch)})

    def fold_norms(self, network: nn.Module) -> None:
        fold_norms(network.get_submodule("network"))

    def parameter_groups(self) -> list[dict[str, Any]]:
        solver = self.solver
        with as_user_error(ModelOptionError, "--SOLVER.LAYER_DECAY"):
            return self.segmenter.parameter_groups(
                lr=solver.LR,
                head_lr_factor=solver.HEAD_LR_FACTOR,
                head_bias_factor=solver.HEAD_BIAS_FACTOR,
                decay_vectors=solver.DECAY_VECTORS,
                layer_decay=solver.LAYER_DECAY,
            )

    def checkpoint(self) -> dict[str, Any]:
        return {"state_dict": self.segmenter.state_dict()}

    def restore(self, state: Mapping[str, Any], *, path: Path) -> None:
        load_whole(self.segmenter, state, path)

    def end_of_interval(self, recent: Mapping[str, float]) -> str | None:
        return None


def run(settings: Settings) -> Path | None:
    """Train to the last step and return its checkpoint; with --plan only print the plan. Raises UserError."""
    if isinstance(settings, TrainSettings):
        if settings.plan:
            plan(settings)
            return None
        settings = settings.without_plan()
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training
    split = check_input(settings, data)
    corrected = corrected_images(settings, data, split)
    tagged = tagged_images(settings, data, split)
    latest = latest_checkpoint(paths)
    check_new(latest, resume=settings.SOLVER.RESUME, name="--EXP.ID")
    if latest is None:
        check_start(settings.MODEL)
    check_stored_classes(split.label_dir, data.classes)
    with start_process(settings.SOLVER.DEVICE) as process, hold(paths.root):
        log = open_log(paths.log if process.is_main else None)
        labels, sources = inspect_labels(settings, data, split, process, log.info)
        torch.manual_seed(settings.SOLVER.SEED)
        network = make_network(settings.MODEL, data.num_labels)
        if latest is None:  # else the weights come from the checkpoint
            log.info(load_initial(network, settings.MODEL.INIT_MODEL))
            if tagged and process.is_main:
                fit_tags(network, tagged, split.files, settings, process.device)
                log.info(f"classifier of whole images: fitted to the tags of {len(tagged)} images")
            process.wait()
        log.info(
            f"{settings.EXP.ID}: {len(split.entries)} images of {split.list_file}, labels {split.label_dir}, "
            f"{settings.MODEL.NAME}, {process.world_size} x {process.device}, loss {described_loss(settings.SOLVER)}"
        )
        factor = settings.DATASET.CORRECTED_WEIGHT
        if corrected:
            log.info(f"{len(corrected)} labels are corrected: their pixels count {factor:g} times")
        weights = weights_of(split.names, corrected, factor)
        samples = make_samples(settings, split, network, weights, sources)
        task = SegmentationTask(network, samples, settings.SOLVER)
        if process.is_main:
            length = length_of(settings, len(split.entries), process.world_size)
            for line in Plan(task, make_settings(settings), length, process.device).headline():
                log.info(line)
        run_ = Run(
            paths,
            PREFIX,
            settings,
            facts_of(
                settings,
                num_images=len(split.entries),
                world_size=process.world_size,
                labels=labels,
                corrected=corrected,
            ),
            log,
            length="--SOLVER.ITER_MAX",
            initial="--MODEL.INIT_MODEL",
            remedy="lower --SOLVER.LR, set --SOLVER.CLIP_GRAD=5, or train with --SOLVER.AMP=off",
            memory_remedy=NAMES.out_of_memory,
            latest=latest,
            final=paths.final,
            classes=data.classes,
            images=sizes_digest(split.files.values()) if process.is_main else "",
        )
        return Trainer(task, make_settings(settings), run_, process).fit()


def plan(settings: TrainSettings) -> None:
    """Print the requirements of the training. Reads neither images nor weights."""
    try:
        data = inputs.open_data(settings.DATASET)
    except UserError as error:
        labels = settings.DATASET.N_CLASSES or len(VOC_CLASSES) + 1
        data = Dataset(Path(settings.DATASET.folder), "planned", ("",) * (labels - 1), "planned")
        print(f"plan: assuming {labels} labels, since there is no dataset ({error})")
    with without_values():
        network = make_network(settings.MODEL, data.num_labels)
    split = LabelledSplit(Path(), [], {}, Path())
    task = SegmentationTask(network, make_samples(settings, split, network), settings.SOLVER)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    images = settings.plan_images or listed_images(settings, data)
    length = length_of(settings, images, world_size)
    planned = Plan(task, make_settings(settings), length, planned_device(settings.SOLVER.DEVICE))
    show_plan(planned, settings, NAMES)


def listed_images(settings: Settings, data: Dataset) -> int | None:
    """Return the number of images in the training list, or None if there is no list."""
    listing = inputs.list_path(data, settings.DATASET.SPLIT.TRAIN, "DATASET.SPLIT.TRAIN")
    return len(read_image_list(listing, len(data.classes))) if listing.is_file() else None


def length_of(settings: Settings, images: int | None, world_size: int) -> Length:
    """Return the length of the training. Its number of steps is fixed, regardless of the number of images."""
    solver = settings.SOLVER
    step = solver.BATCH_SIZE.TRAIN * solver.ITER_SIZE * world_size
    return Length(images, solver.ITER_MAX, images / step if images else None, world_size)


def described_loss(solver: SolverSettings) -> str:
    """Describe the loss and its divisor, which the published files do not state."""
    if solver.LOSS == "balanced":
        return "balanced (means over foreground and over background)"
    gamma = f", gamma {solver.FOCAL_GAMMA:g}" if solver.LOSS == "focal" else ""
    return f"{solver.LOSS}{gamma}, mean over {solver.LOSS_MEAN} pixels"


def facts_of(
    settings: Settings, *, num_images: int, world_size: int, labels: str, corrected: Collection[str] = ()
) -> dict[str, Any]:
    """Return the values that must match on resume: they determine the samples of a step and the optimiser's kind."""
    return {
        "--MODEL.NAME": settings.MODEL.NAME,
        "--SOLVER.BATCH_SIZE.TRAIN": settings.SOLVER.BATCH_SIZE.TRAIN,
        "--SOLVER.ITER_SIZE": settings.SOLVER.ITER_SIZE,
        "--SOLVER.SEED": settings.SOLVER.SEED,
        "--SOLVER.OPTIMIZER": settings.SOLVER.OPTIMIZER,
        "number of images": num_images,
        "number of processes": world_size,
        "digest of the labels": labels,
        "corrected labels": f"{len(corrected)} of weight {settings.DATASET.CORRECTED_WEIGHT:g}" if corrected else None,
        "digest of the corrected list": digest_of_list(map(ImageEntry, sorted(corrected))) if corrected else None,
    }


def check_input(settings: Settings, data: Dataset) -> LabelledSplit:
    """Return the listed images with their labels. Raises one UserError naming everything that is missing."""
    crop_side(settings)
    chosen = settings.DATASET
    problems: list[str] = []
    try:
        initial_path(settings.MODEL.INIT_MODEL)
    except (UserError, FileNotFoundError) as error:
        problems.append(str(error))
    return inputs.open_labelled_split(
        data,
        inputs.list_path(data, chosen.SPLIT.TRAIN, "DATASET.SPLIT.TRAIN"),
        inputs.training_labels_dir(chosen, data, settings.EXP.ID),
        image_dir=inputs.find_image_dir(chosen, data),
        other_problems=problems,
        step="training",
    )


def crop_side(settings: Settings) -> int:
    """Return the side of the training crop in pixels. Raises UserError if the settings leave it empty."""
    side = settings.IMAGE.SIZE.TRAIN
    if side is None:
        remedy = "give --IMAGE.SIZE.TRAIN=321, as published for VOC"
        raise UserError("is empty", "IMAGE.SIZE.TRAIN", "training needs a crop size", remedy)
    return side


def inspect_labels(
    settings: Settings, data: Dataset, split: LabelledSplit, process: Process, log: Callable[[str], None]
) -> tuple[str, tuple[str, ...]]:
    """Check all labels in the main process and log their statistics.

    Returns, in every process, their digest and the names of those with objects to paste.
    """
    digest = ""
    sources: tuple[str, ...] = ()
    if process.is_main:
        summary: LabelSummary = check_labels(
            split.names,
            split.files,
            split.label_dir,
            mask_dir=inputs.find_mask_dir(settings.DATASET, data),
            num_labels=data.num_labels,
        )
        log(f"{len(split.entries)} labels, fraction of pixels:\n{summary.shares(data.classes)}")
        for warning in summary.warnings:
            log(warning)
        if settings.DATASET.PASTE:
            sources = summary.with_one_class
            check_sources(sources, split.label_dir)
            log(f"objects of the {len(sources)} labels with one class are pasted into other images")
        digest = summary.digest
    return process.from_main((digest, sources))


def check_sources(sources: Sequence[str], label_dir: Path) -> None:
    """Raise UserError if no label provides an object to paste."""
    if not sources:
        rule = "it takes objects from labels with one class beside background"
        raise UserError("no label has a single class", label_dir, rule, "give --DATASET.PASTE=0")


def latest_checkpoint(paths: SegmentationTraining) -> Path | None:
    """Return the final checkpoint, else the newest one of an unfinished training."""
    return paths.final if paths.final.is_file() else ckpt.latest_checkpoint(paths.model_dir, kind="iter")


def make_settings(settings: Settings) -> TrainerSettings:
    """Build the settings of the engine."""
    solver = settings.SOLVER
    return TrainerSettings(
        optimiser=Optimiser(
            solver.OPTIMIZER,
            lr=solver.LR,
            momentum=solver.MOMENTUM,
            weight_decay=solver.WEIGHT_DECAY,
            clip_grad=solver.CLIP_GRAD,
            average=solver.AVERAGE_WEIGHTS,
        ),
        schedule=Schedule(
            solver.ITER_MAX,
            kind="poly",
            power=solver.POLY_POWER,
            every=solver.LR_DECAY,
            warmup_steps=solver.WARMUP_STEPS,
        ),
        machine=Machine(
            amp=solver.AMP,
            channels_last=solver.CHANNELS_LAST,
            recompute=solver.CHECKPOINT_ACTIVATIONS,
            compile=solver.COMPILE,
            tf32=solver.TF32,
            deterministic=solver.DETERMINISTIC,
            sync_batch_norm=not settings.MODEL.FREEZE_BATCH_NORM,
            num_workers=settings.DATALOADER.NUM_WORKERS,
        ),
        sampling=Sampling(
            batch_size=solver.BATCH_SIZE.TRAIN, accumulate=solver.ITER_SIZE, seed=solver.SEED, whole_epochs=False
        ),
        saving=Saving(
            "iter",
            interval=solver.ITER_TB,
            keep_every=solver.ITER_SAVE,
            keep=solver.KEEP_CHECKPOINTS,
            minutes=solver.SAVE_MINUTES,
            log_every=solver.ITER_TB,
            recent=solver.AVERAGE_LOSS,
        ),
    )


def corrected_images(settings: Settings, data: Dataset, split: LabelledSplit) -> set[str]:
    """The images of DATASET.CORRECTED_LIST. Raises UserError where it names one that is not trained on."""
    if settings.DATASET.CORRECTED_LIST is None:
        factor = settings.DATASET.CORRECTED_WEIGHT
        if factor != DatasetSettings().CORRECTED_WEIGHT:
            what, rule = f"--DATASET.CORRECTED_WEIGHT={factor:g}", "expected --DATASET.CORRECTED_LIST with it"
            raise UserError(what, rule=rule)
        return set()
    listing = inputs.list_path(data, settings.DATASET.CORRECTED_LIST, "DATASET.CORRECTED_LIST")
    corrected = {entry.name for entry in read_image_list(listing, len(data.classes))}
    if strange := sorted(corrected - set(split.names)):
        what = f"names {len(strange)} images that are not in {split.list_file} ({first_few(strange)})"
        raise UserError(what, listing, "corrected images are training images", "add them there, or remove them here")
    return corrected


def weights_of(names: Sequence[str], corrected: Collection[str], factor: float) -> dict[str, float] | None:
    """Name -> weight of each image in the loss, `factor` times the others' for corrected ones, and 1 in the mean.

    None where none is corrected.
    """
    if not corrected:
        return None
    factors = {name: factor if name in corrected else 1.0 for name in names}
    mean = sum(factors.values()) / len(factors)
    return {name: value / mean for name, value in factors.items()}


def make_samples(
    settings: Settings,
    split: LabelledSplit,
    network: Segmenter,
    weights: Mapping[str, float] | None = None,
    sources: Sequence[str] = (),
) -> SegmentationDataset:
    """Build the training samples. sources: images whose objects are pasted into others."""
    probability = settings.DATASET.PASTE
    return SegmentationDataset(
        split.entries,
        split.files,
        split.label_dir,
        augmentation=augmentation_of(settings),
        input_format=network.normalisation.with_mean(settings.IMAGE.MEAN.as_rgb()),
        seed=settings.SOLVER.SEED,
        weights=weights,
        paster=ObjectPaster(sources, probability=probability) if sources else None,
    )


def augmentation_of(settings: Settings) -> Augmentation:
    data, size = settings.DATASET, settings.IMAGE.SIZE
    return Augmentation(
        scales=data.SCALES,
        base_size=size.BASE,
        crop_size=crop_side(settings),
        flip=data.FLIP,
        draw=data.SCALE_DRAW,
        jitter=data.JITTER,
        gray=data.GRAY,
    )
