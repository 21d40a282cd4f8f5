"""The photographs of the README's strip come from installed packages, each with a row in the tag table."""

import pytest

from scripts import export_photographs
from utils.config.options.prepare import ExportPhotographsOptions
from utils.errors import UserError


def test_photographs_and_their_table(tmp_path):
    pytest.importorskip("skimage", reason="pip install scikit-image: its photographs")
    folder = export_photographs.run(ExportPhotographsOptions(out=str(tmp_path / "photos")))
    rows = (tmp_path / "photos_tags.csv").read_text().splitlines()
    assert rows[0] == "file,tags" and "chelsea.png,cat" in rows
    assert sorted(path.name for path in folder.iterdir()) == sorted(row.split(",")[0] for row in rows[1:])


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(export_photographs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="scikit-image"):
        export_photographs.run(ExportPhotographsOptions(out=str(tmp_path / "photos")))
