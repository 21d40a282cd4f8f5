"""Rows about the segmentation network: weights, sizes, pictures, small objects in the CRF."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.stress.case import Case, either, refused, works
from tests.stress.inputs import cut, dated, every, picture, pth, text, tiny_photos
from tests.stress.worlds import CAMS, TRAIN, segment

PREDICT = "$PY $ROOT/" + "deeplabv2/main.py predict "


def predict(*flags: str) -> str:
    return segment("predict", "--image_dir=p", "--out=o", "--num_workers=1", *flags)


CLASS_MAPS = segment("cams", "--out=o", "--num_workers=1")
TAGS = text("toy/train_cls.txt", "t0 0\nt1 1\nt2 0\nt3 1\nt4\nt5 0 1\n")


def _pictures(folder: Path, printed: str) -> str | None:
    found = list((folder / "o/labels").rglob("*.png"))
    return None if found else "no label was written"


def _small_object(folder: Path, printed: str) -> str | None:
    """A red square of 6 x 6 pixels in a grey photograph, with a confident network, after the CRF."""
    label = np.asarray(Image.open(folder / "label.png"))
    return None if 30 <= (label == 1).sum() <= 42 else f"{(label == 1).sum()} of 36 pixels are left"


_CRF = (
    'PYTHONPATH=$ROOT $PY -c "import numpy as np; from PIL import Image; from utils.crf.competing import crf_label; '
    "from utils.crf.strengths import DEEPLAB_CRF; image = np.full((200, 200, 3), 128, np.uint8); "
    "p = np.full((3, 200, 200), 0.01, np.float32); p[0] = 0.98; s = np.s_[97:103, 97:103]; image[s] = (255, 0, 0); "
    "p[0][s] = 0.01; p[1][s] = 0.98; Image.fromarray(crf_label(image, p, **DEEPLAB_CRF)).save('label.png')\""
)


def _train_and_cams(name: str, stride: int) -> str:
    """A shell line that trains a classifier on a timm backbone, and computes CAMs of all photos."""
    kept = [flag for flag in TRAIN if not flag.startswith(("--width", "--resize", "--input_size", "--crop_size"))]
    sizes = ["--resize=64", "--input_size=64", "--crop_size=32"]
    train = [*kept, *sizes, f"--backbone=timm:{name}", f"--output_stride={stride}"]
    return " && ".join("$PY $ROOT/" + " ".join(words) for words in (train, [*CAMS, "--scales=0.25,1"]))


AGAIN = f"{segment('test')} && {segment('test')} | tail -40"

SEGMENTATION = (
    Case("segmentation labels of another size", "segmentation", segment("train"), refused("t1"), picture("labels/t1.png", "L", size=(9, 9))),
    Case("segmentation labels in RGB", "segmentation", segment("train"), refused("t1"), picture("labels/t1.png", "RGB", size=(36, 44))),
    Case("segmentation labels cut", "segmentation", segment("train"), refused("t1.png"), cut("labels/t1.png")),
    Case("segmentation image cut", "segmentation", segment("train", "--DATALOADER.NUM_WORKERS=2"), refused("t1.png"), cut("toy/JPEGImages/t1.png")),
    Case("segmentation layers frozen at random", "segmentation", segment("train", "--MODEL.FREEZE_BATCH_NORM=true"), refused("INIT_MODEL")),
    Case("segmentation stages frozen at random", "segmentation", segment("train", "--MODEL.FROZEN_STAGES=1"), refused("INIT_MODEL", "FROZEN_STAGES")),
    Case("segmentation tags classified at random", "segmentation", segment("train", "--MODEL.TAG_EVIDENCE=1"), refused("INIT_MODEL", "TAG_EVIDENCE"), TAGS),
    Case("segmentation tags classified without tags", "segmentation", segment("train", "--MODEL.TAG_EVIDENCE=1"), refused("train_cls.txt", "TAG_EVIDENCE=0")),
    Case("segmentation tags classified against their will", "segmentation", segment("train", "--MODEL.TAG_EVIDENCE=-1"), refused("TAG_EVIDENCE")),
    Case("segmentation more stages frozen than there are", "segmentation", segment("train", "--MODEL.FROZEN_STAGES=9"), refused("FROZEN_STAGES")),
    Case("segmentation model_path a list", "tested", segment("test", "--model_path=w.pth"), refused("w.pth"), pth("w.pth", [1])),
    Case("segmentation model_path with NaN", "tested", segment("test", "--model_path=w.pth"), refused("w.pth"), lambda folder: _nan(folder)),
    Case("segmentation after a class was renamed", "tested", segment("test"), refused("cat", "horse"), text("toy/classes.txt", "dog\nhorse\n")),
    Case("segmentation predict after a class was renamed", "tested", predict(), refused("cat", "horse"), every(picture("p/a.jpg", "RGB"), text("toy/classes.txt", "dog\nhorse\n"))),
    Case("segmentation resume after a class was renamed", "tested", segment("train", "--SOLVER.RESUME=true", "--SOLVER.ITER_MAX=4"), refused("cat", "horse"), text("toy/classes.txt", "dog\nhorse\n")),
    Case("segmentation logits cut", "tested", segment("crf"), refused("v0.npz"), cut("out/features/exp/val/logits/v0.npz", 200)),
    Case("predict a 1 x 1 picture", "tested", predict(), either(), picture("p/a.png", "RGB", size=(1, 1))),
    Case("predict a 1 x 500 picture", "tested", predict(), either(), picture("p/a.png", "RGB", size=(1, 500))),
    Case("predict 16-bit grey", "tested", predict(), works("converted", check=_pictures), picture("p/a.png", "I;16")),
    Case("predict palette, CMYK, alpha", "tested", predict(), works(check=_pictures), every(picture("p/a.png", "P"), picture("p/b.jpg", "CMYK"), picture("p/c.png", "RGBA"))),
    Case("predict subfolders, WebP, .Jpg", "tested", predict(), works(check=_pictures), every(picture("p/s/a.webp", "RGB"), picture("p/b.Jpg", "RGB", format="JPEG"))),
    Case("predict a broken photo", "tested", predict(), refused("a.jpg"), every(picture("p/a.jpg", "RGB"), cut("p/a.jpg", 600))),
    Case("predict no photo", "tested", predict(), refused("photo"), text("p/a.txt", "x")),
    Case("predict a FIFO", "tested", "mkdir p; mkfifo p/a.jpg; " + predict(), refused("photo")),
    Case("predict a picture of 40 megapixels", "tested", "ulimit -v 9000000; " + predict("--IMAGE.SIZE.TEST=512"), works(check=_pictures), picture("p/a.jpg", "RGB", size=(8000, 5000)), seconds=120),
    Case("crf small objects", "empty", _CRF, works(check=_small_object)),
    Case("fresh: photos of the future, test", "tested", AGAIN, works("3 images done, 0 to do"), dated("toy/JPEGImages/*", 2e9)),
    Case("fresh: photos of the future, predict", "tested", f"{predict()} && {predict()} | tail -9", works("1 images done, 0 to do"), every(picture("p/a.jpg", "RGB"), dated("p/*", 2e9))),
    Case("fresh: a photo replaced by an older file, test", "tested", segment("test"), works("2 images done, 1 to do"), every(picture("toy/JPEGImages/v0.png", "RGB", size=(48, 40)), dated("toy/JPEGImages/v0.png", 1e9))),
    Case("fresh: a photo replaced, crf", "tested", segment("crf"), either("main.py test|test first"), every(picture("toy/JPEGImages/v0.png", "RGB", size=(48, 40)), dated("toy/JPEGImages/v0.png", 1e9))),
    Case("fresh: class maps of photos of the future", "tested", f"{CLASS_MAPS} && {CLASS_MAPS}", works("6 images done, 0 to do"), every(TAGS, dated("toy/JPEGImages/*", 2e9))),
    Case("fresh: class maps of a photo that an older file replaced", "tested", f"{CLASS_MAPS} && cp toy/JPEGImages/t2.png toy/JPEGImages/t0.png && touch -d 2001-01-01 toy/JPEGImages/t0.png && {CLASS_MAPS}", works("5 images done, 1 to do"), TAGS),
    Case("fresh: class maps cut are made again", "tested", f"{CLASS_MAPS} && truncate -s 100 o/t1.npz && {CLASS_MAPS} && $PY -c 'import zipfile; zipfile.ZipFile(\"o/t1.npz\")'", works(), TAGS),
    Case("segmentation twelve images cut", "segmentation", segment("train"), refused("of .* images", "t1.png"), lambda folder: _cut_all(folder)),
    *(Case(f"sizes: {name}, tiny photos, train and CAMs", "toy", _train_and_cams(name, stride), works(), tiny_photos, seconds=120) for name, stride in (("convnext_atto", 8), ("edgenext_xx_small", 32), ("dla34", 32), ("vit_tiny_patch16_224", 16), ("resnet18", 8))),
    Case("sizes: a backbone that leaves a border out", "toy", _train_and_cams("vgg11", 32), refused("backbone", "vgg11", "border")),
    Case("sizes: a backbone whose stages give several maps", "toy", _train_and_cams("selecsls42", 32), refused("backbone", "selecsls42")),
)  # fmt: skip


def _cut_all(folder: Path) -> None:
    for path in (folder / "toy/JPEGImages").glob("t*.png"):
        cut(str(path.relative_to(folder)))(folder)


def _nan(folder: Path) -> None:
    content = torch.load(folder / "out/models/exp/checkpoint_final.pth", weights_only=True)
    next(iter(content["state_dict"].values())).view(-1)[0] = float("nan")
    torch.save(content, folder / "w.pth")
