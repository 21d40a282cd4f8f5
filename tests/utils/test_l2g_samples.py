"""Training samples: randomness, alignment, errors."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image

from tests.photograph import photograph
from tests.small_bank import block, make_small_bank
from tests.small_training import make_training_data, small_options
from utils.copy_paste.bank import ForegroundBank
from utils.copy_paste.pasting import Paster
from utils.data.image_list import ImageEntry, read_image_list
from utils.data.images import write_image
from utils.errors import UserError
from utils.l2g_samples import (
    COMPOSITIONS,
    PLAIN,
    TWIN,
    L2GDataset,
    SampleRecipe,
    check_files,
    check_headers,
    patch_boxes,
    visible_share,
)
from utils.training.loading import read_ahead
from utils.training.sampling import Batches
from utils.training.settings import Sampling

TAKEN = (
    "resize",
    "resize_mode",
    "resampling",
    "input_size",
    "crop_size",
    "num_patches",
    "corner_patches",
    "color_jitter",
    "flip",
)


def make_dataset(data, *, saliency=True, entries=None, paster=None, min_visible=0.0, **more):
    entries = entries or read_image_list(data / "train_cls.txt", 2)
    options = asdict(small_options(data, num_patches=6))
    chosen = {name: options[name] for name in TAKEN} | {"seed": 0, "mean": (0, 0, 0), "std": (1, 1, 1)} | more
    recipe = SampleRecipe(num_classes=2, **chosen)
    sal_dir = data / "Sal" if saliency else None
    return L2GDataset(entries, data / "JPEGImages", sal_dir, recipe, paster=paster, min_visible=min_visible)


def read_epoch(dataset, kinds, *, workers):
    """The batches of two images of epoch 1."""
    sampling = Sampling(batch_size=2, accumulate=1, seed=0, whole_epochs=True, variants=tuple((k,) for k in kinds))
    steps = len(dataset) // 2
    batches = Batches(len(dataset), sampling, steps=(steps, 2 * steps))
    with read_ahead(dataset, batches, num_workers=workers, pin=False) as read:
        return list(read)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_training_data(tmp_path_factory.mktemp("data"), count=6)


def test_later_epochs_decode_no_file_again(tmp_path):
    data = make_training_data(tmp_path, count=2)
    dataset, fresh = make_dataset(data), make_dataset(data)
    dataset[0, 1, PLAIN], dataset[0, 0, PLAIN]
    expected = fresh[1, 1, PLAIN]
    for file in (data / "JPEGImages").iterdir():
        file.write_bytes(b"")
    assert equal(dataset[1, 1, PLAIN], expected)


def test_sample_has_the_documented_shapes(data):
    sample = make_dataset(data)[0, 2, PLAIN]
    assert {name: tuple(value.shape) for name, value in sample.items()} == {
        "images": (3, 32, 32),
        "tags": (2,),
        "boxes": (6, 4),
        "saliency": (1, 32, 32),
    }
    assert sample["tags"].tolist() == [1, 1]
    assert sample["saliency"].min() == 0 and sample["saliency"].max() == 1
    assert all(type(value) is torch.Tensor for value in sample.values())


def test_sample_leaves_the_global_generators_alone(data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("a sample reseeded the GPU's dropout"))
    before = torch.get_rng_state()
    make_dataset(data)[0, 0, PLAIN]
    assert torch.equal(torch.get_rng_state(), before)


def test_sample_does_not_depend_on_the_global_generator(data):
    dataset = make_dataset(data)
    torch.manual_seed(1)
    first = dataset[3, 1, PLAIN]
    torch.manual_seed(2)
    torch.rand(7)
    assert equal(dataset[3, 1, PLAIN], first)


def test_other_epochs_seeds_and_images_give_other_patches(data):
    dataset = make_dataset(data)
    first = dataset[0, 0, PLAIN]
    for other in (dataset[1, 0, PLAIN], dataset[0, 1, PLAIN], make_dataset(data, seed=1)[0, 0, PLAIN]):
        assert not torch.equal(other["images"], first["images"])
        assert not torch.equal(other["boxes"], first["boxes"])


def test_patches_are_the_corners_and_random_places_inside():
    generator = torch.Generator().manual_seed(0)
    boxes = patch_boxes(10, 6, 50, corners=True, generator=generator)
    assert boxes[:4].tolist() == [[0, 0, 6, 6], [0, 4, 6, 10], [4, 0, 10, 6], [4, 4, 10, 10]]
    assert ((boxes[:, 2:] - boxes[:, :2]) == 6).all()
    assert boxes.min() == 0 and boxes.max() == 10  # the far edge can be drawn too
    assert len({tuple(box) for box in boxes[4:].tolist()}) > 10


def test_patches_without_corners_are_all_random():
    boxes = patch_boxes(100, 10, 4, corners=False, generator=torch.Generator().manual_seed(0))
    assert boxes.shape == (4, 4)
    assert boxes[:2, :2].tolist() != [[0, 0], [0, 90]]


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_image_and_saliency_are_cropped_and_mirrored_together(tmp_path, flip):
    rng = np.random.default_rng(0)
    red = rng.integers(0, 256, (36, 44), dtype=np.uint8)
    write_image(tmp_path / "JPEGImages" / "a.png", np.stack([red, red // 2, red * 0], axis=2))
    write_image(tmp_path / "Sal" / "a.png", red)
    dataset = make_dataset(tmp_path, entries=[ImageEntry("a", (0,))], color_jitter=(0, 0, 0, 0), flip=flip)
    for epoch in range(3):
        sample = dataset[epoch, 0, PLAIN]
        assert torch.allclose(sample["images"][:1], sample["saliency"], atol=1e-6)
        columns = sample["images"][0, 0] if not flip else sample["images"][0, 0].flip(0)
        found = torch.from_numpy(red).float().div(255).unfold(1, 32, 1)
        assert torch.isclose(found, columns, atol=1e-6).all(dim=2).any()


def test_saliency_is_resized_with_the_image_and_without_new_values(tmp_path):
    block = np.zeros((36, 44), np.uint8)
    block[8:28, 12:32] = 255
    write_image(tmp_path / "JPEGImages" / "a.png", np.stack([block] * 3, axis=2))
    write_image(tmp_path / "Sal" / "a.png", block)
    sample = make_dataset(tmp_path, entries=[ImageEntry("a", (0,))], color_jitter=(0, 0, 0, 0), resize=72)[0, 0, PLAIN]
    assert set(sample["saliency"].unique().tolist()) <= {0.0, 1.0}
    assert (sample["images"][:1] - sample["saliency"]).abs().mean() < 0.05


def written_photograph(folder, size):
    """A photograph `a` of its own saliency's shape on disk -> both as arrays."""
    image, saliency = photograph(size), photograph(size, seed=1)[..., 0]
    write_image(folder / "JPEGImages" / "a.png", image)
    write_image(folder / "Sal" / "a.png", saliency)
    return image, saliency


