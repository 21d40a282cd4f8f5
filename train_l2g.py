"""Train the L2G classifier from image tags: python3 train_l2g.py --experiment_name EXP --config=configs/voc12.yaml"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # with PYTHONSAFEPATH, Python does not see this folder

from utils.config.options import TrainOptions
from utils.config.program import main

if __name__ == "__main__":
    main(TrainOptions, "scripts.train")
