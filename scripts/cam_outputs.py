"""The files that the CAM stage writes for each image of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from utils import cam
from utils.cam.exports import affinity_export, irn_export, psa_export
from utils.data.image_list import ImageEntry
from utils.data.images import write_image
from utils.errors import UserError
from utils.files.disk import remove_file
from utils.files.npy_dict import write_npy_dict
from utils.files.sources import digest_of, is_made_from
from utils.runs.paths import RunPaths


class ImageCams(NamedTuple):
    """One image's CAMs (K, H, W) in 0..1, and optionally its strided and high-resolution ones for random walks."""

    merged: Tensor
    random_walk: tuple[Tensor, Tensor] | None


@dataclass(frozen=True)
class CamOutputs:
    """Determines the files of an image, and writes them."""

    paths: RunPaths
    attention: bool = False
    irn: bool = False
    affinity: bool = False
    psa: bool = False

    def files(self, entry: ImageEntry) -> list[Path]:
        """Return every file of an image. The CAM file is last: its presence means that the others exist."""
        attention = [self.attention_file(entry, key) for key in entry.tags] if self.attention else []
        irn = [self.paths.irn_dir / f"{entry.name}.npy"] if self.irn else []
        affinity = [self.paths.affinity_dir / f"{entry.name}.npy"] if self.affinity else []
        psa = [self.paths.psa_dir / f"{entry.name}.npy"] if self.psa else []
        return [*attention, *irn, *affinity, *psa, self.paths.cam_dir / f"{entry.name}.npz"]

    def attention_file(self, entry: ImageEntry, key: int) -> Path:
        return self.paths.attention_dir / f"{entry.name}_{key}.png"

    def are_complete(self, entry: ImageEntry, image: Path) -> bool:
        """Return whether all files exist and the CAM file is intact, has the listed tags, and is of this image."""
        *others, artefact = self.files(entry)
        if not artefact.is_file() or not all(path.is_file() for path in others):
            return False
        try:
            return tuple(cam.read_cam_keys(artefact)) == entry.tags and is_made_from(artefact, image)
        except UserError:
            return False

    def remove_all(self) -> None:
        """Remove all CAM files of this run, including those of images that are no longer listed."""
        exports = (self.paths.attention_dir, self.paths.irn_dir, self.paths.affinity_dir, self.paths.psa_dir)
        for folder in (self.paths.cam_dir, *exports):
            for suffix in ("npz", "npy", "png", "json"):
                for path in folder.glob(f"*.{suffix}"):
                    remove_file(path)

    @property
    def random_walk(self) -> bool:
        """Whether exports for random walks are enabled, which need maps of their own."""
        return self.irn or self.affinity

    def write(self, entry: ImageEntry, maps: ImageCams, image: Path) -> None:
        """Write an image's files, the CAM file last, so that its presence means that all exist."""
        cams = cam.to_uint8(maps.merged)
        if self.attention:
            for key, attention in zip(entry.tags, cams):
                write_image(self.attention_file(entry, key), attention)
        if maps.random_walk is not None:
            if self.irn:
                write_npy_dict(self.paths.irn_dir / f"{entry.name}.npy", irn_export(entry.tags, *maps.random_walk))
            if self.affinity:
                affinity = affinity_export(entry.tags, *maps.random_walk)
                write_npy_dict(self.paths.affinity_dir / f"{entry.name}.npy", affinity)
        if self.psa:
            write_npy_dict(self.paths.psa_dir / f"{entry.name}.npy", psa_export(entry.tags, maps.merged))
        cam.write_cam(self.paths.cam_dir / f"{entry.name}.npz", entry.tags, cams, made_from=digest_of(image))
