"""Convert the MXNet file of ResNet-38's ImageNet weights, or any weights that training reads, to a .pth file."""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the imports below, which --help and a mistyped option do not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only
    from utils.config.options.weights import ConvertOptions
    from utils.config.program import main

    main(ConvertOptions, "scripts.convert_weights")

from models.errors import WeightsError
from models.weights import tensors_in
from utils.config.options.weights import ConvertOptions
from utils.errors import as_user_error
from utils.files.locate import weights_path
from utils.training.checkpoint import write_checkpoint
from utils.training.weights import read_weights


def run(options: ConvertOptions) -> Path:
    """Writes the tensors under state-dict names and returns the file. Raises UserError naming a damaged file."""
    path = weights_path(options.weights, "--weights")
    with as_user_error(WeightsError, path):
        weights = tensors_in(read_weights(path))
    out = Path(options.out)
    write_checkpoint(out, weights)
    print(f"{out}: {len(weights)} tensors, {sum(t.numel() for t in weights.values()):,} values")
    return out
