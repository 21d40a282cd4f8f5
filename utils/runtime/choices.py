"""How a CUDA device computes: settings for speed and for determinism."""

import os
from dataclasses import dataclass
from typing import Any

import torch

DETERMINISTIC_COST = (
    "--deterministic is slower: no autotuned convolutions, no atomic sums, ROI align in plain "
    "operations; compare steps_per_second in metrics.jsonl"
)


@dataclass(frozen=True)
class Choices:
    """tf32: 10-bit mantissas in float32 matrix products and convolutions. autotune: benchmark cuDNN's algorithms, for
    inputs of fixed size. deterministic: use only deterministic algorithms."""

    tf32: bool = True
    autotune: bool = False
    deterministic: bool = False


def choose(device: torch.device, choices: Choices) -> dict[str, Any]:
    """Apply the choices to a CUDA device (no effect on a CPU). Returns the effective settings for versions.json."""
    if device.type != "cuda":
        return {"tf32": False, "cudnn_autotune": False, "deterministic": True}
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = choices.tf32
    torch.backends.cudnn.benchmark = choices.autotune and not choices.deterministic
    torch.backends.cudnn.deterministic = choices.deterministic
    if choices.deterministic:
        # cuBLAS reads it at its first call
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(choices.deterministic)
    return {
        "tf32": choices.tf32,
        "cudnn_autotune": torch.backends.cudnn.benchmark,
        "deterministic": choices.deterministic,
    }
