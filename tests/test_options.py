"""Options: presets state differences, flags override presets, published names are understood."""

import re

import pytest

from deeplabv2.settings import Settings
from deeplabv2.step_settings import (
    ArchiveSettings,
    CamSettings,
    ExportSettings,
    PredictSettings,
    StepSettings,
    TrainSettings,
)
from utils.config.fields import option_fields
from utils.config.options import CamOptions, DrawOptions, ForegroundOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.options.benchmark import BenchmarkOptions
from utils.config.options.foregrounds import DrawPastesOptions
from utils.config.options.labels import ExportLabelsOptions, ImportLabelsOptions
from utils.config.options.own import AnnotateOptions, JudgeLabelsOptions, JudgeOptions
from utils.config.options.prepare import (
    CheckOptions,
    DemoDataOptions,
    PrepareCocoOptions,
    PrepareOwnOptions,
    PrepareVocOptions,
    SaliencyOptions,
    SegmentOptions,
)
from utils.config.options.score import ShowOptions
from utils.config.options.weights import ConvertOptions
from utils.config.parser import load_options, parse_options, save_options
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT


def test_a_flag_wins_over_the_preset_and_the_preset_over_the_default():
    preset = f"--config={PROJECT_ROOT}/configs/voc_light.yaml"
    assert parse_options(TrainOptions, []).batch_size == 3
    assert parse_options(TrainOptions, [preset]).batch_size == 8
    assert parse_options(TrainOptions, [preset, "--batch_size=2"]).batch_size == 2


def test_the_published_evaluation_flags_are_understood():
    options = parse_options(ScoreOptions, ["--list=train.txt", "--gt_dir=masks", "--predict_dir=cams", "--type=npy"])
    assert (options.mask_list, options.mask_dir, options.pred_dir, options.mode) == (
        "train.txt",
        "masks",
        "cams",
        "npy",
    )
    assert parse_options(CamOptions, ["--restore_from=a.pth"]).checkpoint == "a.pth"
    assert parse_options(LabelOptions, ["--thr=0.35"]).threshold == 0.35


def test_what_a_run_was_trained_with_reads_back_the_same(tmp_path):
    given = parse_options(TrainOptions, ["--resume", "--mean=0.1,0.2,0.3", "--decay_points=5,10", "--sal_dir=none"])
    save_options(given, tmp_path / "config.yaml")
    assert load_options(TrainOptions, tmp_path / "config.yaml") == given


@pytest.mark.parametrize(
    ("options_class", "flag"),
    [
        (TrainOptions, "--crop_size=500"),
        (TrainOptions, "--crop_size=-8"),
        (TrainOptions, "--kd_weight=0"),
        (TrainOptions, "--kd_weight=-1"),
        (TrainOptions, "--kd_weight=nan"),
        (TrainOptions, "--num_patches=3"),
        (TrainOptions, "--local_passes=4"),
        (TrainOptions, "--num_patches=100000"),
        (TrainOptions, "--epochs=0"),
        (TrainOptions, "--kd_loss=l1"),
        (TrainOptions, "--log_every=0"),
        (TrainOptions, "--seed=-1"),
        (TrainOptions, "--flip=2"),
        (TrainOptions, "--num_workers=-1"),
        (TrainOptions, "--width=0"),
        (TrainOptions, "--cam_scales=0"),
        (TrainOptions, "--suppression_stages=1"),
        (CamOptions, "--scales=0"),
        (CamOptions, "--scales=[]"),
        (CamOptions, "--base_size=-1"),
        (LabelOptions, "--threshold=1.5"),
        (ScoreOptions, "--thresholds=0.1,2"),
    ],
)
def test_an_invalid_value_is_refused_with_its_option(options_class, flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_options(options_class, [flag])
    assert stopped.value.code == 2
    assert flag.split("=")[0] in capsys.readouterr().err


def test_several_passes_need_fixed_batch_norms():
    with pytest.raises(UserError, match="all patches at once"):
        TrainOptions(local_passes=2, freeze_batch_norm=False)


def test_a_constant_may_stand_in_the_options_of_an_older_run(tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.write_text("epochs: 3\ndecay_factor: 0.1\nlocal_cls_weight: 1.0\n")
    assert load_options(TrainOptions, path) == TrainOptions(epochs=3)
    path.write_text("decay_factor: 0.5\n")
    with pytest.raises(SystemExit):
        load_options(TrainOptions, path)
    assert "--decay_factor" in capsys.readouterr().err


def test_a_mistyped_option_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_options(TrainOptions, ["--bach_size=3"])
    assert stopped.value.code == 2
    assert "--batch_size" in capsys.readouterr().err.split("Options:")[0]


# keys of published files without effect, and one with a single valid value
WITHOUT_RANGE = {"IMAGE.SIZE.TEST", "DATASET.IGNORE_LABEL"}


@pytest.mark.parametrize(
    "options_class",
    [
        TrainOptions, CamOptions, ScoreOptions, LabelOptions, DrawOptions, ForegroundOptions, DrawPastesOptions,
        BenchmarkOptions, CheckOptions, DemoDataOptions, PrepareCocoOptions, PrepareOwnOptions, PrepareVocOptions,
        SaliencyOptions, SegmentOptions, ConvertOptions, ExportLabelsOptions, ImportLabelsOptions, ShowOptions,
        JudgeOptions, JudgeLabelsOptions, AnnotateOptions,
        Settings, TrainSettings, StepSettings, PredictSettings, CamSettings, ExportSettings, ArchiveSettings,
    ],
)  # fmt: skip
def test_every_option_is_explained_and_every_number_has_a_range_with_its_default(options_class):
    options = option_fields(options_class)
    assert [name for name, option in options.items() if not option.help] == []
    numbers = {name: option for name, option in options.items() if re.search(r"\b(int|float)\b", str(option.kind))}
    assert [name for name, option in numbers.items() if not option.rule and name not in WITHOUT_RANGE] == []
    assert [problem for option in numbers.values() for problem in option.check(option.default)] == []
