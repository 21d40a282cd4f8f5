"""Create pseudo labels, PNGs of the image's size, from CAMs of a run or a folder, optionally with saliency."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from utils.cam.folders import CamFiles, CamFolder
from utils.cam.labels import ambiguous, check_saliency_use, disagreement, to_label
from utils.cam.segments import SnapRule, find_segments, read_segments, snap
from utils.config.options import LabelOptions
from utils.config.valid import CrfBackend
from utils.crf.original import backend_record, check_backend
from utils.crf.strengths import CAM_CONFIDENCE, CAM_CRF
from utils.data.catalog import IGNORE_INDEX
from utils.data.image_list import read_image_list
from utils.data.images import image_or_guess, open_header, read_gray, read_rgb, write_label_png
from utils.errors import UserError
from utils.files.atomic import read_json
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.manifest import FolderSettings
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, of_replaced_sources, to_do
from utils.files.text import first_few
from utils.runs.handing_on import check_made_of, check_stored_classes
from utils.runs.inputs import Run, check_present, open_run
from utils.runs.paths import RunPaths, pseudo_label_dir
from utils.runtime.shared_work import SharedWork, share_work

SETTINGS_FILE = "label_settings.json"


@dataclass(frozen=True)
class _Job:
    """The files of one image."""

    name: str
    cams: CamFiles
    image: Path
    label: Path
    saliency: Path | None
    segments: Path | None

    def sources(self, rule: "_Rule") -> tuple[Path, ...]:
        """Return the files that the label is computed from."""
        others = (self.saliency, self.image if rule.crf else None, self.segments)
        return (*self.cams.paths, *(path for path in others if path))


@dataclass(frozen=True)
class _Rule:
    """How a label is computed: see LabelOptions."""

    threshold: float
    ignore_below: float | None
    saliency_weight: float
    saliency_support: float
    ignore_disagreement: float | None
    ignore_ambiguous: float | None
    crf: CrfBackend | None
    snapping: SnapRule | None

    @property
    def joins(self) -> bool:
        """Whether saliency is used."""
        return self.saliency_weight > 0 or self.ignore_disagreement is not None

    def as_json(self) -> dict[str, Any]:
        return {
            "threshold": self.threshold,
            "ignore_below": self.ignore_below,
            "saliency_weight": self.saliency_weight or None,
            "saliency_support": self.saliency_support or None,
            "ignore_disagreement": self.ignore_disagreement,
            "ignore_ambiguous": self.ignore_ambiguous,
            "crf": {**CAM_CRF, "confidence": CAM_CONFIDENCE, **backend_record(self.crf)} if self.crf else None,
        }


def run(options: LabelOptions) -> Path:
    """Create the missing labels. Returns their folder. Under torchrun the images are distributed over the processes.

    Raises UserError, before any label is written, if CAMs or images are missing, their sizes differ, or the folder
    contains labels of other settings.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name, preset=options.preset)
    trained = open_run(paths, options.dataset)
    cam_dir = existing_path(options.pred_dir, "--pred_dir") if options.pred_dir else paths.cam_dir
    check_stored_classes(cam_dir, trained.data.classes)
    rule = _rule(options, paths, cam_dir)
    if options.label_dir is None:
        folder = pseudo_label_dir(trained.data.name, options.experiment_name)
    else:
        folder = Path(options.label_dir).absolute()
    jobs = _jobs(options, trained, cam_dir, folder, joins=rule.joins)
    settings = {
        "cams": str(cam_dir),
        "classes": list(trained.data.classes),
        "label_form": options.label_form,
        **rule.as_json(),
        "segments": _segment_settings(options, rule),
    }
    record = FolderSettings(folder / SETTINGS_FILE, "*.png", "labels", "gen_gt.py", "--label_dir")
    with share_work(folder) as work:
        renewed = work.from_main(
            record.check(settings, may_replace=options.overwrite or options.update) if work.is_main else None
        )
        own = work.own(jobs)
        is_new = options.overwrite or renewed
        todo = own if is_new else to_do(own, lambda job: (job.label, *job.sources(rule)))
        wrong = _size_problems(todo, work, num_workers=options.num_workers)
        replaced = _of_replaced_images(own) if cam_dir == paths.cam_dir and options.image_dir is None else []
        found = work.gather([len(todo), wrong, replaced])
        number = sum(count for count, _, _ in found)
        _check_images([name for _, _, names in found for name in names], cam_dir, options.experiment_name)
        _check_sizes([problem for _, problems, _ in found for problem in problems], number, jobs)
        with hold(folder) if number else nullcontext():
            if number:
                record.start(settings)
            work.from_main(None)  # labels of other settings are removed before any process writes
            make = partial(_make_label, rule=rule, palette=options.label_form == "palette")
            description = "making labels"
            for _ in parallel_map(make, todo, num_workers=options.num_workers, description=description, **work.mapping):
                pass
            work.wait_for_all()
    if work.is_main:
        print(
            f"{number} labels written, {len(jobs) - number} kept, threshold {rule.threshold:g}: {folder}",
            file=sys.stderr,
        )
    return folder


