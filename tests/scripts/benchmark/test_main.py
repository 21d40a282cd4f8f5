import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models import build_cam_net
from scripts.benchmark import __main__ as benchmark
from scripts.benchmark import floors, hot_paths, programs
from scripts.benchmark.__main__ import BenchmarkOptions, plain_cams, run, strongest_classes
from scripts.benchmark.measuring import Row
from utils.cam.multi_scale import cams_of_image
from utils.config.parser import parse_options
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT

TINY = {"width": 1 / 16, "size": (40, 56), "scales": (0.5, 1.0), "images": 3, "repeats": 1}
TINY |= {"object_size": (30, 40), "input_size": 32, "pastes": 3}


def network_and_image():
    torch.manual_seed(0)
    net = build_cam_net("resnet38", 20, attention="se", suppression="learnable", width=1 / 16).eval()
    return net, torch.from_numpy(benchmark.blobs(np.random.default_rng(0), 3, (40, 56)))


def test_both_ways_give_the_same_cams():
    net, image = network_and_image()
    keys = strongest_classes(net, image)
    expected = plain_cams(net, image, keys, scales=(0.5, 1.0, 1.5, 2.0))
    given = cams_of_image(net, image, keys, scales=(0.5, 1.0, 1.5, 2.0), mean=net.mean, std=net.std)
    assert given.shape == (2, 40, 56)
    assert (given - expected).abs().max() < benchmark.TOLERANCE
    # zeros would agree for any network
    assert (expected.amax((1, 2)) == 1).all() and (expected.std((1, 2)) > 0.01).all()


def test_the_plain_way_is_the_network_itself():
    net, image = network_and_image()
    shift, scale = (torch.tensor(v).view(1, 3, 1, 1) for v in (net.mean, net.std))
    with torch.inference_mode():
        own = net((image[None] / 255 - shift) / scale).cams
        torch.testing.assert_close(benchmark.raw_map(net, image[None] / 255), own, rtol=1e-3, atol=1e-3)


def test_ways_that_disagree_are_an_error(monkeypatch):
    monkeypatch.setattr(benchmark, "plain_cams", lambda net, image, keys, *, scales: torch.full((2, 40, 56), 2.0))
    with pytest.raises(RuntimeError, match="CAMs"):
        run(BenchmarkOptions(only="cams", **TINY))


@pytest.mark.slow
def test_all_sections_give_their_rows(tmp_path, capsys):
    pytest.importorskip("pydensecrf", reason="pip install pydensecrf2: the CRF is measured against it (a C++ compiler)")
    rows = run(BenchmarkOptions(out=str(tmp_path / "rows.json"), **TINY))
    written = json.loads((tmp_path / "rows.json").read_text())
    assert [row["what"] for row in written["rows"]] == [row.what for row in rows]
    assert [row.required for row in rows] == [
        "at least 1.2", "at least 2.5", "at least 4", "under 1.5", "at least 20", "at least 3", "at least 10",
        "at least 1", "at least 100", "under 5", "at least 12", "at least 3", "at least 3", "at least 1",
        "at least 99.9", "-",
    ]  # fmt: skip
    assert written["options"]["width"] == TINY["width"] and written["threads"] >= 1
    floors = [row["what"].split(",")[0] for row in written["rows"] if row["times_floor"]]
    assert {"scoring", "label of an image", "training samples per second per core", "segmentation test", "CRF"} <= set(
        floors
    )
    for row in rows:
        assert row.ours is not None or row.note == "not supported by this CPU"
        assert row.ratio is None or row.ratio > 0
    table = capsys.readouterr().out
    assert all(row.what in table for row in rows)


@pytest.mark.parametrize(("section", "name"), [("scoring", "plain_sweep"), ("labels", "plain_label")])
def test_other_ways_that_disagree_are_an_error(monkeypatch, section, name):
    given = getattr(hot_paths, name)
    wrong = {
        "plain_sweep": lambda pairs, thresholds, labels: given(pairs, [0.99] * len(thresholds), labels),
        "plain_label": lambda maps, target, threshold, labels: given(maps, target, 0.99, labels),
    }
    monkeypatch.setattr(hot_paths, name, wrong[name])
    with pytest.raises(RuntimeError, match="differ"):
        run(BenchmarkOptions(only=section, **TINY))


