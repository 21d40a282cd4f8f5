"""The options of each program, one file per program, composed of one small dataclass per group in --help.

The segmentation network's are in `deeplabv2.settings`.
"""

from utils.config.options.cams import CamOptions
from utils.config.options.draw import DrawOptions
from utils.config.options.foregrounds import ForegroundOptions
from utils.config.options.labels import LabelOptions
from utils.config.options.score import ScoreOptions
from utils.config.options.train import TrainOptions

__all__ = ["CamOptions", "DrawOptions", "ForegroundOptions", "LabelOptions", "ScoreOptions", "TrainOptions"]
