import os
import pickle

import numpy as np
import pytest

from tests.small_bank import block, make_small_bank
from utils.copy_paste.bank import Foreground, ForegroundBank
from utils.copy_paste.published import export_bank, find_published, missing_from_listing, read_published
from utils.errors import UserError
from utils.files.npy_dict import write_npy_dict

TAG = 4
HEIGHT, WIDTH = 5, 7


def arrays():
    """An object in rows 1..3 and columns 2..5 of a crop that is one pixel wider on every side."""
    rng = np.random.default_rng(0)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[1:4, 2:6] = 1
    mask[1, 2] = 0
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return {"img": image, "seg": mask, "sal": rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)}


def read(tmp_path, content, *, bgr=False):
    write_npy_dict(tmp_path / "2007_1.npy", content)
    return read_published(tmp_path / "2007_1.npy", tag=TAG, bgr=bgr)


def test_object_is_cropped_to_its_box(tmp_path):
    content = arrays()
    foreground = read(tmp_path, content)
    assert np.array_equal(foreground.image, content["img"][1:4, 2:6])
    assert np.array_equal(foreground.mask, content["seg"][1:4, 2:6] == 1)
    assert np.array_equal(foreground.saliency, content["sal"][1:4, 2:6])
    assert (foreground.tag, foreground.source) == (TAG, "2007_1")


def test_blue_first_images_are_turned(tmp_path):
    assert np.array_equal(read(tmp_path, arrays(), bgr=True).image, read(tmp_path, arrays()).image[..., ::-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: mask * 255,
        lambda mask: mask * (TAG + 1),
        lambda mask: mask.astype(bool),
        lambda mask: mask.astype(np.float32),
        lambda mask: mask.astype(np.int64)[..., None],
        lambda mask: np.repeat((mask * 255)[..., None], 3, axis=2),
        lambda mask: np.where(mask, TAG + 1, np.arange(WIDTH) // 6 * 255),  # the last column is to be ignored
    ],
)
def test_every_form_of_the_mask_is_the_same_object(tmp_path, change):
    content = arrays()
    assert np.array_equal(
        read(tmp_path, {**content, "seg": change(content["seg"])}).mask, content["seg"][1:4, 2:6] == 1
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values / 255,
        lambda values: (values / 255).astype(np.float32),
        lambda values: values.astype(np.float64),
        lambda values: values.astype(np.int32),
    ],
)
def test_every_form_of_image_and_saliency_is_the_same(tmp_path, change):
    content = arrays()
    changed = read(tmp_path, {**content, "img": change(content["img"]), "sal": change(content["sal"])})
    assert np.array_equal(changed.image, content["img"][1:4, 2:6])
    assert np.array_equal(changed.saliency, content["sal"][1:4, 2:6])


def test_saliency_of_zeros_and_ones_is_black_and_white(tmp_path):
    content = arrays()
    assert set(np.unique(read(tmp_path, {**content, "sal": content["seg"]}).saliency)) == {0, 255}


def test_object_stands_for_a_saliency_that_is_not_there(tmp_path):
    content = arrays()
    del content["sal"]
    foreground = read(tmp_path, content)
    assert np.array_equal(foreground.saliency, foreground.mask * np.uint8(255))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("img", np.zeros((HEIGHT, WIDTH), np.uint8), r"img .*\(5, 7\)"),
        ("img", np.zeros((HEIGHT, WIDTH, 4), np.uint8), r"img .*\(5, 7, 4\)"),
        ("img", np.full((HEIGHT, WIDTH, 3), -1.0), "img.*0..255"),
        ("img", np.full((HEIGHT, WIDTH, 3), np.nan), "img.*0..255"),
        ("img", np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8), r"\(5, 8, 3\)"),
        ("img", 3, "img"),
        ("seg", np.zeros((HEIGHT, WIDTH), np.uint8), "seg: .*0"),
        ("seg", np.full((HEIGHT, WIDTH), 9, np.uint8), "seg: .*9: .*5"),
        ("seg", np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH), "seg: .*1, 2, 3, …"),
        ("seg", np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH), "seg: "),
        ("seg", np.zeros(3), r"seg.*\(3,\)"),
        ("sal", np.full((HEIGHT, WIDTH), 300), "sal.*0..255"),
        ("sal", np.random.default_rng(0).random((HEIGHT, WIDTH, 3)), r"sal.*\(5, 7, 3\)"),
        ("sal", "none", r"sal.*\(\)"),
        ("sal", np.zeros((WIDTH, HEIGHT)), r"\(7, 5\)"),
    ],
)
def test_what_fits_nothing_is_named_with_its_file(tmp_path, key, value, message):
    with pytest.raises(UserError, match=rf"2007_1\.npy: .*{message}"):
        read(tmp_path, {**arrays(), key: value})


