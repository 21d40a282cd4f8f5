"""Step 3: dense CRF on stored logits -> data/features/EXP/VAL/crf/NAME.png, data/scores/EXP/scores_crf.json."""

from pathlib import Path

from deeplabv2 import inputs
from deeplabv2.inputs import masked_split
from deeplabv2.labelling import Crf, label_record, labelling
from deeplabv2.scoring import report_scores, scoring
from deeplabv2.step_settings import StepSettings
from utils.data.images import read_label
from utils.runs.inputs import check_present
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.shared_work import share_work


def run(settings: StepSettings) -> Path:
    """Refine the remaining logits of SPLIT.VAL, score all labels, and return scores_crf.json.

    torchrun distributes the images.
    """
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN)
    split = masked_split(settings.DATASET, data, step="the CRF")
    name = settings.DATASET.SPLIT.VAL
    folder = paths.crf_dir(name)
    logits = {image: paths.logits_dir(name) / f"{image}.npz" for image in split.names}
    check_present(logits.values(), "logits", "run main.py test first, with the same settings")
    labels = {image: folder / f"{image}.png" for image in split.names}
    crf, workers, logits_dir = Crf.of(settings), settings.num_workers, paths.logits_dir(name)
    with share_work(folder) as work:
        if work.is_main:
            paths.remember()
        with labelling(split.files, logits_dir, folder, crf, workers, classes=data.classes, work=work) as refining:
            refining.start()
            refining.finish()
        with scoring(
            labels, split.label_dir, workers, label_of=read_label, num_labels=data.num_labels, work=work
        ) as counting:
            scores, photos = counting.finish()
    if not work.is_main:
        return paths.crf_scores
    made_with = label_record(folder).read() or {}
    facts = {**made_with, "list": str(split.list_file), "images": len(split.entries)}
    return report_scores(paths.crf_scores, scores, photos, data.classes, facts, experiment=settings.EXP.ID)
