"""Train, test and use the segmentation network: python3 main.py COMMAND --config-path configs/NAME.yaml

  train     train on pseudo labels or any other labels
  test      label the validation images and score the labels -> logits, scores.json
  crf       refine these labels with a dense CRF and score them -> scores_crf.json
  predict   label any photos
  export    write the network as an ONNX file, which predict --onnx runs without torch
  cams      compute class maps of the training images, restricted to their tags, for a second round of labels

Further flags override keys of the file, e.g. --SOLVER.LR=1e-4; `main.py train --help` lists them.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder

from deeplabv2.step_settings import CamSettings, ExportSettings, PredictSettings, StepSettings, TrainSettings
from utils.config.program import main
from utils.files.locate import DEEPLAB_ROOT

COMMANDS = {
    "train": TrainSettings,
    "test": StepSettings,
    "crf": StepSettings,
    "predict": PredictSettings,
    "export": ExportSettings,
    "cams": CamSettings,
}

if __name__ == "__main__":
    command, *flags = sys.argv[1:] or ["--help"]
    if command not in COMMANDS:
        print(__doc__, file=sys.stderr)
        is_help = command in ("-h", "--help")
        sys.exit(0 if is_help else f"error: unknown command {command!r}: expected one of {', '.join(COMMANDS)}")
    main(COMMANDS[command], f"deeplabv2.{command}", argv=flags, search_dirs=(DEEPLAB_ROOT,))
