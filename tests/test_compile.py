"""--compile gives the same losses as without it."""

import copy

import pytest
import torch

from deeplabv2.settings import Settings
from scripts import train
from tests.planned import classifier_task, filled, losses_of, segmentation_task
from tests.small_training import make_training_data, small_options
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.errors import UserError

NARROW = {"resize": 32, "input_size": 32, "crop_size": 24, "num_patches": 4, "frozen_stages": 0, "width": 0.0625}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "segmentation"])
def test_compiled_networks_give_the_same_losses_and_gradients(kind):
    if kind == "classifier":
        task = classifier_task(TrainOptions(**NARROW, dropout=(0.0, 0.0)), classes=2, values=True)
    else:
        flags = ["--MODEL.WIDTH=0.0625", "--MODEL.N_BLOCKS=[1,1,1,1]", "--IMAGE.SIZE.TRAIN=33"]
        task = segmentation_task(parse_options(Settings, flags), labels=3, values=True)
    compiled, found = copy.deepcopy(task.network).train(), []
    compiled.compile(backend="aot_eager")  # the default, except for the C++ compiler, which takes minutes
    assert compiled.state_dict().keys() == task.network.state_dict().keys()
    for network in (task.network.train(), compiled):
        losses = losses_of(task, network, filled(task.example(2))).losses
        sum(losses.values()).backward()
        found.append((losses, [p.grad for p in network.parameters() if p.grad is not None]))
    assert found[0][0].keys() == found[1][0].keys()
    for name, loss in found[0][0].items():
        assert found[1][0][name].item() == pytest.approx(loss.item(), rel=1e-4, abs=1e-6)
    assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-4) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_compiling_is_refused_on_a_cpu(tmp_path):
    options = small_options(make_training_data(tmp_path), compile=True, device="cpu")
    with pytest.raises(UserError, match="train without it"):
        train.run(options)
    assert not (tmp_path / "runs" / "exp" / "config.yaml").exists()


def test_compiling_and_checkpointing_exclude_each_other():
    with pytest.raises(UserError):
        TrainOptions(compile=True, checkpoint_activations=True)
