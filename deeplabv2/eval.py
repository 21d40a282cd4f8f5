"""Pack labels for the PASCAL VOC evaluation server: python3 eval.py --config_path FILE.yaml [--model_path FILE.pth]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # when run by path, Python only searches this folder

from deeplabv2.step_settings import ArchiveSettings
from utils.config.program import main
from utils.files.locate import DEEPLAB_ROOT

if __name__ == "__main__":
    main(ArchiveSettings, "deeplabv2.archive", search_dirs=(DEEPLAB_ROOT,))
