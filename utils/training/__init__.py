"""The engine that trains both networks: trainer, checkpoints, schedules, samplers, and loading of weights.

What differs between the networks is a `Task`: see `scripts/train.py` and `deeplabv2/train.py`.
"""

from utils.training.mxnet_params import read_params, to_resnet38
from utils.training.schedule import poly

__all__ = ["poly", "read_params", "to_resnet38"]
