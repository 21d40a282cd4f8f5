"""L2G: a global network learns the attention of a local network patch by patch. Jiang et al., CVPR 2022."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from models.cam_head import CamOutput

LossKind = Literal["mse", "cross_entropy", "balanced"]
BackgroundTarget = Literal["network", "activation", "complement"]


def transfer_target(
    local_cams: Tensor,
    tags: Tensor,
    saliency: Tensor | None,
    *,
    threshold: float,
    background: BackgroundTarget = "network",
) -> Tensor:
    """Compute the target of the global network in each patch. L2G, sec. 3.2 and 3.3.

    local_cams (N * P, C + 1, h, w): raw maps of the local network, background last. tags (N, C): multi-hot, shared by
    an image's P patches. saliency: (N * P, 1, H, W) in 0..1, or None. Returns (N * P, C + 1, h, w) in 0..1, detached.

    With saliency s, the strongest class of a pixel gets s (object) or 1 - s (background) if its activation exceeds
    `threshold`. Without saliency it gets its activation a. `background` sets the background's value: "activation"
    (published for COCO) is a * (1 - s), regardless of the threshold. "complement" ignores the local network's own
    background map, which no loss trains, and uses what the strongest object leaves: 1 - s, or 1 - a without saliency.
    For images without tags, apply background_where_untagged to the result.
    """
    patches = local_cams.shape[0] // tags.shape[0]
    activation = F.relu(local_cams.detach().float())
    activation = activation / (activation.amax(dim=(2, 3), keepdim=True) + 1e-8)
    present = tags.to(activation).repeat_interleave(patches, dim=0)[:, :, None, None]
    objects, own_background = activation[:, :-1] * present, activation[:, -1:]
    if saliency is not None:
        saliency = F.interpolate(saliency.float(), size=activation.shape[-2:], mode="nearest")
    if background == "complement":
        objects = keep_strongest(objects)
        if saliency is not None:
            return torch.cat([(objects > threshold) * saliency, 1 - saliency], dim=1)
        return torch.cat([objects, 1 - objects.amax(dim=1, keepdim=True)], dim=1)
    strongest = keep_strongest(torch.cat([objects, own_background], dim=1))
    if saliency is None:
        return strongest
    above = (strongest > threshold).to(saliency)
    own_background = strongest[:, -1:] if background == "activation" else above[:, -1:]
    return torch.cat([above[:, :-1] * saliency, own_background * (1 - saliency)], dim=1)


def background_where_untagged(target: Tensor, tags: Tensor) -> Tensor:
    """Set the target to background everywhere in images without tags, regardless of their saliency.

    target (N * P, C + 1, h, w), whose object channels are already zero there; tags (N, C) multi-hot -> same shape.
    """
    untagged = (tags.sum(dim=1) == 0).to(target).repeat_interleave(target.shape[0] // tags.shape[0])
    return torch.cat([target[:, :-1], torch.maximum(target[:, -1:], untagged[:, None, None, None])], dim=1)


def keep_strongest(maps: Tensor) -> Tensor:
    """Keep each pixel's strongest class and zero the others. maps (N, C, h, w) -> same shape."""
    return maps * (maps == maps.amax(dim=1, keepdim=True))


