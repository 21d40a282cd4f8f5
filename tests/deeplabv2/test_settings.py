"""The configuration: published files and flags are read; anything else is an error that lists the valid names."""

from dataclasses import dataclass
from operator import attrgetter

import pytest
import yaml

from deeplabv2.models import build_segmenter
from deeplabv2.settings import Settings, find_path, parse_settings
from deeplabv2.step_settings import ExportSettings, PredictSettings, StepSettings, TrainSettings
from utils.config.parser import save_options
from utils.errors import UserError
from utils.files.locate import DEEPLAB_ROOT, PROJECT_ROOT, existing_path

CONFIGS = sorted((DEEPLAB_ROOT / "configs").glob("*.yaml"))

# every key of the published PyTorch port's files, with values that are not the defaults here
PUBLISHED = """
EXP:
    ID: voc12
    OUTPUT_DIR: somewhere
DATASET:
    NAME: vocaug
    ROOT: /VOCdevkit
    LABELS: ./labels.txt
    N_CLASSES: 22
    IGNORE_LABEL: 255
    SCALES: [0.5, 1.0]
    SPLIT:
        TRAIN: train_weak
        VAL: minival
        TEST: minitest
DATALOADER:
    NUM_WORKERS: 0
IMAGE:
    MEAN:
        R: 122.675
        G: 116.669
        B: 104.008
    SIZE:
        BASE: # None
        TRAIN: 300
        TEST: 513
MODEL:
    NAME: DeepLabV2_ResNet101
    N_BLOCKS: [3, 4, 6, 3]
    ATROUS_RATES: [3, 6]
    INIT_MODEL: data/init.pth
SOLVER:
    BATCH_SIZE:
        TRAIN: 4
        TEST: 2
    ITER_MAX: 100
    ITER_SIZE: 3
    ITER_SAVE: 50
    ITER_TB: 7
    LR_DECAY: 5
    LR: 2.0e-4
    MOMENTUM: 0.8
    OPTIMIZER: sgd
    POLY_POWER: 0.8
    WEIGHT_DECAY: 5.0e-3
    AVERAGE_LOSS: 10
CRF:
    ITER_MAX: 5
    POS_W: 2
    POS_XY_STD: 2
    BI_W: 5
    BI_XY_STD: 60
    BI_RGB_STD: 4
"""


