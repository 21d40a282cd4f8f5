"""Processes of a distributed run: which errors mean that another one is gone."""

import pytest
import torch

from utils.runtime.process import is_lost


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer"), True),
        (RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]"), True),
        (torch.distributed.DistBackendError("NCCL communicator was aborted"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_the_loss_of_another_process_is_told_from_other_errors(error, lost):
    assert is_lost(error) == lost
