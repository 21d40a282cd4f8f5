"""The structure of the repository: allowed imports, forbidden content, and valid presets."""

import ast
import re
import sys
from pathlib import Path

import pytest

from utils.config.options import TrainOptions
from utils.config.parser import parse_options
from utils.files.locate import PROJECT_ROOT

ROOMS = ("models", "utils", "scripts", "deeplabv2")
# the packages and modules of utils by layer, lowest first: each may only import lower layers, and itself
FLOORS = (
    ("errors",),
    ("files", "fonts"),
    ("data", "runtime"),
    ("config",),  # above data: what --num_classes means depends on the dataset
    ("annotations", "cam", "copy_paste", "crf", "runs", "drawing", "plotting"),
    ("training", "l2g_samples", "metrics", "error_bars"),
    ("report",),
)
# helpers and the programs that may import them
OWN_ROOMS = {
    "prepare": ("prepare_voc", "prepare_coco", "prepare_own", "make_saliency", "make_segments"),
    "demo": ("make_demo_data",),
    "benchmark": (),
    "cam_outputs": ("make_cams",),
    "classifier_task": ("train",),
    "foreground_sheet": ("build_foregrounds",),
    "sheet_choice": ("draw_cams", "draw_strip"),
    "networks": ("train", "classifier_task", "make_cams", "fit_linear"),
    "fit_linear": ("train",),
}
MAY_IMPORT = {
    "entry points": {"scripts", "utils"},
    "scripts": {"scripts", "models", "utils"},
    "deeplabv2": {"deeplabv2", "models", "utils"},
    "models": {"models"},
    "utils": {"utils"},
}
LIBRARIES_OF_MODELS = {"torch", "torchvision", "timm"}
# the reader of published pickled files: it refuses anything but arrays, see tests/utils/files/test_npy_dict.py
READER_OF_ARRAYS = "utils/files/npy_dict.py"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PRESETS = sorted((PROJECT_ROOT / "configs").glob("*.yaml"))


def python_files(room):
    if room == "entry points":
        return sorted(PROJECT_ROOT.glob("*.py"))
    return sorted((PROJECT_ROOT / room).rglob("*.py"))


def sources(*suffixes):
    """Return every file of the project with these suffixes, except tests, data, runs, and hidden files."""
    folders = [PROJECT_ROOT / name for name in (*ROOMS, "configs")]
    files = [*PROJECT_ROOT.glob("*"), *(path for folder in folders for path in folder.rglob("*"))]
    files = [p for p in files if p.is_file() and p.suffix in suffixes]
    kept = [p for p in files if not {"data", "runs"} & set(p.relative_to(PROJECT_ROOT).parts[:-1])]
    assert kept
    return sorted(kept)


def imports(path):
    """Yield the full name of every imported module, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def short(path):
    return str(path.relative_to(PROJECT_ROOT))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_one_way_only(room):
    wrong = [
        f"{short(path)} imports {name}"
        for path in python_files(room)
        for name in imports(path)
        if (top := name.split(".")[0]) in (*ROOMS, "tests") and top not in MAY_IMPORT[room]
    ]
    assert wrong == []


def subject(module, room):
    """Return the subpackage of a module: cam for utils.cam.labels; None for modules of other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == room and len(parts) > 1 else None


def module_of(path):
    return ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts)


def test_every_subject_of_utils_has_a_floor():
    folder = PROJECT_ROOT / "utils"
    subjects = {p.stem for p in folder.iterdir() if (p.is_dir() and any(p.glob("*.py"))) or p.suffix == ".py"}
    assert subjects - {"__init__"} == {name for floor in FLOORS for name in floor}


def test_rooms_of_utils_import_downwards_only():
    floor_of = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    wrong = [
        f"{short(path)} imports {name}"
        for path in python_files("utils")
        if (own := subject(module_of(path), "utils")) and own != "__init__"
        for name in imports(path)
        if (other := subject(name, "utils")) and other != own and floor_of[other] >= floor_of[own]
    ]
    assert wrong == []


def test_scripts_import_no_script_but_their_own_helpers():
    wrong = [
        f"{short(path)} imports {name}"
        for path in python_files("scripts")
        for name in imports(path)
        if (other := subject(name, "scripts"))
        and other != (own := subject(module_of(path), "scripts"))
        and own not in OWN_ROOMS.get(other, ())
    ]
    assert wrong == []


