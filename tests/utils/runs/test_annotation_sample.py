"""The sample of photos to annotate: its sizes, weights, spread over classes, and that its sums are unbiased."""

import json
from collections import Counter

import numpy as np
import pytest

from utils.errors import UserError
from utils.runs.annotation_sample import FILE, draw_sample, read_sample, write_sample
from utils.runs.label_judgement import PhotoFigures


def photos(count, tags=("cat",)):
    """Photos of falling doubt, tagged in turn; and a negative."""
    made = [PhotoFigures(f"p{n:02d}", (tags[n % len(tags)],), (), n / count, None, None) for n in range(count)]
    return [*made, PhotoFigures("negative", (), (), None, None, 0.0)]


def test_half_comes_from_the_most_doubtful_third_and_weights_add_up():
    sample = draw_sample(photos(18), 12, seed=0)
    assert sample.strata == (6, 6, 6)
    counts = Counter(photo.stratum for photo in sample.photos)
    assert counts == {0: 6, 1: 4, 2: 2}
    assert {photo.stratum: photo.weight for photo in sample.photos} == {0: 1.0, 1: 1.5, 2: 3.0}
    assert sum(photo.weight for photo in sample.photos) == pytest.approx(18)
    by_doubt = sorted(sample.photos, key=lambda photo: -photo.doubt)
    assert [photo.stratum for photo in by_doubt] == sorted(photo.stratum for photo in by_doubt)
    assert len({photo.name for photo in sample.photos}) == 12 and "negative" not in {p.name for p in sample.photos}


@pytest.mark.parametrize(("count", "number", "expected"), [(18, 6, (2, 2, 2)), (12, 12, (4, 4, 4)), (9, 8, (3, 3, 2))])
def test_small_strata_give_no_more_than_they_have(count, number, expected):
    counts = Counter(photo.stratum for photo in draw_sample(photos(count), number, seed=1).photos)
    assert tuple(counts[stratum] for stratum in range(3)) == expected


def test_each_stratum_is_spread_over_the_classes():
    for seed in range(5):
        sample = draw_sample(photos(36, ("ant", "bee", "cat")), 12, seed=seed)
        tags = Counter(photo.tags for photo in sample.photos if photo.stratum == 0)
        assert tags == {("ant",): 2, ("bee",): 2, ("cat",): 2}


def test_weighted_sums_are_unbiased():
    """The mean over many samples is the mean over all photos, although doubtful photos are chosen more often."""
    given = photos(30, ("ant", "bee"))
    score = {photo.name: (1 - photo.doubt) ** 2 for photo in given if photo.tags}
    estimates = [
        sum(photo.weight * score[photo.name] for photo in draw_sample(given, 12, seed=seed).photos) / 30
        for seed in range(400)
    ]
    tolerance = 4 * np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(np.mean(list(score.values())), abs=tolerance)
    plain = np.mean([np.mean([score[p.name] for p in draw_sample(given, 12, seed=s).photos]) for s in range(50)])
    assert plain < np.mean(list(score.values())) - 10 * tolerance


def test_photos_that_were_not_annotated_are_stood_for_by_others():
    sample = draw_sample(photos(18), 12, seed=0)
    names = [photo.name for photo in sample.photos]
    first = [photo.name for photo in sample.photos if photo.stratum == 0]
    found = sample.weights_of(set(names) - set(first[:3]))
    assert found is not None and [found.weights[name] for name in first[3:]] == [2.0, 2.0, 2.0]
    assert sample.weights_of(set(names) - set(first)) is None


def test_it_is_read_as_it_was_written(tmp_path):
    sample = draw_sample(photos(18), 6, seed=3, files={"p00": "album/IMG 1.jpg"})
    write_sample(tmp_path, sample)
    assert read_sample(tmp_path) == sample and read_sample(tmp_path / "other") is None
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(UserError, match=FILE):
        read_sample(tmp_path)


def test_more_than_there_are_is_refused():
    with pytest.raises(UserError, match="--number=20"):
        draw_sample(photos(18), 20, seed=0)


@pytest.mark.parametrize(
    ("key", "value"), [("strata", "abc"), ("strata", [6, 6, 0]), ("strata", [6, 6]), ("strata", 3), ("photos", [7])]
)
def test_a_sample_whose_strata_do_not_match_is_named(tmp_path, key, value):
    path = write_sample(tmp_path, draw_sample(photos(18), 12, seed=0))
    assert read_sample(tmp_path) is not None
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=FILE):
        read_sample(tmp_path)
