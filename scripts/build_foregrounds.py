"""Build the foreground bank for copy-paste augmentation (CDA) from a run's labels, or import a published one.

python scripts/build_foregrounds.py --experiment_name EXP --preview
python scripts/build_foregrounds.py --published FOLDER --dataset data/voc12 --experiment_name EXP
python scripts/build_foregrounds.py --to published --dataset data/voc12 --experiment_name EXP
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.foregrounds import ForegroundOptions
    from utils.config.program import main

    main(ForegroundOptions, "scripts.build_foregrounds")

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numpy as np

from scripts.foreground_sheet import bank_sheet
from utils.config.options.foregrounds import ForegroundOptions
from utils.copy_paste.bank import (
    INDEX_FILE,
    SALIENT,
    SETTINGS_FILE,
    BankEntry,
    Foreground,
    ForegroundBank,
    entry_of,
    foreground_file,
    saliency_file,
    write_foreground,
    write_index,
)
from utils.copy_paste.published import export_bank, find_published, missing_from_listing, read_published
from utils.copy_paste.selection import Bounds, Candidate, Rejection, choose, cut_out, iou, judge
from utils.data.catalog import IGNORE_INDEX
from utils.data.dataset import Dataset
from utils.data.image_list import read_image_list
from utils.data.images import image_or_guess, open_header, read_gray, read_label, read_rgb, write_image
from utils.data.label_check import unknown_labels
from utils.errors import UserError
from utils.files.disk import remove_file
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, is_made_from
from utils.files.text import first_few
from utils.runs.handing_on import check_stored_classes
from utils.runs.inputs import Run, check_present, open_run
from utils.runs.paths import RunPaths, foreground_bank_dir, pseudo_label_dir

PREVIEW_FILE = "preview.jpg"


@dataclass(frozen=True)
class _Source:
    """The files of one image that may yield a foreground. tag: None if the list has none."""

    name: str
    tag: int | None
    label: Path
    image: Path
    saliency: Path | None


@dataclass(frozen=True)
class _Job:
    """A foreground to write: an object of an image, or (candidate None) a published file."""

    name: str
    tag: int
    class_name: str
    inputs: tuple[Path, ...]  # label, image and saliency if any; or the published file
    candidate: Candidate | None = None

    @property
    def file(self) -> str:
        """Its path in the bank."""
        return foreground_file(self.class_name, self.name)

    def is_made(self, folder: Path) -> bool:
        """Return whether the foreground exists and is up to date with its inputs."""
        return all(is_made_from(made, *self.inputs) for made in self.made(folder))

    def made(self, folder: Path) -> list[Path]:
        return [folder / self.file, folder / saliency_file(self.file)]


def run(options: ForegroundOptions) -> Path:
    """Write the missing foregrounds, then the index. Returns the bank's folder.

    Raises UserError, before anything is written, if files are missing or inconsistent, no object passes the limits, or
    the folder contains foregrounds of other settings.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    if options.published and options.dataset is None and not paths.config.is_file():
        raise UserError("the bank's classes are unknown", "--published", remedy="give its --dataset")
    trained = open_run(paths, options.dataset)
    data = trained.data
    if options.to == "published":
        return _export(options, data)
    folder = Path(options.out).absolute() if options.out else foreground_bank_dir(options.experiment_name)
    record = FolderSettings(folder / SETTINGS_FILE, "*/*.png", "foregrounds", "scripts/build_foregrounds.py", "--out")
    if options.published:
        settings, jobs = _published_jobs(existing_path(options.published, "--published"), data, options.published_bgr)
        record.check(settings, may_replace=options.overwrite)
    else:
        settings, sources, rejected = _sources(options, trained)
        record.check(settings, may_replace=options.overwrite)
        jobs = _survey(sources, rejected, options, data.classes)
    with hold(folder):
        _make_bank(folder, record, settings, jobs, options)
    bank = ForegroundBank.open(folder, data.classes)
    _report(bank, min_per_class=options.min_per_class)
    if options.preview:
        title = f"{folder.name}: {len(bank)} foregrounds of {len(bank.tags)} classes"
        write_image(folder / PREVIEW_FILE, bank_sheet(bank, title=title))
        print(folder / PREVIEW_FILE)
    return folder


