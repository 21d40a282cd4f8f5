"""Class names: which are invalid, and which spellings are equal."""

import pytest

from scripts.prepare.tag_cells import merged_names, tag_problem


@pytest.mark.parametrize(
    "tag", ["['cat'", "{a}", "<cat>", "x/y", "x\\y", 'a"b', "nan", "None", "background", "--", "'cat'", "a=b"]
)
def test_what_looks_like_syntax_or_says_nothing_is_no_class(tag):
    assert tag_problem(tag)


@pytest.mark.parametrize("tag", ["cat", "bird's nest", "traffic light", "Größe 3", "猫", "3", "cat (black)", "t-shirt"])
def test_names_are_names(tag):
    assert tag_problem(tag) is None


def test_spellings_that_differ_in_case_or_spaces_are_one():
    names = merged_names(["Cat", "cat", "cat", "traffic light", "Traffic  Light", "trafficlight", "dog"])
    assert names["Cat"] == names["cat"] == "cat"
    assert len({names[tag] for tag in ("traffic light", "Traffic  Light", "trafficlight")}) == 1
    assert names["dog"] == "dog"
    assert merged_names(["cat", "cat"], known=["CAT"]) == {"cat": "CAT"}
