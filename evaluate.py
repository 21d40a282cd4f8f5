"""Score CAMs or labels against masks: python evaluate.py --experiment_name EXP (--help lists the options)."""

from scripts import score_cams
from utils.cli import main
from utils.options import ScoreOptions

if __name__ == "__main__":
    main(ScoreOptions, score_cams.run)
