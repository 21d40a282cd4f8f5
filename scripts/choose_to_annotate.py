"""Choose the photos for which masks are most useful, such that scores on them are valid estimates for all photos.

python scripts/choose_to_annotate.py --experiment_name=mine --number=12
"""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.own import AnnotateOptions
    from utils.config.program import main

    main(AnnotateOptions, "scripts.choose_to_annotate")

from utils.config.options.own import AnnotateOptions
from utils.data.names_table import source_files
from utils.errors import UserError
from utils.files.text import first_few
from utils.runs.annotation_sample import FILE, RULE, STRATA, draw_sample, write_sample
from utils.runs.inputs import open_run
from utils.runs.label_judgement import FILE as JUDGEMENT
from utils.runs.label_judgement import read_label_judgement
from utils.runs.paths import RunPaths


def run(options: AnnotateOptions) -> Path:
    """Print the photos and write them with their weights to runs/EXP/to_annotate.json. Returns its path.

    Raises UserError if the labels have not been judged, or if there is an earlier sample: masks may already be drawn
    for it, and its weights belong to it.
    """
    paths = RunPaths.of(options.runs_dir, options.experiment_name)
    judgement = read_label_judgement(paths.root)
    if judgement is None:
        remedy = f"run scripts/judge_labels.py --experiment_name {options.experiment_name} first"
        raise UserError("the labels have not been judged", paths.root, remedy=remedy)
    file = paths.root / FILE
    if file.exists() and not options.overwrite:
        rule = "masks may already be drawn for these photos, and the weights belong to them"
        raise UserError("photos are already chosen", file, rule, "give --overwrite to choose again")
    data = open_run(paths, options.dataset).data
    strange = {tag for photo in judgement.photos for tag in photo.tags} - set(data.classes)
    if strange:
        rule, remedy = f"the dataset has {first_few(data.classes)}", "run scripts/judge_labels.py again"
        raise UserError(f"was made with the class {sorted(strange)[0]!r}", paths.root / JUDGEMENT, rule, remedy)
    sample = draw_sample(judgement.photos, options.number, seed=options.seed, files=source_files(data.root))
    write_sample(paths.root, sample)
    print(
        f"{len(sample.photos)} of {sum(sample.strata)} photos with tags; weight: number of photos that each represents"
    )
    for photo in sample.photos:
        where = f"{STRATA[photo.stratum]}, doubt {photo.doubt:.2f}, weight {photo.weight:.1f}"
        print(f"  {photo.file}  ({', '.join(photo.tags)}; {where})")
    print(f"chosen: {RULE}")
    print("classes in masks: 0 background, " + ", ".join(f"{n} {name}" for n, name in enumerate(data.classes, 1)))
    print(f"written: {file}")
    return file
