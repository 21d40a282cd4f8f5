"""CAM networks: backbones, attention, suppression, head."""

from models.cam_head import CamNet, CamOutput, Features
from models.cam_net import build_cam_net, load_weights
from models.errors import ModelOptionError, WeightsError

__all__ = ["CamNet", "CamOutput", "Features", "ModelOptionError", "WeightsError", "build_cam_net", "load_weights"]
