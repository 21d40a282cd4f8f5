"""Step 1: train the L2G classifier from image tags -> runs/EXP/model/PREFIX_epoch_N.pth."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.cam_net import CamNet
from models.l2g import L2G
from scripts.classifier_loop import Saver, train_classifier
from scripts.networks import build_network, freeze_layers, load_backbone_file, load_file
from utils.config.options import TrainOptions
from utils.config.parser import save_options
from utils.copy_paste.bank import ForegroundBank
from utils.copy_paste.pasting import Paster
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import ImageEntry, read_image_list
from utils.errors import UserError
from utils.files.locate import existing_path, weights_path
from utils.l2g_samples import EpochBatches, L2GDataset, check_files, check_headers
from utils.runs.inputs import training_places
from utils.runs.paths import RunPaths, foreground_bank_dir
from utils.runtime.device import unsafe_in_channels_last
from utils.runtime.log import open_log
from utils.runtime.process import Process, start_process
from utils.runtime.versions import write_versions
from utils.training import checkpoint as ckpt
from utils.training import schedule
from utils.training.sampling import make_loader
from utils.training.train_loop import Position, Recorder, Stepper
from utils.training.train_state import go_on_from, restore, state_of
from utils.training.weights import require_weights

# the published numbers, which no published command changes
LOCAL_CLS_WEIGHT = 1.0
DECAY_FACTOR = 0.1
WARMUP_START = 0.01


def run(options: TrainOptions) -> Path:
    """Trains to the last epoch and returns its checkpoint. Raises ValueError or FileNotFoundError for bad input."""
    dataset = open_dataset(options.dataset)
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    entries, image_dir, sal_dir, bank = check_input(options, dataset)
    latest = ckpt.latest_checkpoint(paths.model_dir)
    if latest and not options.resume:
        raise FileExistsError(f"{latest} is there already: add --resume to go on, or choose another --experiment_name")
    if latest is None and options.load_checkpoint in (None, "none"):
        require_weights(
            options.init_weights,
            "--init_weights",
            frozen={
                "--frozen_stages": (options.frozen_stages, 0),
                "--freeze_batch_norm": (options.freeze_batch_norm, False),
            },
        )
    with start_process(options.device) as process:
        log = open_log(paths.log if process.is_main else None)
        torch.manual_seed(options.seed)
        model = build_model(options, len(dataset.classes), fresh=latest is None)
        data = L2GDataset(
            entries,
            image_dir,
            sal_dir,
            **_sample_options(options, dataset, model.global_net),
            paster=None if bank is None else make_paster(options, bank),
        )
        batches = EpochBatches(
            len(data),
            batch_size=options.batch_size,
            accumulate=options.accumulate,
            rank=process.rank,
            world_size=process.world_size,
            seed=options.seed,
            samples="plain" if bank is None else options.cda_batch,
        )
        log.info(
            f"{options.experiment_name}: {len(data)} images of {dataset.root}, {len(dataset.classes)} classes, "
            f"{batches.steps} steps an epoch on {process.world_size} x {process.device}"
        )
        if bank:
            lack = bank.missing(dataset.classes)
            none_of = f"; it has none of {', '.join(lack)}: these are never pasted" if lack else ""
            log.info(f"{options.cda} pastes from the {len(bank)} foregrounds in {bank.folder}{none_of}")
        return _train(options, model, data, batches, process, paths, dataset.checkpoint_prefix, latest)


class Inputs(NamedTuple):
    """What training reads: the listed images, their folders, and the foregrounds to paste, if any."""

    entries: list[ImageEntry]
    image_dir: Path
    sal_dir: Path | None
    bank: ForegroundBank | None


def check_input(options: TrainOptions, dataset: Dataset) -> Inputs:
    """What training reads, or one error that names everything that is missing and where it goes.

    Of images and saliency maps the headers are read; scripts/check_data.py reads them whole.
    """
    image_dir, sal_dir, listing = training_places(
        dataset, image_dir=options.image_dir, sal_dir=options.sal_dir, train_list=options.train_list
    )
    problems, entries, bank = [], [], None
    try:
        entries = read_image_list(listing, len(dataset.classes), need_tags=True)
    except (UserError, FileNotFoundError) as error:
        problems.append(str(error))
    try:
        bank = open_bank(options, dataset)
    except (UserError, FileNotFoundError) as error:
        problems.append(str(error))
    problems += check_files(entries, image_dir, sal_dir)
    for value, find in ((options.init_weights, weights_path), (options.load_checkpoint, checkpoint_path)):
        try:
            if value not in (None, "none", "timm"):
                find(value)
        except (UserError, FileNotFoundError) as error:
            problems.append(str(error))
    wrong = check_headers(entries, image_dir, sal_dir)
    if problems or wrong:
        error = FileNotFoundError if problems else ValueError
        raise error("training cannot start:\n  " + "\n  ".join(problems + wrong))
    return Inputs(entries, image_dir, sal_dir, bank)


def open_bank(options: TrainOptions, dataset: Dataset) -> ForegroundBank | None:
    """The foregrounds that training pastes. Raises FileNotFoundError or ValueError where there are none."""
    if options.cda == "off":
        return None
    folder = foreground_bank_dir(options.experiment_name)
    if options.cda_bank:
        folder = existing_path(options.cda_bank, "--cda_bank (made by scripts/build_foregrounds.py)")
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
    """Both networks with their initial weights; those of the first checkpoint if `fresh` is false come later."""

    def network() -> CamNet:
        net = build_network(options, num_classes, pretrained=fresh and options.init_weights == "timm")
        if fresh and options.init_weights not in ("none", "timm"):
            load_backbone_file(net, weights_path(options.init_weights))
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
    )


def _sample_options(options: TrainOptions, dataset: Dataset, net: CamNet) -> dict:
    names = [
        "resize", "resize_mode", "input_size", "crop_size", "num_patches", "corner_patches", "color_jitter", "flip",
        "seed",
    ]  # fmt: skip
    return {name: getattr(options, name) for name in names} | {
        "num_classes": len(dataset.classes),
        "min_visible": options.cda_min_visible,
        "mean": options.mean or net.mean,
        "std": options.std or net.std,
    }


def make_optimizer(model: L2G, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser over every trainable parameter of both networks, at four rates."""
    networks = [net for net in (model.global_net, model.local_net) if net is not None]
    groups = schedule.parameter_groups(
        networks, lambda net: net.parameter_kinds(), lr=options.lr, new_lr_factor=options.new_lr_factor
    )
    if options.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=options.lr, weight_decay=options.weight_decay)
    return torch.optim.SGD(
        groups,
        lr=options.lr,
        momentum=options.momentum,
        nesterov=options.nesterov,
        weight_decay=options.weight_decay,
    )


