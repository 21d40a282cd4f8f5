"""Label any folder of images, without masks -> OUT/{labels/NAME.png,overlays/NAME.jpg}."""

from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.crf import Crf, refine_all
from deeplabv2.inference import make_logits_in
from deeplabv2.photos import photos_of
from deeplabv2.step_settings import PredictSettings
from utils.data.image_list import ImageEntry
from utils.data.images import read_label, read_rgb, write_image
from utils.drawing import overlay_label
from utils.files.locate import existing_path
from utils.files.parallel import parallel_map
from utils.files.sources import digest_of, to_do


def run(settings: PredictSettings) -> Path:
    """Create the missing files in OUT and return the folder. Raises UserError for bad input."""
    data = inputs.open_data(settings.DATASET)
    image_dir, out_dir = settings.folders()
    out = Path(out_dir).expanduser().absolute()
    files = photos_of(
        existing_path(image_dir, "--image_dir"),
        out,
        without=[existing_path(settings.without, "--without")] if settings.without else [],
        num_workers=settings.num_workers,
    )
    logits_dir = out / "logits"
    if not make_logits_in(logits_dir, settings, [ImageEntry(name) for name in files], files, data.classes):
        return out
    crf = Crf.of(settings) if settings.crf else None
    labels = refine_all(list(files), files, logits_dir, out / "labels", crf, settings.num_workers, option="--out")
    jobs = [(out / "overlays" / f"{name}.jpg", files[name], label) for name, label in labels.items()]
    todo = to_do(jobs, lambda job: job)
    for _ in parallel_map(_draw, todo, num_workers=settings.num_workers, description="overlays"):
        pass
    return out


def _draw(job: tuple[Path, Path, Path]) -> None:
    overlay, image, label = job
    drawn = overlay_label(np.asarray(read_rgb(image)), read_label(label))
    write_image(overlay, drawn, made_from=digest_of(image, label))
