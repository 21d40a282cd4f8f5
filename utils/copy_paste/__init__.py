"""Copy-paste augmentation (CDA): foreground bank, selection of its objects, pasting, the published bank's format.

`scripts/build_foregrounds.py` builds a bank from a dataset.
"""

from utils.copy_paste.pasting import paste

__all__ = ["paste"]