def transfer_loss(
    global_cams: Tensor, target: Tensor, boxes: Tensor, *, stride: float, kind: LossKind = "mse"
) -> Tensor:
    """Compute the distance between the global network's maps at the patches and the target. L2G, eq. 5.

    global_cams (N, C + 1, H / stride, W / stride) raw; target (N * P, C + 1, h, w); boxes (N, P, 4) x0 y0 x1 y1 in
    pixels of the network's input, or (N, P, 5) with an ignored first column -> scalar.

    mse: squared error of the softmax, averaged over classes and pixels, as published. cross_entropy: each pixel is
    weighted by the mass of its target, so a salient pixel whose class the local network does not detect yet has no
    influence instead of being pushed to background. balanced: cross entropy averaged separately over object and
    background mass, so that small objects weigh as much as the background.
    """
    logits = cut_maps(global_cams, boxes, size=target.shape[-2:], stride=stride)
    if kind == "mse":
        return F.mse_loss(logits.softmax(dim=1), target)
    surprise = -target * logits.log_softmax(dim=1)
    if kind == "cross_entropy":
        return _weighted_mean(surprise, target)
    if kind != "balanced":
        raise ValueError(f"kind={kind!r}: expected one of mse, cross_entropy, balanced")
    return (_weighted_mean(surprise[:, :-1], target[:, :-1]) + _weighted_mean(surprise[:, -1:], target[:, -1:])) / 2


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Divide the sum of already weighted values by the sum of the weights; 0 if all weights are 0."""
    return values.sum() / weights.sum().clamp(min=1.0)


def cut_maps(maps: Tensor, boxes: Tensor, *, size: Sequence[int], stride: float) -> Tensor:
    """ROI-align maps (N, K, H, W) of `stride` at boxes (N, P, 4 or 5) in pixels -> (N * P, K, *size) float32."""
    corners = boxes[..., -4:].to(maps.device, torch.float32, non_blocking=True)
    # one tensor: from a list, torchvision makes it by three operations per image
    numbers = torch.arange(len(maps), dtype=torch.float32, device=maps.device).repeat_interleave(corners.shape[1])
    regions = torch.cat([numbers[:, None], corners.flatten(0, 1)], dim=1)
    return roi_align(maps.float(), regions, output_size=tuple(size), spatial_scale=1.0 / stride, aligned=False)


def cut_patches(images: Tensor, boxes: Tensor, *, side: int | None = None) -> Tensor:
    """Cut square patches out of images (N, K, H, W). boxes (N, P, 4) in whole pixels, one size -> (N * P, K, s, s).

    side: s. If None, it is read from the boxes, which synchronises with the GPU if they are there.
    """
    side = int(boxes[0, 0, 2] - boxes[0, 0, 0]) if side is None else side
    boxes, steps = boxes.to(images.device, non_blocking=True), torch.arange(side, device=images.device)
    rows, columns = boxes[..., 1, None, None] + steps[:, None], boxes[..., 0, None, None] + steps
    numbers = torch.arange(len(images), device=images.device)[:, None, None, None]
    cut = images.permute(0, 2, 3, 1)[numbers, rows, columns]
    return (
        cut.flatten(0, 1)
        .permute(0, 3, 1, 2)
        .contiguous(
            memory_format=torch.channels_last
            if images.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
    )


def saliency_patches(saliency: Tensor, boxes: Tensor, *, side: int | None = None) -> Tensor:
    """Cut and normalise the saliency of the patches for transfer_target, as in L2G's published code.

    saliency (N, 1, H, W): grey values of the crops in 0..255 or 0..1. boxes: (N, P, 4) in whole pixels, or (N, P, 5)
    with an ignored first column. Returns (N * P, 1, s, s) float32 in 0..1. Each crop is divided by its maximum before
    the patches are cut, so faint patches stay faint. A crop of zeros stays zeros. side: s, see cut_patches.
    """
    saliency = saliency.float()
    scaled = saliency / (saliency.amax(dim=(2, 3), keepdim=True) + 1e-10)
    return cut_patches(scaled, boxes[..., -4:].long(), side=side)


def active_tags(cams: Tensor, tags: Tensor, *, has_background: bool) -> Tensor:
    """Return the fraction of tags that are visible in raw maps (N, C + 1, h, w). tags (N, C) multi-hot -> scalar.

    A tag is visible if its map exceeds the background's anywhere, or 0 in a network whose background is not trained.
    1 if no image has a tag.
    """
    floor = cams[:, -1:] if has_background else torch.zeros_like(cams[:, -1:])
    shown = (cams[:, :-1] > floor).flatten(2).any(dim=2)
    total = tags.sum()
    return torch.where(total > 0, (shown * tags).sum() / total.clamp(min=1), torch.ones_like(total))


Part = Literal["local", "global"]


class L2GOutput(NamedTuple):
    """losses: name -> weighted scalar. active_tags: see the function active_tags. target: see transfer_target."""

    losses: dict[str, Tensor]
    active_tags: Tensor | None
    target: Tensor | None


class L2G(nn.Module):
    """Global and local network with their losses. Without a local network: a plain classifier with CAMs."""

    def __init__(
        self,
        global_net: nn.Module,
        local_net: nn.Module | None,
        *,
        kd_weight: float,
        kd_loss: LossKind,
        bg_threshold: float,
        background_target: BackgroundTarget,
        local_cls_weight: float,
        global_cls_weight: float,
        patch_side: int | None = None,
        local_passes: int = 1,
    ) -> None:
        """patch_side: side of the square patches in pixels. If None, it is read from each batch's boxes.

        local_passes: parts of the forward pass in which the local network takes the patches, a divisor of their number.
        """
        super().__init__()
        self.global_net = global_net
        self.local_net = local_net
        self.kd_weight = kd_weight
        self.kd_loss = kd_loss
        self.bg_threshold = bg_threshold
        self.background_target = background_target
        self.local_cls_weight = local_cls_weight
        self.global_cls_weight = global_cls_weight
        self.patch_side = patch_side
        self.local_passes = local_passes

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts of the forward pass between which no gradient passes: the local network's maps are only a target.

        Patches are independent of each other, too, unless the local network's batch norms use their statistics.
        """
        local: list[Part] = ["local"]
        return (*local * (self.local_passes if self.local_net else 0), "global")

    def forward(
        self,
        images: Tensor,
        tags: Tensor,
        boxes: Tensor,
        saliency: Tensor | None = None,
        target: Tensor | None = None,
        part: Part | None = None,
    ) -> L2GOutput:
        """images (N, 3, S, S), tags (N, C), boxes (N, P, 4) in whole pixels, saliency (N, 1, S, S) in 0..1 or None.

        part: run one network only, so that its activations can be freed before the other one runs. "local" returns the
        loss of the next patches after those of `target`, and the target with theirs; "global" takes the target of all.
        None runs all.
        """
        losses: dict[str, Tensor] = {}
        if self.local_net is not None and part != "global":
            passes = self.local_passes if part == "local" else 1
            target, losses = self._local(self.local_net, images, tags, boxes, saliency, before=target, passes=passes)
            if part == "local":
                return L2GOutput(losses, None, target)
        seen = self.global_net(images)
        if self.global_cls_weight > 0:
            classification = F.multilabel_soft_margin_loss(seen.scores.float(), tags)
            losses["global_cls"] = self.global_cls_weight * classification
        if target is not None:
            stride = images.shape[-1] / seen.cams.shape[-1]
            transfer = transfer_loss(seen.cams, target, boxes, stride=stride, kind=self.kd_loss)
            losses["transfer"] = self.kd_weight * transfer
        shown = active_tags(seen.cams.detach(), tags, has_background=self.local_net is not None)
        return L2GOutput(losses, shown, target)

    def _local(
        self,
        network: nn.Module,
        images: Tensor,
        tags: Tensor,
        boxes: Tensor,
        saliency: Tensor | None,
        *,
        before: Tensor | None,
        passes: int,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the local network on the next 1 / passes of the patches.

        before: the target of the earlier ones. Returns the target of all so far, and the loss.
        """
        tags = tags.repeat_interleave(boxes.shape[1], dim=0)
        first = 0 if before is None else len(before)
        chosen = slice(first, first + len(tags) // passes)
        tags = tags[chosen]
        output: CamOutput = network(cut_patches(images, boxes, side=self.patch_side)[chosen])
        if saliency is not None:
            saliency = saliency_patches(saliency, boxes, side=self.patch_side)[chosen]
        target = transfer_target(
            output.cams, tags, saliency, threshold=self.bg_threshold, background=self.background_target
        )
        target = background_where_untagged(target, tags)
        classification = F.multilabel_soft_margin_loss(output.scores.float(), tags)
        losses = {"local_cls": self.local_cls_weight / passes * classification}
        return target if before is None else torch.cat([before, target]), losses
