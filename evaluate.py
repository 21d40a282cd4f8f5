"""Score CAMs or labels against masks: python evaluate.py --experiment_name EXP (--help lists the options)."""

from scripts import score_cams
from utils.config.options import ScoreOptions
from utils.config.parser import main

if __name__ == "__main__":
    main(ScoreOptions, score_cams.run)