def _rule(options: LabelOptions, paths: RunPaths, cam_dir: Path) -> _Rule:
    threshold = options.threshold
    if threshold is None:
        used = {"saliency_weight": options.saliency_weight, "saliency_support": options.saliency_support}
        threshold = _best_threshold(paths, cam_dir, used)
    _check_band(threshold, options.ignore_below)
    for name, value in (
        ("saliency_weight", options.saliency_weight),
        ("saliency_support", options.saliency_support),
        ("ignore_disagreement", options.ignore_disagreement),
        ("ignore_ambiguous", options.ignore_ambiguous),
    ):
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"--{name}={value}", rule="expected a value in 0..1")
    check_saliency_use(options.saliency_weight, options.saliency_support)
    if options.crf:
        import utils.crf.dense  # noqa: F401  # imported here, numba is loaded once for all worker processes

        check_backend(options.crf_backend)
    crf = options.crf_backend if options.crf else None
    snapping = SnapRule(options.segment_coverage, options.segment_share) if options.segments else None
    return _Rule(
        threshold,
        options.ignore_below,
        options.saliency_weight,
        options.saliency_support,
        options.ignore_disagreement,
        options.ignore_ambiguous,
        crf,
        snapping,
    )


def _segment_settings(options: LabelOptions, rule: _Rule) -> dict[str, Any] | None:
    if options.segments is None or rule.snapping is None:
        return None
    return {"folder": str(Path(options.segments).absolute()), **asdict(rule.snapping)}


def _best_threshold(paths: RunPaths, cam_dir: Path, used: Mapping[str, float]) -> float:
    """Return the best threshold that evaluate.py found for these CAMs, with masks or else with saliency.

    used: name of an option -> its value, 0 where it is not used. The threshold must have been found with the same.
    """
    flags = "".join(f" --{name}={value:g}" for name, value in used.items() if value)
    remedy = f"run evaluate.py --experiment_name {paths.root.name}{flags} first, or give --threshold"
    found = [path for path in (paths.cam_scores, paths.cam_agreement) if path.is_file()]
    if not found:
        raise UserError("no best threshold is stored", paths.cam_scores, remedy=remedy)
    scores = read_json(found[0], remedy=remedy)
    if not isinstance(scores, dict) or not {"pred_dir", "best_threshold"} <= set(scores):
        raise UserError("no best threshold is stored", found[0], remedy=remedy)
    # the run's attention PNGs contain the same values as its CAM files
    own = {paths.cam_dir.resolve(), paths.attention_dir.resolve()}
    same = own if cam_dir.resolve() in own else {cam_dir.resolve()}
    if Path(scores["pred_dir"]).resolve() not in same:
        raise UserError(f"contains the scores of {scores['pred_dir']}", found[0], f"not of {cam_dir}", remedy)
    for name, value in used.items():
        if scores.get(name, 0.0) != value:
            of = scores.get(name, 0.0)
            raise UserError(f"the best threshold was found with {name} {of:g}", found[0], remedy=remedy)
    check_made_of(scores.get("made_of"), paths.cam_dir if cam_dir.resolve() in own else cam_dir, found[0], remedy)
    threshold = scores["best_threshold"]
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise UserError(f"the best threshold is {threshold!r}", found[0], "expected a number in 0..1", remedy)
    return threshold


def _check_band(threshold: float, ignore_below: float | None) -> None:
    if not 0 <= threshold <= 1:
        raise UserError(str(threshold), "--threshold", "expected a value in 0..1, like the CAMs")
    if ignore_below is not None and not 0 <= ignore_below < threshold:
        rule = f"expected 0 or more and less than the threshold {threshold}, where the ignore band ends"
        raise UserError(str(ignore_below), "--ignore_below", rule)


