"""Read every list, image, saliency map and mask of a dataset and report all faults before hours of training.

python scripts/check_data.py --dataset=data/voc12
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.prepare import CheckOptions
    from utils.config.program import main

    main(CheckOptions, "scripts.check_data:run_to_status")

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from utils.config.options.prepare import CheckOptions
from utils.data import catalog
from utils.data.check import Fault, ImageFiles, ImageReport, inspect_image, summary
from utils.data.dataset import Dataset, open_dataset
from utils.data.image_list import ImageEntry, parse_image_list
from utils.data.images import image_files, image_or_guess
from utils.data.label_check import MaskKinds
from utils.data.learnable import tag_faults, tag_warnings
from utils.errors import UserError
from utils.files.atomic import write_json
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.files.text import first_few
from utils.runs.inputs import TrainingPaths, list_sizes, training_paths


@dataclass(frozen=True)
class DataReport:
    """Faults (training cannot start, or scoring would fail), warnings, and counts per class."""

    faults: list[Fault]
    warnings: list[str]
    images_of_class: dict[str, int]
    masks_of_class: dict[str, int]
    images: int
    masks: int
    negatives: int = 0
    lists: list[str] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class _Lists:
    """The entries of every list by path, the training list, and the lists whose images need masks."""

    entries: dict[Path, list[ImageEntry]]
    train: Path
    with_masks: tuple[Path, ...]

    def names(self, paths: Sequence[Path]) -> list[str]:
        return list(dict.fromkeys(entry.name for path in paths for entry in self.entries.get(path, ())))


def run(options: CheckOptions) -> DataReport:
    """Read everything, print the report and return it. Raises UserError if a given path is missing."""
    data = open_dataset(options.dataset)
    paths = training_paths(data, image_dir=options.image_dir, sal_dir=options.sal_dir, train_list=options.train_list)
    mask_dir = existing_path(options.mask_dir, "--mask_dir") if options.mask_dir else data.mask_dir
    mask_list = existing_path(options.mask_list, "--mask_list") if options.mask_list else None
    lists, faults = _read_lists(data, paths.train_list, mask_list)
    items = _items(lists, paths, mask_dir)
    look = partial(inspect_image, num_classes=len(data.classes))
    reports = list(parallel_map(look, items, num_workers=options.num_workers, description="reading files"))
    report = _report(data, lists, faults, reports, mask_dir)
    _print_report(report, data, paths)
    if options.json:
        content = {"dataset": str(data.root), "training_can_start": report.is_ready, **asdict(report)}
        content["faults"] = [fault._asdict() for fault in report.faults]
        write_json(Path(options.json).absolute(), content)
    return report


def _read_lists(data: Dataset, train_list: Path, mask_list: Path | None) -> tuple[_Lists, list[Fault]]:
    """Read all existing lists: the training list, those of masks, and the dataset's others."""
    usual = [catalog.TRAIN_MASKS, catalog.VAL_MASKS, catalog.VAL_TAGS, catalog.AUG_IMAGES, catalog.TEST_IMAGES]
    there = [data.root / name for name in usual if (data.root / name).is_file()]
    with_masks = [data.root / name for name in (catalog.TRAIN_MASKS, catalog.VAL_MASKS)]
    with_masks = [mask_list] if mask_list else [path for path in with_masks if path in there]
    entries, faults = {}, []
    for path in dict.fromkeys([train_list, *with_masks, *there]):
        entries[path], wrong = parse_image_list(path, len(data.classes), need_tags=path == train_list)
        faults += [Fault("image lists with wrong lines", error.where, error.what) for error in wrong]
    return _Lists(entries, train_list, tuple(with_masks)), faults


def _items(lists: _Lists, paths: TrainingPaths, mask_dir: Path) -> list[ImageFiles]:
    """Return the files of every listed image: the image, saliency for training images, masks for scored images."""
    images = image_files(paths.image_dir) if paths.image_dir.is_dir() else {}
    maps = image_files(paths.sal_dir) if paths.sal_dir and paths.sal_dir.is_dir() else {}
    trained, measured = set(lists.names([lists.train])), set(lists.names(lists.with_masks))
    return [
        ImageFiles(
            name,
            images.get(name) or image_or_guess(paths.image_dir, name),
            (maps.get(name) or paths.sal_dir / f"{name}.png") if paths.sal_dir and name in trained else None,
            mask_dir / f"{name}.png" if name in measured else None,
        )
        for name in lists.names(list(lists.entries))
    ]


