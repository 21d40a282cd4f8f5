"""Copy-paste augmentation (CDA): the foreground bank, the choice of its objects, pasting, the published bank's format.

Cutting a bank out of a dataset is `scripts/build_foregrounds.py`.
"""

from utils.copy_paste.pasting import paste

__all__ = ["paste"]
