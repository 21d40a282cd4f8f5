import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from models.cam_net import build_cam_net
from scripts import make_cams, score_cams
from tests.small_run import make_small_run
from utils.cam.artefact import read_cam, write_cam
from utils.cam.merging import merge_scales
from utils.cam.multi_scale import cams_of_image, raw_maps
from utils.config.options import CamOptions, DrawOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import parse_options, save_options
from utils.data.images import write_image
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT
from utils.files.npy_dict import read_npy_dict
from utils.runs.paths import RunPaths
from utils.training.checkpoint import write_checkpoint

WIDTH = 1 / 32


@pytest.fixture
def trained(tmp_path):
    """A run of random weights on three images of two sizes: a has tag 0, b 0 and 1, c none."""
    names = make_small_run(tmp_path)
    rng = np.random.default_rng(1)
    for name, size in {"a": (40, 56), "b": (40, 56), "c": (33, 48)}.items():
        write_image(tmp_path / "toy" / "JPEGImages" / f"{name}.jpg", rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    paths = RunPaths.of(names["runs_dir"], names["experiment_name"])
    for path in paths.cam_dir.iterdir():
        path.unlink()
    save_options(TrainOptions(**names, width=WIDTH), paths.config)
    save_weights(paths, seed=0)
    return paths


def save_weights(paths, *, seed, num_classes=2):
    torch.manual_seed(seed)
    networks = [build_cam_net("resnet38", num_classes, width=WIDTH).state_dict() for _ in range(2)]
    content = {"state_dict": networks[0], "local_dict": networks[1], "step": 5}
    write_checkpoint(paths.model_dir / "toy_epoch_0.pth", content)


def make(paths, **more):
    options = {"scales": (0.5, 1.0), "num_workers": 0, "device": "cpu", **more}
    return make_cams.run(CamOptions(experiment_name="exp", runs_dir=str(paths.root.parent), **options))


def network_of(paths, *, which="state_dict"):
    network = build_cam_net("resnet38", 2, width=WIDTH)
    network.load_state_dict(torch.load(paths.model_dir / "toy_epoch_0.pth", weights_only=True)[which])
    return network.eval()


def pixels_of(paths, name):
    image = Image.open(paths.root.parents[1] / "toy" / "JPEGImages" / f"{name}.jpg")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_artefacts_are_the_networks_cams_of_the_listed_tags(trained):
    folder = make(trained)
    assert sorted(p.name for p in folder.iterdir()) == ["a.npz", "b.npz", "c.npz", "settings.json"]
    network = network_of(trained)
    keys, cams = read_cam(folder / "b.npz")
    assert keys.tolist() == [0, 1] and cams.shape == (2, 40, 56)
    expected = cams_of_image(
        network, pixels_of(trained, "b"), [0, 1], scales=(0.5, 1.0), mean=network.mean, std=network.std
    )
    np.testing.assert_allclose(cams / 255, expected, atol=0.6 / 255)
    assert read_cam(folder / "a.npz")[0].tolist() == [0]
    assert read_cam(folder / "c.npz")[1].shape == (0, 33, 48)


@pytest.mark.slow
def test_batches_and_worker_processes_change_nothing(trained):
    single = {name: read_cam(make(trained) / f"{name}.npz")[1] for name in "abc"}
    folder = make(trained, batch_size=2, num_workers=2, overwrite=True)
    for name, cams in single.items():
        np.testing.assert_allclose(read_cam(folder / f"{name}.npz")[1].astype(int), cams, atol=1)


def test_exports_are_written_on_request_also_for_cams_that_are_there(trained):
    make(trained)
    make(trained, save_attention=True, save_irn=True, save_affinity=True)
    assert sorted(p.name for p in trained.attention_dir.iterdir()) == ["a_0.png", "b_0.png", "b_1.png"]
    cams = read_cam(trained.cam_dir / "b.npz")[1]
    np.testing.assert_array_equal(np.asarray(Image.open(trained.attention_dir / "b_1.png")), cams[1])
    irn, affinity = read_npy_dict(trained.irn_dir / "b.npy"), read_npy_dict(trained.affinity_dir / "b.npy")
    assert irn["keys"].tolist() == [0, 1] and affinity["keys"].tolist() == [0, 1, 2]
    assert irn["cam"].shape == (2, 10, 14) and irn["high_res"].shape == affinity["hr_cam"].shape == (2, 40, 56)
    assert read_npy_dict(trained.irn_dir / "c.npy")["high_res"].shape == (0, 33, 48)


def test_it_continues_where_it_stopped_and_mends_what_is_broken(trained):
    folder = make(trained)
    first = {name: (folder / f"{name}.npz").stat().st_mtime_ns for name in "abc"}
    (folder / "b.npz").write_bytes(b"half")
    make(trained)
    again = {name: (folder / f"{name}.npz").stat().st_mtime_ns for name in "abc"}
    assert again["a"] == first["a"] and again["c"] == first["c"]
    assert len(read_cam(folder / "b.npz")[0]) == 2


def test_a_changed_tag_list_makes_that_image_again(trained, tmp_path):
    make(trained)
    (tmp_path / "other.txt").write_text("a 1\n")
    folder = make(trained, test_list=str(tmp_path / "other.txt"))
    assert read_cam(folder / "a.npz")[0].tolist() == [1]


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"scales": (1.0,)}, {"activation": "softmax"}, {"network": "local"}])
def test_cams_of_other_settings_are_not_mixed_in(trained, change):
    folder = make(trained)
    name = next(iter(change))
    with pytest.raises(UserError, match=rf"{name}.*--overwrite"):
        make(trained, **change)
    write_cam(folder / "unlisted.npz", [0], np.zeros((1, 2, 2), np.uint8))
    make(trained, **change, overwrite=True)
    assert not (folder / "unlisted.npz").exists()
    recorded = json.loads((folder / "settings.json").read_text())
    assert recorded["step"] == 5 and recorded["checkpoint"] == "toy_epoch_0.pth"
    make(trained, **change)