def rate_factor(options: TrainOptions, step: int, *, steps_per_epoch: int) -> float:
    """The factor on every base rate at `step`."""
    if options.schedule == "poly":
        factor = schedule.poly(step, options.epochs * steps_per_epoch, power=options.poly_power)
    else:
        factor = schedule.step_decay(step // steps_per_epoch, options.decay_epochs, factor=DECAY_FACTOR)
    return factor * schedule.warm_up(step, options.warmup_steps, start=WARMUP_START)


def _train(
    options: TrainOptions,
    model: L2G,
    data: L2GDataset,
    batches: EpochBatches,
    process: Process,
    paths: RunPaths,
    prefix: str,
    latest: Path | None,
) -> Path:
    model.to(process.device)
    channels_last = options.channels_last
    if channels_last and (narrow := unsafe_in_channels_last(model, process.device)):
        open_log(paths.log if process.is_main else None).info(f"the channels-last layout is left off: {narrow}")
        channels_last = False
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if process.device.type == "cuda" and process.world_size > 1 and not options.freeze_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = make_optimizer(model, options)
    stepper = Stepper(
        optimizer, accumulate=options.accumulate, clip_grad=options.clip_grad, amp=options.amp, device=process.device
    )
    position = Position()
    if latest:
        position = restore(
            latest,
            networks_of(model),
            stepper,
            options,
            steps_per_epoch=batches.steps,
            load=lambda network, state, which: load_file(network, latest, state, which=which),
        )
    elif options.load_checkpoint not in (None, "none"):
        position = load_start(
            checkpoint_path(options.load_checkpoint),
            model,
            stepper,
            start_epoch=options.start_epoch,
            steps_per_epoch=batches.steps,
        )
    if process.is_main:  # after all that may be refused: a refused run leaves the old run's options alone
        save_options(options, paths.config)
        write_versions(paths.versions)
    wrapped = model
    if process.world_size > 1:
        wrapped = DistributedDataParallel(
            model, device_ids=[process.device.index] if process.device.type == "cuda" else None
        )
    loader = make_loader(data, batches, num_workers=options.num_workers, pin=process.device.type == "cuda")
    return train_classifier(
        wrapped,
        stepper,
        loader,
        batches,
        position=position,
        epochs=options.epochs,
        rate_factor=partial(rate_factor, options, steps_per_epoch=batches.steps),
        saver=Saver(
            paths,
            prefix,
            keep=options.keep_checkpoints,
            process=process,
            state=partial(state_of, networks_of(model), stepper, options, batches.steps),
        ),
        recorder=Recorder(paths, step=position.step, log_every=options.log_every, main=process.is_main),
        amp=options.amp,
        channels_last=channels_last,
        seed=options.seed,
        save_minutes=options.save_minutes,
        process=process,
    )


def networks_of(model: L2G) -> dict[str, CamNet]:
    """The networks under the names that published checkpoints give them."""
    both = {"state_dict": model.global_net, "local_dict": model.local_net}
    return {name: network for name, network in both.items() if network is not None}


def load_start(path: Path, model: L2G, stepper: Stepper, *, start_epoch: int, steps_per_epoch: int) -> Position:
    """Starts both networks from a checkpoint; one that holds a single network gives it to both.

    With a start_epoch the optimiser's state comes along and the epochs are counted on.
    """
    state = ckpt.read_checkpoint(path)
    for name, network in networks_of(model).items():
        load_file(network, path, state, which=name if name in state else "state_dict")
    if start_epoch == 0:
        return Position()
    return go_on_from(path, state, stepper, start_epoch=start_epoch, steps_per_epoch=steps_per_epoch)
