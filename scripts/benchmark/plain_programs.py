"""evaluate.py and gen_gt.py as plain scripts that do the work of the published programs, in their way.

python plain_programs.py scores IMAGES MASKS MAPS OUT THRESHOLD …   # MAPS/NAME.npz: keys, and a float map of each
python plain_programs.py labels IMAGES MAPS OUT THRESHOLD           # MAPS/NAME_KEY.png: a grey map of each tag

Scores: each threshold starts eight processes that read all CAMs and masks and count label by label into shared values.
Labels: a loop over the images, with an argmax over all labels at float64.
"""

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # when run by path, Python only searches this folder

from utils.files.disk import disk_errors

NUM_LABELS, PROCESSES = 21, 8


def count(first, names, masks, maps, threshold, totals):
    hit, masked, predicted = totals
    for name in names[first::PROCESSES]:
        stored = np.load(maps / f"{name}.npz")
        cams = stored["maps"]
        stack = np.zeros((NUM_LABELS, *cams.shape[1:]), np.float32)
        for key, values in zip(stored["keys"], cams):
            stack[key + 1] = values
        stack[0] = threshold
        label = np.argmax(stack, axis=0).astype(np.uint8)
        mask = np.array(Image.open(masks / f"{name}.png"))
        kept = mask < 255
        equal = (label == mask) * kept
        for index in range(NUM_LABELS):
            for total, pixels in (
                (predicted[index], (label == index) * kept),
                (masked[index], (mask == index) * kept),
                (hit[index], (mask == index) * equal),
            ):
                with total.get_lock():
                    total.value += int(np.sum(pixels))


def scores(images, masks, maps, out, *thresholds):
    names, table = sorted(path.stem for path in Path(images).iterdir()), []
    fork = multiprocessing.get_context("fork")
    for threshold in map(float, thresholds):
        totals = [[fork.Value("q", 0) for _ in range(NUM_LABELS)] for _ in range(3)]
        started = [
            fork.Process(target=count, args=(first, names, Path(masks), Path(maps), threshold, totals))
            for first in range(PROCESSES)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        hit, masked, predicted = (np.array([total.value for total in kind]) for kind in totals)
        union = masked + predicted - hit
        table.append(float(np.mean(hit[union > 0] / union[union > 0])))
    path = Path(out) / "scores.json"
    with disk_errors(path, "written"):
        path.write_text(json.dumps(table))


def labels(images, maps, out, threshold):
    palette = [value for index in range(NUM_LABELS) for value in (index * 10, 255 - index * 10, index)]
    for path in sorted(Path(images).iterdir()):
        image = np.array(Image.open(path))
        stack = np.zeros((NUM_LABELS, *image.shape[:2]))
        stack[0] = float(threshold)
        for found in sorted(Path(maps).glob(f"{path.stem}_*.png")):
            stack[int(found.stem.rpartition("_")[2]) + 1] = np.array(Image.open(found)) / 255.0
        label = Image.fromarray(np.argmax(stack, axis=0).astype(np.uint8))
        label.putpalette(palette)
        target = Path(out) / f"{path.stem}.png"
        with disk_errors(target, "written"):
            label.save(target)


if __name__ == "__main__":
    if sys.argv[1] == "scores":
        scores(*sys.argv[2:])
    else:
        labels(*sys.argv[2:])