def _jobs(options: LabelOptions, trained: Run, cam_dir: Path, folder: Path, *, joins: bool) -> list[_Job]:
    """Return the files of every listed image, matched by name."""
    listing, image_dir = trained.train_list(options.image_list), trained.image_dir(options.image_dir)
    num_classes = len(trained.data.classes)
    source, entries = CamFolder.open(cam_dir, num_classes=num_classes), read_image_list(listing, num_classes)
    names = [entry.name for entry in entries]
    cams = {entry.name: source.files(entry.name, entry.tags) for entry in entries}
    remedy = f"run test_l2g.py --experiment_name {trained.paths.root.name} first ({listing})"
    if options.pred_dir:
        remedy = f"check --pred_dir and the list ({listing})"
    check_present([path for files in cams.values() for path in files.paths], "CAMs", remedy)
    images = {name: image_or_guess(image_dir, name) for name in names}
    check_present(images.values(), "images", f"check --image_dir and the list ({listing})")
    saliency: dict[str, Path] = {}
    if joins:
        saliency = trained.saliency_files(names, options.sal_dir)
    segments: dict[str, Path] = {}
    if options.segments:
        segment_dir = existing_path(options.segments, "--segments")
        segments = {name: find_segments(segment_dir, name) for name in names}
        remedy = f"run scripts/make_segments.py --dataset={trained.data.root} --out={segment_dir}"
        check_present(segments.values(), "segments", f"{remedy}, or check --segments and the list ({listing})")
    return [
        _Job(name, cams[name], images[name], folder / f"{name}.png", saliency.get(name), segments.get(name))
        for name in names
    ]


def _size_problems(jobs: Sequence[_Job], work: SharedWork, *, num_workers: int) -> list[str]:
    problems = parallel_map(_size_problem, jobs, num_workers=num_workers, description="checking sizes", **work.mapping)
    return [problem for problem in problems if problem]


def _of_replaced_images(jobs: Sequence[_Job]) -> list[str]:
    """Return the names of the images whose content is not that of which their CAM was made."""
    made = {job.name: job.cams.paths[0] for job in jobs if job.cams.paths}
    return sorted(of_replaced_sources(made, {job.name: job.image for job in jobs}))


def _check_images(names: Sequence[str], cam_dir: Path, experiment: str) -> None:
    """Raise UserError if images were replaced since their CAMs were made."""
    if names:
        what = f"{len(names)} CAMs are of images that were replaced since ({first_few(sorted(names))})"
        raise UserError(what, cam_dir, remedy=f"run test_l2g.py --experiment_name {experiment} again")


def _check_sizes(wrong: Sequence[str], number: int, jobs: Sequence[_Job]) -> None:
    """Raise UserError if any of `number` labels to make has a problem."""
    if wrong:
        raise UserError(
            f"{len(wrong)} of {number} CAMs have another size than their image ({first_few(wrong)})",
            jobs[0].cams.paths[0].parent,
            remedy="check --image_dir (and --sal_dir), or run test_l2g.py --overwrite with these images",
        )


def _size_problem(job: _Job) -> str | None:
    job.cams.keys()  # raises for invalid keys before any label is written
    height, width = job.cams.size() or open_header(job.image).size[::-1]
    for what, path in (("image", job.image), ("saliency", job.saliency)):
        if path is None:
            continue
        size = open_header(path).size
        if size != (width, height):
            return f"{job.name} (CAM {width}x{height}, {what} {size[0]}x{size[1]})"
    if job.segments is not None:
        read_segments(job.segments, (height, width))
    return None


def _make_label(job: _Job, *, rule: _Rule, palette: bool) -> None:
    keys, cams = job.cams.read()
    if not len(keys):  # some formats do not store the size of an image without tags
        cams = np.zeros((0, *open_header(job.image).size[::-1]), np.uint8)
    saliency = np.asarray(read_gray(job.saliency)) if job.saliency else None

    def label_at(threshold: float) -> np.ndarray:
        return to_label(
            keys,
            cams,
            threshold,
            saliency=saliency,
            saliency_weight=rule.saliency_weight,
            saliency_support=rule.saliency_support,
        )

    image = np.asarray(read_rgb(job.image)) if rule.crf else None
    segments = read_segments(job.segments, cams.shape[1:]) if job.segments else None

    def refined(threshold: float) -> np.ndarray:
        label = label_at(threshold)
        if rule.crf is not None and image is not None:
            from utils.crf.dense import refine_label  # numba is slow to import

            label = refine_label(image, label, backend=rule.crf)
        if rule.snapping is not None and segments is not None:
            label = snap(label, segments, rule.snapping)
        return label

    label = refined(rule.threshold)
    doubtful = np.zeros(label.shape, bool)
    if rule.ignore_disagreement is not None and saliency is not None:
        doubtful = disagreement(cams, saliency, rule.ignore_disagreement)
    if rule.ignore_below is not None:
        # above the upper threshold: object; below the lower one: background; between them: ignored
        doubtful |= (label == 0) & (refined(rule.ignore_below) != 0)
    if rule.ignore_ambiguous is not None:
        doubtful |= ambiguous(label, keys, cams, rule.ignore_ambiguous)
    label = np.where(doubtful, np.uint8(IGNORE_INDEX), label)
    write_label_png(job.label, label, palette=palette, made_from=digest_of(*job.sources(rule)))
