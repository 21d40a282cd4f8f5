"""Judge a run's CAMs without masks: classes whose CAM covers everything, and saliency that does not match the CAMs.

python scripts/judge_cams.py --experiment_name=mine
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.own import JudgeOptions
    from utils.config.program import main

    main(JudgeOptions, "scripts.judge_cams")

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.cam.folders import CamFiles, CamFolder
from utils.config.options.own import JudgeOptions
from utils.data.image_list import read_image_list
from utils.data.images import read_gray
from utils.files.atomic import write_json
from utils.files.parallel import parallel_map
from utils.files.text import first_few
from utils.runs.inputs import check_present, open_run
from utils.runs.paths import RunPaths

STRONG = 127  # of 255: a CAM above this shows its class, saliency above this an object
EVERYWHERE = 0.7  # a class whose CAM covers more than this fraction of its images on average is not localised
UNLIKE = 0.3  # below this IoU, CAMs and saliency show different things
EMPTY, FULL, MANY = 0.005, 0.9, 0.3  # salient fraction of an image; fraction of images
FILE = "cam_judgement.json"


@dataclass(frozen=True)
class _Figures:
    """One image: area of each tag's CAM, and with saliency its area and its IoU with the union of the CAMs."""

    areas: dict[int, float]
    salient: float | None
    agreement: float | None


def run(options: JudgeOptions) -> Path:
    """Print and write runs/EXP/cam_judgement.json: statistics per class, and warnings. Returns its path."""
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    trained = open_run(paths, options.dataset)
    data, source = trained.data, CamFolder.open(paths.cam_dir, None)
    entries = [entry for entry in read_image_list(trained.train_list(None), len(data.classes)) if entry.tags]
    names = [entry.name for entry in entries]
    cams = [source.files(name) for name in names]
    remedy = f"run test_l2g.py --experiment_name {options.experiment_name} first"
    check_present([path for files in cams for path in files.paths], "CAMs", remedy)
    saliency = trained.saliency_files(names, options.sal_dir) if trained.sal_dir(options.sal_dir) else {}
    jobs = [(files, saliency.get(name)) for name, files in zip(names, cams)]
    figures = list(parallel_map(measure, jobs, num_workers=options.num_workers, description="judging CAMs"))
    content = _content(figures, data.classes)
    warnings = judge(content, names, figures)
    write_json(paths.root / FILE, {**content, "warnings": warnings})
    for name, share in content["area_of_class"].items():
        print(f"  {name}: its CAM covers {share:.0%} of its images")
    if content["agreement"] is not None:
        print(f"CAMs and saliency agree on {content['agreement']:.0%} (IoU)")
    for warning in warnings:
        print(f"WARNING: {warning}")
    return paths.root / FILE


def measure(job: tuple[CamFiles, Path | None]) -> _Figures:
    """Measure one image. job: its CAMs and its saliency map, if any."""
    keys, cams = job[0].read()
    strong = cams > STRONG
    areas = {int(key): float(cam.mean()) for key, cam in zip(keys, strong)}
    if job[1] is None or not len(keys):
        return _Figures(areas, None, None)
    salient, union = np.asarray(read_gray(job[1])) > STRONG, strong.any(axis=0)
    both = np.count_nonzero(salient | union)
    return _Figures(areas, float(salient.mean()), np.count_nonzero(salient & union) / both if both else 0.0)


def _content(figures: Sequence[_Figures], classes: Sequence[str]) -> dict:
    areas: Mapping[int, list[float]] = defaultdict(list)
    for figure in figures:
        for tag, area in figure.areas.items():
            areas[tag].append(area)
    agreements = [figure.agreement for figure in figures if figure.agreement is not None]
    return {
        "images": len(figures),
        "area_of_class": {classes[tag]: float(np.mean(values)) for tag, values in sorted(areas.items())},
        "agreement": float(np.mean(agreements)) if agreements else None,
    }


def judge(content: dict, names: Sequence[str], figures: Sequence[_Figures]) -> list[str]:
    """Return warnings with remedies."""
    warnings = []
    wide = [f"{name} {area:.0%}" for name, area in content["area_of_class"].items() if area > EVERYWHERE]
    if wide:
        warnings.append(
            f"the CAMs of {first_few(wide, 10)} cover everything: the classifier recognises the class by the whole "
            "photo; add photos of the same surroundings without the object as negatives"
        )
    if content["agreement"] is not None and content["agreement"] < UNLIKE:
        worst = sorted(range(len(names)), key=lambda i: figures[i].agreement or 0.0)[:3]
        warnings.append(
            f"the salient objects are not the tagged ones (agreement {content['agreement']:.0%}, e.g. "
            f"{first_few(names[i] for i in worst)}): try without saliency, SALIENCY=none or --sal_dir=none"
        )
    shares = [figure.salient for figure in figures if figure.salient is not None]
    odd = [name for name, f in zip(names, figures) if f.salient is not None and not EMPTY <= f.salient <= FULL]
    if shares and len(odd) > MANY * len(shares):
        warnings.append(
            f"in {len(odd)} of {len(shares)} photos nothing or everything is salient ({first_few(odd)}), so saliency "
            "does not help (aerial photos, documents, textures); try without it, SALIENCY=none or --sal_dir=none"
        )
    return warnings
