"""How a CUDA device computes: what makes it fast, and what makes it repeatable."""

import os
from dataclasses import dataclass
from typing import Any

import torch

DETERMINISTIC_COST = (
    "--deterministic costs speed: no autotuned convolutions, no atomic sums, ROI align in plain "
    "operations; compare steps_per_second in metrics.jsonl"
)


@dataclass(frozen=True)
class Choices:
    """tf32: 32-bit matrices and convolutions with 10-bit mantissas. autotune: try cuDNN's algorithms, for inputs of
    fixed size. deterministic: repeatable algorithms alone, whatever they cost."""

    tf32: bool = True
    autotune: bool = False
    deterministic: bool = False


def choose(device: torch.device, choices: Choices) -> dict[str, Any]:
    """Sets what the choices say on a CUDA device -> what holds there, for versions.json. A CPU has no such choice."""
    if device.type != "cuda":
        return {"tf32": False, "cudnn_autotune": False, "deterministic": True}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = choices.tf32
    torch.backends.cudnn.benchmark = choices.autotune and not choices.deterministic
    torch.backends.cudnn.deterministic = choices.deterministic
    if choices.deterministic:
        # cuBLAS reads it with its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(choices.deterministic)
    return {
        "tf32": choices.tf32,
        "cudnn_autotune": torch.backends.cudnn.benchmark,
        "deterministic": choices.deterministic,
    }
