"""Puts files into a dataset's folders, as links or copies."""

import filecmp
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import can_link, disk_errors, list_folder, make_folder, remove_file
from utils.files.parallel import parallel_map


def place(source: Path, target: Path, *, copy: bool) -> None:
    """Make `target` a link to `source` (a file or a folder), or a copy of a file. An existing target is kept.

    Raises UserError if `target` is something else.
    """
    if not is_free(source, target, copy=copy):
        return
    if copy or (source.is_file() and not can_link(target.parent)):
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
        return
    if not target.is_symlink():  # creating a link is atomic, so it needs no temporary name
        make_folder(target.parent)
        with disk_errors(target, "written"):
            target.symlink_to(source.resolve())
        return
    with atomic_path(target) as temporary:
        temporary.symlink_to(source.resolve())


def is_free(source: Path, target: Path, *, copy: bool) -> bool:
    """Return whether `target` must be made from `source`. Raises UserError if it is something else."""
    if target.is_symlink() and not target.exists():
        return True  # a broken link
    if not target.exists():
        return True
    if target.resolve() == source.resolve():
        return copy and target.is_symlink()
    if target.is_file() and source.is_file() and target.stat().st_size == source.stat().st_size:
        return not filecmp.cmp(source, target, shallow=False)  # an earlier copy; the source may have changed since
    raise UserError(f"already exists and is not {source}", target, remedy="move it away, or give another --out")


def link_all(sources: Mapping[Path, Path], *, copy: bool, num_workers: int, description: str) -> None:
    """Link or copy many files, target -> source, with a progress bar. Raises UserError before the first is written."""
    free = [(source, target) for target, source in sources.items() if is_free(source, target, copy=copy)]
    # creating links takes less time than starting processes
    for _ in parallel_map(
        partial(_place_pair, copy=copy), free, num_workers=num_workers if copy else 1, description=description
    ):
        pass


def _place_pair(pair: tuple[Path, Path], *, copy: bool) -> None:
    place(*pair, copy=copy)


def link_folder(source: Path, target: Path, *, copy: bool, num_workers: int) -> None:
    """Link a folder, or copy the missing files in it."""
    if not copy and can_link(target.parent):
        place(source, target, copy=False)
        return
    if target.is_symlink():
        remove_file(target)
    if not target.exists() or target.resolve() != source.resolve():
        files = {target / path.name: path for path in list_folder(source) if path.is_file()}
        link_all(files, copy=True, num_workers=num_workers, description=f"copying {source.name}")
