"""From the user's photos to labels step by step, with the commands in docs/own_photos.md."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tests.small_downloads import photo
from tests.test_pipeline import files_below, python
from utils.data.image_list import read_image_list
from utils.data.images import read_label
from utils.files.locate import PROJECT_ROOT

NAMES = ["IMG_0001", "IMG_0002", "IMG_0003", "IMG_0004", "Köln"]
SMALL = ["--resize=64", "--input_size=48", "--crop_size=32", "--batch_size=2", "--epochs=1"]


# complete programs, one after the other
pytestmark = pytest.mark.slow

TABLE = """file,tags
IMG_0001.jpg,cat
IMG_0002.jpg,dog
garden/IMG 0003.jpg,cat;dog
holiday/Köln.JPG,dog;traffic light
IMG_0004.jpg,
IMG_0005.jpg,?
"""


def documented_commands() -> list[list[str]]:
    """Return the Python commands in the page's section, split into words."""
    page = (PROJECT_ROOT / "docs" / "own_photos.md").read_text(encoding="utf-8")
    assert all(line in page for line in TABLE.splitlines())
    (block,) = re.findall(r"```bash\n(.*?)```", page.split("## Step by step\n")[1], flags=re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines() if line.startswith("python3 ")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and a tag table, after every command of the page's section."""
    folder = tmp_path_factory.mktemp("own")
    commands = documented_commands()
    for number, line in enumerate(TABLE.splitlines()[1:]):
        photo(folder / "photos" / line.split(",")[0], seed=number, size=(36, 44))
    (folder / "tags.csv").write_text(TABLE, encoding="utf-8")
    more = {
        "train_l2g.py": [*SMALL, "--num_workers=0"],
        "test_l2g.py": ["--scales=1", "--base_size=64", "--num_workers=0"],
        "gen_gt.py": [f"--label_dir={folder / 'labels'}", "--num_workers=1"],
        "res.py": [f"--label_dir={folder / 'labels'}", "--num_workers=1"],
        "scripts/prepare_own.py": ["--num_workers=1"],
        "scripts/check_data.py": ["--num_workers=1"],
        "scripts/mean_cams.py": ["--num_workers=1"],
        "deeplabv2/main.py": [
            f"--EXP.OUTPUT_DIR={folder / 'deeplab'}", f"--DATASET.LABEL_DIR={folder / 'labels'}",
            "--SOLVER.ITER_MAX=2", "--SOLVER.BATCH_SIZE.TRAIN=2", "--IMAGE.SIZE.TRAIN=33", "--DATALOADER.NUM_WORKERS=0",
        ],
    }  # fmt: skip
    assert [words[0] for words in commands] == [
        "scripts/prepare_own.py", "scripts/check_data.py", "train_l2g.py", "test_l2g.py", "train_l2g.py", "test_l2g.py",
        "scripts/mean_cams.py", "gen_gt.py", "res.py", "deeplabv2/main.py", "deeplabv2/main.py",
    ]  # fmt: skip
    for script, *flags in commands:
        if script.endswith("_l2g.py") or script in ("gen_gt.py", "res.py", "scripts/mean_cams.py"):
            flags.append(f"--runs_dir={folder / 'runs'}")
        python(folder, script, *flags, *more[script])
    return folder


def test_the_data_set_is_made_of_the_table(finished):
    entries = read_image_list(finished / "data" / "mine" / "train_cls.txt", 3, need_tags=True)
    assert [entry.name for entry in entries] == NAMES
    assert [entry.tags for entry in entries] == [(0,), (1,), (0, 1), (), (1, 2)]
    assert (finished / "data" / "mine" / "classes.txt").read_text() == "cat\ndog\ntraffic light\n"


def test_every_photo_gets_a_label_of_its_own_tags(finished):
    assert files_below(finished / "labels") == {*(f"{name}.png" for name in NAMES), "label_settings.json"}
    for entry in read_image_list(finished / "data" / "mine" / "train_cls.txt", 3):
        label = read_label(finished / "labels" / f"{entry.name}.png")
        assert label.shape == (36, 44)
        assert set(np.unique(label)) <= {0, *(tag + 1 for tag in entry.tags)}


def test_pictures_are_drawn(finished):
    assert (finished / "runs" / "mine" / "contact_sheet.png").is_file()


def test_the_segmentation_network_labels_all_photos_in_all_folders(finished):
    assert files_below(finished / "seen" / "labels") == {
        *(str(Path(line.split(",")[0]).with_suffix(".png")) for line in TABLE.splitlines()[1:]),
        "settings.json",
    }
