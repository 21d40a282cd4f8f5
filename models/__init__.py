"""CAM networks: backbones, attention, suppression, head."""

from models.cam_head import CamNet, CamOutput, Features
from models.cam_net import build_cam_net, load_weights

__all__ = ["CamNet", "CamOutput", "Features", "build_cam_net", "load_weights"]