def test_mask_without_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"2007_1\.npy: .*img .*seg .*picture"):
        read(tmp_path, {"picture": np.zeros(3)})


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_malicious_file_runs_nothing(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "a.npy"
    np.save(path, {**arrays(), "img": Malicious(f"touch {trace}")}, allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy: .*\w+\.system"):
        read_published(path, tag=TAG, bgr=False)
    assert not trace.exists()


def test_malicious_listing_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    np.save(tmp_path / "seg_fg_dirs.npy", np.array([Malicious(f"touch {trace}")], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"seg_fg_dirs\.npy"):
        missing_from_listing(tmp_path, [])
    assert not trace.exists()


def test_files_are_found_by_class_and_name(tmp_path):
    for name in ("dog/b", "dog/a", "cat/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.npy").touch()
    (tmp_path / "lists").mkdir()
    (tmp_path / "seg_fg_dirs.npy").touch()
    found = find_published(tmp_path, ("dog", "cat"))
    assert [f"{path.parent.name}/{path.stem}" for _, path in found] == ["dog/a", "dog/b", "cat/c"]
    assert [tag for tag, _ in found] == [0, 0, 1]
    with pytest.raises(UserError, match=r"cat .*dog.*--dataset"):
        find_published(tmp_path, ("dog",))
    with pytest.raises(UserError, match=r"CLASS/NAME\.npy.*--published"):
        find_published(tmp_path / "dog", ("dog",))


def test_listing_tells_what_did_not_arrive(tmp_path):
    files = [tmp_path / "cat" / "a.npy", tmp_path / "cat" / "new.npy"]
    assert missing_from_listing(tmp_path, files) == []
    np.save(tmp_path / "seg_fg_dirs.npy", ["/home/them/bank/cat/a.npy", "./bank/dog/b.npy", "dog/c"])
    assert missing_from_listing(tmp_path, files) == ["dog/b", "dog/c"]


def test_published_folders_are_named_by_zero_based_tag(tmp_path):
    for name in ("10/a", "2/b"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.npy").touch()
    classes = tuple(f"class{tag}" for tag in range(20))
    assert [(tag, path.stem) for tag, path in find_published(tmp_path, classes)] == [(2, "b"), (10, "a")]
    with pytest.raises(UserError, match=r"10 .*0 to 4"):
        find_published(tmp_path, classes[:5])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_published_listing_is_a_pickled_dictionary(tmp_path, protocol):
    wrapper = np.empty((), dtype=object)
    wrapper[()] = {0: ["2007_1.npy", "2007_2.npy"], 1: [], 14: ["2008_1.npy"]}
    with (tmp_path / "seg_fg_dirs.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(pickle.dumps(wrapper, protocol=protocol))
    files = [tmp_path / "0" / "2007_1.npy", tmp_path / "14" / "2008_1.npy"]
    assert missing_from_listing(tmp_path, files) == ["0/2007_2"]


@pytest.mark.parametrize("bgr", [False, True])
def test_the_published_training_reads_an_exported_bank(tmp_path, bgr):
    classes = ("cat", "dog", "cow")
    content = arrays()
    foreground = Foreground(content["img"], content["seg"] > 0, content["sal"], 2, "2007_1")
    bank = ForegroundBank.open(make_small_bank(tmp_path / "bank", [foreground, block(tag=0)], classes), classes)
    assert export_bank(bank, tmp_path / "out", bgr=bgr) == [1, 0, 1]
    listing = np.load(tmp_path / "out" / "seg_fg_dirs.npy", allow_pickle=True)
    assert listing.shape == () and listing.item() == {0: ["block.npy"], 1: [], 2: ["2007_1.npy"]}
    read = np.load(tmp_path / "out" / "2" / listing.item()[2][0], allow_pickle=True).item()
    assert set(read) == {"img", "seg", "sal"} and {array.dtype for array in read.values()} == {np.dtype("uint8")}
    assert np.array_equal(read["img"], content["img"][..., ::-1] if bgr else content["img"])
    assert np.array_equal(read["seg"], content["seg"] * 3) and np.array_equal(read["sal"], content["sal"])
    back = read_published(find_published(tmp_path / "out", classes)[1][1], tag=2, bgr=bgr)
    assert np.array_equal(back.mask, content["seg"][1:4, 2:6] == 1)
    assert missing_from_listing(tmp_path / "out", [path for _, path in find_published(tmp_path / "out", classes)]) == []
