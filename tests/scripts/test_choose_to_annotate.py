"""The program that chooses photos to annotate, and the scores of the few masks drawn for them."""

import json

import numpy as np
import pytest

from scripts import score_cams
from scripts.choose_to_annotate import run
from tests.small_run import HEIGHT, make_small_run
from utils.config.options import ScoreOptions
from utils.config.options.own import AnnotateOptions
from utils.data.images import write_label_png
from utils.errors import UserError
from utils.runs.annotation_sample import AnnotationSample, ChosenPhoto, read_sample, write_sample
from utils.runs.label_judgement import Figures, LabelJudgement, PhotoFigures, write_label_judgement

NOTHING = Figures(0, None, None, None, None)


@pytest.fixture
def options(tmp_path):
    return {**make_small_run(tmp_path)}


def judged(tmp_path, count=9):
    made = tuple(PhotoFigures(f"p{n}", ("cat",), (), n / count, None, None) for n in range(count))
    write_label_judgement(tmp_path / "runs" / "exp", LabelJudgement({}, NOTHING, {}, made))


def test_photos_are_named_by_their_files_with_weights(options, tmp_path, capsys):
    judged(tmp_path)
    (tmp_path / "toy" / "names.csv").write_text("name,file\n" + "".join(f"p{n},album/{n} 1.jpg\n" for n in range(9)))
    path = run(AnnotateOptions(**options, number=6))
    printed = capsys.readouterr().out
    sample = read_sample(path.parent)
    assert sample is not None and len(sample.photos) == 6
    for photo in sample.photos:
        assert photo.file == f"album/{photo.name[1:]} 1.jpg" and photo.file in printed
    assert "6 of 9 photos" in printed and "weight 1.5" in printed and "2 dog" in printed


def test_an_earlier_choice_is_kept_unless_told_otherwise(options, tmp_path):
    judged(tmp_path)
    path = run(AnnotateOptions(**options, number=6))
    with pytest.raises(UserError, match="--overwrite"):
        run(AnnotateOptions(**options, number=7))
    run(AnnotateOptions(**options, number=7, overwrite=True))
    assert len(json.loads(path.read_text())["photos"]) == 7


def test_labels_are_judged_first(options):
    with pytest.raises(UserError, match=r"judge_labels\.py"):
        run(AnnotateOptions(**options))


def test_scores_of_the_chosen_photos_have_bars_and_stand_for_all(options, tmp_path, capsys):
    chosen = [ChosenPhoto(name, name, ("cat",), 0.5, stratum, 1.0) for stratum, name in enumerate("abc")]
    write_sample(tmp_path / "runs" / "exp", AnnotationSample(0, (10, 5, 1), tuple(chosen)))
    labels = {"a": [1, 1, 1, 0, 0, 0], "b": [1, 1, 1, 2, 2, 2], "c": [0, 0, 0, 0, 0, 2]}
    for name, row in labels.items():
        write_label_png(tmp_path / "labels" / f"{name}.png", np.tile(np.uint8(row), (HEIGHT, 1)))
    given = {**options, "num_workers": 1}
    found = json.loads(score_cams.run(ScoreOptions(**given, mode="png", pred_dir=str(tmp_path / "labels"))).read_text())
    assert found["error_bars"]["photos"] == 3
    low, high = found["error_bars"]["mean_iou"]
    assert low < found["mean_iou"] <= high == 1.0
    # a and b are right; c has five of six columns of its background, and a dog that is none
    assert found["estimate_of_all"]["photo_mean_iou"] == pytest.approx((10 + 5 + (20 / 24 + 0) / 2) / 16)
    assert found["estimate_of_all"]["pixel_accuracy"] == pytest.approx((10 + 5 + 20 / 24) / 16)
    cams = json.loads(score_cams.run(ScoreOptions(**given)).read_text())
    assert cams["error_bars"]["mean_iou"] == [1.0, 1.0] and cams["estimate_of_all"]["mean_iou"] == 1.0
    assert "estimate for all 16 photos" in capsys.readouterr().out


@pytest.mark.parametrize("value", ["x", -0.1, 1.5, float("nan"), [], {}])
@pytest.mark.parametrize("figure", ["saliency", "rounds", "network"])
def test_a_judgement_with_any_other_value_is_named(options, tmp_path, figure, value):
    judged(tmp_path)
    path = tmp_path / "runs" / "exp" / "label_judgement.json"
    content = json.loads(path.read_text())
    content["photos"][3][figure] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"label_judgement\.json"):
        run(AnnotateOptions(**options, number=6))


def test_a_judgement_of_other_classes_is_refused(options, tmp_path):
    judged(tmp_path)
    path = tmp_path / "runs" / "exp" / "label_judgement.json"
    path.write_text(path.read_text().replace('"cat"', '"zebra"'))
    with pytest.raises(UserError, match="zebra"):
        run(AnnotateOptions(**options, number=6))
