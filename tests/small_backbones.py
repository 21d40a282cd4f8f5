"""One small model of each family of timm backbones, with random weights: timm's own models, shrunk by arguments."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import timm

_TOKENS = {"embed_dim": 64, "depth": 4, "num_heads": 2}
# name -> what shrinks it; each stands for a way in which timm lays out features
SMALL_BACKBONES = {
    "vit_tiny_patch16_224": _TOKENS,
    "vit_small_patch14_reg4_dinov2": _TOKENS,  # patches of 14, register tokens
    "vit_base_patch16_clip_224": _TOKENS,  # a norm before the blocks
    "vit_base_patch16_siglip_224": _TOKENS,  # no class token
    "eva02_tiny_patch14_224": _TOKENS,  # rotary positions beside embeddings
    "vit_small_patch16_dinov3": _TOKENS,  # rotary positions alone
    "swin_tiny_patch4_window7_224": {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2)},
    "swinv2_tiny_window8_256": {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2)},
    "convnext_atto": {"dims": (16, 32, 64, 64), "depths": (1, 1, 2, 1)},
}


@contextmanager
def small_backbones() -> Iterator[None]:
    """Inside, timm.create_model makes these models small."""
    create = timm.create_model

    def shrunk(name, **options):
        return create(name, **SMALL_BACKBONES.get(name, {}), **options)

    with patch.object(timm, "create_model", shrunk):
        yield
