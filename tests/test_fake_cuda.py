"""Both networks, their losses and inference on a missing CUDA device: no mixed devices, no value is read.

The backward pass needs a device, so it runs on meta tensors, which have no values either.
"""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException

from deeplabv2 import train as segmentation
from deeplabv2.inference import infer_batch
from deeplabv2.settings import Settings
from deeplabv2.views import Views
from models.attention import ATTENTION
from scripts import train
from tests.fake_cuda import CUDA, moved, on_fake_cuda
from tests.planned import classifier_task, losses_of, segmentation_task
from tests.small_backbones import small_backbones
from utils import cam
from utils.cam.multi_scale import raw_maps
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.runtime.device import autocast
from utils.runtime.process import Process
from utils.training.trainer import Trainer

SMALL = {"resize": 64, "input_size": 64, "crop_size": 48, "num_patches": 4, "frozen_stages": 0, "log_every": 20}
NARROW = {**SMALL, "width": 0.0625}
CLASSIFIERS = {
    "resnet38": {"width": 0.0625},
    "timm:tf_efficientnet_lite0@4": {"output_stride": 16},
    "timm:resnet18": {"output_stride": 16},
    "timm:convnext_atto": {"output_stride": 16},
    "timm:vit_tiny_patch16_224": {},
    "timm:eva02_tiny_patch14_224": {},
    "timm:vit_small_patch16_dinov3": {},
    "timm:swin_tiny_patch4_window7_224": {},
    "timm:swinv2_tiny_window8_256": {},
}
SEGMENTERS = {
    "DeepLabV2_ResNet101_MSC": ["--MODEL.WIDTH=0.0625", "--MODEL.N_BLOCKS=[1,1,1,1]"],
    "DeepLabV2_timm:resnet18": [],
    "DeepLabV3Plus_timm:tf_efficientnet_lite0@4": [],
    "DeepLabV3Plus_ResNet34": [],
    "DeepLabV2_timm:eva02_tiny_patch14_224": [],
    "DeepLabV3Plus_timm:swin_tiny_patch4_window7_224": [],
}
META = Process(0, 1, torch.device("meta"))


