"""Checkpoints: atomic writing, finding, pruning, and no code execution."""

import pickle

import pytest
import torch

from utils.errors import UserError
from utils.training import checkpoint as ckpt
from utils.training.weights import read_weights


class Trap:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back(tmp_path):
    content = {
        "step": 3,
        "state_dict": {"w": torch.arange(4.0)},
        "averages": {"loss": [1.5, 2.0]},
        "options": {"t": (1, 2)},
    }
    ckpt.write_checkpoint(tmp_path / "model" / "a_epoch_0.pth", content)
    read = ckpt.read_checkpoint(tmp_path / "model" / "a_epoch_0.pth")
    assert torch.equal(read.pop("state_dict")["w"], content.pop("state_dict")["w"])
    assert read == content
    assert names(tmp_path / "model") == ["a_epoch_0.pth"]


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a_epoch_0.pth"

    failure = OSError("any")

    def half_a_file(content, file):
        file.write(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(OSError):
        ckpt.write_checkpoint(path, {})
    assert names(tmp_path) == []
    path.write_bytes(b"old")
    with pytest.raises(OSError):
        ckpt.write_checkpoint(path, {})
    assert names(tmp_path) == ["a_epoch_0.pth"]
    assert path.read_bytes() == b"old"


def test_checkpoints_are_found_by_number_not_by_alphabet(tmp_path):
    touch(tmp_path, "a_epoch_2.pth", "a_epoch_10.pth", ".a_epoch_11.9.tmp.pth", "a_epoch_x.pth")
    assert ckpt.final_checkpoint(tmp_path).name == "a_epoch_10.pth"
    assert ckpt.latest_checkpoint(tmp_path).name == "a_epoch_10.pth"
    touch(tmp_path, "a_step_9.pth", "a_step_12.pth")
    assert ckpt.latest_checkpoint(tmp_path).name == "a_step_12.pth"
    assert ckpt.final_checkpoint(tmp_path).name == "a_epoch_10.pth"


def test_an_empty_run_has_no_checkpoint_and_says_the_remedy(tmp_path):
    assert ckpt.latest_checkpoint(tmp_path / "model") is None
    with pytest.raises(UserError, match=r"exp/model: .*train_l2g\.py --experiment_name exp"):
        ckpt.final_checkpoint(tmp_path / "exp" / "model")


def test_a_checkpoint_inside_the_first_epoch_is_not_final(tmp_path):
    touch(tmp_path, "a_step_9.pth")
    with pytest.raises(UserError, match="train_l2g"):
        ckpt.final_checkpoint(tmp_path)


def test_thin_out_keeps_the_newest_epochs_and_no_step(tmp_path):
    touch(tmp_path, *(f"a_epoch_{n}.pth" for n in (0, 8, 9, 10)), "a_step_90.pth", "notes.pth")
    ckpt.prune(tmp_path, keep=2)
    assert names(tmp_path) == ["a_epoch_10.pth", "a_epoch_9.pth", "notes.pth"]


def test_thin_out_steps_keeps_the_newest_and_all_epochs(tmp_path):
    touch(tmp_path, "a_epoch_0.pth", "a_step_9.pth", "a_step_10.pth")
    ckpt.prune_steps(tmp_path, newest=ckpt.step_path(tmp_path, "a", 10))
    assert names(tmp_path) == ["a_epoch_0.pth", "a_step_10.pth"]


def test_a_damaged_or_missing_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "a.pth"
    whole = tmp_path / "whole.pth"
    torch.save({"w": torch.zeros(1000)}, whole)
    for content in (None, whole.read_bytes()[:500], b"<html>not found</html>", b""):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError) as error:
            ckpt.read_checkpoint(path)
        assert error.value.where == str(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_file_is_refused_and_executes_nothing(tmp_path, zipped):
    path, harm = tmp_path / "a.pth", tmp_path / "harm"
    if zipped:
        torch.save({"state_dict": Trap(harm)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Trap(harm)}, protocol=2))
    for read in (ckpt.read_checkpoint, read_weights):
        with pytest.raises(UserError) as error:
            read(path)
        assert error.value.where == str(path) and "weights_only" not in str(error.value)
    assert not harm.exists()


def test_the_bytes_of_a_checkpoint_do_not_depend_on_the_process(tmp_path, monkeypatch):
    content = {"state_dict": {"w": torch.arange(6.0)}, "step": 3}
    ckpt.write_checkpoint(tmp_path / "first.pth", content)
    monkeypatch.setattr("utils.files.atomic.os.getpid", lambda: 123456)
    ckpt.write_checkpoint(tmp_path / "second.pth", content)
    assert (tmp_path / "first.pth").read_bytes() == (tmp_path / "second.pth").read_bytes()


def test_equal_contents_have_equal_bytes_wherever_their_strings_come_from(tmp_path):
    """As after resuming: some strings were read from a file and are other objects."""
    files = []
    for number, name in enumerate(["lr", "".join(["l", "r"])]):
        files.append(tmp_path / str(number) / "c.pth")
        files[-1].parent.mkdir()
        ckpt.write_checkpoint(files[-1], {"options": {"lr": 0.1}, "optimizer": {"param_groups": [{name: 0.1}]}})
    assert files[0].read_bytes() == files[1].read_bytes()
