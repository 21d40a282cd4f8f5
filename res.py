"""Draw a run's CAMs, and its HTML report: python res.py --experiment_name EXP --report (--help lists the options)."""

from scripts import draw_cams
from utils.config.options import DrawOptions
from utils.config.parser import main

if __name__ == "__main__":
    main(DrawOptions, draw_cams.run)
