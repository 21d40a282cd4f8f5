"""Where an input is: from the current folder, or the project's."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DEEPLAB_ROOT = PROJECT_ROOT / "deeplabv2"


def existing_path(path: str | Path, what: str, *, places: Sequence[Path] = ()) -> Path:
    """An input path as the user means it: absolute, else from the current folder, `places`, the project's folder.

    Raises FileNotFoundError naming every place looked at.
    """
    path = Path(path).expanduser()
    candidates = [path] if path.is_absolute() else [place / path for place in (Path.cwd(), *places, PROJECT_ROOT)]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    places = " nor ".join(str(c) for c in dict.fromkeys(candidates))
    raise FileNotFoundError(f"{what}: {places} does not exist")


def weights_path(
    value: str,
    what: str = "--init_weights (ImageNet weights of the backbone: see README)",
    *,
    places: Sequence[Path] = (),
) -> Path:
    """The file that an option names: a path, or `package:NAME` for the one .pth or .safetensors in a package.

    `what` is the option, for messages. Raises FileNotFoundError with the remedy.
    """
    package = value.removeprefix("package:")
    if package == value:
        return existing_path(value, what, places=places)
    option = f"{what.split()[0]}={value}"
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"{option}: run `pip install {package.replace('_', '-')}` first")
    folder = Path(found.submodule_search_locations[0])
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".pth", ".safetensors"))
    if len(files) != 1:
        raise FileNotFoundError(f"{option}: {folder} holds {len(files)} weight files: name one by its path")
    return files[0]
