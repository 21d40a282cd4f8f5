"""Checks whether a classifier can learn from the tags: what is impossible, and what will be hard."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from utils.data.image_list import ImageEntry
from utils.files.text import first_few

FEW = 20  # with fewer photos of a class, its CAMs are hardly better than chance
FEW_OTHERS = 0.1  # images without a class are too few if they are less than FEW and less than this fraction
SHOWN = 10


def tag_faults(entries: Sequence[ImageEntry], classes: Sequence[str]) -> list[str]:
    """Return why nothing can be learnt (every image has the same tags); empty if something can."""
    sets = {entry.tags for entry in entries}
    if len(sets) != 1 or not entries[0].tags:
        return []
    names = first_few((classes[tag] for tag in entries[0].tags), SHOWN)
    what = f"all {len(entries)} images have the same tags ({names})"
    return [
        f"{what}: a classifier would always answer yes; add images that show none of the classes as negatives "
        "(scripts/prepare_own.py: an empty tag cell, or --negatives=FOLDER)"
    ]


def tag_warnings(entries: Sequence[ImageEntry], classes: Sequence[str]) -> list[str]:
    """Warn about classes that are hard to learn: few images, always together with another class, or in every image."""
    images: dict[int, set[str]] = defaultdict(set)
    for entry in entries:
        for tag in entry.tags:
            images[tag].add(entry.name)
    warnings = []
    few = {classes[tag]: len(names) for tag, names in sorted(images.items()) if len(names) < FEW}
    if few:
        counts = first_few((f"{name} {count}" for name, count in few.items()), SHOWN)
        warnings.append(f"classes with fewer than {FEW} images ({counts}): their masks will be poor; add images")
    groups: dict[frozenset[str], list[str]] = defaultdict(list)
    for tag, names in sorted(images.items()):
        groups[frozenset(names)].append(classes[tag])
    for shared, together in groups.items():
        if len(together) > 1:
            warnings.append(
                f"{first_few(together, SHOWN)} always occur together ({len(shared)} images, e.g. "
                f"{first_few(sorted(shared))}): nothing distinguishes them; merge them, or add images of only one"
            )
    everywhere = [classes[tag] for tag, names in sorted(images.items()) if len(names) == len(entries)]
    if everywhere and not tag_faults(entries, classes):
        warnings.append(
            f"{first_few(everywhere, SHOWN)} in every image: add images without this class, as counterexamples"
        )
    for tag in sorted(images):
        others = [entry.name for entry in entries if tag not in entry.tags]
        if 0 < len(others) < FEW and len(others) < FEW_OTHERS * len(entries):
            warnings.append(
                f"{classes[tag]} is in all but {len(others)} images ({first_few(others)}): a classifier learns to say "
                "yes almost always; add images without it"
            )
    return warnings


def class_counts(entries: Sequence[ImageEntry]) -> Counter[int]:
    """Count the images of each class."""
    return Counter(tag for entry in entries for tag in entry.tags)
