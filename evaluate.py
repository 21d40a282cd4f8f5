"""Score CAMs or labels against masks: python evaluate.py --experiment_name EXP (--help lists the options)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # with PYTHONSAFEPATH, Python does not see this folder

from utils.config.options import ScoreOptions
from utils.config.program import main

if __name__ == "__main__":
    main(ScoreOptions, "scripts.score_cams")
