"""The HTML report: one self-contained page about a run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import jinja2
from markupsafe import Markup

from utils.data.palette import PALETTE
from utils.files.atomic import atomic_path
from utils.files.parallel import parallel_map
from utils.metrics import ABSENT_CLASSES
from utils.report import charts as report_charts
from utils.report.charts import Chart, Line, line_chart
from utils.report.images import ImageFacts, image_facts, pictures_of
from utils.report.pictures import Sources, spread_over_classes
from utils.report.runs import RunRecord
from utils.report.tables import class_bars, label_statistics, option_rows, version_rows
from utils.runs.handing_on import check_stored_classes
from utils.runs.label_judgement import RULES
from utils.runs.segmentation import result_dirs

PAGE_FILE = "index.html"
CACHE_FOLDER = "cache"
# value recorded in training -> title and axis
CURVES = {
    "transfer": ("Knowledge transfer loss", "loss"),
    "local_cls": ("Classification loss, local network", "loss"),
    "global_cls": ("Classification loss, global network", "loss"),
    "active_tags": ("Tags with an active CAM", "fraction of the tags"),
    "steps_per_second": ("Speed", "steps per second"),
}
_PALETTE = ["#" + bytes(color).hex() for color in PALETTE]


@dataclass(frozen=True)
class _Job:
    name: str
    with_pictures: bool


def write_report(
    runs: Sequence[RunRecord],
    sources: Sources,
    names: Sequence[str],
    *,
    notes: Sequence[str],
    max_images: int,
    num_workers: int,
) -> Path:
    """Write runs/EXP/report/index.html about runs[0], compared with the others. Returns the page's path.

    names: the images with CAMs; images with predictions are added. max_images: size of the gallery, 0 is unlimited.
    Statistics and thumbnails are cached in report/cache, so that the next report is fast.
    """
    folder = sources.paths.report_dir
    named = sorted(set(names) | {path.stem for path in _label_files(sources.prediction_dir)})
    judgement = runs[0].judgement
    doubts = judgement.doubts() if judgement else {}
    shown = set(choose_images(named, sources, max_images, doubts=doubts))
    jobs = [_Job(name, name in shown) for name in named]
    work = partial(_facts_of, sources=sources, folder=folder / CACHE_FOLDER)
    images = list(parallel_map(work, jobs, num_workers=num_workers, description="statistics and thumbnails"))
    gallery = [image for image in images if image.name in shown]
    page = folder / PAGE_FILE
    with atomic_path(page) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(render(runs, sources, images, gallery, folder / CACHE_FOLDER, notes=notes))
    print(f"{page}: {len(gallery)} of {len(images)} images, {page.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return page


def with_predictions(sources: Sources, prediction_dir: Path | None) -> tuple[Sources, list[str]]:
    """Add the segmentation network's labels to the sources: from the given folder, else from that of EXP.

    If there are several, the notes state which folder was used.
    """
    if prediction_dir is not None:
        check_stored_classes(prediction_dir, sources.classes)
        return replace(sources, prediction_dir=prediction_dir), []
    roots = result_dirs("features", sources.paths.root.name)
    found = [folder for root in roots for folder in sorted(root.rglob("crf")) if _label_files(folder)]
    if not found:
        return sources, []
    check_stored_classes(found[0], sources.classes)
    others = ", ".join(str(folder) for folder in found[1:])
    notes = [f"predictions from {found[0]}; others, for --prediction_dir: {others}"] if others else []
    return replace(sources, prediction_dir=found[0]), notes


def choose_images(
    names: Sequence[str], sources: Sources, max_images: int, *, doubts: Mapping[str, float] = MappingProxyType({})
) -> list[str]:
    """Select at most max_images names (0: all), over all classes, those with a mask or a prediction first.

    doubts: name -> doubt of its label. If known, the most doubtful images are selected.
    """
    if not max_images or len(names) <= max_images:
        return list(names)
    if doubts:
        return sorted(names, key=lambda name: (-doubts.get(name, 0.0), name))[:max_images]
    folders = [folder for folder in (sources.mask_dir, sources.prediction_dir) if folder]
    scored = {path.stem for folder in folders for path in _label_files(folder)}
    first = [name for name in names if name in scored]
    tags_of = {name: sources.tags_of(name) for name in names}
    if len(first) >= max_images:
        return spread_over_classes(first, tags_of, max_images)
    return spread_over_classes(names, tags_of, max_images, chosen=first)


def training_charts(runs: Sequence[RunRecord]) -> list[Chart]:
    """Build one chart per recorded value with one line per run."""
    keys = list(dict.fromkeys(key for run in runs for key in run.curves))
    keys.sort(key=lambda key: list(CURVES).index(key) if key in CURVES else len(CURVES))
    charts = []
    for key in keys:
        lines = [Line(run.name, run.curves.get(key, []), color) for color, run in enumerate(runs)]
        title, y_label = CURVES.get(key, (key, "mean of the epoch"))
        charts.append(line_chart(title, lines, x_label="epoch", y_label=y_label, whole_x=True))
    return [chart for chart in charts if chart]


def threshold_chart(runs: Sequence[RunRecord]) -> Chart | None:
    """Build the chart of the CAMs' mIoU in per cent over the background threshold, one line per run."""
    lines = [
        Line(run.name, [(t, 100 * miou) for t, miou in sorted(run.thresholds)], color) for color, run in enumerate(runs)
    ]
    return line_chart("CAMs at every threshold", lines, x_label="background threshold", y_label="mIoU (%)")


