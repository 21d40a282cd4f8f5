import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from utils.errors import UserError
from utils.files.npy_dict import read_npy_dict, write_npy_dict


class Malicious:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def save_pickled(path, content, *, protocol=4, module=None):
    """Like numpy.save, with the protocol and the module name of older versions."""
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
        {3.5: np.zeros(1)},
        {True: np.zeros(1)},
        {"keys": ["text", 1]},
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


def published_irn():
    """The dictionary that the published programs save for IRN: tensors keys and cam, an array high_res."""
    cam = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    return {"keys": torch.tensor([0, 14]), "cam": cam, "high_res": np.ones((2, 5, 6), np.float32)}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_tensors_are_read_as_arrays(tmp_path, protocol):
    read = read_npy_dict(save_pickled(tmp_path / "a.npy", published_irn(), protocol=protocol))
    assert all(type(value) is np.ndarray for value in read.values())
    assert read["keys"].tolist() == [0, 14] and read["keys"].dtype == np.int64
    assert np.array_equal(read["cam"], published_irn()["cam"].numpy()) and read["cam"].dtype == np.float32


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        torch.arange(24.0).reshape(4, 6)[1:3, ::2],
        torch.zeros(0, 3, 4),
        torch.tensor(2.5),
        torch.rand(2, 3).half(),
        torch.rand(3, requires_grad=True),
    ],
)
def test_tensors_of_every_layout_are_read(tmp_path, tensor):
    read = read_npy_dict(save_pickled(tmp_path / "a.npy", {"cam": tensor}))["cam"]
    assert read.shape == tuple(tensor.shape) and np.array_equal(read, tensor.detach().numpy())


def rebuilt(storage, offset, size, stride):
    """A pickle's instruction to build a tensor from these parts."""

    class Rebuilt:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, None)

    return Rebuilt()


class Storage:
    """A pickle's instruction to read `content` as the storage of a tensor."""

    def __init__(self, content):
        self.content = content

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.content,)


def storage_of(tensor):
    return Storage(tensor.untyped_storage() and tensor.__reduce_ex__(3)[1][0].__reduce__()[1][0])


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (5,), (1,)),
        (1, (4,), (1,)),
        (0, (2, 2), (2, 2)),
        (0, (4,), (-1,)),
        (-1, (1,), (1,)),
        (0, (9,), (0,)),
        (0, 4, 1),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, offset, size, stride):
    tensor = rebuilt(storage_of(torch.arange(4.0)), offset, size, stride)
    with pytest.raises(Exception, match=r"a\.npy.* it contains a tensor"):
        read_npy_dict(save_pickled(tmp_path / "a.npy", {"cam": tensor}))


def test_a_malicious_storage_runs_nothing(tmp_path):
    trace = tmp_path / "trace"
    tensor = rebuilt(Storage(pickle.dumps(Malicious(f"touch {trace}"), protocol=2)), 0, (1,), (1,))
    with pytest.raises(Exception, match=r"a\.npy.* is refused"):
        read_npy_dict(save_pickled(tmp_path / "a.npy", {"cam": tensor}))
    assert not trace.exists()


def test_tensors_are_written_as_tensors(tmp_path):
    write_npy_dict(tmp_path / "a.npy", published_irn())
    loaded = np.load(tmp_path / "a.npy", allow_pickle=True).item()
    assert torch.equal(loaded["keys"], torch.tensor([0, 14])) and torch.equal(loaded["cam"], published_irn()["cam"])
    assert type(loaded["high_res"]) is np.ndarray
    assert_same(read_npy_dict(tmp_path / "a.npy"), {k: np.asarray(v) for k, v in published_irn().items()})


def test_files_name_only_what_old_numpy_and_torch_have(tmp_path):
    write_npy_dict(tmp_path / "a.npy", published_irn())
    with (tmp_path / "a.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        instructions = list(pickletools.genops(file.read()))
    assert instructions[0][:2] == (pickletools.code2op["\x80"], 3)
    assert {arg for code, arg, _ in instructions if code.name in ("GLOBAL", "STACK_GLOBAL")} == {
        "numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype", "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2", "torch.storage _load_from_bytes",
    }  # fmt: skip


@pytest.mark.parametrize("content", [{3: np.ones((2, 3), np.float32)}, {0: ["a.npy", "b.npy"], 1: []}])
def test_whole_numbers_are_keys_and_lists_of_text_values(tmp_path, content):
    np.save(tmp_path / "a.npy", content, allow_pickle=True)
    assert_same(read_npy_dict(tmp_path / "a.npy"), content)
    write_npy_dict(tmp_path / "b.npy", content)
    assert_same(np.load(tmp_path / "b.npy", allow_pickle=True).item(), content)


def test_arrays_alone_are_read_without_torch(tmp_path):
    write_npy_dict(tmp_path / "a.npy", example())
    script = "import sys; from utils.files.npy_dict import read_npy_dict; from pathlib import Path; "
    script += f"read_npy_dict(Path({str(tmp_path / 'a.npy')!r})); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])


def test_tensors_of_equal_values_give_equal_files(tmp_path):
    tensors = [torch.arange(6.0).reshape(2, 3) for _ in "ab"]
    for name, tensor in zip("ab", tensors):
        write_npy_dict(tmp_path / f"{name}.npy", {"cam": tensor, "keys": torch.arange(3)})
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    read = np.load(tmp_path / "a.npy", allow_pickle=True).item()
    assert torch.equal(read["cam"], torch.arange(6.0).reshape(2, 3)) and torch.equal(read["keys"], torch.arange(3))
