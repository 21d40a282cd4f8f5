"""Command lines of the published programs are parsed here with the same meaning."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from deeplabv2.settings import Settings
from deeplabv2.step_settings import ArchiveSettings, PredictSettings, StepSettings
from utils.config.fields import option_fields
from utils.config.options import CamOptions, DrawOptions, ForegroundOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.options.prepare import CheckOptions
from utils.config.parser import parse_options, save_options
from utils.config.published_flags import FLAGS_OF, RULES
from utils.config.published_rules import FUNCTIONS
from utils.files.locate import DEEPLAB_ROOT, PROJECT_ROOT

PROGRAMS = {
    "train_l2g.py": TrainOptions,
    "test_l2g.py": CamOptions,
    "gen_gt.py": LabelOptions,
    "evaluate.py": ScoreOptions,
    "res.py": DrawOptions,
    "scripts/build_foregrounds.py": ForegroundOptions,
    "scripts/check_data.py": CheckOptions,
    "deeplabv2/main.py train": Settings,
    "deeplabv2/main.py test": StepSettings,
    "deeplabv2/main.py crf": StepSettings,
    "deeplabv2/main.py predict": PredictSettings,
    "deeplabv2/main.py test, crf": StepSettings,
    "deeplabv2/eval.py": ArchiveSettings,
}


def calls(name):
    """Program, flags, and the text after `=>`."""
    lines = (Path(__file__).parent / name).read_text().splitlines()
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            call, _, meaning = line.partition("=>")
            program, *flags = shlex.split(call)
            if program == "deeplabv2/main.py":
                program = f"{program} {flags.pop(0)}"
            found.append((program, flags, meaning.split()))
    return found


def parse(program, flags):
    return parse_options(PROGRAMS[program], flags, search_dirs=(DEEPLAB_ROOT,))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without runs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("program", "flags", "meaning"), calls("published_commands.txt"))
def test_a_published_command_means_what_it_meant(program, flags, meaning):
    options = parse(program, flags)
    for expected in meaning:
        name, _, value = expected.partition("=")
        found = getattr(options, name)
        wanted = type(found)(yaml.safe_load(value)) if isinstance(found, (tuple, int, float)) else value
        assert found == wanted, name


@pytest.mark.parametrize(("program", "flags", "meaning"), calls("contradictory_commands.txt"))
def test_a_command_that_contradicts_itself_is_refused_with_the_flag(program, flags, meaning, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(program, flags)
    assert caught.value.code == 2
    assert f"--{meaning[0]}" in capsys.readouterr().err


def test_print_config_shows_what_a_published_command_means(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("train_l2g.py", ["--snapshot_dir=./runs/exp_voc/model/", "--epoch=7", "--print_config"])
    assert caught.value.code == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["experiment_name"], shown["runs_dir"], shown["epochs"]) == ("exp_voc", "runs", 7)


@pytest.mark.parametrize("program", FLAGS_OF)
def test_every_flag_means_an_option_or_says_why_not(program):
    options = option_fields(PROGRAMS[program])
    for flag in FLAGS_OF[program]:
        assert flag.option in {"", "config", *options}, flag
        assert not flag.sets or flag.sets.partition("=")[0] in options, flag
        assert flag.meaning and flag.rule in {"", *FUNCTIONS}, flag
        # a flag of an option's name is that option
        assert flag.name.removeprefix("--") not in options or flag.name == f"--{flag.option}", flag
    assert set(RULES) == set(FUNCTIONS)


def test_the_docs_show_every_published_flag():
    page = (PROJECT_ROOT / "docs" / "voc.md").read_text()
    rows = re.findall(r"^\| `(.+?)` \| `(\S+?)` \| (.+?) \|$", page, flags=re.MULTILINE)
    assert rows == [(program, flag.name, flag.meaning) for program, flags in FLAGS_OF.items() for flag in flags]


def test_a_flag_that_decides_nothing_is_one_line(capsys):
    parse("train_l2g.py", ["--att_dir=x", "--warmup=500"])
    assert len(capsys.readouterr().err.splitlines()) == 2
    parse("train_l2g.py", ["--epoch=3"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("flag", ["--warm=3", "--thresh=0.3", "--mult", "--kd_weigh=3"])
def test_no_flag_is_completed(flag):
    for program in ("train_l2g.py", "test_l2g.py", "evaluate.py"):
        with pytest.raises(SystemExit) as caught:
            parse(program, [flag])
        assert caught.value.code == 2


def test_the_run_is_named_by_the_folder_behind_runs():
    options = parse("test_l2g.py", ["--restore_from=/data/runs/a/model/x.pth", "--save_dir=/data/runs/a/ms/attention"])
    assert (options.experiment_name, options.runs_dir, options.save_attention) == ("a", "/data/runs", True)
    options = parse("test_l2g.py", ["--restore_from=runs/a/model/x.pth", "--experiment_name=b"])
    assert (options.experiment_name, options.checkpoint) == ("b", "runs/a/model/x.pth")
    assert parse("test_l2g.py", ["--restore_from=weights/x.pth"]).experiment_name == CamOptions().experiment_name


@pytest.mark.parametrize(
    ("program", "flags", "named"),
    [
        ("test_l2g.py", ["--restore_from=runs/a/model/x.pth", "--save_dir=runs/b/ms/attention"], "--save_dir"),
        ("test_l2g.py", ["--restore_from=runs/a/model/x.pth", "--save_dir=runs/a/elsewhere"], "--save_attention"),
        ("test_l2g.py", ["--random_walk_dir_irn=/elsewhere"], "--save_irn"),
        ("evaluate.py", ["--max_th=high"], "--max_th"),
    ],
)
def test_flags_that_do_not_fit_are_refused(program, flags, named, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(program, flags)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_poly_optimizer_depends_on_the_dataset():
    assert parse("train_l2g.py", ["--dataset=pascal_voc", "--poly_optimizer"]).decay_epochs == ()
    coco = parse("train_l2g.py", ["--dataset=mscoco", "--poly_optimizer", "--momentum=0.5"])
    assert (coco.schedule, coco.poly_power, coco.momentum, coco.weight_decay) == ("poly", 0.7, 0.5, 0.0)
    assert parse("train_l2g.py", ["--poly_optimizer=False"]) == TrainOptions()


def test_switches_lists_and_empty_values():
    options = parse("train_l2g.py", ["--cda", "--resume=False", "--load_checkpoint=", "--decay_points", "5", "8"])
    assert (options.cda, options.resume, options.load_checkpoint) == ("cda+", False, None)
    assert options.decay_epochs == (5, 8)
    assert parse("train_l2g.py", ["--cda=cda"]).cda == "cda"
    settings = parse("deeplabv2/main.py crf", ["-j4", "--cpu"])
    assert (settings.num_workers, settings.SOLVER.DEVICE) == (4, "cpu")
    assert max(parse("evaluate.py", ["--mode", "rw", "--max_th", "0.5"]).thresholds) == 0.5


def test_the_dataset_of_the_run_beats_a_published_name(tmp_path, capsys):
    save_options(TrainOptions(dataset="data/voc12"), tmp_path / "runs" / "exp" / "config.yaml")
    flags = ["--pred_dir=runs/exp/ms/attention"]
    assert parse("gen_gt.py", [*flags, "--dataset=mscoco"]).dataset is None
    assert "--dataset=mscoco" in capsys.readouterr().err
    assert parse("gen_gt.py", [*flags, "--dataset=pascal_voc"]).dataset == "pascal_voc"
    assert parse("test_l2g.py", ["--restore_from=runs/exp/model/x.pth", "--num_classes=20"]).dataset is None
    with pytest.raises(SystemExit):
        parse("test_l2g.py", ["--restore_from=runs/exp/model/x.pth", "--num_classes=80"])
