"""Requirements of a batch: figures of the published sizes, and a narrow network compared with a real step."""

import pytest
import torch
from torch import nn

from deeplabv2.settings import Settings
from tests.planned import classifier_task, filled, segmentation_task
from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.files.locate import PROJECT_ROOT
from utils.runtime.device import autocast
from utils.training.measure import ALL, GIVEN, Meter, measure
from utils.training.recompute import recompute_blocks

TERA, GIB = 1e12, 2**30
VOC = [f"--config={PROJECT_ROOT / 'configs' / 'voc12.yaml'}"]
NARROW = {"width": 0.125, "resize": 64, "input_size": 64, "crop_size": 48, "num_patches": 4, "frozen_stages": 0}


@pytest.mark.parametrize(
    ("batch_size", "amp", "forward", "both", "saved"),
    [(1, "off", 3.26, 9.07, 1.77), (3, "off", 9.78, 27.20, 5.30), (3, "bf16", 9.78, 27.20, 2.89)],
)
def test_the_published_classifier_needs_what_its_table_says(batch_size, amp, forward, both, saved):
    needs = measure(classifier_task(parse_options(TrainOptions, VOC)), amp=amp, recompute=False).at(batch_size)
    assert needs.flop_forward / TERA == pytest.approx(forward, rel=0.02)
    assert needs.flop / TERA == pytest.approx(both, rel=0.02)
    assert needs.saved / GIB == pytest.approx(saved, rel=0.02)
    assert needs.parameters == pytest.approx(258e6, rel=0.005) and needs.trainable < needs.parameters
    assert (needs.weights + 2 * needs.gradients) / GIB == pytest.approx(2.87, rel=0.02)


def test_the_published_segmentation_network_needs_what_its_table_says():
    needs = measure(segmentation_task(Settings()), amp="off", recompute=False).at(5)
    assert needs.flop_forward / TERA == pytest.approx(1.38, rel=0.02)
    assert needs.flop / TERA == pytest.approx(4.13, rel=0.02)
    assert needs.saved / GIB == pytest.approx(3.10, rel=0.02)


def saved_by_a_real_step(task, *, amp, recompute):
    """Return the bytes stored for the backward pass of the part that stores most, without parameters and batch."""
    batch, network = filled(task.example(2)), task.network.train()
    if recompute:
        recompute_blocks(network)
    task.fold_norms(network)
    given = {t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers(), *batch.values())}
    sizes = []
    for part in task.parts:
        found = {}

        def pack(tensor, found=found):
            storage = tensor.untyped_storage()
            if storage._cdata not in given:
                found[storage._cdata] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(torch.device("cpu"), amp):
            output = task.losses(network, batch, part)
            loss = output.total()
        sizes.append(sum(storage.nbytes() for storage in found.values()))
        batch |= output.passed
        loss.backward()
    return max(sizes)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_saved_activations_are_those_of_a_real_step(amp, recompute):
    options = TrainOptions(**NARROW, attention="se", suppression="learnable")
    planned = measure(classifier_task(options), amp=amp, recompute=recompute).at(2)
    real = saved_by_a_real_step(classifier_task(options, values=True), amp=amp, recompute=recompute)
    assert planned.saved == pytest.approx(real, rel=0.05)


def test_saved_activations_of_a_segmentation_network_are_those_of_a_real_step():
    flags = ["--MODEL.WIDTH=0.0625", "--MODEL.N_BLOCKS=[1,1,1,1]", "--IMAGE.SIZE.TRAIN=65"]
    settings = parse_options(Settings, flags)
    planned = measure(segmentation_task(settings), amp="off", recompute=False).at(2)
    real = saved_by_a_real_step(segmentation_task(settings, values=True), amp="off", recompute=False)
    assert planned.saved == pytest.approx(real, rel=0.05)


def test_measuring_leaves_network_and_random_states_alone():
    task = classifier_task(TrainOptions(**NARROW), values=True)
    before, state = {n: v.clone() for n, v in task.network.state_dict().items()}, torch.get_rng_state()
    measure(task, amp="off", recompute=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in task.network.state_dict().items())
    assert all(p.grad is None and p.device.type == "cpu" for p in task.network.parameters())


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (8, 1)])
def test_a_convolution_counts_two_operations_a_weight_and_output_and_pass(groups, stride):
    layer, images = nn.Conv2d(8, 8, 3, stride, padding=1, groups=groups, bias=False), torch.ones(2, 8, 6, 6)
    images.requires_grad_()
    with Meter([images, layer.weight]) as meter:
        output = layer(images)
        forward = meter.flop
        output.sum().backward()
    assert forward.fixed == 2 * output.numel() * (8 // groups) * 9
    assert meter.flop.fixed == 3 * forward.fixed


def test_memory_is_counted_while_it_lives():
    given = torch.ones(10)
    with Meter([given]) as meter:
        first = given + 1
        second = first + 1
        view = second.view(2, 5)
        del first, second
        assert meter.live[ALL].fixed == 40 and max(meter.seen[ALL]).fixed == 80
        del view
        assert meter.live[ALL].fixed == 0
        given.add_(1)
        assert meter.live[ALL].fixed == 0 and meter.kinds == {given.untyped_storage()._cdata: GIVEN}


def test_one_pass_measures_batches_of_all_sizes(monkeypatch):
    """A pass of another batch finds the same, also where a peak moves from one place to another."""
    task = classifier_task(TrainOptions(**NARROW, suppression="learnable", kd_loss="balanced"))
    found = measure(task, amp="bf16", recompute=True)
    monkeypatch.setattr("utils.training.measure.IMAGES", 101)
    other = measure(task, amp="bf16", recompute=True)
    assert all(found.at(images) == other.at(images) for images in (1, 2, 7, 500))
    assert found.at(2).alive < 2 * found.at(1).alive and found.at(2).flop == 2 * found.at(1).flop


@pytest.mark.parametrize("is_training", [False, True])
def test_batch_norms_give_what_torch_computes(is_training):
    """Shapes and types of results and gradients, whose operators the meter answers itself."""
    layer, images = nn.BatchNorm2d(8).train(is_training), torch.rand(2, 8, 6, 6, requires_grad=True)

    def described():
        layer.zero_grad()
        images.grad = None
        output = layer(images)
        output.sum().backward()
        return [(t.shape, t.dtype, t.stride()) for t in (output, images.grad, layer.weight.grad, layer.bias.grad)]

    expected = described()
    with Meter([images, *layer.parameters(), *layer.buffers()]):
        assert described() == expected
