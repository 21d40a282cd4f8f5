"""The report in a real browser: headless Chromium, from file://."""

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from scripts import draw_cams
from tests.report_run import make_long_run, write_numbers
from utils.config.options import DrawOptions

pytestmark = pytest.mark.slow  # a browser starts

COUNT = 40
CLASSES = ("<img src=x onerror=alert(1)>", "dog & cat", '"cow"')
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

if not (BROWSER and DRIVER):
    pytest.skip(
        "no browser: the report's gallery is not tested (as root: apt-get install chromium chromium-driver)",
        allow_module_level=True,
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of a run `long` of 40 images beside a run `other`."""
    folder = tmp_path_factory.mktemp("report")
    options = make_long_run(folder, COUNT, classes=CLASSES)
    (folder / "runs" / "other").mkdir()
    write_numbers(folder / "runs" / "other", gain=0.1)
    return draw_cams.run(DrawOptions(**options, num_workers=1, max_images=1, report=True, compare=("other",)))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900")
    for flag in (*flags, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield started
    started.quit()


@pytest.fixture
def opened(driver, page):
    driver.get(page.as_uri())
    return driver


def choose(driver, control, text):
    Select(driver.find_element(By.ID, control)).select_by_visible_text(text)


def shown(driver) -> list[str]:
    """Return the numbers of the images in the gallery, in order."""
    script = "return [...document.querySelectorAll('.card:not([hidden]) h3')].map((title) => title.textContent)"
    return [int(name.removeprefix("image_")) for name in driver.execute_script(script)]


def right_rows(index: int) -> int:
    """The order in which the IoU of make_long_run's images increases."""
    return (index * 7) % COUNT


def test_it_opens_from_disk_without_errors_or_requests(opened):
    assert opened.get_log("browser") == []
    resources = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert [name for name in opened.execute_script(resources) if not name.startswith("data:")] == []
    assert opened.title == "long, other – report"


def test_worst_come_first_then_best_or_by_name(opened):
    assert shown(opened) == sorted(range(COUNT), key=right_rows)
    choose(opened, "order", "best pseudo label first")
    assert shown(opened) == sorted(range(COUNT), key=right_rows, reverse=True)
    choose(opened, "order", "name")
    assert shown(opened) == list(range(COUNT))


def test_a_class_and_a_part_of_the_name_choose_images(opened):
    choose(opened, "order", "name")
    choose(opened, "class", f"{CLASSES[1]} (13)")
    assert shown(opened) == list(range(1, COUNT, 3))
    opened.find_element(By.ID, "search").send_keys("IMAGE_01")
    assert shown(opened) == [10, 13, 16, 19]
    assert opened.find_element(By.ID, "count").text == f"4 of {COUNT} images"


def test_pictures_are_decoded_as_they_come_into_view(opened):
    card = opened.find_elements(By.CSS_SELECTOR, ".card")[-1]
    assert card.find_elements(By.TAG_NAME, "img") == []
    opened.execute_script("arguments[0].scrollIntoView()", card)
    complete = "return [...arguments[0].querySelectorAll('img')].map((image) => image.complete && image.naturalWidth)"
    sizes = WebDriverWait(opened, 10).until(lambda d: (found := d.execute_script(complete, card)) and found)
    assert sizes == [16] * len(sizes) and len(sizes) == 7  # the photo, alone and under CAM, label and mask
    filled = "return document.querySelectorAll('.cells').length"
    assert 0 < opened.execute_script(filled) < COUNT


def test_names_of_classes_are_shown_as_they_are(opened):
    choose(opened, "order", "name")
    opened.execute_script("document.querySelector('.card').scrollIntoView()")
    first = "return document.querySelector('.card .cells')?.textContent"
    text = WebDriverWait(opened, 10).until(lambda d: d.execute_script(first))
    assert f"CAM: {CLASSES[0]}" in text
    assert opened.execute_script("return document.querySelectorAll('img[onerror]').length") == 0


def test_the_overlay_follows_its_slider(opened):
    script = """
        const slider = document.getElementById("strength");
        slider.value = 25;
        slider.dispatchEvent(new Event("input"));
        document.querySelector(".card").scrollIntoView();"""
    opened.execute_script(script)
    opacity = "const over = document.querySelector('img + img'); return over && getComputedStyle(over).opacity"
    assert WebDriverWait(opened, 10).until(lambda d: d.execute_script(opacity)) == "0.25"


def test_runs_stand_side_by_side(opened):
    lines = (
        "return [...document.querySelectorAll('.chart svg')].map((chart) => chart.querySelectorAll('polyline').length)"
    )
    counts = opened.execute_script(lines)
    assert len(counts) == 3 and set(counts) == {2}
    heads = [cell.text for cell in opened.find_elements(By.CSS_SELECTOR, "#option-table thead th")]
    assert heads == ["name", "long", "other"]
    bars = "return document.querySelectorAll('.bars li.mean')[0].querySelectorAll('.bar').length"
    assert opened.execute_script(bars) == 2


def test_options_that_agree_are_hidden_until_asked_for(opened):
    def rows():
        return [
            row.text.split()[0] for row in opened.find_elements(By.CSS_SELECTOR, "#option-table tbody tr") if row.text
        ]

    assert rows() == ["lr"]
    opened.find_element(By.ID, "notable").click()
    assert len(rows()) > 50


def test_controls_have_labels_and_pictures_have_words(opened):
    unlabelled = "return [...document.querySelectorAll('select, input')].filter((c) => !c.labels.length).length"
    assert opened.execute_script(unlabelled) == 0
    opened.execute_script("document.querySelector('.card').scrollIntoView()")
    pictures = (
        "return [...document.querySelectorAll('.picture')].map((p) => [...p.children].some((image) => image.alt))"
    )
    assert all(WebDriverWait(opened, 10).until(lambda d: d.execute_script(pictures)))
    wordless = "return document.querySelectorAll('img:not([alt]), svg:not([aria-label])').length"
    assert opened.execute_script(wordless) == 0


@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_is_wider_than_the_window(opened, width):
    size = {"width": width, "height": 812, "deviceScaleFactor": 1, "mobile": False}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