def places_of(crop, whole):
    """Return the positions (top, left) at which the crop (h, w) occurs in the map (H, W)."""
    height, width = crop.shape
    tops, lefts = (side - own + 1 for side, own in zip(whole.shape, crop.shape))
    return [
        (top, left)
        for top in range(tops)
        for left in range(lefts)
        if np.array_equal(whole[top : top + height, left : left + width], crop)
    ]


@pytest.mark.parametrize("size", [(37, 50), (50, 37), (100, 75), (36, 36)])
@pytest.mark.parametrize("resampling", ["bicubic", "bilinear"])
def test_crops_are_cut_from_what_pil_makes_of_image_and_saliency(tmp_path, size, resampling):
    image, saliency = written_photograph(tmp_path, size)
    short, mode = (64, "short") if resampling == "bicubic" else (64, "square")
    ratio = max(size) / min(size)
    sides = [64 if mode == "square" or side == min(size) else round(64 * ratio) for side in size]
    filters = {
        "bicubic": (Image.Resampling.BICUBIC, Image.Resampling.NEAREST),
        "bilinear": [Image.Resampling.BILINEAR] * 2,
    }
    expected = [
        np.asarray(Image.fromarray(array).resize(sides[::-1], method))
        for array, method in zip((image, saliency), filters[resampling])
    ]
    dataset = make_dataset(
        tmp_path,
        entries=[ImageEntry("a", (0,))],
        color_jitter=(0, 0, 0, 0),
        resize=short,
        resize_mode=mode,
        resampling=resampling,
        input_size=56,
    )
    sample = dataset[0, 0, PLAIN]
    pixels, crop = ((sample[name] * 255).round().byte().numpy() for name in ("images", "saliency"))
    ((top, left),) = places_of(crop[0], expected[1])
    cut = expected[0][top : top + 56, left : left + 56]
    assert np.array_equal(pixels, cut.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(40, 160), (160, 40)])
