"""DeepLab v3+ from segmentation-models-pytorch."""

from collections.abc import Mapping, Sequence

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.encoders import get_encoder_names
from torch import Tensor, nn

from deeplabv2.input_format import IMAGENET
from deeplabv2.models.segmenter import SingleScale
from models.errors import ModelOptionError
from models.freezing import check_stages
from models.timm_features import cropped, padded

LOGIT_STRIDE = 4
SIZE_STEP = 16
ENCODER_STAGES = (("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))


class DeepLabV3Plus(SingleScale):
    """DeepLab v3+ (Chen et al., ECCV 2018) on a residual network; logits at a quarter of the image's size."""

    normalisation = IMAGENET
    head_prefixes = ("network.decoder.", "network.segmentation_head.")
    output_stride = LOGIT_STRIDE

    def __init__(
        self, encoder: str, num_labels: int, *, output_stride: int = 16, atrous_rates: Sequence[int] = (12, 24, 36)
    ) -> None:
        super().__init__()
        known = [name for name in get_encoder_names() if name.startswith("resnet")]
        if encoder not in known:
            raise ModelOptionError(
                "name", f"DeepLabV3Plus_{encoder}", f"expected one of the encoders {', '.join(known)}"
            )
        if output_stride not in (8, 16):
            raise ModelOptionError("output_stride", output_stride, "DeepLabV3Plus supports 8 or 16")
        if len(atrous_rates) != 3 or min(atrous_rates) < 1:
            raise ModelOptionError("atrous_rates", atrous_rates, "DeepLabV3Plus needs three dilations of at least 1")
        self.name = f"DeepLabV3Plus_{encoder}"
        self.encoder_name, self.num_labels = encoder, num_labels
        self.network = smp.DeepLabV3Plus(
            encoder_name=encoder,
            encoder_weights=None,
            encoder_output_stride=output_stride,
            decoder_atrous_rates=tuple(atrous_rates),
            classes=num_labels,
            upsampling=1,  # losses and scores resize logits themselves
        )

    def stage_modules(self, stages: int) -> list[nn.Module]:
        """Return the stem for 1, the stem and layer1 for 2, and so on up to 5."""
        check_stages(stages, len(ENCODER_STAGES), self.name)
        encoder = self.network.encoder
        return [encoder.get_submodule(layer) for layers in ENCODER_STAGES[:stages] for layer in layers]

    def logits(self, images: Tensor) -> Tensor:
        # the decoder combines two strides, so sizes must be multiples of the coarser one
        whole = padded(images, SIZE_STEP)
        return cropped(self.network(whole), whole, images)

    def translate(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename weights of torchvision's and timm's residual networks, whose names the encoder keeps."""
        own = self.network.encoder.state_dict()
        return {f"network.encoder.{name}": state[name] for name in own if name in state}

    def imagenet_state(self) -> dict[str, Tensor]:
        return smp.encoders.get_encoder(self.encoder_name, weights="imagenet").state_dict()

    def initial_files(self) -> str:
        return f"torchvision's {self.encoder_name} (.pth), or a checkpoint of the same network"
