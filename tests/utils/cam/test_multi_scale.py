"""Images at several scales equal those of PIL, on which published scores are based, and give the same labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from models.cam_net import build_cam_net
from scripts import make_cams
from tests.golden_recipe import golden_weight
from tests.photograph import photograph
from utils.cam import to_label
from utils.cam.artefact import read_cam
from utils.cam.multi_scale import scaled_images, scaled_sizes
from utils.config.options import CamOptions, TrainOptions
from utils.config.parser import save_options
from utils.data.images import write_image
from utils.runs.paths import RunPaths
from utils.training.checkpoint import write_checkpoint

SCALES = (0.5, 1.0, 1.5, 2.0)


def resized_by_pil(pixels, size):
    """(H, W, 3) uint8 -> (*size, 3), as the published code resizes photographs."""
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.77, 1.0, 1.5, 2.0])
def test_scaled_images_are_those_of_pil(factor):
    pixels = photograph((188, 250))
    (size,) = scaled_sizes(pixels.shape[:2], [factor])
    scaled = scaled_images(torch.from_numpy(pixels).permute(2, 0, 1)[None], size)[0].permute(1, 2, 0)
    levels = (scaled * 255).numpy()
    assert np.abs(levels - levels.round()).max() < 1e-3  # 8 bits, like PIL's
    difference = np.abs(levels.round() - resized_by_pil(pixels, size).astype(float))
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01


def test_scales_are_of_the_image_or_of_the_base_size():
    assert scaled_sizes((375, 500), (0.5, 1.0, 2.0)) == [(188, 250), (375, 500), (750, 1000)]
    assert scaled_sizes((375, 500), (1.0, 1.5), base_size=300) == [(300, 400), (450, 600)]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A run's paths, a small network, a published-layout checkpoint of it, and a photograph with its list."""
    folder = tmp_path_factory.mktemp("published")
    pixels = photograph((120, 160))
    write_image(folder / "toy" / "JPEGImages" / "b.png", pixels)
    (folder / "toy" / "classes.txt").write_text("cat\ndog\n")
    names = {"experiment_name": "exp", "runs_dir": str(folder / "runs"), "dataset": str(folder / "toy")}
    paths = RunPaths.of(names["runs_dir"], names["experiment_name"])
    options = TrainOptions(**names, width=1 / 16, attention="se", suppression="learnable")
    save_options(options, paths.config)
    network = build_cam_net("resnet38", 2, width=options.width, attention="se", suppression="learnable")
    state = {f"module.{name}": golden_weight(name, value.shape) for name, value in network.state_dict().items()}
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    checkpoint = folder / "pascal_voc_epoch_9.pth"
    write_checkpoint(checkpoint, {"epoch": 9, "global_counter": 5, "state_dict": state, "local_dict": state})
    (folder / "list.txt").write_text("b 0 1\n")
    return paths, network.eval(), checkpoint, pixels, folder / "list.txt"


@torch.inference_mode()
def published_cams(network, pixels):
    """Compute 8-bit CAMs like the published code: PIL's resize, one view at a time, all classes at full size."""
    height, width = pixels.shape[:2]
    mean, std = (np.array(values, np.float32) for values in (network.mean, network.std))
    views = []
    for scale in SCALES:
        scaled = resized_by_pil(pixels, (round(height * scale), round(width * scale)))
        for mirrored in (False, True):
            view = scaled[:, ::-1] if mirrored else scaled
            image = torch.from_numpy(((view / np.float32(255) - mean) / std).transpose(2, 0, 1).copy())
            maps = network(image[None].float()).cams
            maps = maps.flip(-1) if mirrored else maps
            views.append(F.interpolate(maps, (height, width), mode="bicubic", align_corners=False)[0])
    merged = torch.stack(views).mean(0)[:-1].relu()
    return (merged / merged.amax((1, 2), keepdim=True) * 255).round().numpy()


def test_labels_of_a_published_checkpoint_are_those_of_a_pipeline_on_pil(published):
    paths, network, checkpoint, pixels, listing = published
    make_cams.run(
        CamOptions(
            experiment_name=paths.root.name,
            runs_dir=str(paths.root.parent),
            checkpoint=str(checkpoint),
            test_list=str(listing),
            scales=SCALES,
            num_workers=0,
            device="cpu",
        )
    )
    keys, cams = read_cam(paths.cam_dir / "b.npz")
    assert keys.tolist() == [0, 1]
    expected = published_cams(network, pixels)
    assert (expected.max((1, 2)) == 255).all()  # both classes are present
    threshold = 0.5  # random weights activate everywhere: at 0.35 hardly a pixel is background
    label = to_label(keys, cams, threshold)
    reference = np.where(expected.max(0) > threshold * 255, expected.argmax(0) + 1, 0)
    assert np.bincount(reference.ravel()).min() > 0
    # images resized as float tensors gave 99.65 %
    assert (label == reference).mean() >= 0.999
