"""What one step hands to the next: changed class names, and folders that are source and result at once."""

import json

import numpy as np
import pytest

from scripts import export_labels, import_labels, judge_labels, make_segments, score_cams
from tests.small_run import HEIGHT, WIDTH, make_small_run
from utils.config.options import ScoreOptions
from utils.config.options.labels import ExportLabelsOptions, ImportLabelsOptions
from utils.config.options.own import JudgeLabelsOptions
from utils.config.options.prepare import SegmentOptions
from utils.data.images import write_label_png
from utils.errors import UserError
from utils.runs.handing_on import check_stored_classes


@pytest.fixture
def run(tmp_path):
    """A run whose labels were made when the classes were dog and horse; options that name it."""
    options = make_small_run(tmp_path)
    for name in "abc":
        write_label_png(tmp_path / "labels" / f"{name}.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (tmp_path / "labels" / "label_settings.json").write_text(json.dumps({"classes": ["dog", "horse"]}))
    return tmp_path, options


@pytest.mark.parametrize(
    "step",
    [
        lambda folder, given: judge_labels.run(JudgeLabelsOptions(**given, label_dir=str(folder / "labels"))),
        lambda folder, given: score_cams.run(ScoreOptions(**given, mode="png", pred_dir=str(folder / "labels"))),
        lambda folder, given: export_labels.run(
            ExportLabelsOptions(**given, label_dir=str(folder / "labels"), out=str(folder / "out"))
        ),
    ],
)
def test_labels_of_other_classes_are_refused_by_every_step(run, step):
    folder, options = run
    with pytest.raises(UserError, match="dog, horse"):
        step(folder, {**options, "num_workers": 1})


@pytest.mark.parametrize("record", ["settings.json", "label_settings.json"])
def test_records_of_cams_and_of_labels_are_compared(tmp_path, record):
    (tmp_path / record).write_text(json.dumps({"classes": ["cat", "dog"]}))
    check_stored_classes(tmp_path, ["cat", "dog"])
    for classes in (["dog", "cat"], ["cat"], ["cat", "dog", "emu"]):
        with pytest.raises(UserError, match="cat, dog"):
            check_stored_classes(tmp_path, classes)
    (tmp_path / record).write_text("{}")
    check_stored_classes(tmp_path, ["anything"])


@pytest.mark.parametrize(
    "step",
    [
        lambda data, given: import_labels.run(ImportLabelsOptions(dataset=data, labels=given, out=given)),
        lambda data, given: make_segments.run(
            SegmentOptions(dataset=data, masks=given, out=f"{given}/", overwrite=True)
        ),
    ],
)
def test_results_never_replace_their_sources(run, step):
    folder, options = run
    (folder / "labels" / "label_settings.json").unlink()
    before = {path.name: path.read_bytes() for path in (folder / "labels").iterdir()}
    with pytest.raises(UserError, match="--out"):
        step(options["dataset"], str(folder / "labels"))
    assert {path.name: path.read_bytes() for path in (folder / "labels").iterdir()} == before


def test_an_export_into_the_folder_of_its_labels_is_refused(run):
    folder, options = run
    (folder / "labels" / "label_settings.json").unlink()
    given = {**options, "num_workers": 1, "label_dir": str(folder / "labels")}
    with pytest.raises(UserError, match="--label_dir"):
        export_labels.run(ExportLabelsOptions(**given, out=str(folder / "labels")))