def test_crops_reach_the_whole_of_the_long_side_and_never_lie_outside(tmp_path, size):
    """The published crop swapped width and height: the part of the long side beyond the short side's length was never
    used, and crops extended beyond the short side, where image and saliency were 0."""
    along = np.arange(max(size), dtype=np.uint8) + 50  # each step of the long side has its own value
    values = np.broadcast_to(along if size[1] > size[0] else along[:, None], size)
    write_image(tmp_path / "JPEGImages" / "a.png", np.stack([values] * 3, axis=2))
    write_image(tmp_path / "Sal" / "a.png", np.ascontiguousarray(values))
    options = {"color_jitter": (0, 0, 0, 0), "resize": 40, "input_size": 32}
    dataset = make_dataset(tmp_path, entries=[ImageEntry("a", (0,))], **options)
    seen = set()
    for epoch in range(100):
        sample = dataset[epoch, 0, PLAIN]
        assert sample["images"].min() * 255 > 49 and sample["saliency"].min() * 255 > 49
        seen |= set((sample["saliency"] * 255).round().int().flatten().tolist())
    # all but some pixels at both ends, which few draws reach
    assert seen >= set(along[8:-8].tolist())


def test_square_resize_ignores_the_aspect_ratio(tmp_path):
    write_image(tmp_path / "JPEGImages" / "a.png", np.full((20, 90, 3), 51, np.uint8))
    entries = [ImageEntry("a", (0,))]
    sample = make_dataset(
        tmp_path, saliency=False, entries=entries, resize_mode="square", resize=32, color_jitter=(0, 0, 0, 0)
    )[0, 0, PLAIN]
    assert sample.keys() == {"images", "tags", "boxes"}
    assert torch.allclose(sample["images"], torch.full((3, 32, 32), 0.2), atol=1e-6)


def test_images_are_normalised_by_mean_and_std(tmp_path):
    write_image(tmp_path / "JPEGImages" / "a.png", np.full((36, 36, 3), 255, np.uint8))
    options = {"color_jitter": (0, 0, 0, 0), "mean": (0.5, 0.4, 0.0), "std": (0.5, 0.2, 0.1)}
    sample = make_dataset(tmp_path, saliency=False, entries=[ImageEntry("a", (0,))], **options)[0, 0, PLAIN]
    assert sample["images"][:, 5, 5].tolist() == pytest.approx([1, 3, 10])


def test_saliency_of_another_size_is_an_error_that_names_it(tmp_path):
    write_image(tmp_path / "JPEGImages" / "a.png", np.zeros((36, 44, 3), np.uint8))
    write_image(tmp_path / "Sal" / "a.png", np.zeros((36, 43), np.uint8))
    with pytest.raises(UserError, match=r"Sal/a\.png: .*\(36, 43\).*\(36, 44\)"):
        make_dataset(tmp_path, entries=[ImageEntry("a", (0,))])[0, 0, PLAIN]


def test_missing_files_are_told_in_one_line_a_folder(data, tmp_path):
    entries = [ImageEntry(name, (0,)) for name in ("p0", "x1", "x2", "x3", "x4")]
    images = data / "JPEGImages"
    assert check_files(entries[:1], images, data / "Sal") == []
    assert check_files(entries, images, None) == [f"images: 4 of 5 are missing in {images} (x1, x2, x3, …)"]
    absent = check_files(entries[:1], images, tmp_path / "Sal")
    assert absent == [f"saliency maps (or train with --sal_dir=none): none in {tmp_path / 'Sal'}: add them"]


@pytest.fixture(scope="module")
def paster(tmp_path_factory):
    """Pastes 8 to 12 pixels of pure red (cat) or green (dog)."""
    foregrounds = [block(10, 10, color=(255, 0, 0), tag=0), block(10, 10, color=(0, 255, 0), tag=1)]
    classes = ("cat", "dog")
    folder = make_small_bank(tmp_path_factory.mktemp("bank"), foregrounds, classes)
    return Paster(ForegroundBank.open(folder, classes))


