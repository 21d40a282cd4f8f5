"""Step 1: train the L2G classifier from image tags -> runs/EXP/model/PREFIX_epoch_N.pth."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from models.cam_net import CamNet, build_cam_net, load_weights
from models.l2g import L2G
from utils import checkpoint as ckpt
from utils import schedule
from utils.classifier_loop import Position, Saver, train_classifier
from utils.cli import save_options
from utils.image_list import ImageEntry, read_image_list
from utils.l2g_data import EpochBatches, L2GDataset, check_files, make_loader
from utils.options import TrainOptions
from utils.paths import Dataset, RunPaths, existing_path, open_dataset, weights_path
from utils.run_data import find_image_dir
from utils.runtime import Process, open_log, start_process, write_versions
from utils.train_loop import Averages, Recorder, Stepper

# options that tell which images a step draws
SAME_ON_RESUME = ("batch_size", "accumulate", "seed")
# with fewer output channels, oneDNN's channels-last backward writes outside its memory
CHANNELS_LAST_MINIMUM = 8


def run(options: TrainOptions) -> Path:
    """Trains to the last epoch and returns its checkpoint. Raises ValueError or FileNotFoundError for bad input."""
    dataset = open_dataset(options.dataset)
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    entries, image_dir, sal_dir = check_input(options, dataset)
    latest = ckpt.latest_checkpoint(paths.model_dir)
    if latest and not options.resume:
        raise FileExistsError(f"{latest} is there already: add --resume to go on, or choose another --experiment_name")
    with start_process(options.device) as process:
        log = open_log(paths.log if process.is_main else None)
        torch.manual_seed(options.seed)
        model = build_model(options, len(dataset.classes), fresh=latest is None)
        data = L2GDataset(entries, image_dir, sal_dir, **_sample_options(options, dataset, model.global_net))
        batches = EpochBatches(
            len(data),
            batch_size=options.batch_size,
            accumulate=options.accumulate,
            rank=process.rank,
            world_size=process.world_size,
            seed=options.seed,
        )
        log.info(
            f"{options.experiment_name}: {len(data)} images of {dataset.root}, {len(dataset.classes)} classes, "
            f"{batches.steps} steps an epoch on {process.world_size} x {process.device}"
        )
        return _train(options, model, data, batches, process, paths, dataset.checkpoint_prefix, latest)


def check_input(options: TrainOptions, dataset: Dataset) -> tuple[list[ImageEntry], Path, Path | None]:
    """The listed images and their folders, or one error that names everything that is missing and where it goes."""
    image_dir = find_image_dir(dataset, options.image_dir)
    sal_dir = None
    if options.sal_dir != "none":
        sal_dir = existing_path(options.sal_dir, "--sal_dir") if options.sal_dir else dataset.sal_dir
    listing = existing_path(options.train_list, "--train_list") if options.train_list else dataset.train_list
    problems, entries = [], []
    try:
        entries = read_image_list(listing, len(dataset.classes), need_tags=True)
    except FileNotFoundError as error:
        problems.append(str(error))
    problems += check_files(entries, image_dir, sal_dir)
    for value, find in ((options.init_weights, weights_path), (options.load_checkpoint, checkpoint_path)):
        try:
            if value not in (None, "none", "timm"):
                find(value)
        except FileNotFoundError as error:
            problems.append(str(error))
    if problems:
        raise FileNotFoundError("training cannot start:\n  " + "\n  ".join(problems))
    return entries, image_dir, sal_dir


def checkpoint_path(value: str) -> Path:
    return existing_path(value, "--load_checkpoint")


def build_model(options: TrainOptions, num_classes: int, *, fresh: bool) -> L2G:
    """Both networks with their initial weights; those of the first checkpoint if `fresh` is false come later."""

    def network() -> CamNet:
        net = build_cam_net(
            options.backbone,
            num_classes,
            attention=options.attention,
            suppression=options.suppression,
            suppression_stages=options.suppression_stages,
            width=options.width,
            output_stride=options.output_stride,
            dropout=options.dropout,
            pretrained=fresh and options.init_weights == "timm",
        )
        if fresh and options.init_weights not in ("none", "timm"):
            net.load_backbone(ckpt.read_weights(weights_path(options.init_weights)))
        net.freeze(stages=options.frozen_stages, batch_norm=options.freeze_batch_norm)
        return net

    return L2G(
        network(),
        network() if options.kd_weight > 0 else None,
        kd_weight=options.kd_weight,
        kd_loss=options.kd_loss,
        bg_threshold=options.bg_threshold,
        background_target=options.background_target,
        local_cls_weight=options.local_cls_weight,
        global_cls_weight=options.global_cls_weight,
    )


def _sample_options(options: TrainOptions, dataset: Dataset, net: CamNet) -> dict:
    names = [
        "resize", "resize_mode", "input_size", "crop_size", "num_patches", "corner_patches", "color_jitter", "flip",
        "seed",
    ]  # fmt: skip
    return {name: getattr(options, name) for name in names} | {
        "num_classes": len(dataset.classes),
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


def check_channels_last(model: nn.Module, device: torch.device) -> None:
    """Raises ValueError, naming the layer, where the channels-last layout is not safe."""
    if device.type != "cpu":
        return
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.out_channels < CHANNELS_LAST_MINIMUM:
            raise ValueError(
                f"--channels_last=true: on the CPU every convolution needs {CHANNELS_LAST_MINIMUM} output channels or "
                f"more, {name} has {layer.out_channels}: use --channels_last=false"
            )


def rate_factor(options: TrainOptions, step: int, *, steps_per_epoch: int) -> float:
    """The factor on every base rate at `step`."""
    if options.schedule == "poly":
        factor = schedule.poly(step, options.epochs * steps_per_epoch, power=options.poly_power)
    else:
        factor = schedule.step_decay(step // steps_per_epoch, options.decay_epochs, factor=options.decay_factor)
    return factor * schedule.warm_up(step, options.warmup_steps, start=options.warmup_factor)


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
    if options.channels_last:
        check_channels_last(model, process.device)
        model.to(memory_format=torch.channels_last)
    if process.device.type == "cuda" and process.world_size > 1 and not options.freeze_batch_norm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    optimizer = make_optimizer(model, options)
    stepper = Stepper(
        optimizer, accumulate=options.accumulate, clip_grad=options.clip_grad, amp=options.amp, device=process.device
    )
    position = Position()
    if latest:
        position = restore(latest, model, stepper, options, steps_per_epoch=batches.steps)
    elif options.load_checkpoint not in (None, "none"):
        load_start(checkpoint_path(options.load_checkpoint), model)
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
            state=partial(state_of, model, stepper, options, batches.steps),
        ),
        recorder=Recorder(paths, step=position.step, log_every=options.log_every, main=process.is_main),
        amp=options.amp,
        channels_last=options.channels_last,
        seed=options.seed,
        save_minutes=options.save_minutes,
        process=process,
    )


def state_of(model: L2G, stepper: Stepper, options: TrainOptions, steps_per_epoch: int, position: Position) -> dict:
    """Everything that a checkpoint holds. The networks stand under the published names."""
    state = {
        "state_dict": model.global_net.state_dict(),
        "optimizer": stepper.optimizer.state_dict(),
        "scaler": stepper.scaler.state_dict(),
        "step": position.step,
        "steps_per_epoch": steps_per_epoch,
        "averages": position.averages.sums,
        "options": asdict(options),
        # a step's and a sample's randomness follow from these numbers: see classifier_loop and l2g_data
        "random_state": {"seed": options.seed, "step": position.step},
    }
    if model.local_net is not None:
        state["local_dict"] = model.local_net.state_dict()
    return state


def load_start(path: Path, model: L2G) -> None:
    """Starts both networks from a checkpoint; one that holds a single network gives it to both."""
    state = ckpt.read_checkpoint(path)
    load_weights(model.global_net, state, which="state_dict")
    if model.local_net is not None:
        load_weights(model.local_net, state, which="local_dict" if "local_dict" in state else "state_dict")


def restore(path: Path, model: L2G, stepper: Stepper, options: TrainOptions, *, steps_per_epoch: int) -> Position:
    """Puts a run back to where `path` was written; rate, momentum and decay go on as the options say now.

    Raises ValueError if the steps would draw other images than those of the run.
    """
    state = ckpt.read_checkpoint(path)
    if "optimizer" not in state:
        raise ValueError(f"{path} holds weights without a run to resume: start from it with --load_checkpoint={path}")
    then = {"steps an epoch": state["steps_per_epoch"]} | {name: state["options"][name] for name in SAME_ON_RESUME}
    now = {"steps an epoch": steps_per_epoch} | {name: getattr(options, name) for name in SAME_ON_RESUME}
    if changed := [f"{then[name]} {name}, now {now[name]}" for name in now if then[name] != now[name]]:
        raise ValueError(
            f"{path} was written with {'; '.join(changed)}: "
            "resume with the same list, batch size, accumulation, seed and number of processes"
        )
    if state["step"] > options.epochs * steps_per_epoch:
        done = state["step"] / steps_per_epoch
        raise ValueError(f"{path} has {done:g} epochs behind it, --epochs={options.epochs} asks for fewer")
    load_weights(model.global_net, state, which="state_dict")
    if model.local_net is not None:
        load_weights(model.local_net, state, which="local_dict")
    settings = [{k: v for k, v in g.items() if k != "params"} for g in stepper.optimizer.param_groups]
    stepper.optimizer.load_state_dict(state["optimizer"])
    for group, setting in zip(stepper.optimizer.param_groups, settings):
        group.update(setting)
    stepper.scaler.load_state_dict(state["scaler"])
    return Position(state["step"], Averages(state["averages"]))
