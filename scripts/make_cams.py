"""Step 2: compute multi-scale CAMs with a trained run -> runs/EXP/cam/NAME.npz, and exports for random walks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from models.cam_net import CamNet
from models.folding import fold_norms
from scripts.cam_outputs import CamOutputs, ImageCams
from scripts.networks import build_network, load_file
from utils import cam
from utils.cam.merging import Activation
from utils.cam.multi_scale import raw_maps
from utils.config.options import CamOptions, TrainOptions
from utils.config.parser import load_options
from utils.data.class_names import OTHER_DATASET, check_classes
from utils.data.image_batches import REMEDY, batches_of_one_size, read_batches
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import find_image
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.parallel import run_in_threads, worker_ends
from utils.runs.inputs import open_run
from utils.runs.paths import RunPaths
from utils.runtime.choices import Choices, choose
from utils.runtime.device import device_errors, inference_batch, move_network
from utils.runtime.process import Process, start_process
from utils.training.checkpoint import final_checkpoint, read_checkpoint, weights_digest

NETWORKS = {"global": "state_dict", "local": "local_dict"}


def run(options: CamOptions) -> Path:
    """Compute the missing CAMs. Returns their folder. Under torchrun the images are distributed over the processes."""
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    train = load_options(TrainOptions, paths.config)
    trained = open_run(paths, options.dataset, trained=train)
    data = trained.data
    checkpoint = existing_path(options.checkpoint, "--checkpoint") if options.checkpoint else None
    checkpoint = checkpoint or final_checkpoint(paths.model_dir)
    entries = read_image_list(trained.train_list(options.test_list), len(data.classes))
    image_dir = trained.image_dir(options.image_dir)
    files = {entry.name: find_image(image_dir, entry.name) for entry in entries}
    outputs = CamOutputs(paths, options.save_attention, options.save_irn, options.save_affinity, options.save_psa)
    with start_process(options.device) as process, hold(paths.cam_dir):
        content = read_checkpoint(checkpoint)
        check_classes(content.get("classes"), data.classes, checkpoint, OTHER_DATASET)
        network = load_network(train, len(data.classes), checkpoint, content, NETWORKS[options.network])
        maker = CamMaker.of(network, options, train)
        settings = {
            "checkpoint": checkpoint.name,
            "step": content.get("step"),
            "network": options.network,
            "dataset": data.name,
            "classes": list(data.classes),
            **maker.as_json(),
        }
        record = FolderSettings(paths.cam_record, "*.npz", "CAMs", "test_l2g.py", "--experiment_name")
        renewed = record.check(settings, may_replace=options.overwrite or options.update)
        todo = [
            entry
            for entry in entries
            if options.overwrite or renewed or not outputs.are_complete(entry, files[entry.name])
        ]
        process.wait()  # all processes must see the same missing files before any of them writes
        if process.is_main:
            if renewed:
                outputs.remove_all()
            record.start(settings)
            print(f"{paths.cam_dir}: {len(entries) - len(todo)} images done, {len(todo)} to do, {checkpoint.name}")
        process.wait()
        choose(process.device, Choices(options.tf32))
        move_network(network, process.device)
        network.to(memory_format=torch.channels_last)
        make_all(maker, options, todo[process.rank :: process.world_size], files, outputs, process)
        process.wait()
    return paths.cam_dir


@dataclass(frozen=True)
class CamMaker:
    """A network and the settings with which it computes the CAMs of a folder."""

    network: CamNet
    scales: tuple[float, ...]
    base_size: int
    activation: Activation
    mean: Sequence[float]
    std: Sequence[float]
    amp: str

    @classmethod
    def of(cls, network: CamNet, options: CamOptions, train: TrainOptions) -> Self:
        """Build it from `options`, with the run's training options as defaults."""
        return cls(
            network,
            scales=train.cam_scales if options.scales is None else options.scales,
            base_size=train.cam_base_size if options.base_size is None else options.base_size,
            activation=train.cam_activation if options.activation is None else options.activation,
            mean=train.mean or network.mean,
            std=train.std or network.std,
            amp=options.amp,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the settings that all CAMs of a folder share."""
        return {
            "weights": weights_digest(self.network),  # a repeated training gives a checkpoint of the same name and step
            "scales": list(self.scales),
            "base_size": self.base_size,
            "activation": self.activation,
        }

    def raw_maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of all scales for images (N, 3, H, W) uint8, see utils.cam.multi_scale.raw_maps."""
        return raw_maps(
            self.network,
            images,
            scales=self.scales,
            base_size=self.base_size,
            mean=self.mean,
            std=self.std,
            amp=self.amp,
        )

    def cams(self, maps: Sequence[Tensor], entry: ImageEntry, size: Sequence[int], *, random_walk: bool) -> ImageCams:
        """Merge one image's raw maps (C + 1, h, w) into CAMs. random_walk: also those for random-walk exports."""
        merged = cam.merge_scales(maps, size, keys=entry.tags, activation=self.activation)
        if not random_walk:
            return ImageCams(merged, None)
        strided = cam.strided_cam(maps, size, keys=entry.tags, activation=self.activation)
        high_res = cam.high_res_cam(maps, size, keys=entry.tags, activation=self.activation)
        return ImageCams(merged, (strided, high_res))


def load_network(train: TrainOptions, num_classes: int, path: Path, content: dict[str, Any], which: str) -> CamNet:
    """Load the trained network in eval mode on the CPU. Raises UserError naming the file if it does not fit the run."""
    network = build_network(train, num_classes)
    load_file(network, path, content, which=which)
    fold_norms(network.eval().requires_grad_(False))
    return network


def make_all(
    maker: CamMaker,
    options: CamOptions,
    entries: Sequence[ImageEntry],
    files: dict[str, Path],
    outputs: CamOutputs,
    process: Process,
) -> None:
    """Prefetch images in worker processes, run the network, and compress and write in threads."""
    batches = batches_of_one_size(entries, files, inference_batch(options.batch_size, process.device))
    bar = tqdm(total=len(entries), desc="CAMs", unit="image", disable=not process.is_main)
    with bar, worker_ends(remedy=REMEDY), device_errors(process.device, "give --batch_size=1, or smaller --scales"):
        jobs = (
            partial(outputs.write, entry, maps, files[entry.name])
            for batch, images, _ in read_batches(batches, files, num_workers=options.num_workers)
            for entry, maps in results_of_batch(maker, batch, images, random_walk=outputs.random_walk)
        )
        for _ in run_in_threads(jobs, num_threads=max(1, options.num_workers)):
            bar.update()


@torch.inference_mode()
def results_of_batch(
    maker: CamMaker, batch: Sequence[ImageEntry], images: np.ndarray, *, random_walk: bool
) -> list[tuple[ImageEntry, ImageCams]]:
    """Compute the CAMs of each image of a batch (N, H, W, 3) uint8."""
    size = images.shape[1:3]
    tagged = any(entry.tags for entry in batch)  # images without tags do not need the network
    maps = maker.raw_maps(torch.from_numpy(images).permute(0, 3, 1, 2)) if tagged else []
    nothing = torch.zeros(0, *size)
    return [
        (entry, maker.cams([m[index] for m in maps], entry, size, random_walk=random_walk))
        if entry.tags
        else (entry, ImageCams(nothing, (nothing, nothing)))
        for index, entry in enumerate(batch)
    ]
