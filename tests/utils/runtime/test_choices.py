"""Settings of a CUDA device; a CPU is not affected."""

import os

import pytest
import torch

from utils.runtime.choices import Choices, choose

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def settings():
    backends = torch.backends
    return (
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark,
        backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled(),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    matmul, cudnn, benchmark, deterministic, algorithms = settings()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic
    torch.use_deterministic_algorithms(algorithms)


@pytest.mark.parametrize("tf32", [True, False])
def test_a_gpu_is_fast_by_default(tf32):
    found = choose(CUDA, Choices(tf32, autotune=True))
    assert settings() == (tf32, tf32, True, False, False)
    assert found == {"tf32": tf32, "cudnn_autotune": True, "deterministic": False}
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_repeatable_algorithms_are_neither_tried_out_nor_left_to_cublas():
    found = choose(CUDA, Choices(autotune=True, deterministic=True))
    assert settings()[2:] == (False, True, True) and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert found["cudnn_autotune"] is False and found["deterministic"] is True


def test_a_cpu_is_left_alone():
    before = settings()
    assert choose(CPU, Choices(tf32=False, autotune=True, deterministic=True))["deterministic"] is True
    assert settings() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
