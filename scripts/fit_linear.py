"""Step 1 with --classifier=linear: a logistic regression on features of the frozen backbone, in one pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from models.cam_net import CamNet
from models.folding import fold_norms
from scripts.networks import build_initial
from utils.cam.multi_scale import mirrored_pair, scaled_sizes
from utils.config.options import TrainOptions
from utils.config.parser import save_options
from utils.data.dataset import Dataset
from utils.data.image_list import ImageEntry, digest_of_list
from utils.data.images import find_image
from utils.files.lock import hold
from utils.l2g_samples import multi_hot
from utils.runs.paths import RunPaths
from utils.runtime.device import autocast, move_network
from utils.runtime.process import Process, start_process
from utils.runtime.versions import write_versions
from utils.training import checkpoint as ckpt
from utils.training.logistic import fit_logistic
from utils.training.pooled_features import pool_features
from utils.training.resume import check_facts
from utils.training.weights import require_weights

PENALTY = 0.1  # with 0.0003 to 0.1, labels differ by less than two points: docs/results.md


def fit(options: TrainOptions, dataset: Dataset, entries: Sequence[ImageEntry], image_dir: Path) -> Path:
    """Fit the classifier and write it as the run's checkpoint, or keep it if it exists. Returns the checkpoint.

    Its class maps are linear in the backbone's final features, without the PCM. Features are those of the largest scale
    of the CAMs, plain and mirrored. Under torchrun, the main process fits it.
    """
    require_weights(options.init_weights, "--init_weights", frozen={"--classifier": ("linear", "l2g")})
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    written = ckpt.epoch_path(paths.model_dir, dataset.checkpoint_prefix, 0)
    with start_process(options.device) as process, hold(paths.root):
        facts = {
            "--backbone": options.backbone,
            "--init_weights": options.init_weights,
            "--cam_base_size": options.cam_base_size,
            "--cam_scales": list(options.cam_scales),
            "digest of the list and its tags": digest_of_list(entries),
        }
        if process.is_main and written.is_file():
            check_facts(written, ckpt.read_checkpoint(written).get("facts"), facts)
        elif process.is_main:
            torch.manual_seed(options.seed)
            network = build_initial(options, len(dataset.classes))
            save_options(options, paths.config)
            write_versions(paths.versions, {"device": process.device.type, "amp": options.amp})
            files = {entry.name: find_image(image_dir, entry.name) for entry in entries}
            pooled = mirrored_features(network, options, files, process)
            targets = torch.stack([multi_hot(entry.tags, len(dataset.classes)) for entry in entries]).numpy()
            network.cpu().use_linear(torch.from_numpy(fit_logistic(pooled, targets, penalty=PENALTY).weights))
            names = list(dataset.classes)
            content = {"state_dict": network.state_dict(), "classes": names, "step": 0, "epoch": 0, "facts": facts}
            ckpt.write_checkpoint(written, content)
        process.wait()
    return written


def mirrored_features(
    network: CamNet, options: TrainOptions, files: Mapping[str, Path], process: Process
) -> np.ndarray:
    """Return the mean of the final features of each image and its mirror image, (N, D) float32."""
    device = process.device
    move_network(network.eval(), device)
    network.to(memory_format=torch.channels_last)
    fold_norms(network)
    mean, std = options.mean or network.mean, options.std or network.std

    def pool(images: np.ndarray) -> torch.Tensor:
        size = scaled_sizes(images.shape[1:3], [max(options.cam_scales)], base_size=options.cam_base_size)[0]
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
        both = mirrored_pair(tensor, size, mean=mean, std=std, device=device)
        with autocast(device, options.amp):
            features = network.features(both).conv6
        return features.float().mean((2, 3)).reshape(2, len(images), -1).mean(0)

    return pool_features(
        pool, files, num_workers=options.num_workers, device=device, remedy="give a smaller --cam_base_size"
    )
