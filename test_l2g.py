"""Make the CAMs of a trained run: python test_l2g.py --experiment_name EXP (--help lists the options)."""

from scripts import make_cams
from utils.config.options import CamOptions
from utils.config.parser import main

if __name__ == "__main__":
    main(CamOptions, make_cams.run)