def test_a_checkpoint_trained_again_under_the_same_name_is_another_one(trained):
    make(trained)
    save_weights(trained, seed=1)
    with pytest.raises(UserError, match=r"weights.*--overwrite"):
        make(trained)


def test_cams_of_unknown_origin_are_not_mixed_in(trained):
    write_cam(trained.cam_dir / "a.npz", [0], np.zeros((1, 40, 56), np.uint8))
    with pytest.raises(UserError, match=r"settings\.json, .*test_l2g\.py.*--experiment_name"):
        make(trained)


def test_what_is_missing_or_broken_is_named(trained, tmp_path):
    (tmp_path / "list.txt").write_text("a 0\nzz 1\n")
    with pytest.raises(UserError, match="zz"):
        make(trained, test_list=str(tmp_path / "list.txt"))
    (tmp_path / "toy" / "JPEGImages" / "b.jpg").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"^\S*b\.jpg: "):
        make(trained, num_workers=1)
    save_weights(trained, seed=0, num_classes=3)
    with pytest.raises(UserError, match=r"toy_epoch_0\.pth.*num_classes"):
        make(trained)
    (trained.model_dir / "toy_epoch_0.pth").unlink()
    with pytest.raises(UserError, match=r"train_l2g\.py --experiment_name exp"):
        make(trained)


@pytest.mark.slow
def test_processes_share_the_images(trained):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    flags = ["--experiment_name=exp", f"--runs_dir={trained.root.parent}", "--scales=0.5", "--device=cpu"]
    subprocess.run([*torchrun, str(PROJECT_ROOT / "test_l2g.py"), *flags, "--num_workers=0"], check=True, timeout=240)
    assert sorted(p.name for p in trained.cam_dir.iterdir()) == ["a.npz", "b.npz", "c.npz", "settings.json"]


def test_a_mirrored_image_has_mirrored_cams(trained):
    network, pixels = network_of(trained), pixels_of(trained, "a")
    options = {"scales": (1.0,), "mean": network.mean, "std": network.std}
    straight = cams_of_image(network, pixels, [0, 1], **options)
    mirrored = cams_of_image(network, pixels.flip(-1), [0, 1], **options)
    torch.testing.assert_close(mirrored.flip(-1), straight, rtol=1e-3, atol=1e-4)
    maps = raw_maps(network, pixels[None], **options)
    torch.testing.assert_close(merge_scales([m[0] for m in maps], (40, 56), keys=[1]), straight[1:])


def test_a_voc_sized_artefact_of_two_classes_takes_less_than_200_kilobytes(tmp_path):
    torch.manual_seed(0)
    # noise on the network's grid, rougher than the maps of any trained network
    maps = [torch.randn(3, round(375 * s / 8), round(500 * s / 8)) for s in (0.5, 1.0, 1.5, 2.0) for _ in range(2)]
    cams = (merge_scales(maps, (375, 500)) * 255).round().to(torch.uint8).numpy()
    write_cam(tmp_path / "a.npz", [0, 1], cams)
    assert (tmp_path / "a.npz").stat().st_size < 200_000


def test_a_preset_stands_for_the_options_of_a_run_that_has_none(trained, tmp_path):
    preset = trained.config.rename(tmp_path / "preset.yaml")
    with pytest.raises(UserError, match=r"config\.yaml"):
        make(trained)
    flags = [f"--config={preset}", "--experiment_name=exp", f"--runs_dir={trained.root.parent}", "--scales=0.5"]
    options = parse_options(CamOptions, [*flags, "--num_workers=0", "--device=cpu"])
    assert options.preset == str(preset)
    assert sorted(p.name for p in make_cams.run(options).iterdir()) == ["a.npz", "b.npz", "c.npz", "settings.json"]
    for later in (ScoreOptions, LabelOptions, DrawOptions):
        assert parse_options(later, flags[:-1]).preset == str(preset)
    listing = tmp_path / "tagged.txt"
    listing.write_text("a\nb\n")
    options = parse_options(ScoreOptions, [*flags[:-1], f"--mask_list={listing}", "--num_workers=1"])
    with pytest.raises(UserError, match=r"a\.npz against"):  # the masks are 4 x 6
        score_cams.run(options)
