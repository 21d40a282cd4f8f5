"""Score CAMs or labels against masks: python evaluate.py --experiment_name EXP (--help lists the options)."""

from utils.config.options import ScoreOptions
from utils.config.program import main

if __name__ == "__main__":
    main(ScoreOptions, "scripts.score_cams")
