"""Make the CAMs of a trained run: python test_l2g.py --experiment_name EXP (--help lists the options)."""

from utils.config.options import CamOptions
from utils.config.program import main

if __name__ == "__main__":
    main(CamOptions, "scripts.make_cams")
