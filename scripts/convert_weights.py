"""Convert weights: ImageNet weights of any format to a .pth file, or a checkpoint to the published format."""

import sys
from pathlib import Path

if __name__ == "__main__":  # before the slow imports below, which --help does not need
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder
    from utils.config.options.weights import ConvertOptions
    from utils.config.program import main

    main(ConvertOptions, "scripts.convert_weights")

from models.errors import WeightsError
from models.weights import WEIGHT_SETS, tensors_in
from utils.config.options.weights import ConvertOptions
from utils.errors import as_user_error
from utils.files.locate import weights_path
from utils.training.checkpoint import read_checkpoint, write_checkpoint
from utils.training.published import published_checkpoint
from utils.training.weights import read_weights


def run(options: ConvertOptions) -> Path:
    """Write the weights in the chosen format. Returns the file. Raises UserError naming a damaged file."""
    path = weights_path(options.weights, "--weights")
    out = Path(options.out)
    if options.to == "published":
        content = published_checkpoint(read_checkpoint(path), path)
        networks = [(name, content[name]) for name in WEIGHT_SETS if name in content]
    else:
        with as_user_error(WeightsError, path):
            content = tensors_in(read_weights(path))
        networks = [("state dict", content)]
    write_checkpoint(out, content)
    for name, weights in networks:
        print(f"{out}: {name}, {len(weights)} tensors, {sum(t.numel() for t in weights.values()):,} values")
    return out
