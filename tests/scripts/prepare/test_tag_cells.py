"""Class names: which are invalid, and which spellings are equal."""

import pytest

from scripts.prepare.tag_cells import made_of_others, merged_names, separators_of, split_cell, tag_problem


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


@pytest.mark.parametrize("separator", [None, ";"])
@pytest.mark.parametrize("mark", ["\t", "\n", "\r\n", "\v", "\f", "\x1e", "\x85", "\u2028", "\u2029"])
def test_tabs_and_line_breaks_in_a_cell_separate_tags_whatever_else_does(mark, separator):
    cell = f"cat{mark}traffic light"
    assert split_cell(cell, separators_of([cell], separator)) == ("cat", "traffic light")


@pytest.mark.parametrize("mark", [";", "|", ",", "；", "｜", "，", "、", "؛", "،"])
def test_separators_of_other_scripts_separate_tags(mark):
    cell = f"猫{mark} 犬"
    assert split_cell(cell, separators_of([cell], None)) == ("猫", "犬")


def test_invisible_characters_make_no_other_name():
    names = merged_names(["cat", "cat", "cat\u200b", "\ufeffcat", "c\u00adat", "cat\u00a0", "dog"])
    assert {name for tag, name in names.items() if tag != "dog"} == {"cat"} and names["dog"] == "dog"


@pytest.mark.parametrize("tag", ["cat dog", "Cat + Dog", "cat&dog", "dog-cat", "cat_dog", "cat: dog"])
def test_a_tag_whose_words_are_tags_is_pointed_out(tag):
    assert sorted(made_of_others([tag, "cat", "dog", "hot dog"])[tag]) == ["cat", "dog"]
    assert set(made_of_others([tag, "cat", "hot dog"])) == set()
