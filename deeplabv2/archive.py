"""Step 4: pack labels of SPLIT.TEST for the PASCAL VOC evaluation server -> data/scores/EXP/results.tar.gz."""

import gzip
import io
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from deeplabv2 import inputs
from deeplabv2.inference import checkpoint_path, open_logits
from deeplabv2.labelling import Crf, labelling
from deeplabv2.step_settings import ArchiveSettings
from utils.data.images import decode, open_header
from utils.data.palette import PALETTE
from utils.errors import UserError
from utils.files.atomic import atomic_path
from utils.files.disk import disk_errors
from utils.files.lock import hold
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.process import start_process
from utils.runtime.shared_work import share_work

# the path that the server expects; comp6 is for entries trained on additional data
FOLDER = "results/VOC2012/Segmentation/{competition}_test_cls"


def run(settings: ArchiveSettings) -> Path:
    """Create the missing labels, check and pack all labels, and return the archive."""
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN)
    name = getattr(settings.DATASET.SPLIT, settings.split.upper())
    split = inputs.open_split(
        data,
        inputs.list_path(data, name, f"DATASET.SPLIT.{settings.split.upper()}"),
        image_dir=inputs.find_image_dir(settings.DATASET, data),
        step="packing",
    )
    checkpoint = checkpoint_path(settings.model_path, paths.training)
    logits_dir = paths.logits_dir(name)
    crf = Crf.of(settings) if settings.crf else None
    label_dir = paths.crf_dir(name) if settings.crf else paths.crf_dir(name).with_name("labels")
    with (
        share_work(label_dir) as work,
        labelling(
            split.files, logits_dir, label_dir, crf, settings.num_workers, classes=data.classes, work=work
        ) as making,
    ):
        with start_process(settings.SOLVER.DEVICE) as process, hold(logits_dir):
            missing = open_logits(
                settings, split.entries, split.files, logits_dir, process, classes=data.classes, checkpoint=checkpoint
            )
            making.start()
            missing.compute(then=making.add)
        making.finish()
    if not work.is_main:
        return paths.archive
    labels = {image: label_dir / f"{image}.png" for image in split.names}
    pack(
        paths.archive,
        split.names,
        labels,
        split.files,
        folder=FOLDER.format(competition=competition_of(settings)),
        num_labels=data.num_labels,
    )
    entry = f"{competition_of(settings)}, {len(labels)} labels of {split.list_file}"
    print(f"written: {paths.archive} ({entry})", file=sys.stderr)
    return paths.archive


def competition_of(settings: ArchiveSettings) -> str:
    """Return the server's competition: comp6 for networks whose initial weights were trained on COCO's masks."""
    if settings.competition != "auto":
        return settings.competition
    return "comp6" if "coco" in Path(settings.MODEL.INIT_MODEL or "").name.lower() else "comp5"


def pack(
    archive: Path,
    names: Sequence[str],
    labels: Mapping[str, Path],
    files: Mapping[str, Path],
    *,
    folder: str,
    num_labels: int,
) -> None:
    """Pack the label PNG of every name as FOLDER/NAME.png. Equal labels give identical archives.

    labels, files: name -> label, image. Raises UserError, before anything is written, if a label is missing, is not an
    indexed PNG with VOC's palette, differs in size from its image, or contains values outside 0..num_labels-1.
    """
    problems = [problem for name in names if (problem := label_problem(labels.get(name), files[name], num_labels))]
    if problems:
        some = "\n  ".join(problems[:5]) + ("\n  …" if len(problems) > 5 else "")
        what = f"{len(problems)} of {len(names)} labels cannot be packed"
        raise UserError(what, archive, remedy=f"delete these labels and run archive.py again\n  {some}")
    with (
        atomic_path(archive) as temporary,
        temporary.open("wb") as raw,
        # no name and time in the header, so that equal labels give identical archives
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in names:
            with disk_errors(labels[name]):
                content = labels[name].read_bytes()
            member = tarfile.TarInfo(f"{folder}/{name}.png")
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))


def label_problem(path: Path | None, image_file: Path, num_labels: int) -> str | None:
    """Return why the server would refuse a label; None if it would not."""
    if path is None or not path.is_file():
        return f"{image_file.stem} has no label"
    label, image = decode(path), open_header(image_file)
    if label.format != "PNG" or label.mode != "P":
        return f"{path} is a {label.format} image of mode {label.mode}: expected an indexed PNG"
    if label.size != image.size:
        return f"{path} is {label.width}x{label.height}, its image {image.width}x{image.height}"
    values = np.unique(np.asarray(label))
    if values[-1] >= num_labels:
        return f"{path} contains {values[-1]}: expected 0 to {num_labels - 1}"
    palette = np.asarray(label.getpalette()).reshape(-1, 3)
    if (palette[:num_labels] != PALETTE[: len(palette)][:num_labels]).any():
        return f"{path} does not have VOC's palette"
    return None
