"""CAMs along the borders: energy of border artefacts relative to the interior."""

import pytest
import torch

from models import build_cam_net
from models.errors import ModelOptionError

RING = 4  # cells: the dilation of the last stages, the distance at which they repeat the border
NARROW = 1 / 16


def cams_of(padding: str, images: torch.Tensor) -> torch.Tensor:
    """Object maps (N, C, h, w) of the narrow network with random weights."""
    torch.manual_seed(0)
    net = build_cam_net("resnet38", 8, width=NARROW, padding=padding).eval()
    with torch.no_grad():
        return net(images).cams[:, :-1]


def border_energy(maps: torch.Tensor) -> float:
    """Mean square of the maps minus the interior's mean, in the border's ring, divided by the square of that mean."""
    interior = maps[..., RING:-RING, RING:-RING].mean((2, 3), keepdim=True)
    ring = torch.ones(maps.shape[2:], dtype=torch.bool)
    ring[RING:-RING, RING:-RING] = False
    return ((maps - interior).square()[..., ring].mean() / interior.square().mean()).item()


@pytest.fixture
def skies() -> torch.Tensor:
    """Images of one colour each."""
    colours = torch.randn(4, 3, 1, 1, generator=torch.Generator().manual_seed(1))
    return colours.expand(4, 3, 128, 128)


def test_a_uniform_image_has_no_stripes_along_its_borders(skies):
    assert border_energy(cams_of("replicate", skies)) < 1e-6


def test_published_padding_prints_the_border_into_the_map(skies):
    # part of the published numbers, with which the test above would fail
    assert border_energy(cams_of("zeros", skies)) > 1e-3


def test_padding_changes_no_weight_and_is_zeros_as_published():
    nets = [build_cam_net("resnet38", 8, width=NARROW, padding=padding) for padding in ("zeros", "replicate")]
    published = build_cam_net("resnet38", 8, width=NARROW)
    nets[1].load_state_dict(published.state_dict())
    assert {m.padding_mode for m in published.modules() if isinstance(m, torch.nn.Conv2d)} == {"zeros"}
    assert [list(net.state_dict()) for net in nets] == [list(published.state_dict())] * 2


def test_another_padding_is_refused():
    with pytest.raises(ModelOptionError) as error:
        build_cam_net("resnet38", 8, width=NARROW, padding="circular")
    assert error.value.option == "padding"
