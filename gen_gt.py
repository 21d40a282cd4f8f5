"""Make pseudo labels from CAMs: python gen_gt.py --experiment_name EXP (--help lists the options)."""

from scripts import make_labels
from utils.config.options import LabelOptions
from utils.config.parser import main

if __name__ == "__main__":
    main(LabelOptions, make_labels.run)