def _export(options: ForegroundOptions, data: Dataset) -> Path:
    """Convert the experiment's finished bank to the published format. Returns the new folder."""
    source = foreground_bank_dir(options.experiment_name)
    folder = Path(options.out).absolute() if options.out else source.with_name(f"{source.name}_published")
    counts = export_bank(ForegroundBank.open(source, data.classes), folder, bgr=options.published_bgr)
    print(f"{sum(counts)} foregrounds written: {folder}")
    if empty := [name for name, count in zip(data.classes, counts, strict=True) if not count]:
        print(f"warning: no foregrounds of {', '.join(empty)}: the published training draws from every class")
    return folder


def _published_jobs(source: Path, data: Dataset, bgr: bool) -> tuple[dict[str, Any], list[_Job]]:
    files = find_published(source, data.classes)
    missing = missing_from_listing(source, [path for _, path in files])
    if missing:
        print(f"warning: {source} is missing {len(missing)} files of its own listing ({first_few(missing)})")
    jobs = [_Job(path.stem, tag, data.classes[tag], (path,)) for tag, path in files]
    settings = {"published": str(source), "published_bgr": bgr, "classes": list(data.classes)}
    return settings, jobs


def _sources(options: ForegroundOptions, trained: Run) -> tuple[dict[str, Any], list[_Source], Counter]:
    """Return the settings, the files of images with one tag or unknown tags, and counts of rejected images."""
    data, listing = trained.data, trained.train_list(options.train_list)
    image_dir, sal_dir = trained.image_dir(options.image_dir), trained.sal_dir(options.sal_dir)
    if options.label_dir is None:
        label_dir = pseudo_label_dir(data.name, options.experiment_name)
    else:
        label_dir = existing_path(options.label_dir, "--label_dir")
    check_stored_classes(label_dir, data.classes)
    entries = read_image_list(listing, len(data.classes))
    sources = [
        _Source(
            entry.name,
            entry.tags[0] if entry.tags else None,
            label_dir / f"{entry.name}.png",
            image_or_guess(image_dir, entry.name),
            image_or_guess(sal_dir, entry.name, suffix=".png") if sal_dir else None,
        )
        for entry in entries
        if len(entry.tags) < 2
    ]
    remedy = f"run gen_gt.py --experiment_name {options.experiment_name} first, or give --label_dir or --train_list"
    check_present([s.label for s in sources], "labels", remedy)
    check_present([s.image for s in sources], "images", f"check --image_dir and the list ({listing})")
    check_present([s.saliency for s in sources if s.saliency], "saliency maps", "or give --sal_dir=none")
    bounds = ("min_area", "max_area", "min_side", "min_agreement", "min_per_class")
    settings = {
        "labels": str(label_dir),
        "images": str(image_dir),
        "saliency": str(sal_dir) if sal_dir else None,
        "list": str(listing),
        "classes": list(data.classes),
        **{name: getattr(options, name) for name in bounds},
    }
    return settings, sources, Counter({Rejection.SEVERAL_TAGS: len(entries) - len(sources)})


def _survey(
    sources: Sequence[_Source], rejected: Counter, options: ForegroundOptions, classes: tuple[str, ...]
) -> list[_Job]:
    """Select the objects for the bank. Raises UserError with the number of rejections per reason if there are none."""
    look = partial(
        _judge_source,
        classes=classes,
        min_area=options.min_area,
        max_area=options.max_area,
        min_side=options.min_side,
        min_agreement=options.min_agreement,
    )
    verdicts = list(parallel_map(look, sources, num_workers=options.num_workers, description="choosing objects"))
    candidates = [verdict for verdict in verdicts if isinstance(verdict, Candidate)]
    chosen = choose(candidates, min_per_class=options.min_per_class)
    rejected += Counter(verdict for verdict in verdicts if isinstance(verdict, Rejection))
    rejected[Rejection.CUT] = len(candidates) - len(chosen)
    reasons = "; ".join(f"{count} {reason}" for reason, count in rejected.most_common() if count)
    if not chosen:
        remedy = "give a lower --min_area, --min_side or --min_agreement, or better labels with --label_dir"
        raise UserError(f"no object passes ({reasons})", remedy=remedy)
    saliency = "" if sources[0].saliency else "; without saliency maps: using the labels"
    print(f"{len(chosen)} objects selected; rejected: {reasons or 'none'}{saliency}")
    by_name = {source.name: source for source in sources}
    return [_job(candidate, by_name[candidate.name], classes[candidate.tag]) for candidate in chosen]


