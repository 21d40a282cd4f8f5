"""Ways to end a training in the middle, and whether two states are the same."""

import os
import signal

import torch

from utils.training.trainer import Trainer


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the program catches it."""


def at_step(monkeypatch, number, action):
    """Calls `action` in the `number`-th optimiser step from now, counted from 1."""
    done, original = [], Trainer.step

    def step(self, number_in_run):
        original(self, number_in_run)
        done.append(None)
        if len(done) == number:
            action()

    monkeypatch.setattr(Trainer, "step", step)


def ask_to_stop():
    os.kill(os.getpid(), signal.SIGTERM)


def be_killed():
    raise Killed


def assert_same_values(one, other):
    """Equal bit by bit, through dictionaries, lists and tensors."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_values(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_same_values(a, b)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
