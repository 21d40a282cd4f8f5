"""Copy-paste of labelled objects between training images: Ghiasi et al., CVPR 2021. Size and position as in CDA."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.copy_paste.bank import Foreground
from utils.copy_paste.pasting import paste
from utils.copy_paste.selection import box_of, cut_out, window_of
from utils.data.catalog import IGNORE_INDEX
from utils.data.images import read_label, read_rgb


class ObjectPaster:
    """Pastes the object of another training image into an image and its label, with a probability.

    Objects are taken from labels with a single class, as a whole. Labels made from tags are best there; where tags
    occur together, they often lack parts of an object.
    """

    def __init__(
        self, sources: Sequence[str], files: Mapping[str, Path], label_dir: Path, *, probability: float
    ) -> None:
        """sources: images whose label has a single class. files: name -> image. label_dir: folder of the NAME.png."""
        self.sources, self.files, self.label_dir, self.probability = sources, files, label_dir, probability

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """image (H, W, 3) uint8 RGB, label (H, W) uint8 -> changed copies, or both themselves if nothing is pasted."""
        if rng.random() >= self.probability:
            return image, label
        found = self._draw(rng)
        pasted = paste(image, None, found, rng=rng)
        return pasted.image, np.where(pasted.mask, np.uint8(found.tag + 1), label)

    def _draw(self, rng: np.random.Generator) -> Foreground:
        name = self.sources[int(rng.integers(len(self.sources)))]
        label = read_label(self.label_dir / f"{name}.png")
        mask = (label != 0) & (label != IGNORE_INDEX)
        image = np.asarray(read_rgb(self.files[name]))
        return cut_out(image, mask, window_of(box_of(mask)), tag=int(label[mask][0]) - 1, source=name)