def refusal(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        parse_settings(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def config_file(folder, text):
    path = folder / "a.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("flag", ["--config-path={}", "--config_path={}", "--config={}", "--config-path {}"])
def test_a_published_file_is_read(tmp_path, flag):
    settings = parse_settings(flag.format(config_file(tmp_path, PUBLISHED)).split())
    assert (settings.EXP.ID, settings.DATASET.folder, settings.DATASET.SPLIT.VAL) == ("voc12", "/VOCdevkit", "minival")
    assert settings.IMAGE.MEAN.as_rgb() == (122.675, 116.669, 104.008)
    assert (settings.IMAGE.SIZE.BASE, settings.IMAGE.SIZE.TRAIN, settings.IMAGE.SIZE.TEST) == (None, 300, 513)
    assert (settings.MODEL.N_BLOCKS, settings.MODEL.ATROUS_RATES) == ((3, 4, 6, 3), (3, 6))
    assert (settings.SOLVER.BATCH_SIZE.TRAIN, settings.SOLVER.LR, settings.SOLVER.WEIGHT_DECAY) == (4, 2e-4, 5e-3)
    assert (settings.CRF.POS_W, settings.CRF.BI_XY_STD) == (2.0, 60.0)


def test_defaults_have_the_published_numbers():
    settings = Settings()
    assert (settings.DATASET.SCALES, settings.IMAGE.SIZE.TRAIN) == ((0.5, 0.75, 1.0, 1.25, 1.5), 321)
    assert (settings.MODEL.NAME, settings.MODEL.FREEZE_BATCH_NORM) == ("DeepLabV2_ResNet101_MSC", True)
    assert (settings.MODEL.N_BLOCKS, settings.MODEL.ATROUS_RATES) == ((3, 4, 23, 3), (6, 12, 18, 24))
    solver = settings.SOLVER
    assert (solver.BATCH_SIZE.TRAIN, solver.ITER_SIZE, solver.ITER_MAX) == (5, 2, 20_000)
    assert (solver.POLY_POWER, solver.LR_DECAY, solver.HEAD_LR_FACTOR) == (0.9, 10, 10.0)
    assert (solver.OPTIMIZER, solver.MOMENTUM, solver.WEIGHT_DECAY) == ("sgd", 0.9, 5e-4)
    crf = settings.CRF
    assert (crf.ITER_MAX, crf.POS_W, crf.POS_XY_STD) == (10, 3.0, 1.0)
    assert (crf.BI_W, crf.BI_XY_STD, crf.BI_RGB_STD) == (4.0, 67.0, 3.0)


def test_a_flag_beats_the_file_wherever_it_stands(tmp_path):
    path = config_file(tmp_path, PUBLISHED)
    for argv in (["--SOLVER.LR=0.5", f"--config-path={path}"], [f"--config-path={path}", "--SOLVER.LR=0.5"]):
        settings = parse_settings(argv)
        assert (settings.SOLVER.LR, settings.SOLVER.MOMENTUM) == (0.5, 0.8)


@pytest.mark.parametrize(
    ("text", "unknown", "near"),
    [
        ("SOLVER:\n  LRR: 3\n", "SOLVER.LRR", "--SOLVER.LR"),
        ("SOLVRE:\n  LR: 3\n", "SOLVRE.LR", "--SOLVER.LR"),
        ("IMAGE:\n  SIZE:\n    TRIAN: 3\n", "IMAGE.SIZE.TRIAN", "--IMAGE.SIZE.TRAIN"),
    ],
)
def test_an_unknown_key_is_answered_with_file_nearest_and_legal_ones(tmp_path, capsys, text, unknown, near):
    path = config_file(tmp_path, text)
    message = refusal([f"--config-path={path}"], capsys)
    assert f"{path}: Option '{unknown}' is not accepted" in message
    assert near in message.split("Did you mean:")[1].splitlines()[0]
    assert "--CRF.BI_RGB_STD" in message


def test_an_unknown_flag_is_answered_with_the_nearest_and_legal_ones(capsys):
    message = refusal(["--LR=3"], capsys)
    assert "unrecognized arguments: --LR=3" in message and "Did you mean: --SOLVER.LR?" in message
    assert "--DATASET.N_CLASSES" in message


@pytest.mark.parametrize(
    "flag",
    [
        "SOLVER.LOSS=dice", "SOLVER.ITER_MAX=0", "SOLVER.LR=-1", "SOLVER.HEAD_LR_FACTOR=-1", "SOLVER.SAVE_MINUTES=-1",
        "SOLVER.SEED=-1", "SOLVER.FOCAL_GAMMA=-1", "CRF.BI_XY_STD=0", "CRF.POS_XY_STD=-1", "DATASET.N_CLASSES=256",
        "DATASET.N_CLASSES=1", "DATASET.IGNORE_LABEL=21", "DATASET.SCALES=0,1", "DATASET.SCALES=[1000]",
        "DATASET.SCALES=[]", "DATASET.FLIP=2", "DATALOADER.NUM_WORKERS=-1", "MODEL.SCALES=0.5,1.0", "MODEL.WIDTH=0",
        "MODEL.N_BLOCKS=1,2", "IMAGE.MEAN.R=3", "IMAGE.SIZE.TRAIN=1", "IMAGE.SIZE.TRAIN=100000", "IMAGE.SIZE.BASE=0",
        "EXP.ID=a/b", "EXP.RUN=..", "config-path=no_such.yaml",
    ],
)  # fmt: skip
def test_an_invalid_value_is_refused_with_its_option(capsys, flag):
    assert flag.split("=")[0] in refusal([f"--{flag}"], capsys)


def test_the_published_mean_is_the_default_of_the_published_network():
    net = build_segmenter("DeepLabV2_ResNet101", 2, n_blocks=(1, 1, 1, 1), width=0.125)
    assert net.normalisation.with_mean((122.675, 116.669, 104.008)) == net.normalisation
    assert Settings().IMAGE.MEAN.as_rgb() is None


def test_saved_settings_are_read_back(tmp_path):
    settings = parse_settings(["--SOLVER.LR=3e-5", "--DATASET.SCALES=1,2", "--SOLVER.RESUME", "--DATASET.ROOT=a b"])
    assert settings.SOLVER.RESUME and settings.DATASET.SCALES == (1.0, 2.0)
    assert parse_settings(["--resume"]).SOLVER.RESUME and not parse_settings([]).SOLVER.RESUME
    save_options(settings, tmp_path / "config.yaml")
    assert parse_settings([f"--config-path={tmp_path / 'config.yaml'}"]) == settings


def test_a_program_adds_flags_of_its_own():
    @dataclass(frozen=True)
    class Predict(Settings):
        image_dir: str = "images"
        """Folder."""

    settings = parse_settings(["--image_dir=photos", "--CRF.ITER_MAX=3"], settings_class=Predict)
    assert (settings.image_dir, settings.CRF.ITER_MAX) == ("photos", 3)


def test_paths_are_found_from_here_then_the_trainer_then_the_project(tmp_path, monkeypatch):
    trainer, project = DEEPLAB_ROOT / "configs" / "demo.yaml", PROJECT_ROOT / "configs" / "demo.yaml"
    monkeypatch.chdir(tmp_path)
    assert find_path("configs/demo.yaml", "x") == trainer
    assert existing_path("configs/demo.yaml", "x") == project
    assert find_path("test.sh", "x") == PROJECT_ROOT / "test.sh"
    assert parse_settings(["--config-path=configs/demo.yaml"]).EXP.ID == "demo"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").write_text("EXP:\n  ID: mine\n")
    assert parse_settings(["--config-path", "configs/demo.yaml"]).EXP.ID == "mine"
    with pytest.raises(UserError, match=rf"x: {tmp_path}/absent, {DEEPLAB_ROOT}/absent, "):
        find_path("absent", "x")


def configured(name):
    return parse_settings([f"--config-path={DEEPLAB_ROOT / 'configs' / name}.yaml"])


def test_all_configurations_are_there():
    assert [path.stem for path in CONFIGS] == [
        "coco14", "demo", "own_best", "own_large", "voc12_coco_pretrained", "voc12_imagenet_pretrained", "voc_light",
    ]  # fmt: skip


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_parse_differ_from_the_defaults_and_build(path):
    settings = parse_settings([f"--config-path={path}"])
    assert settings != Settings()
    model = settings.MODEL
    if model.NAME.startswith("DeepLabV2_timm") or model.WIDTH < 1:  # the full-size network is tested elsewhere
        net = build_segmenter(
            model.NAME,
            settings.DATASET.N_CLASSES or 21,
            output_stride=model.OUTPUT_STRIDE,
            atrous_rates=model.ATROUS_RATES,
            n_blocks=model.N_BLOCKS,
            scales=model.SCALES,
            width=model.WIDTH,
            freeze_batch_norm=model.FREEZE_BATCH_NORM,
        )
        assert net.num_labels == (settings.DATASET.N_CLASSES or 21)
    assert (model.INIT_MODEL is None) == (not model.FREEZE_BATCH_NORM)


def leaves(mapping, prefix=""):
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_state_only_differences(path):
    found = parse_settings([f"--config-path={path}"])
    stated = list(leaves(yaml.safe_load(path.read_text())))
    assert stated and [name for name in stated if attrgetter(name)(found) == attrgetter(name)(Settings())] == []


def test_configurations_have_the_published_numbers():
    coco, imagenet, large = (configured(n) for n in ("voc12_coco_pretrained", "voc12_imagenet_pretrained", "coco14"))
    assert (coco.SOLVER.LOSS, coco.SOLVER.LR, coco.SOLVER.ITER_MAX) == ("cross_entropy", 1e-4, 20_000)
    assert (coco.SOLVER.BATCH_SIZE.TRAIN, coco.SOLVER.ITER_SIZE) == (5, 2)
    assert coco.DATASET.SCALES == (0.5, 0.75, 1.0, 1.25, 1.5)
    assert (imagenet.SOLVER.LOSS, imagenet.SOLVER.LR, imagenet.SOLVER.ITER_MAX) == ("balanced", 2.5e-4, 30_000)
    assert imagenet.DATASET.SCALES == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
    assert (large.SOLVER.BATCH_SIZE.TRAIN, large.SOLVER.ITER_SIZE, large.SOLVER.ITER_MAX) == (20, 1, 50_000)
    assert large.DATASET.N_CLASSES == 81
    for settings, file in ((coco, "coco"), (imagenet, "imagenet"), (large, "imagenet")):
        assert settings.MODEL.INIT_MODEL.endswith(f"deeplabv1_resnet101-{file}.pth")


@pytest.mark.parametrize("run", [[], ["--EXP.RUN=second"]])
def test_steps_read_the_settings_of_the_training(tmp_path, capsys, run):
    place = [f"--EXP.OUTPUT_DIR={tmp_path}", "--EXP.ID=mine", *run]
    trained = parse_settings([*place, "--dataset=data/mine", "--MODEL.WIDTH=0.5", "--SOLVER.LR=0.1"])
    file = tmp_path.joinpath("models", "mine", *(["second"] if run else []), "config.yaml")
    file.parent.mkdir(parents=True)
    save_options(trained, file)
    step = parse_settings([*place, "--SOLVER.LR=0.2"], settings_class=StepSettings)
    assert (step.DATASET.ROOT, step.MODEL.WIDTH, step.SOLVER.LR) == ("data/mine", 0.5, 0.2)
    assert str(file) in capsys.readouterr().err
    exported = parse_settings([*place, "--out=net.onnx"], settings_class=ExportSettings)
    assert exported.DATASET.ROOT == "data/mine"
    capsys.readouterr()
    photos = ["--image_dir=photos", "--out=seen"]
    for settings_class, flags in [
        (StepSettings, ["--config", str(DEEPLAB_ROOT / "configs" / "voc_light.yaml"), *place]),
        (StepSettings, [place[0], "--EXP.ID=other"]),
        (PredictSettings, [*place, *photos, "--onnx=net.onnx"]),
        (TrainSettings, place),
    ]:
        assert parse_settings(flags, settings_class=settings_class).DATASET.ROOT is None
    assert not capsys.readouterr().err
