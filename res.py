"""Draw a run's CAMs, write its report: python res.py --experiment_name EXP --report (--help lists the options)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # with PYTHONSAFEPATH, Python does not see this folder

from utils.config.options import DrawOptions
from utils.config.program import main

if __name__ == "__main__":
    main(DrawOptions, "scripts.draw_cams")
