"""Text is drawn by a font that has its letters, or by what every font has."""

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from utils import fonts

RARE = "\U00010380"  # a letter of Ugaritic, taken for one that neither Pillow's font nor DejaVu Sans has
MISSING = "\ufffe"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system whose one font has a square for RARE."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 600), (700, 600), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(RARE): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (800, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Square", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    (tmp_path / "deep").mkdir()
    builder.save(tmp_path / "deep" / "square.ttf")
    (tmp_path / "broken.ttf").write_text("none")
    _forget()
    monkeypatch.setattr(fonts, "FOLDERS", (str(tmp_path), str(tmp_path / "nowhere")))
    yield
    _forget()


@pytest.fixture
def no_system(monkeypatch):
    _forget()
    monkeypatch.setattr(fonts, "FOLDERS", ())
    yield
    _forget()


def _forget():
    fonts.system_files.cache_clear()
    fonts.is_drawable.cache_clear()


def test_plain_text_keeps_pillows_own_font_and_others_take_dejavu(no_system):
    plain, accents = fonts.font_for("cat", 14), fonts.font_for("Käfer, кошка, γάτα", 14)
    assert plain.getname()[0] != "DejaVu Sans" and accents.getname()[0] == "DejaVu Sans"


def test_a_font_of_the_system_is_found_where_it_alone_has_the_letters(system):
    assert fonts.is_drawable(RARE) and fonts.font_for(RARE, 14).getname()[0] == "Square"


def test_class_names_that_no_font_has_are_numbers_with_a_note(no_system):
    shown, notes = fonts.class_labels(["cat", RARE, "dog"])
    assert shown == ("cat", "class 2", "dog") and "1 class names" in notes[0]
    assert fonts.class_labels(["cat", "dog"]) == (("cat", "dog"), [])


def test_other_text_keeps_its_known_letters(no_system):
    assert fonts.drawable(f"photo {MISSING} 7") == "photo ? 7"
    assert fonts.drawable("photo 7") == "photo 7"


def test_a_system_without_a_home_is_searched_too(monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    _forget()
    assert isinstance(fonts.system_files(), tuple)
    _forget()
