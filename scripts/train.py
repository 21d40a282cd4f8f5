"""Step 1: train the L2G classifier from image tags -> runs/EXP/model/PREFIX_epoch_N.pth."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from models.cam_net import CamNet
from models.l2g import L2G
from scripts import fit_linear
from scripts.classifier_task import ClassifierTask
from scripts.networks import build_initial, build_network, freeze_layers
from utils.config.options import TrainOptions
from utils.copy_paste.bank import ForegroundBank
from utils.copy_paste.pasting import Paster
from utils.data.catalog import VOC_CLASSES
from utils.data.class_names import check_classes
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import ImageEntry, digest_of_list, read_image_list
from utils.data.images import image_files
from utils.data.learnable import tag_faults, tag_warnings
from utils.errors import UserError
from utils.files.locate import existing_path, weights_path
from utils.files.lock import hold
from utils.files.sources import sizes_digest
from utils.l2g_samples import COMPOSITIONS, L2GDataset, SampleRecipe, check_files, check_headers
from utils.runs.inputs import training_paths
from utils.runs.paths import RunPaths, foreground_bank_dir
from utils.runtime.log import open_log
from utils.runtime.process import start_process
from utils.training import checkpoint as ckpt
from utils.training.measure import without_values
from utils.training.plan import Length, Names, Plan, planned_device
from utils.training.resume import check_new
from utils.training.settings import Machine, Optimiser, Run, Sampling, Saving, Schedule, TrainerSettings
from utils.training.show_plan import show_plan
from utils.training.trainer import Trainer
from utils.training.weights import require_weights

# published values, which no published command changes
LOCAL_CLS_WEIGHT = 1.0
DECAY_FACTOR = 0.1
WARMUP_START = 0.01
NAMES = Names("--batch_size", "--accumulate", "--amp", "--checkpoint_activations")


def run(options: TrainOptions) -> Path | None:
    """Train to the last epoch and return its checkpoint; with --plan only print the plan. Raises UserError."""
    if options.plan:
        plan(options)
        return None
    dataset = open_dataset(options.dataset)
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    latest = ckpt.latest_checkpoint(paths.model_dir)
    fresh = latest is None and options.load_checkpoint in (None, "none")
    inputs = check_input(options, dataset, fresh=fresh)
    check_new(latest, resume=options.resume, name="--experiment_name")
    if options.classifier == "linear":
        return fit_linear.fit(options, dataset, inputs.entries, inputs.image_dir)
    if fresh:
        require_weights(
            options.init_weights,
            "--init_weights",
            frozen={
                "--frozen_stages": (options.frozen_stages, 0),
                "--freeze_batch_norm": (options.freeze_batch_norm, False),
            },
        )
    with start_process(options.device) as process, hold(paths.root):
        log = open_log(paths.log if process.is_main else None)
        torch.manual_seed(options.seed)
        model = build_model(options, len(dataset.classes), fresh=fresh)
        samples = make_samples(options, dataset, inputs, model)
        task = make_task(options, model, samples)
        settings = make_settings(options, num_images=len(samples), world_size=process.world_size)
        log.info(
            f"{options.experiment_name}: {about_images(inputs.entries)} of {dataset.root}, "
            f"{len(dataset.classes)} classes, {settings.saving.interval} steps per epoch "
            f"on {process.world_size} x {process.device}"
        )
        for problem in [*tag_faults(inputs.entries, dataset.classes), *tag_warnings(inputs.entries, dataset.classes)]:
            log.info(f"WARNING: {problem}")
        if inputs.bank:
            log.info(about_bank(options, inputs.bank, dataset))
        if process.is_main:
            length = Length(len(samples), settings.schedule.steps, settings.saving.interval, process.world_size)
            for line in Plan(task, settings, length, process.device).headline():
                log.info(line)
        run_ = Run(
            paths,
            dataset.checkpoint_prefix,
            options,
            facts_of(options, inputs.entries, world_size=process.world_size),
            log,
            length="--epochs",
            initial="--load_checkpoint",
            remedy="lower --lr, set --clip_grad=5, or train with --amp=off",
            memory_remedy=NAMES.out_of_memory,
            latest=latest,
            classes=dataset.classes,
            images=images_digest(inputs) if process.is_main else "",
        )
        trainer = Trainer(task, settings, run_, process)
        if latest is None and options.load_checkpoint not in (None, "none"):
            path = checkpoint_path(options.load_checkpoint)
            state = ckpt.read_checkpoint(path)
            check_classes(state.get("classes"), dataset.classes, path, "give --init_weights to load only the backbone")
            task.start_from(state, path=path)
            if options.start_epoch:
                trainer.continue_from(path, state, epoch=options.start_epoch)
        return trainer.fit()


def plan(options: TrainOptions) -> None:
    """Print the requirements of the training. Reads neither images nor weights."""
    try:
        dataset = open_dataset(options.dataset)
    except UserError as error:
        dataset = Dataset(Path(options.dataset), "planned", VOC_CLASSES, "planned")
        print(f"plan: assuming {len(VOC_CLASSES)} classes, since there is no dataset ({error})")
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    images = options.plan_images or listed_images(options, dataset)
    with without_values():
        model = build_model(options, len(dataset.classes), fresh=False)
    sal_dir = None if options.sal_dir == "none" else dataset.sal_dir
    samples = make_samples(options, dataset, Inputs([], dataset.image_dir, sal_dir, None), model)
    task = make_task(options, model, samples)
    one_step = options.batch_size * options.accumulate * world_size
    settings = make_settings(options, num_images=images or one_step, world_size=world_size)
    epoch = settings.saving.interval
    length = Length(images, settings.schedule.steps, epoch, world_size) if images else Length(None, None, None)
    show_plan(Plan(task, settings, length, planned_device(options.device)), options, NAMES)


def make_task(options: TrainOptions, model: L2G, samples: L2GDataset) -> ClassifierTask:
    return ClassifierTask(
        model, samples, lr=options.lr, new_lr_factor=options.new_lr_factor, layer_decay=options.layer_decay
    )


def listed_images(options: TrainOptions, dataset: Dataset) -> int | None:
    """Return the number of images in the training list, or None if there is no list."""
    listing = existing_path(options.train_list, "--train_list") if options.train_list else dataset.train_list
    return len(read_image_list(listing, len(dataset.classes))) if listing.is_file() else None


def about_images(entries: Sequence[ImageEntry]) -> str:
    negatives = sum(entry.is_negative for entry in entries)
    return f"{len(entries)} images" + (f" ({negatives} negatives)" if negatives else "")


def about_bank(options: TrainOptions, bank: ForegroundBank, dataset: Dataset) -> str:
    missing = bank.missing(dataset.classes)
    none_of = f"; it has no {', '.join(missing)}: these are never pasted" if missing else ""
    return f"{options.cda} pastes from the {len(bank)} foregrounds in {bank.folder}{none_of}"


def facts_of(options: TrainOptions, entries: Sequence[ImageEntry], *, world_size: int) -> dict[str, Any]:
    """Return the values that must match on resume: they determine the samples of a step and the optimiser's kind."""
    return {
        "--batch_size": options.batch_size,
        "--accumulate": options.accumulate,
        "--seed": options.seed,
        "--optimizer": options.optimizer,
        "number of images": len(entries),
        "digest of the list and its tags": digest_of_list(entries),
        "number of processes": world_size,
    }


