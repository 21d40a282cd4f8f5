"""Remedies are valid: every option, command and setting named in an error exists."""

import ast
import re

import pytest

from deeplabv2.main import COMMANDS
from deeplabv2.settings import Settings
from deeplabv2.step_settings import ArchiveSettings, ExportSettings, PredictSettings, StepSettings, TrainSettings
from utils.config.fields import option_fields
from utils.config.options import CamOptions, DrawOptions, ForegroundOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.options.benchmark import BenchmarkOptions
from utils.config.options.draw import StripOptions
from utils.config.options.foregrounds import DrawPastesOptions
from utils.config.options.labels import ExportLabelsOptions, ImportLabelsOptions
from utils.config.options.own import AnnotateOptions, JudgeLabelsOptions
from utils.config.options.prepare import (
    CheckOptions,
    DemoDataOptions,
    ExportPhotographsOptions,
    PrepareCocoOptions,
    PrepareOwnOptions,
    PrepareVocOptions,
    SaliencyOptions,
    SegmentOptions,
)
from utils.config.options.score import ShowOptions
from utils.config.options.weights import ConvertOptions
from utils.config.published_flags import FLAGS_OF
from utils.files.locate import DEEPLAB_ROOT, PROJECT_ROOT

SEGMENTATION = (Settings, TrainSettings, StepSettings, PredictSettings, ExportSettings, ArchiveSettings)
# program -> the options of its commands
PROGRAMS = {
    "train_l2g.py": (TrainOptions,),
    "test_l2g.py": (CamOptions,),
    "gen_gt.py": (LabelOptions,),
    "evaluate.py": (ScoreOptions,),
    "res.py": (DrawOptions,),
    "main.py": SEGMENTATION,
    "eval.py": (ArchiveSettings,),
    "scripts/benchmark": (BenchmarkOptions,),
    "scripts/build_foregrounds.py": (ForegroundOptions,),
    "scripts/check_data.py": (CheckOptions,),
    "scripts/choose_to_annotate.py": (AnnotateOptions,),
    "scripts/convert_weights.py": (ConvertOptions,),
    "scripts/draw_pastes.py": (DrawPastesOptions,),
    "scripts/draw_strip.py": (StripOptions,),
    "scripts/export_labels.py": (ExportLabelsOptions,),
    "scripts/export_photographs.py": (ExportPhotographsOptions,),
    "scripts/import_labels.py": (ImportLabelsOptions,),
    "scripts/judge_labels.py": (JudgeLabelsOptions,),
    "scripts/make_demo_data.py": (DemoDataOptions,),
    "scripts/make_saliency.py": (SaliencyOptions,),
    "scripts/make_segments.py": (SegmentOptions,),
    "scripts/prepare_coco.py": (PrepareCocoOptions,),
    "scripts/prepare_own.py": (PrepareOwnOptions,),
    "scripts/prepare_voc.py": (PrepareVocOptions,),
    "scripts/show_scores.py": (ShowOptions,),
}
# modules of a single program -> its options; other modules may name any program's options
OWN = {
    "scripts/train.py": (TrainOptions,),
    "scripts/make_cams.py": (CamOptions,),
    "scripts/make_labels.py": (LabelOptions,),
    "scripts/score_cams.py": (ScoreOptions,),
    "scripts/draw_cams.py": (DrawOptions,),
    "deeplabv2/train.py": (Settings,),
    "deeplabv2/test.py": (StepSettings,),
    "deeplabv2/predict.py": (PredictSettings,),
    "deeplabv2/archive.py": (ArchiveSettings,),
    "deeplabv2/export.py": (ExportSettings,),
} | {name: options for name, options in PROGRAMS.items() if name.startswith("scripts/") and name.endswith(".py")}
EVERY_PROGRAM = {"config", "debug", "help", "print_config"}
# of other programs: torchrun
FOREIGN = {"nproc_per_node", "shm"}  # torchrun's; docker's --shm-size, up to its hyphen


