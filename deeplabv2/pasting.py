"""Copy-paste of labelled objects between training images: Ghiasi et al., CVPR 2021. Size and position as in CDA."""

from collections.abc import Callable, Sequence

import numpy as np

from utils.copy_paste.bank import Foreground
from utils.copy_paste.pasting import paste
from utils.copy_paste.selection import box_of, cut_out, window_of
from utils.data.catalog import IGNORE_INDEX

Reader = Callable[[str], tuple[np.ndarray, np.ndarray]]


class ObjectPaster:
    """Pastes the object of another training image into an image and its label, with a probability.

    Objects are taken from labels with a single class, as a whole. Labels made from tags are best there; where tags
    occur together, they often lack parts of an object.
    """

    def __init__(self, sources: Sequence[str], *, probability: float) -> None:
        """sources: names of images whose label has a single class."""
        self.sources, self.probability = sources, probability

    def __call__(
        self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator, *, read: Reader
    ) -> tuple[np.ndarray, np.ndarray]:
        """image (H, W, 3) uint8 RGB, label (H, W) uint8 -> changed copies, or both themselves if nothing is pasted.

        read: returns image and label of a name.
        """
        if rng.random() >= self.probability:
            return image, label
        found = self._draw(rng, read)
        pasted = paste(image, None, found, rng=rng)
        return pasted.image, np.where(pasted.mask, np.uint8(found.tag + 1), label)

    def _draw(self, rng: np.random.Generator, read: Reader) -> Foreground:
        name = self.sources[int(rng.integers(len(self.sources)))]
        image, label = read(name)
        mask = (label != 0) & (label != IGNORE_INDEX)
        return cut_out(image, mask, window_of(box_of(mask)), tag=int(label[mask][0]) - 1, source=name)