def make_settings(options: TrainOptions, *, num_images: int, world_size: int) -> TrainerSettings:
    """Build the settings of the engine. Raises UserError if the images do not fill a step."""
    sampling = Sampling(
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        seed=options.seed,
        whole_epochs=True,
        variants=tuple((kind,) for kind in COMPOSITIONS["plain" if options.cda == "off" else options.cda_batch]),
    )
    epoch = sampling.steps_per_epoch(num_images, world_size)
    return TrainerSettings(
        optimiser=Optimiser(
            options.optimizer,
            options.lr,
            options.momentum,
            options.nesterov,
            options.weight_decay,
            options.clip_grad,
            options.average_weights,
        ),
        schedule=Schedule(
            options.epochs * epoch,
            kind=options.schedule,
            power=options.poly_power,
            decay_steps=tuple(epoch * number for number in decay_points(options)),
            decay_factor=DECAY_FACTOR,
            warmup_steps=options.warmup_steps,
            warmup_factor=WARMUP_START,
        ),
        machine=Machine(
            amp=options.amp,
            channels_last=options.channels_last,
            recompute=options.checkpoint_activations,
            compile=options.compile,
            tf32=options.tf32,
            deterministic=options.deterministic,
            sync_batch_norm=not options.freeze_batch_norm,
            num_workers=options.num_workers,
        ),
        sampling=sampling,
        saving=Saving(
            "epoch",
            interval=epoch,
            keep_every=epoch,
            keep=options.keep_checkpoints,
            minutes=options.save_minutes,
            log_every=options.log_every,
        ),
    )


