"""Step 1: train the segmentation network on pseudo labels -> data/models/EXP/checkpoint_final.pth."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from deeplabv2 import inputs
from deeplabv2.dataset import Augmentation, SegmentationDataset
from deeplabv2.inference import make_network
from deeplabv2.initial_weights import check_start, initial_path, load_initial
from deeplabv2.inputs import Split
from deeplabv2.label_check import LabelSummary, check_labels
from deeplabv2.models import Segmenter
from deeplabv2.segmenter_loop import RESUME_FLAG, loss_module, train_segmenter
from deeplabv2.settings import Settings, SolverSettings
from deeplabv2.train_state import check_same_training, facts_of, restore, state_of
from utils.config.parser import save_options
from utils.data.dataset import Dataset
from utils.errors import UserError
from utils.runs.segmentation import SegmentationPaths, SegmentationTraining
from utils.runtime.device import unsafe_in_channels_last
from utils.runtime.log import open_log
from utils.runtime.process import Process, start_process
from utils.runtime.versions import write_versions
from utils.training import checkpoint as ckpt
from utils.training import schedule
from utils.training.sampling import StreamBatches, make_loader
from utils.training.step_loop import Saver
from utils.training.train_loop import Position, Recorder, Stepper

PREFIX = "checkpoint"


def run(settings: Settings) -> Path:
    """Trains to the last step and returns its checkpoint. Raises ValueError or FileNotFoundError for bad input."""
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training
    split = check_input(settings, data)
    latest = latest_checkpoint(paths)
    if latest and not settings.SOLVER.RESUME:
        raise FileExistsError(f"{latest} is there already: add {RESUME_FLAG} to go on, or choose another EXP.ID")
    if latest is None:
        check_start(settings.MODEL)
    with start_process(settings.SOLVER.DEVICE) as process:
        log = open_log(paths.log if process.is_main else None)
        labels = look_at_labels(settings, data, split, process, log.info)
        facts = facts_of(settings, num_images=len(split.entries), world_size=process.world_size, labels=labels)
        if latest == paths.final:
            state = ckpt.read_checkpoint(latest)
            check_same_training(latest, state, facts, iter_max=settings.SOLVER.ITER_MAX)
            if state["step"] == settings.SOLVER.ITER_MAX:
                log.info(f"{latest} is there: nothing is left to train")
                return latest
        torch.manual_seed(settings.SOLVER.SEED)
        network = make_network(settings.MODEL, data.num_labels)
        if latest is None:  # else the weights are the checkpoint's
            log.info(load_initial(network, settings.MODEL.INIT_MODEL))
        log.info(
            f"{settings.EXP.ID}: {len(split.entries)} images of {split.list_file}, labels {split.label_dir}, "
            f"{settings.MODEL.NAME}, {process.world_size} x {process.device}"
        )
        return _train(settings, network, split, facts, process, paths, latest)


def check_input(settings: Settings, data: Dataset) -> Split:
    """The listed images and the folder of their labels, or one error that names everything that is missing."""
    chosen, problems = settings.DATASET, []
    label_dir, remedy = inputs.training_labels_dir(chosen, data, settings.EXP.ID)
    try:
        initial_path(settings.MODEL.INIT_MODEL)
    except (UserError, FileNotFoundError) as error:
        problems.append(str(error))
    return inputs.open_split(
        data,
        inputs.list_path(data, chosen.SPLIT.TRAIN, "DATASET.SPLIT.TRAIN"),
        image_dir=inputs.find_image_dir(chosen, data),
        label_dir=label_dir,
        label_kind="pseudo labels",
        label_remedy=remedy,
        other_problems=problems,
        step="training",
    )


def look_at_labels(
    settings: Settings, data: Dataset, split: Split, process: Process, say: Callable[[str], None]
) -> str:
    """Checks all labels and says what they hold, on the main process -> their digest; others learn it from that."""
    digest = ""
    if process.is_main:
        summary: LabelSummary = check_labels(
            split.names,
            split.files,
            split.label_dir,
            mask_dir=inputs.find_mask_dir(settings.DATASET, data),
            num_labels=data.num_labels,
        )
        say(f"{len(split.entries)} labels, share of pixels:\n{summary.shares(data.classes)}")
        for warning in summary.warnings:
            say(warning)
        digest = summary.digest
    return process.from_main(digest)


def latest_checkpoint(paths: SegmentationTraining) -> Path | None:
    """The final checkpoint, else the newest one of an unfinished training."""
    return paths.final if paths.final.is_file() else ckpt.latest_checkpoint(paths.model_dir, kind="iter")


def make_optimizer(network: Segmenter, solver: SolverSettings) -> torch.optim.Optimizer:
    """The optimiser over every trainable parameter, each group at its own rate."""
    groups = network.parameter_groups(lr=solver.LR, head_lr_factor=solver.HEAD_LR_FACTOR)
    if solver.OPTIMIZER == "adamw":
        return torch.optim.AdamW(groups, lr=solver.LR, weight_decay=solver.WEIGHT_DECAY)
    return torch.optim.SGD(groups, lr=solver.LR, momentum=solver.MOMENTUM, weight_decay=solver.WEIGHT_DECAY)


def _train(
    settings: Settings,
    network: Segmenter,
    split: Split,
    facts: dict,
    process: Process,
    paths: SegmentationTraining,
    latest: Path | None,
) -> Path:
    solver = settings.SOLVER
    network.to(process.device)
    if process.device.type == "cuda" and process.world_size > 1 and not settings.MODEL.FREEZE_BATCH_NORM:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    stepper = Stepper(
        make_optimizer(network, solver),
        accumulate=solver.ITER_SIZE,
        clip_grad=solver.CLIP_GRAD,
        amp=solver.AMP,
        device=process.device,
    )
    position = restore(latest, network, stepper, facts, iter_max=solver.ITER_MAX) if latest else Position()
    if process.is_main:  # after all that may be refused: a refused run leaves the old run's settings alone
        if latest == paths.final:  # the training is longer now: what was its end is a checkpoint like others
            latest.rename(ckpt.kept_path(paths.model_dir, PREFIX, position.step, kind="iter"))
        save_options(settings, paths.config)
        write_versions(paths.versions)
    saver = Saver(
        paths,
        PREFIX,
        keep=solver.KEEP_CHECKPOINTS,
        process=process,
        state=partial(state_of, network, stepper, settings, facts),
        kind="iter",
    )
    recorder = Recorder(
        paths, step=position.step, log_every=solver.ITER_TB, main=process.is_main, recent_steps=solver.AVERAGE_LOSS
    )
    train_segmenter(
        loss_module(network, kind=solver.LOSS, gamma=solver.FOCAL_GAMMA, process=process),
        stepper,
        _loader(settings, split, network, process, first_step=position.step),
        position=position,
        rate_factor=partial(rate_factor, solver),
        saver=saver,
        recorder=recorder,
        iter_max=solver.ITER_MAX,
        iter_save=solver.ITER_SAVE,
        iter_log=solver.ITER_TB,
        amp=solver.AMP,
        channels_last=_use_channels_last(solver, network, process, recorder),
        seed=solver.SEED,
        save_minutes=solver.SAVE_MINUTES,
        process=process,
    )
    if process.is_main:
        saver.path(solver.ITER_MAX).rename(paths.final)
    process.wait()
    return paths.final


def rate_factor(solver: SolverSettings, step: int) -> float:
    """The factor on every base rate at `step`."""
    return schedule.poly(step, solver.ITER_MAX, power=solver.POLY_POWER, every=solver.LR_DECAY)


def _use_channels_last(solver: SolverSettings, network: nn.Module, process: Process, recorder: Recorder) -> bool:
    narrow = unsafe_in_channels_last(network, process.device) if solver.CHANNELS_LAST else None
    if narrow:
        recorder.say(f"the channels-last layout is left off: {narrow}")
    if not solver.CHANNELS_LAST or narrow:
        return False
    network.to(memory_format=torch.channels_last)
    return True


def _loader(settings: Settings, split: Split, network: Segmenter, process: Process, *, first_step: int) -> DataLoader:
    """Batches of all the steps that are left."""
    dataset = SegmentationDataset(
        split.entries,
        split.files,
        split.label_dir,
        augmentation=augmentation_of(settings),
        input_format=network.normalisation.with_mean(settings.IMAGE.MEAN.as_rgb()),
        seed=settings.SOLVER.SEED,
    )
    batches = StreamBatches(
        len(dataset),
        batch_size=settings.SOLVER.BATCH_SIZE.TRAIN,
        accumulate=settings.SOLVER.ITER_SIZE,
        rank=process.rank,
        world_size=process.world_size,
        seed=settings.SOLVER.SEED,
    )
    batches.start(first_step, settings.SOLVER.ITER_MAX)
    pin = process.device.type == "cuda"
    return make_loader(dataset, batches, num_workers=settings.DATALOADER.NUM_WORKERS, pin=pin)


def augmentation_of(settings: Settings) -> Augmentation:
    data, size = settings.DATASET, settings.IMAGE.SIZE
    return Augmentation(
        scales=data.SCALES,
        base_size=size.BASE,
        crop_size=size.TRAIN,
        flip=data.FLIP,
        draw=data.SCALE_DRAW,
        jitter=data.JITTER,
        gray=data.GRAY,
    )
