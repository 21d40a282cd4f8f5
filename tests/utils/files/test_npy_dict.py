import os
import pickle

import numpy as np
import pytest

from utils.errors import UserError
from utils.files.npy_dict import read_npy_dict, write_npy_dict


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def save_pickled(path, content, *, protocol=4, module=None):
    """What numpy.save does, with the protocol and the module name of older versions."""
    wrapper = np.empty((), dtype=object)
    wrapper[()] = content
    data = pickle.dumps(wrapper, protocol=protocol)
    if module:
        data = pickle.dumps(wrapper, protocol=2).replace(b"numpy._core.multiarray", module)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(data)
    return path


def example():
    return {
        "keys": np.array([0, 3, 7]),
        "cam": np.arange(6, dtype=np.float16).reshape(1, 2, 3),
        "high_res": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
        "flags": np.array([True, False]),
        "big_endian": np.array([1, 2], dtype=">i4"),
        "scale": 0.5,
        "name": "2007_000032",
    }


def assert_same(read, expected):
    assert list(read) == list(expected)
    for key, value in expected.items():
        assert np.array_equal(read[key], value), key
        if isinstance(value, np.ndarray):
            assert read[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=") and read[key].shape == value.shape


def test_what_is_written_is_read_back(tmp_path):
    write_npy_dict(tmp_path / "a.npy", example())
    assert_same(read_npy_dict(tmp_path / "a.npy"), example())
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_numpy_itself_reads_what_is_written(tmp_path):
    write_npy_dict(tmp_path / "a.npy", example())
    assert_same(np.load(tmp_path / "a.npy", allow_pickle=True).item(), example())


def test_file_of_numpy_save_is_read(tmp_path):
    np.save(tmp_path / "a.npy", example(), allow_pickle=True)
    assert_same(read_npy_dict(tmp_path / "a.npy"), example())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_every_protocol_is_read(tmp_path, protocol):
    assert_same(read_npy_dict(save_pickled(tmp_path / "a.npy", example(), protocol=protocol)), example())


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_names_of_numpy_1_and_2_are_read(tmp_path, module):
    assert_same(read_npy_dict(save_pickled(tmp_path / "a.npy", example(), module=module)), example())


def test_malicious_file_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    path = save_pickled(tmp_path / "a.npy", {"keys": Malicious(f"touch {trace}")})
    with pytest.raises(UserError, match=r"a\.npy: .*\w+\.system"):
        read_npy_dict(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name", [b"builtins\neval", b"numpy\nload", b"numpy._core.multiarray\nfromfile", b"copyreg\n__newobj__"]
)
def test_no_other_name_can_be_called(tmp_path, name):
    path = save_pickled(tmp_path / "a.npy", {})
    header = path.read_bytes()[:128]
    path.write_bytes(header + b"c" + name + b"\n(S'1'\ntR.")
    with pytest.raises(UserError, match=name.decode().split("\n")[1]):
        read_npy_dict(path)


@pytest.mark.parametrize(
    "content",
    [
        {"keys": np.array([{}], dtype=object)},
        {"keys": np.array(["text"])},
        {"keys": np.zeros(2, dtype=[("x", "f4")])},
        {"keys": [1, 2]},
        {"keys": {"nested": 1}},
        {3: np.zeros(1)},
        [np.zeros(1)],
    ],
)
def test_anything_but_numbers_and_text_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"a\.npy"):
        read_npy_dict(save_pickled(tmp_path / "a.npy", content))


def test_plain_array_and_broken_file_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"a\.npy: .*\(3,\)"):
        read_npy_dict(tmp_path / "a.npy")
    write_npy_dict(tmp_path / "b.npy", example())
    (tmp_path / "b.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-40])
    with pytest.raises(UserError, match=r"b\.npy"):
        read_npy_dict(tmp_path / "b.npy")


def test_writing_what_could_not_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'keys'"):
        write_npy_dict(tmp_path / "a.npy", {"keys": [1, 2]})
    with pytest.raises(ValueError, match=r"\.npy"):
        write_npy_dict(tmp_path / "a.bin", {})
    assert not list(tmp_path.iterdir())