def test_every_room_says_what_it_is_for():
    rooms = [path for room in ROOMS for path in (PROJECT_ROOT / room).rglob("__init__.py")]
    silent = [
        short(path)
        for path in rooms
        if path.parent.name not in ROOMS and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_the_walk_sees_imports_of_every_form(tmp_path):
    source = "import utils.cam\nfrom scripts import train as t\ndef f():\n    from models.l2g import L2G\n"
    (tmp_path / "a.py").write_text(source)
    assert list(imports(tmp_path / "a.py")) == [
        "utils.cam", "scripts", "scripts.train", "models.l2g", "models.l2g.L2G",
    ]  # fmt: skip


def test_models_need_torch_alone():
    legal = {*LIBRARIES_OF_MODELS, "models", *sys.stdlib_module_names}
    wrong = [f"{short(p)}: {n}" for p in python_files("models") for n in imports(p) if n.split(".")[0] not in legal]
    assert wrong == []


def test_entry_points_are_short_and_share_one_shape():
    for path in python_files("entry points"):
        text = path.read_text()
        assert len(text.splitlines()) <= 20, path
        assert 'if __name__ == "__main__":' in text and "main(" in text, path


@pytest.mark.parametrize("text", ["../shared", "/work/"])
def test_no_file_names_a_place_of_one_machine(text):
    assert [
        short(path) for path in sources(".py", ".sh", ".yaml", ".md", ".txt", ".toml") if text in path.read_text()
    ] == []


def test_no_exception_is_swallowed_without_a_name():
    bare = [
        f"{short(path)}:{node.lineno}"
        for path in sources(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def loads(path):
    """Yield calls of anything named load in a file, with their keywords."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}, node.lineno


def test_nothing_is_unpickled():
    wrong = [short(p) for p in sources(".py") if "pickle" in imports(p) and short(p) != READER_OF_ARRAYS]
    for path in sources(".py"):
        for function, keywords, line in loads(path):
            safe = {
                "np.load": keywords.get("allow_pickle", "False") == "False",
                "torch.load": keywords.get("weights_only") == "True",
            }.get(function, short(path) == READER_OF_ARRAYS or ("ickle" not in function and "yaml" not in function))
            wrong += [] if safe else [f"{short(path)}:{line}: {function}({keywords})"]
    assert wrong == []


def test_every_shell_script_stops_at_its_first_error():
    scripts = [path for path in sources(".sh") if path.read_text().startswith("#!")]
    assert scripts
    for path in scripts:
        lines = path.read_text().splitlines()
        assert lines[0] == "#!/usr/bin/env bash", path
        code = [line for line in lines if line and not line.startswith("#")]
        assert code[0] == "set -euo pipefail", path


def test_no_published_debugging_is_left():
    pattern = re.compile(r"\b(breakpoint\(|pdb\b|set_trace|import ipdb|set -x\b)")
    assert [short(path) for path in sources(".py", ".sh") if pattern.search(path.read_text())] == []


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_parse_and_differ_from_the_defaults(preset):
    assert parse_options(TrainOptions, [f"--config={preset}"]) != TrainOptions()


def preset_of(name):
    return parse_options(TrainOptions, [f"--config={PROJECT_ROOT / 'configs' / name}.yaml"])


def test_voc_preset_has_the_published_numbers():
    options = preset_of("voc12")
    assert (options.backbone, options.width, options.dropout) == ("resnet38", 1.0, (0.3, 0.5))
    assert (options.frozen_stages, options.freeze_batch_norm) == (2, True)
    assert (options.resize, options.resize_mode, options.input_size, options.crop_size) == (512, "short", 448, 320)
    assert (options.num_patches, options.corner_patches) == (6, True)
    assert (options.color_jitter, options.flip) == ((0.3, 0.3, 0.3, 0.1), 0.0)
    assert (options.bg_threshold, options.kd_weight, options.kd_loss) == (0.001, 10.0, "mse")
    assert (options.background_target, options.global_cls_weight) == ("network", 0.0)
    assert (options.lr, options.new_lr_factor, options.epochs) == (0.001, 10.0, 10)
    assert (options.schedule, options.decay_epochs) == ("step", (5,))
    assert options.batch_size * options.accumulate == 3
    assert (options.momentum, options.nesterov, options.weight_decay) == (0.9, True, 5e-4)
    assert (options.mean or IMAGENET[0], options.std or IMAGENET[1]) == IMAGENET


def test_coco_preset_has_the_published_numbers_without_the_slip():
    options = preset_of("coco14")
    assert (options.resize, options.resize_mode, options.input_size, options.crop_size) == (448, "square", 448, 320)
    assert options.resampling == "bilinear"
    assert options.num_patches - 4 * options.corner_patches == 4  # random ones
    assert (options.bg_threshold, options.kd_weight, options.background_target) == (0.1, 30.0, "activation")
    assert (options.lr, options.schedule, options.poly_power, options.epochs) == (0.1, "poly", 0.9, 15)
    assert options.warmup_steps == 500
    assert options.batch_size * options.accumulate == 12
    assert (options.momentum, options.weight_decay) == (0.9, 5e-4)
    assert (options.mean, options.std) == ((0.471, 0.448, 0.408), (0.234, 0.239, 0.242))


def test_the_published_coco_optimiser_is_a_preset():
    names = ("coco14", "coco14_published_optimiser")
    options = parse_options(TrainOptions, [f"--config={PROJECT_ROOT / 'configs' / name}.yaml" for name in names])
    assert (options.optimizer, options.momentum, options.nesterov, options.weight_decay) == ("sgd", 0.0005, False, 0.0)
    assert (options.lr, options.new_lr_factor, options.schedule) == (0.1, 10.0, "poly")
    assert (options.poly_power, options.warmup_steps) == (0.7, 0)


def test_every_name_in_tests_mirrors_a_file():
    """tests/utils/cam/test_labels.py is for utils/cam/labels.py; longer names may follow: test_train_distributed.py."""
    stray = []
    for path in Path(__file__).parent.glob("*/**/test_*.py"):
        folder = PROJECT_ROOT / path.parent.relative_to(Path(__file__).parent)
        known = {file.stem.strip("_") for file in folder.glob("*.py")} | {folder.name}
        if not any(path.stem.removeprefix("test_").startswith(name) for name in known):
            stray.append(short(path))
    assert stray == []
