from dataclasses import dataclass
from typing import Literal

import pytest
import yaml

from utils.config.fields import option_fields
from utils.config.options import CamOptions, DrawOptions, LabelOptions, ScoreOptions, TrainOptions
from utils.config.parser import load_options, parse_options, save_options
from utils.config.published_flags import Flag
from utils.config.valid import Positive
from utils.errors import UserError


@dataclass(frozen=True)
class Options:
    """An example."""

    lr: Positive = 0.1
    """Rate."""
    points: tuple[int, ...] = (5,)
    """Points."""
    kind: Literal["a", "b"] = "a"
    """Kind."""
    amp: Literal["off", "bf16"] | None = None
    """Precision."""
    word: str = "word"
    """Word."""
    folder: str | None = None
    """Folder."""
    fast: bool = False
    """Fast."""
    names: tuple[str, ...] | None = None
    """Names."""

    PUBLISHED = (Flag("--old_rate", "lr"), Flag("--old_points", "points"))


def refusal(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_options(Options, argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_flag_beats_file_beats_default(tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("lr: 0.2\nkind: b\n")
    assert parse_options(Options, []) == Options()
    assert parse_options(Options, [f"--config={preset}"]) == Options(lr=0.2, kind="b")
    assert parse_options(Options, [f"--config={preset}", "--lr=0.3"]) == Options(lr=0.3, kind="b")
    assert parse_options(Options, [], defaults={"lr": 0.4}) == Options(lr=0.4)


@pytest.mark.parametrize("argv", [["--fast"], ["--fast=true"], ["--fast", "--lr=0.1"]])
def test_bare_flag_means_true(argv):
    assert parse_options(Options, argv).fast is True


def test_published_names_and_lists_keep_working():
    assert parse_options(Options, ["--old_rate=0.5", "--old_points=5,10"]) == Options(lr=0.5, points=(5, 10))
    assert parse_options(Options, ["--points=[1,2]"]).points == (1, 2)


@pytest.mark.parametrize("argv", [["--names=new,2b"], ["--names", "new", "2b"], ["--names", "new,2b", "--fast"]])
def test_a_list_is_one_word_or_several(argv):
    assert parse_options(Options, argv).names == ("new", "2b")
    assert parse_options(Options, ["--old_points", "5", "10", "--fast"]) == Options(points=(5, 10), fast=True)


def test_an_optional_list_can_be_none_and_names_may_begin_with_an_n():
    assert parse_options(Options, ["--names=null"]).names is None
    assert parse_options(Options, ["--names=nothing,001"]).names == ("nothing", "001")


def test_unknown_option_is_answered_with_the_nearest_and_all(capsys):
    message = refusal(["--pointz=3"], capsys)
    assert "pointz" in message and "Did you mean: --points?" in message and "--folder" in message


@pytest.mark.parametrize("flag", ["--kind=c", "--lr=fast", "--lr=-1", "--amp=on"])
def test_an_invalid_value_is_named_with_its_option(flag, capsys):
    assert flag.split("=")[0] in refusal([flag], capsys)


@pytest.mark.parametrize(
    ("options", "flag", "expected"),
    [
        (LabelOptions, "--threshold=abc", "a number or null"),
        (LabelOptions, "--threshold=[1]", "a number or null"),
        (TrainOptions, "--frozen_stages=abc", "an integer or 'backbone'"),
        (TrainOptions, "--frozen_stages=1.5", "an integer or 'backbone'"),
    ],
)
def test_an_invalid_value_of_one_of_several_types_is_told_in_one_line(options, flag, expected, capsys):
    with pytest.raises(SystemExit):
        parse_options(options, ["--experiment_name=x", flag])
    first, *rest = capsys.readouterr().err.splitlines()
    option, value = flag.split("=")
    assert f"{option}: Expected {expected}. Got value: {value}" in first and rest == ["(--help explains each option)"]


@pytest.mark.parametrize("argv", [["--config"], ["--config="], ["--lr"], ["stray"]])
def test_what_is_no_flag_with_its_value_is_refused(argv, capsys):
    assert refusal(argv, capsys)


def test_a_list_may_be_empty_and_hold_any_letter():
    assert parse_options(Options, ["--points=", "--names=é,😀"]) == Options(points=(), names=("é", "😀"))


def test_options_are_not_completed(capsys):
    assert "--fold" in refusal(["--fold=x"], capsys)


def test_what_yaml_reads_as_false_counts_as_off(tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("amp: off\n")
    assert parse_options(Options, [f"--config={preset}"]).amp == "off"
    assert parse_options(Options, [f"--config={preset}", "--amp=null"]).amp is None


def test_print_config_shows_the_options_as_yaml(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_options(Options, ["--old_rate=0.5", "--print_config"])
    assert caught.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["lr"] == 0.5


def test_help_shows_groups_ranges_and_no_published_name(capsys):
    with pytest.raises(SystemExit) as caught:
        parse_options(TrainOptions, ["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    titles = ["Run:", "Data:", "Network:", "Local-to-global transfer:", "Copy-paste (CDA):", "Schedule:", "Machine:"]
    assert all(title in text for title in titles)
    assert option_fields(TrainOptions)["flip"].rule in text and "--kd_weights" not in text


def test_unknown_key_in_a_file_is_an_error(tmp_path, capsys):
    preset = tmp_path / "preset.yaml"
    preset.write_text("learning_rate: 0.2\n")
    assert "learning_rate" in refusal([f"--config={preset}"], capsys)


@pytest.mark.parametrize("options_class", [Options, TrainOptions, CamOptions, ScoreOptions, LabelOptions, DrawOptions])
def test_saved_options_are_read_back(tmp_path, options_class):
    path = tmp_path / "exp" / "config.yaml"
    save_options(options_class(), path)
    assert load_options(options_class, path) == options_class()


def test_changed_options_are_read_back(tmp_path):
    options = Options(lr=3e-5, points=(1, 2), kind="b", folder="some where", fast=True)
    save_options(options, tmp_path / "config.yaml")
    assert load_options(Options, tmp_path / "config.yaml") == options


ODD = [
    "1e5", "123e4567", "12e3", "null", "~", "", "on", "off", "yes", "true", "0x1F", "0o7", "1_000", ".5", "1.", "nan",
    "*a", "&a", "{x}", "[1]", "#x", "a #b", "- a", "a: b", "'q'", '"q"', " a ", "a\nb", "é", "2020-01-01", "1:20",
    "!!int 3", "|", ">", "%", "@", "`", "?", "=", "<<", "-", "--", "---", "a,b", "None", "\t", "\\",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=repr)
def test_any_text_is_read_back_as_it_is(tmp_path, text):
    options = Options(word=text, folder=text, names=(text, "b", text))
    save_options(options, tmp_path / "config.yaml")
    assert load_options(Options, tmp_path / "config.yaml") == options


@pytest.mark.parametrize("text", [text for text in ODD if text not in ("null", "--")], ids=repr)
def test_any_text_of_a_flag_is_taken_as_it_is(text):
    options = parse_options(Options, [f"--word={text}", f"--folder={text}"])
    assert (options.word, options.folder) == (text, text)


def test_a_file_that_is_not_text_is_named(tmp_path, capsys):
    (tmp_path / "options.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SystemExit):
        parse_options(Options, [f"--config={tmp_path / 'options.yaml'}"])
    assert str(tmp_path / "options.yaml") in capsys.readouterr().err


def test_missing_run_is_named_with_the_remedy(tmp_path):
    with pytest.raises(UserError, match=r"train_l2g\.py --experiment_name exp"):
        load_options(Options, tmp_path / "exp" / "config.yaml")
