import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import build_foregrounds
from utils.config.options import ForegroundOptions, TrainOptions
from utils.config.parser import parse_options, save_options
from utils.copy_paste.bank import ForegroundBank, read_index
from utils.data.images import read_label, write_image, write_label_png
from utils.errors import UserError
from utils.files import locate
from utils.files.locate import PROJECT_ROOT
from utils.files.npy_dict import write_npy_dict

CLASSES = ("cat", "traffic light")
SIZE = 20
# name: tags in the list, label's index, rows, columns of the object
IMAGES = {
    "whole": ("0", 1, (4, 14), (5, 13)),
    "other": ("0", 1, (2, 10), (2, 12)),
    "cut": ("0", 1, (10, 20), (5, 13)),
    "light": ("1", 2, (3, 15), (8, 14)),
    "light_cut": ("1", 2, (0, 15), (8, 14)),
    "untagged": ("", 2, (5, 15), (5, 15)),
    "two": ("0 1", 1, (4, 14), (5, 13)),
    "small": ("0", 1, (4, 6), (5, 13)),
    "wrong": ("0", 2, (4, 14), (5, 13)),
}
CHOSEN = ["cat/other.png", "cat/whole.png", "traffic light/light.png", "traffic light/untagged.png"]


def pixels(name):
    return np.random.default_rng(list(name.encode())).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def options(tmp_path):
    data, labels = tmp_path / "toy", tmp_path / "labels"
    for name, (_, index, rows, columns) in IMAGES.items():
        label = np.zeros((SIZE, SIZE), np.uint8)
        label[slice(*rows), slice(*columns)] = index
        write_label_png(labels / f"{name}.png", label)
        write_image(data / "Sal" / f"{name}.png", (label > 0) * np.uint8(240))
        write_image(data / "JPEGImages" / f"{name}.png", pixels(name))
    (data / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (data / "train_cls.txt").write_text("".join(f"{name} {image[0]}\n" for name, image in IMAGES.items()))
    return ForegroundOptions(
        dataset=str(data),
        runs_dir=str(tmp_path / "runs"),
        label_dir=str(labels),
        out=str(tmp_path / "bank"),
        min_side=4,
        min_per_class=2,
        num_workers=1,
    )


def make(options, **changes):
    return build_foregrounds.run(replace(options, **changes))


def files(folder):
    return [entry.file for entry in read_index(folder)]


def stamps(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.png")}


def test_trusted_objects_are_cut_out_in_the_images_colors(options, capsys):
    folder = make(options)
    assert files(folder) == CHOSEN
    bank = ForegroundBank.open(folder, CLASSES)
    whole = bank.read(bank.entries(0)[1])
    assert np.array_equal(whole.image, pixels("whole")[4:14, 5:13])
    assert whole.mask.all() and (whole.saliency == 240).all() and (whole.tag, whole.source) == (0, "whole")
    printed = capsys.readouterr().out
    assert "4 objects selected" in printed and "1 more than one tag" in printed and "1 another class" in printed
    assert "cat                2" in printed and "warning" not in printed


def test_cut_objects_fill_up_a_class_that_has_few_and_the_user_is_told(options, capsys):
    folder = make(options, min_per_class=3)
    assert files(folder) == ["cat/cut.png", *CHOSEN[:2], CHOSEN[2], "traffic light/light_cut.png", CHOSEN[3]]
    make(options, min_per_class=9, overwrite=True)
    assert "warning: fewer than --min_per_class=9 foregrounds of: cat 3, traffic light 3" in capsys.readouterr().out


def test_ignored_pixels_are_not_in_the_mask(options):
    label = np.zeros((SIZE, SIZE), np.uint8)
    label[4:14, 5:13] = 1
    label[6:8, 6:8] = 255
    write_label_png(Path(options.label_dir) / "whole.png", label)
    bank = ForegroundBank.open(make(options), CLASSES)
    assert np.array_equal(bank.read(bank.entries(0)[1]).mask, label[4:14, 5:13] == 1)


def test_object_that_the_saliency_does_not_show_is_left_out(options):
    write_image(Path(options.dataset) / "Sal" / "other.png", np.zeros((SIZE, SIZE), np.uint8))
    assert files(make(options)) == ["cat/cut.png", *CHOSEN[1:]]
    assert files(make(options, sal_dir="none", overwrite=True)) == CHOSEN


def test_label_is_the_saliency_where_there_is_none(options, tmp_path, capsys):
    (Path(options.dataset) / "Sal").rename(tmp_path / "away")
    bank = ForegroundBank.open(make(options), CLASSES)
    foreground = bank.read(bank.entries(0)[0])
    assert np.array_equal(foreground.saliency, foreground.mask * np.uint8(255))
    assert "without saliency" in capsys.readouterr().out
    with pytest.raises(UserError, match="--sal_dir"):
        make(options, sal_dir=str(tmp_path / "nowhere"))


def test_second_run_makes_only_what_is_missing_or_old(options):
    folder = make(options)
    before, index = stamps(folder), (folder / "index.csv").read_bytes()
    (folder / "index.csv").unlink()
    (folder / "cat" / "other_sal.png").unlink()
    changed = Path(options.label_dir) / "light.png"
    write_label_png(changed, read_label(changed), palette=False)
    make(options)
    changed = {name for name, stamp in stamps(folder).items() if stamp != before[name]}
    assert {"other_sal.png", "light.png"} <= changed
    assert not changed & {"whole.png", "whole_sal.png", "untagged.png", "untagged_sal.png"}
    assert (folder / "index.csv").read_bytes() == index


def test_interrupted_bank_has_no_index_and_goes_on(options, monkeypatch):
    write, done = build_foregrounds.write_foreground, []

    def interrupted(*arguments, **named):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(write(*arguments, **named))
        return done[-1]

    monkeypatch.setattr(build_foregrounds, "write_foreground", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(options)
    folder = Path(options.out)
    kept = stamps(folder)
    assert len(kept) == 4 and not (folder / "index.csv").exists()
    monkeypatch.undo()
    make(options)
    assert files(folder) == CHOSEN
    assert {name: stamps(folder)[name] for name in kept} == kept


def test_bank_that_is_being_made_again_is_unfinished(options, monkeypatch):
    folder = make(options)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(build_foregrounds, "write_foreground", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(options, overwrite=True)
    with pytest.raises(UserError, match=r"index\.csv"):
        ForegroundBank.open(folder, CLASSES)


def test_bank_of_other_settings_is_refused_until_all_is_made_again(options):
    folder = make(options)
    with pytest.raises(UserError, match=r"min_side: was 4, is 7.*--overwrite"):
        make(options, min_side=7)
    make(options, min_side=7, overwrite=True)
    assert files(folder) == [name for name in CHOSEN if "/light" not in name]
    assert not (folder / "traffic light" / "light.png").exists()
    assert json.loads((folder / "bank_settings.json").read_text())["min_side"] == 7


def test_folder_of_other_pictures_is_left_alone(options, tmp_path):
    write_image(tmp_path / "bank" / "mine" / "a.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(UserError, match=r"bank_settings\.json.*--out"):
        make(options, overwrite=True)


@pytest.mark.slow
def test_number_of_workers_changes_nothing(options, tmp_path):
    one, two = make(options), make(options, out=str(tmp_path / "again"), num_workers=2)
    contents = [{p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()} for f in (one, two)]
    assert contents[0] == contents[1]


def test_nothing_is_written_where_no_object_passes(options):
    with pytest.raises(UserError, match=r"\(.*--min_area.*\): .*--min_area"):
        make(options, min_area=0.69)
    assert not Path(options.out).exists()


def test_bad_files_are_named_before_anything_is_written(options):
    label, sal = Path(options.label_dir) / "light.png", Path(options.dataset) / "Sal" / "light.png"
    good = label.read_bytes()
    label.unlink()
    with pytest.raises(UserError, match=r"1 of 8 .*\(light\.png\): .*gen_gt\.py"):
        make(options)
    write_label_png(label, np.full((SIZE, SIZE), 3, np.uint8))
    with pytest.raises(UserError, match=r"light\.png: .*3: .*0\.\.2"):
        make(options)
    label.write_bytes(good)
    write_image(sal, np.zeros((SIZE, SIZE + 1), np.uint8))
    with pytest.raises(UserError, match=r"light: .*\(20, 21\).*--sal_dir"):
        make(options)
    sal.unlink()
    with pytest.raises(UserError, match=r"1 of 8 .*--sal_dir=none"):
        make(options)
    assert not Path(options.out).exists()


def test_run_tells_data_set_list_and_saliency(options, tmp_path):
    listing = tmp_path / "mine.txt"
    listing.write_text("light 1\nwhole 0\n")
    trained = TrainOptions(dataset=options.dataset, train_list=str(listing), sal_dir="none")
    save_options(trained, tmp_path / "runs" / "exp" / "config.yaml")
    folder = make(options, experiment_name="exp", dataset=None)
    assert files(folder) == ["cat/whole.png", "traffic light/light.png"]
    assert json.loads((folder / "bank_settings.json").read_text())["saliency"] is None


def test_preview_shows_what_is_pasted(options):
    folder = make(options, preview=True)
    page = np.asarray(Image.open(folder / "preview.jpg").convert("RGB"))
    assert page.shape[1] > 3 * 120 and page.std() > 20


@pytest.fixture
def published(tmp_path):
    """Two cats, and a traffic light that is not salient."""
    mask = np.zeros((8, 6), np.uint8)
    mask[1:7, 1:5] = 1
    for name, saliency in (("cat/a", 1.0), ("cat/b", 0.9), ("traffic light/c", 0.1)):
        folder = tmp_path / "published" / name.split("/")[0]
        folder.mkdir(parents=True, exist_ok=True)
        content = {"img": pixels(name)[:8, :6], "seg": mask * 255, "sal": np.full((8, 6), saliency)}
        write_npy_dict(folder / f"{name.split('/')[1]}.npy", content)
    return tmp_path / "published"


def test_published_bank_is_imported(options, published, capsys):
    np.save(published / "seg_fg_dirs.npy", ["x/cat/a.npy", "x/cat/b.npy", "x/cat/gone.npy"])
    folder = make(options, label_dir=None, published=str(published))
    printed = capsys.readouterr().out
    assert "1 files" in printed and "cat/gone" in printed
    assert "1 skipped: no pixel of the object is salient" in printed and "of: traffic light 0" in printed
    assert files(folder) == ["cat/a.png", "cat/b.png"]
    bank = ForegroundBank.open(folder, CLASSES)
    assert np.array_equal(bank.read(bank.entries(0)[0]).image, pixels("cat/a")[1:7, 1:5])
    before = stamps(folder)
    make(options, label_dir=None, published=str(published))
    assert stamps(folder) == before
    with pytest.raises(UserError, match=r"published_bgr: was False, is True"):
        make(options, label_dir=None, published=str(published), published_bgr=True)


def test_a_bank_goes_to_the_published_form_and_back(options, published, tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "PROJECT_ROOT", tmp_path)
    folder = make(options, label_dir=None, published=str(published), out=None)
    exported = make(options, label_dir=None, out=None, to="published")
    assert exported == folder.with_name(f"{folder.name}_published")
    assert sorted(path.name for path in exported.iterdir()) == ["0", "seg_fg_dirs.npy"]
    again = make(options, label_dir=None, published=str(exported), out=str(tmp_path / "again"))
    assert read_index(again) == read_index(folder)


def test_a_missing_bank_names_the_published_one_in_its_place(tmp_path):
    (tmp_path / "sem_seg_fg").mkdir()
    (tmp_path / "sem_seg_fg" / "seg_fg_dirs.npy").touch()
    with pytest.raises(UserError) as raised:
        ForegroundBank.open(tmp_path / "sem_seg_fg" / "exp", CLASSES)
    assert f"--published={tmp_path / 'sem_seg_fg'}" in raised.value.remedy


def test_file_that_fits_nothing_leaves_the_import_unfinished(options, published):
    write_npy_dict(published / "cat" / "b.npy", {"img": np.zeros((2, 2, 3), np.uint8), "seg": np.zeros((2, 2))})
    with pytest.raises(UserError, match=r"cat/b\.npy: seg: .*0"):
        make(options, label_dir=None, published=str(published))
    with pytest.raises(UserError, match=r"index\.csv"):
        ForegroundBank.open(Path(options.out), CLASSES)


def test_import_needs_the_classes_of_a_data_set(options, published):
    with pytest.raises(UserError, match=r"--published: .*--dataset"):
        make(options, label_dir=None, dataset=None, published=str(published))


@pytest.mark.parametrize(
    "flags",
    [
        ["--min_area=0.7", "--max_area=0.2"],
        ["--min_agreement=2"],
        ["--min_side=0"],
        ["--published=x", "--label_dir=y"],
        ["--published_bgr"],
    ],
)
def test_options_that_contradict_are_refused(flags, capsys):
    with pytest.raises(SystemExit):
        parse_options(ForegroundOptions, flags)
    message = capsys.readouterr().err
    assert [flag for flag in flags if flag.split("=")[0] not in message] == []


@pytest.mark.slow
def test_script_runs_by_path_from_any_folder(options, tmp_path):
    given = {key: value for key, value in vars(options).items() if value != getattr(ForegroundOptions(), key)}
    command = [sys.executable, PROJECT_ROOT / "scripts" / "build_foregrounds.py"]
    command += [f"--{key}={value}" for key, value in given.items()] + ["--num_workers=2"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert files(tmp_path / "bank") == CHOSEN
