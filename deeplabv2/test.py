"""Step 2: test whole images of SPLIT.VAL -> data/features/EXP/VAL/logits, data/scores/EXP/scores.json."""

from pathlib import Path

from deeplabv2 import inputs
from deeplabv2.inference import checkpoint_path, make_logits
from deeplabv2.scoring import Scoring, label_of_logits, report_scores
from deeplabv2.step_settings import StepSettings
from utils.files.lock import hold
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.process import start_process


def run(settings: StepSettings) -> Path:
    """Compute the missing logits, score all, and return scores.json. torchrun distributes the images.

    The main process scores its images while the network computes the next ones, and the others at the end.
    """
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN)
    split = inputs.masked_split(settings.DATASET, data, step="testing")
    folder = paths.logits_dir(settings.DATASET.SPLIT.VAL)
    checkpoint = checkpoint_path(settings.model_path, paths.training)
    predictions = {name: folder / f"{name}.npz" for name in split.names}
    scoring = Scoring(predictions, split.label_dir, label_of=label_of_logits, num_labels=data.num_labels)
    with start_process(settings.SOLVER.DEVICE) as process, hold(folder):
        facts = make_logits(
            settings,
            split.entries,
            split.files,
            folder,
            process,
            classes=data.classes,
            checkpoint=checkpoint,
            then=scoring.count if process.is_main else None,
        )
        if not process.is_main:
            return paths.scores
    paths.remember()
    scores, photos = scoring.finish(settings.num_workers)
    facts |= {"list": str(split.list_file), "images": len(split.entries), "masks": str(split.label_dir)}
    return report_scores(paths.scores, scores, photos, data.classes, facts, experiment=settings.EXP.ID)