PLAIN_COLORS = {"color_jitter": (0, 0, 0, 0)}


def shows(sample, channel):
    """Return whether a sample has pixels of one pure colour."""
    image = sample["images"]
    others = [c for c in range(3) if c != channel]
    return bool(((image[channel] > 0.99) & (image[others] < 0.01).all(0)).any())


def test_twin_changes_image_saliency_and_tags_together(data, paster):
    dataset = make_dataset(data, paster=paster, **PLAIN_COLORS)
    for index, (own, other) in {0: (0, 1), 1: (1, 0)}.items():
        plain, twin = dataset[0, index, PLAIN], dataset[0, index, TWIN]
        assert plain["tags"].tolist() == [1 - own, own]
        assert not shows(plain, other)
        if twin["tags"].tolist() == [1, 1]:
            assert shows(twin, other)
        assert twin["saliency"].max() == 1


def test_pasting_never_touches_the_tags_of_the_data_set(data, paster):
    """The published dataset permanently kept the pasted tag, also on the image without a pasted object."""
    dataset = make_dataset(data, paster=paster)
    entries = list(dataset.entries)
    before = dataset[0, 0, PLAIN]
    tags = [dataset[epoch, 0, TWIN]["tags"].tolist() for epoch in range(8)]
    assert [1, 1] in tags
    assert dataset.entries == entries
    assert equal(dataset[0, 0, PLAIN], before)
    assert dataset[5, 0, PLAIN]["tags"].tolist() == [1, 0]


def test_the_untouched_image_is_the_same_with_and_without_a_bank(data, paster):
    assert equal(make_dataset(data, paster=paster)[2, 1, PLAIN], make_dataset(data)[2, 1, PLAIN])


def test_an_object_that_is_cut_away_leaves_no_tag(tmp_path, paster):
    """A crop of a sixth of a wide image mostly misses the pasted object: tag and pixels must agree."""
    write_image(tmp_path / "JPEGImages" / "a.png", np.full((36, 216, 3), 100, np.uint8))
    dataset = make_dataset(
        tmp_path, saliency=False, entries=[ImageEntry("a", (0,))], paster=paster, min_visible=0.0, **PLAIN_COLORS
    )
    shown = {True: 0, False: 0}
    for epoch in range(60):
        sample = dataset[epoch, 0, TWIN]
        tagged = bool(sample["tags"][1])
        shown[tagged] += 1
        assert tagged == shows(sample, 1)
    assert min(shown.values()) > 5


def test_an_object_that_all_patches_miss_leaves_no_tag(tmp_path, paster):
    """One random patch of a sixteenth of the crop."""
    write_image(tmp_path / "JPEGImages" / "a.png", np.full((32, 32, 3), 100, np.uint8))
    options = {"resize": 32, "input_size": 32, "crop_size": 8, "num_patches": 1, "corner_patches": False}
    dataset = make_dataset(
        tmp_path, saliency=False, entries=[ImageEntry("a", (0,))], paster=paster, **options, **PLAIN_COLORS
    )
    shown = {True: 0, False: 0}
    for epoch in range(60):
        sample = dataset[epoch, 0, TWIN]
        x0, y0, x1, y1 = sample["boxes"][0].tolist()
        in_patch = shows({"images": sample["images"][:, y0:y1, x0:x1]}, 1)
        assert bool(sample["tags"][1]) == in_patch
        shown[in_patch] += 1
    assert min(shown.values()) > 5


def test_how_much_must_remain_is_an_option(tmp_path, paster):
    write_image(tmp_path / "JPEGImages" / "a.png", np.full((36, 64, 3), 100, np.uint8))
    entries = [ImageEntry("a", (0,))]
    counts = []
    for share in (0.0, 0.5, 0.99):
        dataset = make_dataset(tmp_path, saliency=False, entries=entries, paster=paster, min_visible=share)
        counts.append(sum(bool(dataset[epoch, 0, TWIN]["tags"][1]) for epoch in range(60)))
    assert counts[0] > counts[1] > counts[2] > 0