def is_error(node):
    """Return whether a call creates an error that users see."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.endswith(("Error", "refusal")) or name == "exit"


def texts(path):
    """Yield the texts of a file's errors and remedies (the joined constants of each expression) with their lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        found = []
        if isinstance(node, ast.Call) and is_error(node):
            found = [*node.args, *(keyword.value for keyword in node.keywords)]
        elif (isinstance(node, ast.keyword) and "remedy" in (node.arg or "")) or (
            isinstance(node, ast.Assign) and "remed" in ast.unparse(node.targets[0]).lower()
        ):
            found = [node.value]
        constants = [c.value for part in found for c in ast.walk(part) if isinstance(c, ast.Constant)]
        if text := " ".join(c for c in constants if isinstance(c, str)):
            yield node.lineno if hasattr(node, "lineno") else 0, text


FILES = [
    path
    for folder in ("utils", "scripts", "deeplabv2")
    for path in sorted((PROJECT_ROOT / folder).rglob("*.py"))
    if "data" not in path.relative_to(PROJECT_ROOT).parts[1:-1] or folder == "utils"
]
ADVICE = [(str(path.relative_to(PROJECT_ROOT)), line, text) for path in FILES for line, text in texts(path)]


def names_of(options_classes):
    return {name for options in options_classes for name in option_fields(options)}


def named_programs(text):
    return [name for name in PROGRAMS if re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", text)]


def test_there_is_advice():
    assert len(ADVICE) > 100


@pytest.mark.parametrize("file", sorted({file for file, _, _ in ADVICE}))
def test_every_option_of_a_message_exists(file):
    own = names_of(OWN.get(file) or (options for all_of in PROGRAMS.values() for options in all_of))
    published = {flag.name.removeprefix("--") for flags in FLAGS_OF.values() for flag in flags}
    if file.startswith("utils/config/published"):
        own |= published  # here these are the given values
    wrong = []
    for other, line, text in ADVICE:
        if other == file:
            known = own | names_of(options for name in named_programs(text) for options in PROGRAMS[name])
            named = re.findall(r"(?<![\w-])--([A-Za-z_][\w.]*\w)", text)
            wrong += [f"{file}:{line}: --{name}" for name in named if name not in known | EVERY_PROGRAM | FOREIGN]
    assert wrong == []


def test_every_program_and_command_of_a_message_exists():
    wrong = []
    for file, line, text in ADVICE:
        programs = re.findall(r"(?<![\w.*/{])((?:scripts/|deeplabv2/)?\w+\.(?:py|sh))\b", text)
        missing = [
            name for name in programs if not any((root / name).is_file() for root in (PROJECT_ROOT, DEEPLAB_ROOT))
        ]
        wrong += [f"{file}:{line}: {name}" for name in missing]
        wrong += [f"{file}:{line}: {c}" for c in re.findall(r"main\.py ([a-z]+)", text) if c not in COMMANDS]
    assert wrong == []


def test_every_setting_of_a_message_exists():
    known = names_of(SEGMENTATION)
    groups = {name.split(".")[0] for name in known if "." in name}
    wrong = [
        f"{file}:{line}: {name}"
        for file, line, text in ADVICE
        for name in re.findall(r"\b[A-Z]+(?:\.[A-Z_]+)+\b", text)
        if name.split(".")[0] in groups and name not in known and not any(k.startswith(f"{name}.") for k in known)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise UserError("x", remedy=f"give --{name} or --out")', [" or --out"]),
        ('REMEDY = "run main.py train"', ["run main.py train"]),
        ('raise ValueError("give --epochs")', ["give --epochs"]),
        ('print("not advice: --x")', []),
    ],
)
def test_the_walk_sees_texts_of_every_form(source, found, tmp_path):
    (tmp_path / "a.py").write_text(source)
    assert all(any(part in text for _, text in texts(tmp_path / "a.py")) for part in found)
    assert bool(found) == bool(list(texts(tmp_path / "a.py")))
