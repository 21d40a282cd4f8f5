import json
import re
from dataclasses import replace

import numpy as np
import pytest

from scripts import draw_cams
from tests.report_run import make_report_run, write_numbers
from utils.config.options import DrawOptions
from utils.data.images import write_label_png
from utils.errors import UserError
from utils.files.locate import PROJECT_ROOT
from utils.report.page import choose_images, json_block, with_predictions
from utils.report.pictures import Sources
from utils.runs.paths import RunPaths

FOLDERS = ("accu_att_zoom", "overlay")


@pytest.fixture(autouse=True)
def only_own_results(monkeypatch):
    """Tests in other processes also have runs `exp`, and note in the project where their results are."""
    monkeypatch.setattr("utils.runs.segmentation._other_outputs", lambda _: iter(()))


@pytest.fixture
def report(tmp_path):
    """The run's folder, and a function that writes the report with more options and returns its page."""
    options = make_report_run(tmp_path)

    def make(**more):
        return draw_cams.run(DrawOptions(**{**options, "num_workers": 1, "report": True, **more}))

    return tmp_path / "runs" / "exp", make


def blocks(text):
    """The JSON of the page's data elements by their ids."""
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', text, flags=re.DOTALL)
    return {name: json.loads(content) for name, content in found}


def test_the_page_holds_every_picture_and_asks_for_nothing_else(report):
    run, make = report
    page = make()
    assert page == run / "report" / "index.html"
    text = page.read_text()
    data = blocks(text)
    assert [image["name"] for image in data["index"]["images"]] == ["a", "b", "c"]
    assert all(data[f"pictures-{place}"]["photo"].startswith("data:image/webp;base64,") for place in range(3))
    assert "default-src 'none'" in text
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*|@import|url\(|https?://""", text) == []


def test_the_page_shows_the_numbers_of_the_run(report):
    text = report[1]().read_text()
    for number in ("50.0", "62.5", "37.5"):  # mIoU of CAMs and labels, IoU of dogs
        assert number in text
    assert "Knowledge transfer loss" in text and "CAMs at every threshold" in text
    assert re.search(r'<tr class=notable><th scope="row">epochs</th><td>2</td></tr>', text)


def test_without_the_option_there_is_no_report(report):
    run, make = report
    assert make(report=False) == run / "contact_sheet.png"
    assert not (run / "report").exists()


def test_names_are_text_wherever_they_stand(report):
    run, make = report
    evil = '</script><script>alert(1)</script><b title="x">&'
    (run.parents[1] / "toy" / "classes.txt").write_text(f"{evil}\ndog\n")
    scores = run / "cam_scores.json"
    content = json.loads(scores.read_text())
    for row in content["thresholds"]:
        row["class_iou"] = {evil: 0.5}
    scores.write_text(json.dumps(content))
    text = make().read_text()
    assert "alert(1)</script>" not in text and "<b title" not in text
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in text
    assert blocks(text)["index"]["classes"][1] == evil


def test_json_cannot_end_its_element():
    content = {"name": "</script><!-- & \u2028"}
    assert not set("<>&") & set(json_block(content))
    assert json.loads(json_block(content)) == content


def test_runs_stand_side_by_side(report):
    run, make = report
    other = run.with_name("other")
    other.mkdir()
    write_numbers(other, gain=0.25)
    text = make(compare=("other",)).read_text()
    assert text.count('<p class="run">') == 2 and "75.0" in text
    assert "IoU by class: CAMs" in text and "IoU by class: Pseudo labels" in text
    assert re.search(r'<tr class=notable><th scope="row">lr</th><td>0.01</td><td>0.26</td></tr>', text)
    assert "do not compare" not in text


def test_runs_of_other_data_are_told(report):
    run, make = report
    other = run.with_name("other")
    other.mkdir()
    write_numbers(other)
    scores = other / "cam_scores.json"
    scores.write_text(scores.read_text().replace('"dataset": "toy"', '"dataset": "zoo"'))
    assert "(toy, zoo)" in make(compare=("other",)).read_text()


def test_a_run_to_compare_that_is_missing_is_told_before_anything_is_drawn(report):
    run, make = report
    with pytest.raises(UserError, match=r"nowhere"):
        make(compare=("nowhere",))
    assert not (run / "ms").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"compare": ("b",)}, "--report"),
        ({"report": True, "compare": ("exp",)}, "--compare=exp"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, part):
    with pytest.raises(UserError, match=part):
        DrawOptions(experiment_name="exp", **options)


def test_predictions_are_found_scored_and_bring_their_images(report, monkeypatch):
    run, make = report
    project = run.parents[1]
    monkeypatch.setattr("utils.files.locate.PROJECT_ROOT", project)
    folder = project / "deeplabv2" / "data" / "features" / "exp" / "val" / "crf"
    (run / "cam" / "c.npz").unlink()
    right = np.zeros((4, 6), np.uint8)
    write_label_png(folder / "c.png", right)
    images = {image["name"]: image for image in blocks(make().read_text())["index"]["images"]}
    assert {name: image["prediction"] for name, image in images.items()} == {"a": None, "b": None, "c": 1.0}
    write_label_png(folder.parents[1] / "z" / "crf" / "a.png", right)
    sources = Sources(RunPaths(run), ("cat", "dog"), project, None, None, None)
    found, notes = with_predictions(sources, None)
    assert found.prediction_dir == folder and "z/crf" in notes[0]
    assert with_predictions(sources, project)[0].prediction_dir == project


def test_a_bounded_gallery_takes_images_with_masks_first(tmp_path):
    for name in "bd":
        write_label_png(tmp_path / f"{name}.png", np.zeros((2, 2), np.uint8))
    sources = Sources(RunPaths(tmp_path), (), tmp_path, None, None, tmp_path)
    assert choose_images("abcdef", sources, 0) == list("abcdef")
    assert choose_images("abcdef", sources, 4) == ["b", "d", "a", "e"]
    assert choose_images("abcdef", sources, 1) == ["b"]
    assert choose_images("abcdef", sources, 2, doubts={"e": 0.9, "c": 0.8, "b": 0.1}) == ["e", "c"]
    assert choose_images("abcdef", replace(sources, mask_dir=None), 2) == ["a", "d"]


def test_statistics_count_images_outside_the_gallery(report):
    text = report[1](report_images=1).read_text()
    assert len(blocks(text)["index"]["images"]) == 1
    assert "3 pseudo labels" in text and "1 of 3 images" in text


def test_two_reports_of_the_same_files_are_the_same(report):
    _, make = report
    assert make().read_bytes() == make().read_bytes()


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_and_series_stand_out_from_light_and_dark_paper():
    """WCAG 2.2: 4.5 for text, 3 for parts of pictures."""
    style = (PROJECT_ROOT / "utils" / "report" / "report.css").read_text()
    themes = re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colors = dict(re.findall(r"--(\w+): (#\w+);", theme))
        colors = {name: c if len(c) == 7 else "#" + "".join(2 * d for d in c[1:]) for name, c in colors.items()}
        for ground in ("paper", "raised"):
            for name in ("ink", "faint", "accent"):
                assert contrast(colors[name], colors[ground]) >= 4.5, (name, ground)
        assert contrast(colors["ink"], colors["notable"]) >= 4.5
        for series in range(6):
            assert contrast(colors[f"s{series}"], colors["paper"]) >= 3
