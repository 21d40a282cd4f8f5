"""README and docs are correct: programs, options and link targets exist."""

import re
import shlex
from pathlib import Path

import pytest

from deeplabv2.archive import ArchiveSettings
from deeplabv2.inference import StepSettings
from deeplabv2.predict import PredictSettings
from deeplabv2.settings import Settings
from deeplabv2.step_settings import CamSettings, ExportSettings, TrainSettings
from scripts.benchmark.__main__ import BenchmarkOptions
from scripts.check_data import CheckOptions
from scripts.choose_to_annotate import AnnotateOptions
from scripts.convert_weights import ConvertOptions
from scripts.draw_pastes import DrawPastesOptions
from scripts.export_labels import ExportLabelsOptions
from scripts.import_labels import ImportLabelsOptions
from scripts.judge_labels import JudgeLabelsOptions
from scripts.make_saliency import SaliencyOptions
from scripts.make_segments import SegmentOptions
from scripts.prepare_coco import PrepareCocoOptions
from scripts.prepare_own import PrepareOwnOptions
from scripts.prepare_voc import PrepareVocOptions
from utils.config.fields import option_fields
from utils.config.options import CamOptions, DrawOptions, ForegroundOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.options.cams import MeanCamsOptions
from utils.config.parser import parse_options
from utils.config.published_flags import FLAGS_OF
from utils.files.locate import DEEPLAB_ROOT, PROJECT_ROOT

PAGES = [PROJECT_ROOT / "README.md", PROJECT_ROOT / "CONTRIBUTING.md", *sorted((PROJECT_ROOT / "docs").glob("*.md"))]
OPTIONS = {
    "train_l2g.py": TrainOptions,
    "test_l2g.py": CamOptions,
    "evaluate.py": ScoreOptions,
    "gen_gt.py": LabelOptions,
    "res.py": DrawOptions,
    "scripts/benchmark": BenchmarkOptions,
    "scripts/build_foregrounds.py": ForegroundOptions,
    "scripts/choose_to_annotate.py": AnnotateOptions,
    "scripts/convert_weights.py": ConvertOptions,
    "scripts/draw_pastes.py": DrawPastesOptions,
    "scripts/export_labels.py": ExportLabelsOptions,
    "scripts/import_labels.py": ImportLabelsOptions,
    "scripts/judge_labels.py": JudgeLabelsOptions,
    "scripts/mean_cams.py": MeanCamsOptions,
    "scripts/prepare_voc.py": PrepareVocOptions,
    "scripts/prepare_coco.py": PrepareCocoOptions,
    "scripts/prepare_own.py": PrepareOwnOptions,
    "scripts/make_saliency.py": SaliencyOptions,
    "scripts/make_segments.py": SegmentOptions,
    "scripts/check_data.py": CheckOptions,
    "deeplabv2/eval.py": ArchiveSettings,
}
# commands of the segmentation trainer contain a step
STEPS = {
    "train": TrainSettings,
    "test": StepSettings,
    "crf": StepSettings,
    "predict": PredictSettings,
    "export": ExportSettings,
    "cams": CamSettings,
}
# options of pip, torchrun and test.sh, and those of every program
OTHER_FLAGS = {
    "help",
    "print_config",
    "debug",
    "nproc_per_node",
    "nnodes",
    "node_rank",
    "master_addr",
    "master_port",
    "flag",
    "fast",
    "only",  # of python3 -m tests.stress
    "list",
    "kills",
    "patience",
    "keep",
    "report",
    "config",
    "config_path",
}
# pages and their maximal number of lines
LONGEST = {"README.md": 150, "CONTRIBUTING.md": 70}


def short(page: Path) -> str:
    return str(page.relative_to(PROJECT_ROOT))


def prose(page: Path) -> str:
    """Read a page without the generated table of published flags, which has its own tests."""
    return re.sub(r"<!-- flags: .*?<!-- end of flags -->", "", page.read_text(), flags=re.DOTALL)