def _report(
    data: Dataset, lists: _Lists, faults: list[Fault], reports: list[ImageReport], mask_dir: Path
) -> DataReport:
    train = lists.entries.get(lists.train, [])
    tags = Counter(tag for entry in train for tag in entry.tags)
    labels = Counter(label for report in reports for label in report.labels)
    unlearnable = [
        Fault("lists with uninformative tags", str(lists.train), text) for text in tag_faults(train, data.classes)
    ]
    kinds = MaskKinds()
    for report in reports:
        kinds.add((bool(report.labels), report.has_ignored))
    try:
        kinds.check(mask_dir)
    except UserError as error:
        faults = [*faults, Fault("masks without any object", error.where, error.what)]
    return DataReport(
        faults + unlearnable + [fault for report in reports for fault in report.faults],
        _warnings(data, lists, tags, reports),
        {name: tags[tag] for tag, name in enumerate(data.classes)},
        {name: labels[tag + 1] for tag, name in enumerate(data.classes)},
        len(train),
        len(lists.names(lists.with_masks)),
        sum(entry.is_negative for entry in train),
        list_sizes(data.root, catalog.KNOWN_DATASETS[data.name]) if data.name in catalog.KNOWN_DATASETS else [],
    )


def _warnings(data: Dataset, lists: _Lists, tags: Mapping[int, int], reports: list[ImageReport]) -> list[str]:
    """Return what does not prevent training but may be unintended."""
    warnings = []
    absent = [name for tag, name in enumerate(data.classes) if not tags.get(tag)]
    if absent and lists.entries.get(lists.train):
        warnings.append(f"{len(absent)} classes have no training image: {first_few(absent, 10)}")
    turned = [report.name for report in reports if report.turned]
    if turned:
        warnings.append(
            f"{len(turned)} images are rotated only by EXIF ({first_few(turned)}), which training "
            "ignores; scripts/prepare_own.py writes them upright"
        )
    warnings += tag_warnings(lists.entries.get(lists.train, []), data.classes)
    for reading, count in Counter(reading for report in reports for reading in report.readings).items():
        warnings.append(f"{count} maps: {reading}")
    tagged = {entry.name: set(entry.tags) for entry in lists.entries.get(lists.train, ())}
    labelled = [report for report in reports if report.labels and report.name in tagged]
    other = [r.name for r in labelled if not {label - 1 for label in r.labels} & tagged[r.name]]
    if other:
        warnings.append(
            f"{len(other)} of {len(labelled)} masks show none of their image's tags ({first_few(other)}): "
            "do masks and tags use the same order of classes?"
        )
    if not lists.with_masks:
        warnings.append(f"no {catalog.TRAIN_MASKS}: nothing can be scored; give gen_gt.py a --threshold")
    return warnings


def _print_report(report: DataReport, data: Dataset, paths: TrainingPaths) -> None:
    saliency = "without saliency" if paths.sal_dir is None else f"saliency from {paths.sal_dir}"
    negatives = f" ({report.negatives} negatives, with none of the classes)" if report.negatives else ""
    print(f"{data.root}: {report.images} training images{negatives}, {report.masks} with masks for scoring, {saliency}")
    for line in report.lists:
        print(f"  {line}")
    width = max(map(len, data.classes))
    print(f"  {'class'.ljust(width)}  images  masks")
    for name, count in report.images_of_class.items():
        print(f"  {name.ljust(width)}  {count:6d} {report.masks_of_class[name]:6d}")
    for warning in report.warnings:
        print(f"warning: {warning}")
    for line in summary(report.faults):
        print(f"fault: {line}")
    print("training can start" if report.is_ready else f"training cannot start: {len(report.faults)} faults")


def run_to_status(options: CheckOptions) -> None:
    """Run the check as a program: exit status 1 if there are faults."""
    if not run(options).is_ready:
        sys.exit(1)
