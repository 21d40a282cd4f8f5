"""Make pseudo labels from CAMs: python gen_gt.py --experiment_name EXP (--help lists the options)."""

from utils.config.options import LabelOptions
from utils.config.program import main

if __name__ == "__main__":
    main(LabelOptions, "scripts.make_labels")