def render(
    runs: Sequence[RunRecord],
    sources: Sources,
    images: Sequence[ImageFacts],
    gallery: Sequence[ImageFacts],
    cache: Path,
    *,
    notes: Sequence[str],
) -> Iterator[str]:
    """Yield the page in pieces, so that the pictures of all images are never in memory together."""
    folder = Path(__file__).parent
    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f}"
    datasets = {run.dataset for run in runs if run.dataset}
    judgement = runs[0].judgement
    doubts = judgement.doubts() if judgement else {}
    yield from environment.get_template("report.html").generate(
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        script=Markup((folder / "report.js").read_text(encoding="utf-8")),
        runs=runs,
        run_series=[(run.name, color) for color, run in enumerate(runs)],
        mixed_data=sorted(datasets) if len(datasets) > 1 else [],
        notes=[*notes, *(f"{run.name}: {note}" for run in runs for note in run.notes)],
        absent_classes=ABSENT_CLASSES,
        geometry=report_charts,
        curves=training_charts(runs),
        thresholds=threshold_chart(runs),
        bars=class_bars(runs),
        judgement=judgement,
        judgement_rules=RULES,
        statistics=label_statistics([image for image in images if image.has_cams], sources.classes),
        options=option_rows(runs),
        versions=version_rows(runs),
        num_images=len(images),
        gallery=gallery,
        has_doubt=any(image.name in doubts for image in gallery),
        has_iou={kind: any(getattr(i, f"{kind}_iou") is not None for i in gallery) for kind in ("label", "prediction")},
        class_counts=_class_counts(gallery, sources),
        palette=_PALETTE,
        index=json_block(_index(gallery, sources, doubts)),
        pictures=(json_block(pictures_of(image.name, cache)) for image in gallery),
    )


def json_block(content: object) -> Markup:
    """Encode JSON so that it is safe inside a script element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _index(gallery: Sequence[ImageFacts], sources: Sources, doubts: Mapping[str, float]) -> dict:
    """Return the data for filtering and sorting; class names by label index, doubts by image."""
    images = [
        {
            "name": image.name,
            "classes": image.classes(),
            "tags": [tag + 1 for tag in image.tags],
            "label": image.label_iou,
            "prediction": image.prediction_iou,
            "doubt": doubts.get(image.name),
        }
        for image in gallery
    ]
    return {"classes": [sources.name_of(index) for index in range(256)], "palette": _PALETTE, "images": images}


def _class_counts(gallery: Sequence[ImageFacts], sources: Sources) -> list[tuple[int, str, int]]:
    found = [index for image in gallery for index in image.classes()]
    return [(index, sources.name_of(index), found.count(index)) for index in sorted(set(found))]


def _facts_of(job: _Job, *, sources: Sources, folder: Path) -> ImageFacts:
    return image_facts(job.name, sources=sources, folder=folder, with_pictures=job.with_pictures)


def _label_files(folder: Path | None) -> list[Path]:
    return [path for path in folder.glob("*.png") if not path.name.startswith(".")] if folder else []