def _judge_source(source: _Source, *, classes: tuple[str, ...], **bounds: Unpack[Bounds]) -> Candidate | Rejection:
    label = read_label(source.label)
    if strange := unknown_labels(label, len(classes) + 1):
        raise UserError(
            f"contains {strange[0]}", source.label, f"expected labels in 0..{len(classes)} or {IGNORE_INDEX}"
        )
    saliency = None if source.saliency is None else np.asarray(read_gray(source.saliency))
    size = open_header(source.image).size[::-1]
    if label.shape != size or (saliency is not None and saliency.shape != size):
        shapes = f"image {size}, label {label.shape}" + ("" if saliency is None else f", saliency {saliency.shape}")
        raise UserError(shapes, source.name, "expected equal height and width", "check --label_dir and --sal_dir")
    return judge(source.name, label, None if saliency is None else saliency > SALIENT, tag=source.tag, **bounds)


def _job(candidate: Candidate, source: _Source, class_name: str) -> _Job:
    inputs = tuple(path for path in (source.label, source.image, source.saliency) if path)
    return _Job(source.name, candidate.tag, class_name, inputs, candidate)


def _make_bank(
    folder: Path, record: FolderSettings, settings: dict[str, Any], jobs: list[_Job], options: ForegroundOptions
) -> None:
    """Write the missing foregrounds, and the index last."""
    todo = sum(options.overwrite or not job.is_made(folder) for job in jobs)
    if todo:
        remove_file(folder / INDEX_FILE)  # a bank without it counts as unfinished
        record.start(settings)
    make = partial(_make_foreground, folder=folder, bgr=options.published_bgr, overwrite=options.overwrite)
    work = parallel_map(make, jobs, num_workers=options.num_workers, description="cutting out foregrounds")
    entries = [entry for entry in work if entry is not None]
    if len(entries) < len(jobs):
        print(f"{len(jobs) - len(entries)} skipped: no pixel of the object is salient, so nothing would be pasted")
    write_index(folder, entries)
    print(f"{todo} foregrounds written, {len(jobs) - todo} kept: {folder}")


def _make_foreground(job: _Job, *, folder: Path, bgr: bool, overwrite: bool) -> BankEntry | None:
    """Write a foreground unless it is up to date. Returns its entry, or None if nothing of it would be pasted."""
    if job.candidate is None:
        foreground = read_published(job.inputs[0], tag=job.tag, bgr=bgr)
        agreement = iou(foreground.mask, foreground.saliency > SALIENT)
        if agreement == 0:
            return None
    else:
        foreground, agreement = _cut(job.candidate, *job.inputs), job.candidate.agreement
    if overwrite or not job.is_made(folder):
        made_from = digest_of(*job.inputs)
        return write_foreground(folder, foreground, job.class_name, agreement=agreement, made_from=made_from)
    return entry_of(foreground, job.class_name, agreement=agreement)


def _cut(candidate: Candidate, label: Path, image: Path, saliency: Path | None = None) -> Foreground:
    return cut_out(
        np.asarray(read_rgb(image)),
        read_label(label) == candidate.tag + 1,
        candidate.window,
        tag=candidate.tag,
        source=candidate.name,
        saliency=None if saliency is None else np.asarray(read_gray(saliency)),
    )


def _report(bank: ForegroundBank, *, min_per_class: int) -> None:
    width = max(map(len, bank.classes))
    for name, count in bank.counts.items():
        print(f"  {name.ljust(width)} {count:6d}")
    few = [f"{name} {count}" for name, count in bank.counts.items() if count < min_per_class]
    if few:
        print(f"warning: fewer than --min_per_class={min_per_class} foregrounds of: {', '.join(few)}")
