"""Create pseudo labels from CAMs: python gen_gt.py --experiment_name EXP (--help lists the options)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # with PYTHONSAFEPATH, Python does not see this folder

from utils.config.options import LabelOptions
from utils.config.program import main

if __name__ == "__main__":
    main(LabelOptions, "scripts.make_labels")
