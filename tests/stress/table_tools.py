"""Rows about labels after they were made: judging, choosing, exporting, importing, segments, exported networks."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.stress.case import Case, either, refused, works
from tests.stress.inputs import cut, every, picture, text
from tests.stress.worlds import LABELS, RUN, segment

LABEL = [*LABELS, "--threshold=0.3"]
HERE = ["--label_dir=labels", "--num_workers=1"]
JUDGE = ["scripts/judge_labels.py", *RUN, *HERE]
CHOOSE = ["scripts/choose_to_annotate.py", *RUN, "--number=6"]
EXPORT = ["scripts/export_labels.py", *RUN, *HERE, "--out=ex"]
IMPORT = ["scripts/import_labels.py", "--dataset=toy", "--out=back", "--num_workers=1"]
SEGMENTS = ["scripts/make_segments.py", "--dataset=toy", "--num_workers=1"]
SNAP = [*LABEL, "--segments=toy/Segments"]
RENAMED = "printf 'dog\\nhorse\\n' > toy/classes.txt"
ONNX = segment("export", "--out=net.onnx")
PREDICT_ONNX = "$PY $ROOT/deeplabv2/main.py predict --onnx=net.onnx --image_dir=p --out=o --num_workers=1"
PHOTO = picture("p/a.jpg", "RGB", size=(44, 36))


def steps(*lines: Sequence[str] | str) -> str:
    """A shell line of programs and of other commands, each of which must succeed."""
    return " && ".join(line if isinstance(line, str) else "$PY $ROOT/" + " ".join(line) for line in lines)


def python(code: str) -> str:
    return f'PYTHONPATH=$ROOT $PY -c "{code}"'


def plain(path: str, size: tuple[int, int] = (44, 36), value: int = 0) -> str:
    """Replaces an image by a grey one, dated long ago."""
    drawn = python(f"from PIL import Image; Image.new('L', {size}, {value}).save('{path}')")
    return f"{drawn} && touch -d 2001-01-01 {path}"


def metadata(code: str) -> str:
    return python(f"import json, onnx; m = onnx.load('net.onnx'); {code}; onnx.save(m, 'net.onnx')")


COCO: dict[str, Any] = {
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "images": [{"id": 5, "file_name": "cat0.jpg", "height": 24, "width": 32}],
    "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "segmentation": [[2, 2, 20, 2, 20, 20]], "iscrowd": 0}],
}
CVAT = '<annotations><image id="0" name="cat0.jpg" width="32" height="24">{}</image></annotations>'
PREPARE = ["scripts/prepare_own.py", "--images=photos", "--out=mine", "--num_workers=1"]
OF_COCO, OF_CVAT = ([*PREPARE, f"--tags={name}", f"--masks={name}"] for name in ("a.json", "a.xml"))


def _annotations(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        content = copy.deepcopy(COCO)
        change(content)
        (folder / "a.json").write_text(json.dumps(content))

    return make


def _nothing_written(folder: Path, printed: str) -> str | None:
    return f"written: {folder / 'mine'}" if (folder / "mine").exists() else None


def _tagged(folder: Path, printed: str) -> str | None:
    lines = (folder / "mine/train_cls.txt").read_text().splitlines()
    return None if lines == ["cat0 0"] else f"tags: {lines}"


def _judgement(name: str, content: str) -> Case:
    make = text("runs/exp/label_judgement.json", content)
    return Case(f"tools: choose, a judgement that is {name}", "run", CHOOSE, refused("label_judgement.json"), make)


def _coco(name: str, change: Callable[[dict[str, Any]], object]) -> Case:
    expected = refused("a.json", check=_nothing_written)
    return Case(f"annotations: COCO, {name}", "photos", OF_COCO, expected, _annotations(change))


def _cvat(name: str, element: str) -> Case:
    expected = refused("a.xml", check=_nothing_written)
    return Case(f"annotations: CVAT, {name}", "photos", OF_CVAT, expected, text("a.xml", CVAT.format(element)))


TOOLS = (
    Case("tools: judge and choose, then again", "run", steps(LABEL, JUDGE, CHOOSE, "! " + steps(CHOOSE)), works()),
    Case("tools: judge after a class was renamed", "run", steps(LABEL, RENAMED, JUDGE), refused("cat", "horse")),
    Case("tools: score labels after a class was renamed", "run", steps(LABEL, RENAMED, ["evaluate.py", *RUN, "--mode=png", "--pred_dir=labels", "--num_workers=1"]), refused("cat", "horse")),
    Case("tools: export after a class was renamed", "run", steps(LABEL, RENAMED, EXPORT), refused("cat", "horse")),
    Case("tools: judge a label cut", "run", steps(LABEL, "truncate -s -30 labels/p3.png", JUDGE), refused("p3.png")),
    Case("tools: judge a label of another size", "run", steps(LABEL, plain("labels/p3.png", (9, 9)), JUDGE), refused("p3.png")),
    Case("tools: judge a label of no class", "run", steps(LABEL, plain("labels/p3.png", value=9), JUDGE), refused("p3.png")),
    Case("tools: judge a prediction of another photo", "run", steps(LABEL, "cp -r labels seen", plain("seen/p3.png", (36, 44)), [*JUDGE, "--prediction_dir=seen"]), refused("p3.png")),
    Case("tools: judge with a binary names.csv", "run", steps(LABEL, "cp -r labels seen", "printf 'name,file\\np0,\\0\\n' > toy/names.csv", [*JUDGE, "--prediction_dir=seen"]), either()),
    Case("tools: choose without a judgement", "run", CHOOSE, refused("judge_labels.py")),
    *(_judgement(name, content) for name, content in (
        ("empty", ""), ("a list", "[]"), ("an object", "{}"), ("nested deeply", "[" * 99_999),
        ("of text", '{"made_of": {}, "overall": 7, "classes": {}, "photos": [], "warnings": []}'))),
    *(Case(f"tools: score with a sample that is {content[:12]!r}", "run", steps("rm runs/exp/cam_scores.json", ["evaluate.py", *RUN, "--num_workers=1"]), either("to_annotate|mIoU"), text("runs/exp/to_annotate.json", content)) for content in (
        "", "[]", '{"photos": [1], "strata": [1], "seed": 0}')),

    *(Case(f"tools: export as {form} and import", "run", steps(LABEL, [*EXPORT, f"--format={form}"], [*IMPORT, f"--labels={given}", "--others=labels"]), works("0 of them differ"))
      for form, given in (("coco", "ex/instances.json"), ("cvat", "ex/annotations.xml"), ("labelme", "ex"), ("yolo", "ex"), ("masks", "ex"))),
    Case("tools: export into the folder of labels", "run", steps(LABEL, [*EXPORT, "--out=labels", "--format=masks"]), refused("--out")),
    Case("tools: import into the folder of labels", "run", steps(LABEL, [*IMPORT, "--labels=labels", "--out=labels", "--overwrite"]), refused("--out", check=lambda folder, printed: None if len(list((folder / "labels").glob("*.png"))) == 8 else "labels are gone")),
    Case("tools: export a label of no class", "run", steps(LABEL, plain("labels/p3.png", value=9), EXPORT), refused("p3.png")),
    Case("tools: export, --out a file", "run", steps(LABEL, "touch ex", EXPORT), refused("/ex")),

    Case("tools: segments and labels snapped to them", "run", steps(SEGMENTS, SNAP), works()),
    Case("tools: segments of one pixel", "run", steps(plain("toy/JPEGImages/p3.png", (1, 1)), SEGMENTS), works()),
    Case("tools: segments of a photo cut", "run", steps("truncate -s -30 toy/JPEGImages/p3.png", SEGMENTS), refused("p3.png")),
    Case("tools: segments by a model of random bytes", "run", steps("head -c 999 /dev/urandom > m.onnx", [*SEGMENTS, "--onnx=m.onnx"]), refused("m.onnx")),
    Case("tools: segments of other settings, none missing", "run", steps(SEGMENTS, [*SEGMENTS, "--size=9"]), refused("size: was")),
    Case("tools: segments missing", "run", steps(SEGMENTS, "rm toy/Segments/p3.png", SNAP), refused("p3")),
    Case("tools: segments cut", "run", steps(SEGMENTS, "truncate -s 100 toy/Segments/p3.png", SNAP), refused("p3.png")),
    Case("tools: segments in colour", "run", steps(SEGMENTS, "cp toy/JPEGImages/p3.png toy/Segments/p3.png", SNAP), refused("p3.png")),
    *(Case(f"tools: segments in JSON that are {content[:20]!r}", "run", steps("mkdir s; for i in 0 1 2 4 5 6 7; do echo '[]' > s/p$i.json; done", [*LABEL, "--segments=s"]), refused("p3.json"), text("s/p3.json", content)) for content in (
        "", "{}", "7", '["a"]', '[{"size":[36,44],"counts":[1,2]}]', '[{"size":[36,44],"counts":[-1,1585]}]', "[" * 99_999)),
    Case("fresh: segments of a photo that an older file replaced", "run", steps(SEGMENTS, plain("toy/JPEGImages/p2.png"), SEGMENTS), works("segments of 1 images")),
    Case("fresh: labels of a photo that an older file replaced", "run", steps([*LABEL, "--saliency_weight=0.4"], plain("toy/Sal/p2.png", value=200), [*LABEL, "--saliency_weight=0.4"]), works("1 labels written, 7 kept")),

    Case("tools: an exported network on odd photos", "tested", f"{ONNX} && {PREDICT_ONNX}", works(), every(
        PHOTO, *(picture(f"p/{mode}.{suffix}", mode, size=size) for mode, suffix, size in (("L", "png", (1, 1)), ("RGB", "png", (300, 7)), ("RGBA", "png", (9, 9)), ("CMYK", "jpg", (44, 36)), ("P", "png", (5, 7)), ("I;16", "png", (44, 36))))), seconds=90),
    Case("tools: export a network that was not trained", "segmentation", ONNX, refused("main.py train")),
    Case("tools: export a network to a folder", "tested", f"mkdir net.onnx; {ONNX}", refused("net.onnx")),
    *(Case(f"tools: predict --onnx {name}", "tested", f"{make}; {PREDICT_ONNX}", refused("net.onnx"), PHOTO) for name, make in (
        ("random bytes", "head -c 999 /dev/urandom > net.onnx"), ("empty", ": > net.onnx"), ("a web page", "echo '<html>' > net.onnx"), ("a folder", "mkdir net.onnx"), ("missing", "true"))),
    *(Case(f"tools: predict --onnx, metadata {name}", "tested", f"{ONNX} && {metadata(code)} && {PREDICT_ONNX}", refused("net.onnx"), PHOTO, seconds=90) for name, code in (
        ("removed", "del m.metadata_props[:]"), ("a number", "onnx.helper.set_model_props(m, {'labels': '7', 'weights': '1'})"),
        ("of fewer labels", "onnx.helper.set_model_props(m, {'labels': json.dumps(['background', 'x']), 'weights': '1'})"))),
    Case("tools: predict --onnx on a GPU that is not there", "tested", f"{ONNX} && {PREDICT_ONNX} --SOLVER.DEVICE=cuda", refused("cuda"), PHOTO, seconds=90),
    Case("tools: predict into the folder of photos", "tested", segment("predict", "--image_dir=p", "--out=p"), refused("--image_dir"), PHOTO),
    Case("tools: predict --onnx, a photo cut", "tested", f"{ONNX} && {PREDICT_ONNX}", refused("a.jpg"), every(PHOTO, cut("p/a.jpg", 600)), seconds=90),
    Case("find a pattern with system folders", "tested", segment("predict", "--image_dir=p/**/*.jpg", "--out=o", "--num_workers=1"), works("1 photos of system"), every(PHOTO, picture("p/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "RGB"))),
    Case("find a pattern that matches nothing", "tested", segment("predict", "--image_dir=p/*.gif", "--out=o"), refused("pattern"), PHOTO),

    *(Case(f"corrected list {name}", "segmentation", segment("train", "--DATASET.CORRECTED_LIST=toy/c.txt"), expected, text("toy/c.txt", content)) for name, content, expected in (
        ("of other images", "zebra\n", refused("c.txt", "zebra")), ("binary", b"\xff\xfe\0", refused("c.txt")), ("empty", "", either("c.txt")), ("as it should be", "t1\n", works()))),
    Case("corrected list of another image, resumed", "segmentation", segment("train", "--DATASET.CORRECTED_LIST=toy/c.txt", "--SOLVER.ITER_MAX=2") + " && echo t2 > toy/c.txt && " + segment("train", "--DATASET.CORRECTED_LIST=toy/c.txt", "--SOLVER.ITER_MAX=3", "--SOLVER.RESUME=true"), refused("corrected list"), text("toy/c.txt", "t1\n")),
    *(Case(f"corrected weight {value}", "segmentation", segment("train", "--DATASET.CORRECTED_LIST=toy/c.txt", f"--DATASET.CORRECTED_WEIGHT={value}"), refused("CORRECTED_WEIGHT"), text("toy/c.txt", "t1\n")) for value in ("0", "-1", "nan", "inf")),
    *(Case(f"layer decay {value}", "segmentation", segment("train", f"--SOLVER.LAYER_DECAY={value}"), refused("LAYER_DECAY")) for value in ("0", "-1", "nan", "2", "0.5")),

    Case("annotations: COCO as it should be", "photos", OF_COCO, works(check=_tagged), _annotations(lambda c: None)),
    _coco("two images of one id", lambda c: c["images"].append({**c["images"][0], "file_name": "dog0.jpg"})),
    _coco("two categories of one id", lambda c: c["categories"].append({"id": 1, "name": "bird"})),
    _coco("an image that is not listed", lambda c: c["annotations"][0].update(image_id=6)),
    _coco("a category that is not listed", lambda c: c["annotations"][0].update(category_id=6)),
    _coco("a size of a million pixels a side", lambda c: c["images"][0].update(height=10**6, width=10**6)),
    _coco("an infinite size", lambda c: c["images"][0].update(height=float("inf"))),
    _coco("a polygon of a billion pixels", lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]])),
    _coco("another size than the photo", lambda c: c["images"][0].update(width=33)),
    Case("annotations: COCO, boxes are pointed out", "photos", OF_COCO, works("boxes"), _annotations(lambda c: c["annotations"][0].update(segmentation=[], bbox=[1, 2, 9, 9]))),
    *(Case(f"annotations: CVAT, a {kind} is a tag", "photos", OF_CVAT, works("WARNING", check=_tagged), text("a.xml", CVAT.format(f'<{kind} label="cat" points="1,1;2,2"/>'))) for kind in ("tag", "points", "polyline")),
    Case("annotations: CVAT, an ellipse", "photos", OF_CVAT, works(check=_tagged), text("a.xml", CVAT.format('<ellipse label="cat" cx="9" cy="9" rx="4" ry="3"/>'))),
    _cvat("a mask to the left of the photo", '<mask label="cat" rle="0, 12" left="-5" top="2" width="4" height="3"/>'),
    _cvat("a mask of a trillion pixels", '<mask label="cat" rle="1000000000000" left="0" top="0" width="1000000" height="1000000"/>'),
    _cvat("an unknown shape", '<hexagon label="cat" points="1,1;2,2;3,1"/>'),
)  # fmt: skip
