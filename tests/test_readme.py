"""The README is true: its commands name programs and options that there are, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from deeplabv2.archive import ArchiveSettings
from deeplabv2.inference import StepSettings
from deeplabv2.predict import PredictSettings
from deeplabv2.settings import Settings
from scripts.benchmark.__main__ import BenchmarkOptions
from scripts.check_data import CheckOptions
from scripts.draw_pastes import DrawPastesOptions
from scripts.make_saliency import SaliencyOptions
from scripts.prepare_coco import PrepareCocoOptions
from scripts.prepare_own import PrepareOwnOptions
from scripts.prepare_voc import PrepareVocOptions
from utils.config.fields import option_fields
from utils.config.options import CamOptions, DrawOptions, ForegroundOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import parse_options
from utils.files.locate import DEEPLAB_ROOT, PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text()
OPTIONS = {
    "train_l2g.py": TrainOptions,
    "test_l2g.py": CamOptions,
    "evaluate.py": ScoreOptions,
    "gen_gt.py": LabelOptions,
    "res.py": DrawOptions,
    "scripts/benchmark": BenchmarkOptions,
    "scripts/build_foregrounds.py": ForegroundOptions,
    "scripts/draw_pastes.py": DrawPastesOptions,
    "scripts/prepare_voc.py": PrepareVocOptions,
    "scripts/prepare_coco.py": PrepareCocoOptions,
    "scripts/prepare_own.py": PrepareOwnOptions,
    "scripts/make_saliency.py": SaliencyOptions,
    "scripts/check_data.py": CheckOptions,
    "deeplabv2/eval.py": ArchiveSettings,
}
# the segmentation trainer's commands are given in its folder, and name a step
STEPS = {"train": Settings, "test": StepSettings, "crf": StepSettings, "predict": PredictSettings}


def commands() -> list[list[str]]:
    """Every command of the README's shell blocks and inline code, split into words, comments dropped."""
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", README)
    words = [
        shlex.split(line, comments=True) for line in lines if re.match(r"(\w+=\S+ )?(bash|python3) |\w+\.py ", line)
    ]
    assert len(words) > 10
    return words


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_names_a_program_and_options_that_there_are(words: list[str], monkeypatch: pytest.MonkeyPatch):
    program = next(word for word in words if word.endswith((".py", ".sh")) or word in OPTIONS)
    flags = words[words.index(program) + 1 :]
    if program in ("main.py", "eval.py"):  # after `cd deeplabv2`
        program = f"deeplabv2/{program}"
        monkeypatch.chdir(DEEPLAB_ROOT)
    assert (PROJECT_ROOT / program).exists()
    if program == "deeplabv2/main.py":
        parse_options(STEPS[flags[0]], flags[1:], places=(DEEPLAB_ROOT,))
    elif program in OPTIONS and "--help" not in flags:
        parse_options(OPTIONS[program], flags, places=(DEEPLAB_ROOT,))


def test_links_and_pictures_lead_to_files():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (PROJECT_ROOT / target).is_file(), target


def test_every_option_named_in_the_table_is_one():
    known = (
        {f for options in OPTIONS.values() for f in options.__dataclass_fields__}
        | {
            "help",
            "print_config",
            "debug",
            "nproc_per_node",
            "flag",
            "fast",
            "config",
            "config_path",
        }
        | {f for options in (Settings, PredictSettings, ArchiveSettings) for f in option_fields(options)}
    )
    named = set(re.findall(r"--([a-z_]+)", README))
    assert named <= known


def test_no_number_is_left_to_fill_in():
    assert not re.search(r"[A-Z]+_(HERE|MINUTES)", README)


def test_presets_named_in_the_readme_exist():
    for name in re.findall(r"configs/(\w+\.yaml)", README):
        assert (Path(PROJECT_ROOT) / "configs" / name).is_file()