@pytest.mark.slow
@pytest.mark.parametrize(("way", "background"), [("scores", "threshold"), ("labels", "float(threshold)")])
def test_plain_programs_that_disagree_are_an_error(monkeypatch, tmp_path, way, background):
    program = Path(programs.PLAIN).read_text()
    assert program.count(f"stack[0] = {background}") == 1
    (tmp_path / "wrong.py").write_text(program.replace(f"stack[0] = {background}", f"stack[1] = {background}"))
    monkeypatch.setattr(programs, "PLAIN", str(tmp_path / "wrong.py"))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    with pytest.raises(RuntimeError, match=f"programs of {way} differ"):
        run(BenchmarkOptions(only="programs", **TINY))


def test_floors_of_seconds_and_rates():
    assert Row("a", 3.0, floor=2.0).times_floor == 1.5 and Row("a", 10.0, floor_of_rate=30.0).times_floor == 3
    assert Row("a", 3.0).times_floor is None and Row("a", floor=1.0).times_floor is None


def test_the_arithmetic_of_cams_grows_with_their_area():
    net, _ = network_and_image()
    once, twice, half = (floors.cam_tflop(net, (40, 56), scales=scales) for scales in ((1.0,), (1.0, 1.0), (0.5,)))
    assert twice == pytest.approx(2 * once) and 0.15 < half / once < 0.35


def test_ways_of_pasting_that_disagree_are_an_error(monkeypatch):
    wrong = lambda image, *_, **__: (255 - image, image, image)  # noqa: E731
    monkeypatch.setattr(hot_paths, "plain_paste", wrong)
    with pytest.raises(RuntimeError, match=r"paste \d"):
        run(BenchmarkOptions(only="pasting", **TINY))


def test_one_section_alone():
    rows = run(BenchmarkOptions(only="scoring", **TINY))
    assert [row.what.split(",")[0] for row in rows] == ["scoring", "scoring"]


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("a", 1, 2, 2.0, at_least=1.2), "met"),
        (Row("a", 1, 1, 1.0, at_least=1.2), "missed"),
        (Row("a", 1, 1, 1.0, below=1.5), "met"),
        (Row("a", 3, 2, 1.5, below=1.5), "missed"),
        (Row("a", 30, at_least=30), "met"),
        (Row("a", 30), "measured"),
        (Row("a", at_least=2.5, note="not supported by this CPU"), "not measured"),
    ],
)
def test_verdict(row, verdict):
    assert row.verdict == verdict


def test_options_parse_and_refuse_nonsense(capsys):
    options = parse_options(BenchmarkOptions, ["--only=cams", "--size=20,30", "--scales=1,2"])
    assert (options.only, options.size, options.scales) == ("cams", (20, 30), (1.0, 2.0))
    for argv in (["--repeats=0"], ["--only=nothing"], ["--size=0,3"]):
        with pytest.raises(SystemExit):
            parse_options(BenchmarkOptions, argv)
        assert argv[0].partition("=")[0] in capsys.readouterr().err


@pytest.mark.slow
def test_stages_run_on_datasets_of_each_size():
    """Without the stage of CAMs, on random ones."""
    rows = run(BenchmarkOptions(only="scale", dataset_sizes=(2, 3), stages=("scores", "labels")))
    assert [row.what.partition(",")[0] for row in rows] == ["scores", "labels"] * 2
    for row in rows:
        peak = int(row.note.rpartition("peak ")[2].split()[0])
        assert row.ours > 0 and 20 < peak < 400  # not this process's own memory, with torch


def test_an_unknown_stage_is_refused():
    with pytest.raises(UserError, match=r"--stages: nothing: expected some of check, train"):
        run(BenchmarkOptions(only="scale", stages=("nothing",)))


def test_every_section_can_be_chosen():
    for name in benchmark.SECTIONS:
        assert parse_options(BenchmarkOptions, [f"--only={name}"]).only == name
