"""Step 2: test whole images of SPLIT.VAL -> data/features/EXP/VAL/logits, data/scores/EXP/scores.json."""

from pathlib import Path

from deeplabv2 import inputs
from deeplabv2.inference import checkpoint_path, open_logits
from deeplabv2.scoring import label_of_logits, report_scores, scoring
from deeplabv2.step_settings import StepSettings
from utils.files.lock import hold
from utils.runs.segmentation import SegmentationPaths
from utils.runtime.process import start_process
from utils.runtime.shared_work import share_work


def run(settings: StepSettings) -> Path:
    """Compute the missing logits, score all, and return scores.json. torchrun distributes the images.

    Images are scored while the network computes the next ones, those with older logits at the end.
    """
    data = inputs.open_data(settings.DATASET)
    paths = SegmentationPaths.of(settings.EXP.OUTPUT_DIR, settings.EXP.ID, settings.EXP.RUN)
    split = inputs.masked_split(settings.DATASET, data, step="testing")
    folder = paths.logits_dir(settings.DATASET.SPLIT.VAL)
    checkpoint = checkpoint_path(settings.model_path, paths.training)
    predictions = {name: folder / f"{name}.npz" for name in split.names}
    with (
        share_work(folder) as work,
        scoring(
            predictions,
            split.label_dir,
            settings.num_workers,
            label_of=label_of_logits,
            num_labels=data.num_labels,
            work=work,
        ) as counts,
    ):
        with start_process(settings.SOLVER.DEVICE) as process, hold(folder):
            missing = open_logits(
                settings, split.entries, split.files, folder, process, classes=data.classes, checkpoint=checkpoint
            )
            facts = missing.compute(then=counts.add)
        scores, photos = counts.finish()
    if not work.is_main:
        return paths.scores
    paths.remember()
    facts |= {"list": str(split.list_file), "images": len(split.entries), "masks": str(split.label_dir)}
    return report_scores(paths.scores, scores, photos, data.classes, facts, experiment=settings.EXP.ID)
