"""Training with negatives: photos with and without a class teach where the class is not."""

import json

import numpy as np
import pytest
import torch

from scripts.networks import build_network, load_file
from scripts.train import run
from tests.small_training import small_options
from utils.data.image_list import ImageEntry, write_image_list
from utils.data.images import read_rgb, write_image
from utils.training.checkpoint import read_checkpoint


@pytest.fixture
def data(tmp_path):
    """Eight red squares on noise, tagged cat, with their saliency, and eight salient pictures of noise."""
    folder, rng, entries = tmp_path / "one", np.random.default_rng(0), []
    for number in range(16):
        image, saliency = rng.integers(0, 128, (36, 44, 3), dtype=np.uint8), np.full((36, 44), 255, np.uint8)
        if number % 2 == 0:
            saliency[:] = 0
            saliency[8:26, 8:26] = 255
            image[8:26, 8:26, 0] += 120
        write_image(folder / "JPEGImages" / f"p{number}.png", image)
        write_image(folder / "Sal" / f"p{number}.png", saliency)
        entries.append(
            ImageEntry(f"p{number}", (0,)) if number % 2 == 0 else ImageEntry(f"p{number}", is_negative=True)
        )
    (folder / "classes.txt").write_text("cat\n")
    write_image_list(folder / "train_cls.txt", entries)
    return folder


def background_of(checkpoint, options, folder):
    """Mean background probability of the global network on a negative."""
    network = build_network(options, 1)
    load_file(network, checkpoint, read_checkpoint(checkpoint), which="state_dict")
    pixels = torch.from_numpy(np.array(read_rgb(folder / "JPEGImages" / "p1.png"))).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.mean, network.std))
    with torch.inference_mode():
        return network.eval()((pixels - mean) / std).cams.softmax(dim=1)[:, -1].mean().item()


@pytest.mark.slow
def test_negatives_become_background_and_every_loss_is_finite(data):
    more = {"kd_loss": "balanced", "kd_weight": 1.0, "background_target": "complement", "clip_grad": 5.0, "lr": 0.01}
    shares = {}
    for epochs in (1, 15):
        options = small_options(
            data, **more, new_lr_factor=1.0, epochs=epochs, experiment_name=f"e{epochs}", batch_size=4
        )
        checkpoint = run(options)
        shares[epochs] = background_of(checkpoint, options, data)
        lines = (data.parent / "runs" / f"e{epochs}" / "metrics.jsonl").read_text().splitlines()
        values = [value for line in lines for value in json.loads(line).values() if isinstance(value, float)]
        assert values and np.isfinite(values).all()
    assert shares[15] > 0.5 and shares[15] > shares[1] + 0.1
