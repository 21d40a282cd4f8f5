"""Checkpoints: written whole, found again, thinned out, and never executed."""

import pickle

import pytest
import torch

from utils.training import checkpoint as ckpt


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

    def half_a_file(content, temporary):
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half_a_file)
    with pytest.raises(OSError, match="disk full"):
        ckpt.write_checkpoint(path, {})
    assert names(tmp_path) == []
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
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
    with pytest.raises(FileNotFoundError, match=r"run train_l2g\.py --experiment_name exp first"):
        ckpt.final_checkpoint(tmp_path / "exp" / "model")


def test_a_checkpoint_inside_the_first_epoch_is_not_final(tmp_path):
    touch(tmp_path, "a_step_9.pth")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        ckpt.final_checkpoint(tmp_path)


def test_thin_out_keeps_the_newest_epochs_and_no_step(tmp_path):
    touch(tmp_path, *(f"a_epoch_{n}.pth" for n in (0, 8, 9, 10)), "a_step_90.pth", "notes.pth")
    ckpt.thin_out(tmp_path, keep=2)
    assert names(tmp_path) == ["a_epoch_10.pth", "a_epoch_9.pth", "notes.pth"]


def test_thin_out_steps_keeps_the_newest_and_all_epochs(tmp_path):
    touch(tmp_path, "a_epoch_0.pth", "a_step_9.pth", "a_step_10.pth")
    ckpt.thin_out_steps(tmp_path, newest=ckpt.step_path(tmp_path, "a", 10))
    assert names(tmp_path) == ["a_epoch_0.pth", "a_step_10.pth"]


def test_a_damaged_or_missing_file_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "a.pth"
    with pytest.raises(FileNotFoundError, match=r"a\.pth: no such checkpoint"):
        ckpt.read_checkpoint(path)
    torch.save({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"a\.pth cannot be read as a checkpoint"):
        ckpt.read_checkpoint(path)
    path.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"a\.pth cannot be read as a checkpoint"):
        ckpt.read_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_file_is_refused_and_executes_nothing(tmp_path, zipped):
    path, harm = tmp_path / "a.pth", tmp_path / "harm"
    if zipped:
        torch.save({"state_dict": Trap(harm)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Trap(harm)}, protocol=2))
    for read in (ckpt.read_checkpoint, ckpt.read_weights):
        with pytest.raises(ValueError, match=r"a\.pth cannot be read"):
            read(path)
    assert not harm.exists()


def test_weights_are_read_from_both_kinds_of_file(tmp_path):
    from safetensors.torch import save_file

    weights = {"conv.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save({"state_dict": weights}, tmp_path / "wrapped.pth")
    torch.save(weights, tmp_path / "plain.pth")
    save_file(weights, tmp_path / "plain.safetensors")
    for name in ("wrapped.pth", "plain.pth", "plain.safetensors"):
        read = ckpt.read_weights(tmp_path / name)
        assert read.keys() == weights.keys()
        assert torch.equal(read["conv.weight"], weights["conv.weight"])
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        ckpt.read_weights(tmp_path / "absent.params")


def test_a_file_without_a_state_dict_is_an_error(tmp_path):
    for content in ([1, 2], {}, {"step": 3}, {"state_dict": {"w": 1}}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(ValueError, match=r"a\.pth holds no state dict"):
            ckpt.read_weights(tmp_path / "a.pth")


OWN = {"conv.weight": torch.zeros(2, 3), "bn.weight": torch.zeros(2), "bn.num_batches_tracked": torch.tensor(0)}


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "module.backbone."])
def test_weights_are_found_under_their_names_behind_a_wrappers_prefix(prefix):
    given = {f"{prefix}bn.weight": torch.ones(2), f"{prefix}conv.weight": torch.ones(2, 3), "fc.weight": torch.ones(9)}
    found = ckpt.under_names_of(OWN, given, what="net")
    assert list(found) == ["conv.weight", "bn.weight"]
    assert torch.equal(found["bn.weight"], torch.ones(2))


def test_weights_under_foreign_names_are_found_by_order():
    given = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(2), "b.num_batches_tracked": torch.tensor(7)}
    found = ckpt.under_names_of(OWN, given | {"classifier.weight": torch.ones(5)}, what="net")
    assert torch.equal(found["conv.weight"], given["a.weight"]) and torch.equal(found["bn.weight"], given["b.weight"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"b.weight": torch.ones(2), "a.weight": torch.ones(2, 3)}, "2 of 2 in another order or of another shape"),
        ({"a.weight": torch.ones(2, 3), "b.bias": torch.ones(2)}, r"b\.bias \(2,\) for bn\.weight \(2,\)"),
        ({"a.weight": torch.ones(2, 3)}, r"not the weights of net: 1 tensors for 2, missing by name 2, such as conv"),
    ],
)
def test_weights_of_another_network_are_an_error(given, message):
    with pytest.raises(ValueError, match=message):
        ckpt.under_names_of(OWN, given, what="net")
