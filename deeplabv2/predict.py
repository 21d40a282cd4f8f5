"""Labels and overlays for any folder of images, no masks needed -> OUT/{labels/NAME.png,overlays/NAME.jpg}."""

from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.crf import Crf, refine_all
from deeplabv2.inference import checkpoint_path, make_logits
from deeplabv2.photos import photos_of
from deeplabv2.step_settings import PredictSettings
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, read_rgb, write_image
from utils.drawing import overlay_label
from utils.files.locate import existing_path
from utils.files.lock import hold
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, outdated
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.process import start_process


def run(settings: PredictSettings) -> Path:
    """Makes what is missing in OUT and returns it. Raises UserError for bad input."""
    data = inputs.open_data(settings.DATASET)
    image_dir, out_dir = settings.folders()
    out = Path(out_dir).expanduser().absolute()
    files = photos_of(
        existing_path(image_dir, "--image_dir"),
        out,
        without=[existing_path(settings.without, "--without")] if settings.without else [],
        num_workers=settings.num_workers,
    )
    training = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training
    checkpoint = checkpoint_path(settings.model_path, training)
    with start_process(settings.SOLVER.DEVICE) as process, hold(out / "logits"):
        make_logits(
            settings,
            [ImageEntry(name) for name in files],
            files,
            out / "logits",
            process,
            classes=data.classes,
            checkpoint=checkpoint,
            may_replace=settings.overwrite,
            option="--out",
        )
        if not process.is_main:
            return out
    crf = Crf.of(settings) if settings.crf else None
    labels = refine_all(list(files), files, out / "logits", out / "labels", crf, settings.num_workers, option="--out")
    jobs = [(files[name], label, out / "overlays" / f"{name}.jpg") for name, label in labels.items()]
    stale = outdated((overlay, (image, label)) for image, label, overlay in jobs)
    todo = [job for job, is_stale in zip(jobs, stale) if is_stale]
    for _ in parallel_map(_draw, todo, num_workers=settings.num_workers, description="overlays"):
        pass
    return out


def _draw(job: tuple[Path, Path, Path]) -> None:
    image, label, overlay = job
    drawn = overlay_label(np.asarray(read_rgb(image)), read_label(label))
    write_image(overlay, drawn, made_from=digest_of(image, label))
