"""Train, test and use the segmentation network: python3 main.py train|test|crf|predict --config-path configs/NAME.yaml

Further flags override keys of the file, e.g. --SOLVER.LR=1e-4; `main.py COMMAND --help` lists them all.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, Python sees this folder only

from utils.config import parser as cli
from utils.files.locate import DEEPLAB_ROOT

# command -> module with run(settings), and the class of its settings there
COMMANDS = {
    "train": ("deeplabv2.train", "Settings"),
    "test": ("deeplabv2.test", "StepSettings"),
    "crf": ("deeplabv2.crf", "StepSettings"),
    "predict": ("deeplabv2.predict", "PredictSettings"),
}


def main() -> None:
    """Runs the command that the first argument names."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command not in COMMANDS:
        print(__doc__, file=sys.stderr)
        sys.exit(0 if command in ("-h", "--help") else f"error: {command!r} is no command: {', '.join(COMMANDS)}")
    module_name, settings_name = COMMANDS[command]
    module = importlib.import_module(module_name)
    cli.main(getattr(module, settings_name), module.run, argv=sys.argv[2:], places=(DEEPLAB_ROOT,))


if __name__ == "__main__":
    main()
