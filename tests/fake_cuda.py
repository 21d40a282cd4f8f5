"""Networks on a missing CUDA device: fake tensors with shape, type and device but no values.

Operations that mix devices raise, and so does reading any value: float(x), x.item(), x.tolist(), if x.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

CUDA = torch.device("cuda", 0)


@contextmanager
def on_fake_cuda(network: nn.Module) -> Iterator[nn.Module]:
    """Copy the network to the device, while tensors are fake."""
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        result = copy.deepcopy(network)
    with mode:
        wanted = {name: p.requires_grad for name, p in network.named_parameters(remove_duplicate=False)}
        for prefix, module in result.named_modules():
            for name, value in module._parameters.items():
                if value is not None:
                    moved = torch.empty_like(value, device=CUDA)
                    module._parameters[name] = nn.Parameter(moved, wanted[f"{prefix}.{name}".lstrip(".")])
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = torch.empty_like(value, device=CUDA)
        yield result


def moved(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Move the batch to the device like the trainer."""
    return {name: value.to(CUDA, non_blocking=True) for name, value in batch.items()}
