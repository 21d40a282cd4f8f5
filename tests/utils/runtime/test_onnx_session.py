"""The device of a model in a file: one that is asked for by name is used or refused."""

import sys
from types import SimpleNamespace

import pytest

from utils.errors import UserError
from utils.runtime.onnx_session import open_session

BOTH = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def providers_of(monkeypatch, available, device):
    """The providers that open_session asks a made-up onnxruntime for."""
    made = SimpleNamespace(
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda *given: None),
        get_available_providers=lambda: available,
        InferenceSession=lambda path, options, providers: providers,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", made)
    return open_session("a.onnx", device=device)


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("auto", BOTH),
        ("cpu", BOTH[1:]),
        ("cuda", [(BOTH[0], {"device_id": 0}), BOTH[1]]),
        ("cuda:3", [(BOTH[0], {"device_id": 3}), BOTH[1]]),
    ],
)
def test_the_device_is_the_one_asked_for(monkeypatch, device, expected):
    assert providers_of(monkeypatch, BOTH, device) == expected


def test_a_gpu_that_onnxruntime_cannot_use_is_refused(monkeypatch):
    with pytest.raises(UserError, match=r"cuda:1.*onnxruntime-gpu"):
        providers_of(monkeypatch, BOTH[1:], "cuda:1")
    assert providers_of(monkeypatch, BOTH[1:], "auto") == BOTH[1:]