@pytest.fixture(autouse=True)
def mixed_precision(monkeypatch):
    """torch disables autocast without a GPU."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)


@pytest.fixture(autouse=True)
def small():
    with small_backbones():
        yield


def loss_on_fake_cuda(task, *, amp="off"):
    with on_fake_cuda(task.network.train()) as network:
        batch = moved(task.example(2))
        with autocast(CUDA, amp):
            losses = losses_of(task, network, batch)
        values = [*losses.losses.values(), *losses.values.values(), losses.total()]
        assert all(value.device == CUDA and value.shape == () for value in values)
        assert losses.total().requires_grad


def settings_of(name, *more):
    return parse_options(Settings, [f"--MODEL.NAME={name}", "--IMAGE.SIZE.TRAIN=65", *SEGMENTERS[name], *more])


@pytest.mark.slow
@pytest.mark.parametrize("attention", [*ATTENTION, "se+sa"])
def test_attention_and_suppression_stay_on_the_device(attention):
    suppression = ("learnable", "fixed:0.55", "none")[len(attention) % 3]
    loss_on_fake_cuda(classifier_task(TrainOptions(**NARROW, attention=attention, suppression=suppression)), amp="bf16")


@pytest.mark.slow
@pytest.mark.parametrize("backbone", CLASSIFIERS)
def test_every_family_of_classifiers_stays_on_the_device(backbone):
    options = TrainOptions(**SMALL, backbone=backbone, suppression="learnable", **CLASSIFIERS[backbone])
    task = classifier_task(options, classes=3)
    loss_on_fake_cuda(task)
    cams_on_fake_cuda(task, amp="bf16")


def cams_on_fake_cuda(task, *, amp):
    network = task.network.global_net.eval()
    with on_fake_cuda(network.requires_grad_(False)) as moved_network:
        images = torch.zeros(2, 3, 40, 48, dtype=torch.uint8)
        maps = raw_maps(
            moved_network, images, scales=(0.5, 1.0, 1.5), mean=network.mean, std=network.std, amp=amp, base_size=32
        )
        assert len(maps) == 6 and all(m.device == CUDA for m in maps)
        for activation in ("relu", "softmax"):
            merged = cam.merge_scales([m[0] for m in maps], (40, 48), keys=(0, 2), activation=activation)
            assert merged.device == CUDA and merged.shape == (2, 40, 48)
        assert cam.strided_cam([m[0] for m in maps], (40, 48), keys=(1,)).device == CUDA
        assert cam.high_res_cam([m[0] for m in maps], (40, 48), keys=(1,)).device == CUDA


@pytest.mark.parametrize(
    "more",
    [
        {"amp": "fp16"},
        {"amp": "bf16", "sal_dir": "none", "kd_loss": "balanced", "background_target": "complement"},
        {"kd_loss": "cross_entropy", "background_target": "activation", "global_cls_weight": 1.0},
        {"padding": "replicate", "attention": "se", "kd_weight": 0.0, "global_cls_weight": 1.0},
    ],
)
def test_losses_and_precisions_of_the_classifier_stay_on_the_device(more):
    options = TrainOptions(**NARROW, **more)
    loss_on_fake_cuda(classifier_task(options), amp=options.amp)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize(("amp", "loss"), [("off", "cross_entropy"), ("bf16", "focal"), ("fp16", "balanced")])
def test_segmentation_networks_stay_on_the_device(name, amp, loss):
    loss_on_fake_cuda(segmentation_task(settings_of(name, f"--SOLVER.LOSS={loss}"), labels=3), amp=amp)


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_cams_are_made_on_the_device(amp):
    cams_on_fake_cuda(classifier_task(TrainOptions(**NARROW, attention="se"), classes=3), amp=amp)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmentation_tests_run_on_the_device(name):
    network = segmentation_task(settings_of(name), labels=3).segmenter.eval().requires_grad_(False)
    images = np.zeros((2, 40, 48, 3), np.uint8)
    with on_fake_cuda(network) as moved_network:
        for amp, views in (("off", Views()), ("bf16", Views((1.0, 0.5), mirror=True))):
            logits = infer_batch(
                moved_network, images, input_format=network.normalisation, device=CUDA, amp=amp, views=views
            )
            assert logits.device == CUDA and logits.shape[:2] == (2, 3)


@pytest.mark.parametrize("kind", ["classifier", "segmentation"])
def test_whole_steps_read_no_value(kind):
    """Forward and backward pass, clipping and optimiser, between the steps that are logged."""
    if kind == "classifier":
        options = TrainOptions(**NARROW, attention="se", suppression="learnable", clip_grad=1.0, batch_size=2)
        task, settings = classifier_task(options), train.make_settings(options, num_images=8, world_size=1)
    else:
        chosen = settings_of("DeepLabV2_ResNet101_MSC", "--SOLVER.AVERAGE_WEIGHTS=0.9")
        task, settings = segmentation_task(chosen), segmentation.make_settings(chosen)
    trainer = Trainer(task, settings, None, META)
    trainer.average = trainer._average()
    trainer.batches = iter([task.example(2)] * 4)
    trainer.step(1)
    trainer.step(2)
    assert [step for step, _, _ in trainer.unread] == [1, 2]


@pytest.mark.parametrize("fault", ["made on the CPU", "read"])
def test_a_fault_would_be_noticed(monkeypatch, fault):
    """The two mistakes that these tests must detect."""
    task = classifier_task(TrainOptions(**NARROW, suppression="fixed:0.55"))
    layer = task.network.global_net.DRS_fixed_layer7

    def forward(x):
        return x * torch.ones(x.shape) if fault == "made on the CPU" else x * x.amax().item()

    monkeypatch.setattr(layer, "forward", forward)
    with pytest.raises((RuntimeError, DataDependentOutputException)):
        loss_on_fake_cuda(task)