def decay_points(options: TrainOptions) -> tuple[int, ...]:
    """Return the epochs at which the learning rate decays. A run that starts from a checkpoint ignores those before its
    first epoch: the published decay is an event, and the second stage ran at a constant learning rate."""
    first = 0 if options.load_checkpoint in (None, "none") else options.start_epoch
    return tuple(epoch for epoch in options.decay_epochs if epoch >= first)


class Inputs(NamedTuple):
    """Inputs of training: the listed images, their folders, and the foregrounds to paste, if any."""

    entries: list[ImageEntry]
    image_dir: Path
    sal_dir: Path | None
    bank: ForegroundBank | None


def check_input(options: TrainOptions, dataset: Dataset, *, fresh: bool = True) -> Inputs:
    """Check and return the inputs of training. Raises one UserError naming everything that is missing and its location.

    fresh: the run is neither resumed nor started from a checkpoint, and needs initial weights. A few images and
    saliency maps are decoded; of more, only header and end are read. scripts/check_data.py reads them completely.
    """
    image_dir, sal_dir, listing = training_paths(
        dataset, image_dir=options.image_dir, sal_dir=options.sal_dir, train_list=options.train_list
    )
    problems, entries, bank = [], [], None
    try:
        entries = read_image_list(listing, len(dataset.classes), need_tags=True)
    except UserError as error:
        problems.append(str(error))
    try:
        bank = open_bank(options, dataset)
    except UserError as error:
        problems.append(str(error))
    problems += check_files(entries, image_dir, sal_dir)
    initial = options.init_weights if fresh else None
    for value, find in ((initial, weights_path), (options.load_checkpoint, checkpoint_path)):
        try:
            if value not in (None, "none", "timm"):
                find(value)
        except UserError as error:
            problems.append(str(error))
    problems += check_headers(entries, image_dir, sal_dir)
    if problems:
        raise UserError("training cannot start:\n  " + "\n  ".join(problems))
    return Inputs(entries, image_dir, sal_dir, bank)


def images_digest(inputs: Inputs) -> str:
    """Return a digest of the names and sizes of the listed images."""
    files = image_files(inputs.image_dir)
    return sizes_digest(files[entry.name] for entry in inputs.entries)


def open_bank(options: TrainOptions, dataset: Dataset) -> ForegroundBank | None:
    """Open the bank of foregrounds to paste. Raises UserError if there is none."""
    if options.cda == "off":
        return None
    folder = foreground_bank_dir(options.experiment_name)
    if options.cda_bank:
        folder = existing_path(options.cda_bank, "--cda_bank (written by scripts/build_foregrounds.py)")
    return ForegroundBank.open(folder, dataset.classes)


def make_paster(options: TrainOptions, bank: ForegroundBank) -> Paster:
    return Paster(
        bank,
        probability=options.cda_probability,
        max_overlap=options.cda_tr if options.cda == "cda+" else None,
        rotation=options.cda_rotation,
        feather=options.cda_edge,
    )


def checkpoint_path(value: str) -> Path:
    return existing_path(value, "--load_checkpoint")


def build_model(options: TrainOptions, num_classes: int, *, fresh: bool) -> L2G:
    """Build both networks with their initial weights. If not `fresh`, weights of a checkpoint are loaded later."""

    def network() -> CamNet:
        net = build_initial(options, num_classes) if fresh else build_network(options, num_classes)
        freeze_layers(net, options)
        return net

    return L2G(
        network(),
        network() if options.kd_weight > 0 else None,
        kd_weight=options.kd_weight,
        kd_loss=options.kd_loss,
        bg_threshold=options.bg_threshold,
        background_target=options.background_target,
        local_cls_weight=LOCAL_CLS_WEIGHT,
        global_cls_weight=options.global_cls_weight,
        patch_side=options.crop_size,
        local_passes=options.local_passes,
    )


def make_samples(options: TrainOptions, dataset: Dataset, inputs: Inputs, model: L2G) -> L2GDataset:
    """Build the training samples, normalised for the backbone unless the options override it."""
    names = [
        "resize", "resize_mode", "resampling", "input_size", "crop_size", "num_patches", "corner_patches",
        "color_jitter", "flip", "seed",
    ]  # fmt: skip
    backbone = cast(CamNet, model.global_net)
    recipe = SampleRecipe(
        **{name: getattr(options, name) for name in names},
        num_classes=len(dataset.classes),
        mean=options.mean or backbone.mean,
        std=options.std or backbone.std,
    )
    paster = None if inputs.bank is None else make_paster(options, inputs.bank)
    return L2GDataset(
        inputs.entries, inputs.image_dir, inputs.sal_dir, recipe, paster=paster, min_visible=options.cda_min_visible
    )
