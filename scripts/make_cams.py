"""Step 2: the CAMs of a trained run at several scales -> runs/EXP/cam/NAME.npz, and exports for random walks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.cam_net import CamNet
from scripts.cam_outputs import CamOutputs
from scripts.networks import build_network, load_file
from utils import cam
from utils.cam.multi_scale import raw_maps
from utils.config.options import CamOptions, TrainOptions
from utils.config.parser import load_options
from utils.data.image_batches import batches_of_one_size, read_batches
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import find_image
from utils.files.locate import existing_path
from utils.files.manifest import RECORD, FolderSettings
from utils.files.parallel import run_in_threads
from utils.runs.inputs import open_run
from utils.runs.paths import RunPaths
from utils.runtime.process import Process, start_process
from utils.training.checkpoint import final_checkpoint, read_checkpoint, weights_digest

NETWORKS = {"global": "state_dict", "local": "local_dict"}


def run(options: CamOptions) -> Path:
    """Makes the CAMs that are missing and returns their folder; under torchrun the images are shared out."""
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    train = load_options(TrainOptions, paths.config)
    options = complete(options, train)
    trained = open_run(paths, options.dataset, trained=train)
    data = trained.data
    checkpoint = existing_path(options.checkpoint, "--checkpoint") if options.checkpoint else None
    checkpoint = checkpoint or final_checkpoint(paths.model_dir)
    entries = read_image_list(trained.train_list(options.test_list), len(data.classes))
    image_dir = trained.image_dir(options.image_dir)
    files = {entry.name: find_image(image_dir, entry.name) for entry in entries}
    outputs = CamOutputs(paths, options.save_attention, options.save_irn, options.save_affinity, options.save_psa)
    with start_process(options.device) as process:
        content = read_checkpoint(checkpoint)
        network = load_network(train, len(data.classes), checkpoint, content, NETWORKS[options.network])
        settings = settings_of(options, network, checkpoint.name, content.get("step"), data.name)
        record = FolderSettings(paths.cam_dir / RECORD, "*.npz", "CAMs", "test_l2g.py", "--experiment_name")
        renewed = record.check(settings, may_replace=options.overwrite or options.update)
        todo = [entry for entry in entries if options.overwrite or renewed or not outputs.are_there(entry)]
        process.wait()  # what is missing must be the same for all before anyone writes
        if process.is_main:
            if renewed:
                outputs.remove_all()
            record.start(settings)
            print(f"{paths.cam_dir}: {len(entries) - len(todo)} images are there, {len(todo)} to do, {checkpoint.name}")
        process.wait()
        network.to(process.device, memory_format=torch.channels_last)
        make_all(network, train, options, todo[process.rank :: process.world_size], files, outputs, process)
        process.wait()
    return paths.cam_dir


def complete(options: CamOptions, train: TrainOptions) -> CamOptions:
    """What is not asked for is what the run's own options say."""
    given = {name: getattr(options, name) for name in ("scales", "base_size", "activation")}
    return replace(
        options, **{name: getattr(train, f"cam_{name}") if value is None else value for name, value in given.items()}
    )


def load_network(train: TrainOptions, num_classes: int, path: Path, content: dict[str, Any], which: str) -> CamNet:
    """The trained network in eval mode, on the CPU. Raises UserError naming the file if it does not fit the run."""
    network = build_network(train, num_classes)
    load_file(network, path, content, which=which)
    return network.eval().requires_grad_(False)


def settings_of(options: CamOptions, network: nn.Module, checkpoint: str, step: int | None, data: str) -> dict:
    """What the CAMs of a folder have in common."""
    return {
        "checkpoint": checkpoint,
        "step": step,
        "weights": weights_digest(network),  # the same name and step also come from training again
        "network": options.network,
        "dataset": data,
        "scales": list(options.scales),
        "base_size": options.base_size,
        "activation": options.activation,
    }


def make_all(
    network: CamNet,
    train: TrainOptions,
    options: CamOptions,
    entries: Sequence[ImageEntry],
    files: dict[str, Path],
    outputs: CamOutputs,
    process: Process,
) -> None:
    """Reads ahead in worker processes, runs the network, and compresses and writes in threads."""
    batches = batches_of_one_size(entries, files, options.batch_size)
    infer = partial(
        raw_maps,
        network,
        scales=options.scales,
        base_size=options.base_size,
        mean=train.mean or network.mean,
        std=train.std or network.std,
        amp=options.amp,
    )
    with tqdm(total=len(entries), desc="CAMs", unit="image", disable=not process.is_main) as bar:
        jobs = (
            partial(outputs.write, entry, *maps)
            for batch, images, _ in read_batches(batches, files, num_workers=options.num_workers)
            for entry, maps in results_of_batch(infer, batch, images, options, outputs)
        )
        for _ in run_in_threads(jobs, num_threads=max(1, options.num_workers)):
            bar.update()


@torch.inference_mode()
def results_of_batch(
    infer: Callable[[Tensor], list[Tensor]],
    batch: Sequence[ImageEntry],
    images: np.ndarray,
    options: CamOptions,
    outputs: CamOutputs,
) -> list[tuple[ImageEntry, tuple[Tensor, Tensor | None, Tensor | None]]]:
    """Each image's merged CAMs (K, H, W), and where an export is wanted its strided and high-resolution ones."""
    size = images.shape[1:3]
    tagged = any(entry.tags for entry in batch)  # images without tags need no network
    maps = infer(torch.from_numpy(images).permute(0, 3, 1, 2)) if tagged else []
    results = []
    for index, entry in enumerate(batch):
        if not entry.tags:
            nothing = torch.zeros(0, *size)
            results.append((entry, (nothing, nothing, nothing)))
            continue
        own, keys = [m[index] for m in maps], {"keys": entry.tags, "activation": options.activation}
        strided = cam.strided_cam(own, size, **keys) if outputs.irn or outputs.affinity else None
        high_res = cam.high_res_cam(own, size, **keys) if outputs.irn or outputs.affinity else None
        results.append((entry, (cam.merge_scales(own, size, **keys), strided, high_res)))
    return results
