"""Convert the MXNet file of ResNet-38's ImageNet weights, or any weights that training reads, to a .pth file."""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only

from utils.config.parser import main
from utils.files.locate import weights_path
from utils.training.checkpoint import read_weights, write_checkpoint


@dataclass(frozen=True)
class ConvertOptions:
    """Convert weights to a .pth file."""

    weights: str
    """A .params, .safetensors or .pth file."""
    out: str
    """The .pth file to write."""


def run(options: ConvertOptions) -> Path:
    """Writes the tensors under state-dict names and returns the file. Raises ValueError naming a damaged file."""
    weights = read_weights(weights_path(options.weights))
    out = Path(options.out)
    write_checkpoint(out, weights)
    print(f"{out}: {len(weights)} tensors, {sum(t.numel() for t in weights.values()):,} values")
    return out


if __name__ == "__main__":
    main(ConvertOptions, run)
