"""Options: presets state what differs, flags win over presets, the published names are understood."""

import pytest

from utils.config.options import CamOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import load_options, parse_options, save_options
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
    ("flag", "rule"),
    [
        ("--crop_size=500", "a patch fits into the crop"),
        ("--kd_weight=0", "would learn nothing"),
        ("--num_patches=3", "corner_patches takes four"),
        ("--epochs=0", "must be above 0"),
        ("--kd_loss=l1", "cross_entropy"),
        ("--bach_size=3", "Did you mean: --batch_size"),
    ],
)
def test_an_illegal_option_is_named_with_its_rule(flag, rule, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_options(TrainOptions, [flag])
    assert stopped.value.code == 2
    assert rule in capsys.readouterr().err
