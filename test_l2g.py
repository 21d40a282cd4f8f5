"""Compute the CAMs of a trained run: python test_l2g.py --experiment_name EXP (--help lists the options)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # with PYTHONSAFEPATH, Python does not see this folder

from utils.config.options import CamOptions
from utils.config.program import main

if __name__ == "__main__":
    main(CamOptions, "scripts.make_cams")
