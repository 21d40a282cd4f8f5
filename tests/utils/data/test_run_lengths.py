import numpy as np
import pytest
from pycocotools import mask as coco

from utils.data.run_lengths import counts_of, decode_runs, encode_runs


def mask():
    return np.random.default_rng(0).random((5, 7)) > 0.5


def test_a_mask_comes_back_from_compressed_counts():
    encoded = encode_runs(mask())
    assert encoded["size"] == [5, 7] and isinstance(encoded["counts"], str)
    assert np.array_equal(decode_runs(encoded), mask())
    assert not decode_runs(encode_runs(np.zeros((5, 7), bool))).any()


@pytest.mark.parametrize("density", [0.001, 0.03, 0.5, 0.97])
def test_compressed_counts_are_read_as_cocos_own_tools_read_them(density):
    rng = np.random.default_rng(0)
    for size in ((200, 300), (1, 40), (40, 1)):
        found = encode_runs(rng.random(size) < density)
        assert np.array_equal(decode_runs(found), coco.decode(found).astype(bool))
        assert counts_of(found | {"counts": found["counts"].encode()}, *size).sum() == size[0] * size[1]


def test_plain_counts_run_down_the_columns():
    found = decode_runs({"size": [2, 3], "counts": [1, 3, 2]})
    assert found.tolist() == [[False, True, False], [True, True, False]]


@pytest.mark.parametrize(
    "cut", [lambda text: text[:-2], lambda text: text + "5", lambda text: "", lambda text: text + "\xff"]
)
def test_compressed_counts_of_another_mask_are_refused(cut):
    encoded = encode_runs(mask())
    with pytest.raises(ValueError):
        decode_runs(encoded | {"counts": cut(encoded["counts"])})


@pytest.mark.parametrize(
    "shape",
    [
        None, [1, 2], {"size": [5, 7]}, {"size": [7, 5], "counts": [35]}, {"size": 5, "counts": [35]},
        {"size": [5, 7], "counts": [34]}, {"size": [5, 7], "counts": [-1, 36]}, {"size": [5, 7], "counts": ["35"]},
        {"size": [5, 7], "counts": 35},
    ],
)  # fmt: skip
def test_what_is_no_mask_of_the_image_is_refused(shape):
    with pytest.raises(ValueError):
        counts_of(shape, 5, 7)