def test_visible_share_counts_the_union_of_the_patches():
    pasted = torch.zeros(10, 10, dtype=torch.bool)
    pasted[2:6, 2:6] = True
    boxes = torch.tensor([[0, 0, 4, 4], [2, 2, 4, 6], [8, 8, 10, 10]])
    assert visible_share(pasted, boxes, whole=torch.tensor(32)) == pytest.approx(8 / 32)
    assert visible_share(pasted * False, boxes, whole=torch.tensor(0)) == 0


def test_twins_follow_from_seed_epoch_and_index(data, paster):
    dataset = make_dataset(data, paster=paster)
    first = dataset[3, 1, TWIN]
    torch.rand(5)
    dataset[0, 0, TWIN]
    assert equal(dataset[3, 1, TWIN], first)
    for other in (dataset[4, 1, TWIN], make_dataset(data, paster=paster, seed=1)[3, 1, TWIN], dataset[3, 1, PLAIN]):
        assert not torch.equal(other["images"], first["images"])


def test_samples_are_the_same_for_any_number_of_workers(data):
    epochs = [read_epoch(make_dataset(data), COMPOSITIONS["plain"], workers=workers) for workers in (0, 1, 2)]
    assert len(epochs[0]) == 3
    for other in epochs[1:]:
        assert all(equal(one, two) for one, two in zip(epochs[0], other, strict=True))


def test_twins_are_the_same_for_any_number_of_workers(data, paster):
    dataset = make_dataset(data, paster=paster)
    epochs = [read_epoch(dataset, COMPOSITIONS["pair"], workers=workers) for workers in (0, 2)]
    assert len(epochs[0]) == 3 and epochs[0][0]["images"].shape[0] == 4
    assert all(equal(one, two) for one, two in zip(*epochs, strict=True))


def test_headers_tell_broken_files_and_other_sizes_and_leave_missing_ones_to_check_files(tmp_path):
    data = make_training_data(tmp_path, count=4)
    entries = read_image_list(data / "train_cls.txt", 2)
    assert check_headers(entries, data / "JPEGImages", data / "Sal") == []
    (data / "JPEGImages" / "p0.png").unlink()
    (data / "JPEGImages" / "p1.png").write_bytes(b"none")
    write_image(data / "Sal" / "p2.png", np.zeros((36, 36), np.uint8))
    (data / "Sal" / "p3.png").rename(data / "Sal" / "p3.txt")
    wrong = check_headers(entries, data / "JPEGImages", data / "Sal")
    assert len(wrong) == 2
    assert "1 images unreadable" in wrong[0] and "p1.png" in wrong[0]
    assert "p2.png (36x36, image 44x36)" in wrong[1]
    missing = check_files(entries, data / "JPEGImages", data / "Sal")
    assert ["1 of 4 are missing" in line for line in missing] == [True, True]
    assert "p0" in missing[0] and "p3" in missing[1]
    assert len(check_headers(entries, data / "JPEGImages", None)) == 1


@pytest.mark.parametrize("few", [1, 1000])
def test_a_cut_photo_with_a_good_header_is_found(tmp_path, monkeypatch, few):
    monkeypatch.setattr("utils.data.images.FEW_FILES", few)
    data = make_training_data(tmp_path, count=2)
    entries = read_image_list(data / "train_cls.txt", 2)
    noise = np.random.default_rng(0).integers(0, 256, (36, 44, 3), dtype=np.uint8)
    cut = data / "JPEGImages" / "p1.jpg"
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:-200])
    (data / "JPEGImages" / "p1.png").unlink()
    assert "1 images unreadable" in check_headers(entries, data / "JPEGImages", None)[0]


def test_a_photo_that_is_damaged_between_its_ends_is_found_where_files_are_few(tmp_path, monkeypatch):
    data = make_training_data(tmp_path, count=2)
    entries = read_image_list(data / "train_cls.txt", 2)
    damaged = data / "JPEGImages" / "p1.png"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255  # the checksum of the pixels is wrong
    damaged.write_bytes(content)
    assert "1 images unreadable" in check_headers(entries, data / "JPEGImages", None)[0]
    monkeypatch.setattr("utils.data.images.FEW_FILES", 1)
    assert check_headers(entries, data / "JPEGImages", None) == []
