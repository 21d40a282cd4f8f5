"""Labels and overlays for any folder of images, no masks needed -> OUT/{labels/NAME.png,overlays/NAME.jpg}."""

from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.crf import Crf, refine_all
from deeplabv2.inference import checkpoint_path, make_logits
from deeplabv2.step_settings import PredictSettings
from utils.data.image_list import IMAGE_SUFFIXES, ImageEntry
from utils.data.images import read_label, read_rgb, write_image
from utils.drawing import overlay_label
from utils.errors import UserError
from utils.files.disk import list_folder
from utils.files.locate import existing_path
from utils.files.manifest import is_current
from utils.files.parallel import parallel_map
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.process import start_process


def run(settings: PredictSettings) -> Path:
    """Makes what is missing in OUT and returns it. Raises UserError for bad input."""
    data = inputs.open_data(settings.DATASET)
    image_dir, out_dir = settings.folders()
    files = find_images(existing_path(image_dir, "--image_dir"))
    out = Path(out_dir).expanduser().absolute()
    training = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN).training
    checkpoint = checkpoint_path(settings.model_path, training)
    with start_process(settings.SOLVER.DEVICE) as process:
        make_logits(
            settings,
            [ImageEntry(name) for name in files],
            files,
            out / "logits",
            process,
            num_labels=data.num_labels,
            checkpoint=checkpoint,
            may_replace=settings.overwrite,
            option="--out",
        )
        if not process.is_main:
            return out
    crf = Crf.of(settings) if settings.crf else None
    labels = refine_all(list(files), files, out / "logits", out / "labels", crf, settings.num_workers, option="--out")
    jobs = [(files[name], label, out / "overlays" / f"{name}.jpg") for name, label in labels.items()]
    todo = [job for job in jobs if not is_current(job[2], job[1])]
    for _ in parallel_map(_draw, todo, num_workers=settings.num_workers, description="overlays"):
        pass
    return out


def find_images(folder: Path) -> dict[str, Path]:
    """Name -> image, of every image in the folder, sorted. Raises UserError where a name occurs twice or none does."""
    files: dict[str, Path] = {}
    for path in list_folder(folder):
        if path.suffix in IMAGE_SUFFIXES and not path.name.startswith("."):
            if path.stem in files:
                raise UserError(f"{path.name} would also become {path.stem}.png", files[path.stem], remedy="rename one")
            files[path.stem] = path
    if not files:
        rule = f"images have a suffix of {', '.join(IMAGE_SUFFIXES[:3])}"
        raise UserError("holds no image", folder, rule, "give another --image_dir")
    return files


def _draw(job: tuple[Path, Path, Path]) -> None:
    image, label, overlay = job
    write_image(overlay, overlay_label(np.asarray(read_rgb(image)), read_label(label)))