def commands() -> list[tuple[str, ...]]:
    """Yield every command in the pages' shell blocks and inline code, split into words, without comments."""
    found = {}
    for page in PAGES:
        text = prose(page)
        blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
        lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += [
            " ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
        ]
        for line in lines:
            if re.match(r"(\w+=\S* )?(bash|python3) |[\w/]+\.py ", line) and "FILE" not in line:
                words = tuple(shlex.split(line, comments=True))
                found[words] = short(page)
    assert len(found) > 40
    return list(found)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_names_a_program_and_options_that_exist(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    program = next(word for word in words if word.endswith((".py", ".sh")) or word in OPTIONS)
    flags = list(words[words.index(program) + 1 :])
    if program in ("main.py", "eval.py"):  # after `cd deeplabv2`
        program = f"deeplabv2/{program}"
        monkeypatch.chdir(DEEPLAB_ROOT)
    else:
        monkeypatch.chdir(PROJECT_ROOT)
    assert (PROJECT_ROOT / program).exists()
    if not flags or not any(flag.startswith("-") for flag in flags) or "--help" in flags:
        return
    if program == "deeplabv2/main.py":
        parse_options(STEPS[flags[0]], flags[1:], search_dirs=(DEEPLAB_ROOT,))
    elif program in OPTIONS:
        parse_options(OPTIONS[program], flags, search_dirs=(DEEPLAB_ROOT,))


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_lead_to_files_and_headings(page: Path):
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        if heading:
            assert heading in anchors(file), target


def anchors(page: Path) -> set[str]:
    """Return the headings of a page as GitHub's link anchors."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_every_option_named_is_one(page: Path):
    classes = (*OPTIONS.values(), Settings, TrainSettings, StepSettings, PredictSettings, CamSettings, ArchiveSettings)
    classes += (ExportSettings,)
    known = {field for options in classes for field in option_fields(options)} | OTHER_FLAGS
    known |= {row.name.lstrip("-") for rows in FLAGS_OF.values() for row in rows}
    named = set(re.findall(r"(?<![\w-])--([a-z_-]+)\b", prose(page)))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_presets_and_programs_named_on_a_page_exist(page: Path):
    for name in re.findall(
        r"(?<![\w/])((?:deeplabv2/)?configs/\w+\.yaml|(?:scripts|tests|utils|models)/[\w/]+\.\w+)", prose(page)
    ):
        if "NAME" not in name:
            assert (PROJECT_ROOT / name).is_file() or (DEEPLAB_ROOT / name).is_file(), name


def test_the_front_door_stays_short():
    for name, lines in LONGEST.items():
        assert len((PROJECT_ROOT / name).read_text().splitlines()) <= lines


def test_every_page_is_linked_from_the_readme_or_its_pages():
    linked = {
        (page.parent / target.split("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    }
    assert {page for page in PAGES if page.name != "README.md"} <= linked


def test_every_bibtex_entry_is_complete_and_in_the_table_of_methods():
    text = (PROJECT_ROOT / "docs" / "citation.md").read_text()
    entries = re.findall(r"@\w+\{(\w+),(.*?)\n\}", text, flags=re.DOTALL)
    assert len(entries) > 10
    for key, body in entries:
        assert text.count(f"`{key}`") >= 1, key
        assert {"title", "author", "year"} <= set(re.findall(r"^ +(\w+) +=", body, flags=re.MULTILINE)), key
        assert body.count("{") == body.count("}"), key
    assert set(re.findall(r"`([a-z0-9]+\d{4}\w+)`", text)) == {key for key, _ in entries}


# use instead: dataset, an RGB image, valid values, resumes, reports, missing, permanently
NOT_ENGLISH = r"data set|\ba RGB\b|\blegal\b|\bgo(es)? on\b|there already|is no file|\black(s|ing)?\b|for ever\b|nobody"


def test_pages_and_help_keep_to_plain_technical_english():
    texts = {short(page): prose(page) for page in PAGES}
    for options in (*OPTIONS.values(), TrainSettings, StepSettings, PredictSettings):
        texts |= {f"--{name}": option.help for name, option in option_fields(options).items()}
    found = {name: hit.group() for name, text in texts.items() if (hit := re.search(NOT_ENGLISH, text, re.IGNORECASE))}
    assert found == {}
