"""Interrupts trainings, and compares states."""

import os
import signal
import sys

import torch

from utils.training.trainer import Trainer


class Killed(BaseException):
    """Simulates SIGKILL: nothing in the program catches it."""


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


# audit events of file system requests, raised before they happen
FILE_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


def in_child(work, folder, *, killed_at=None):
    """Run `work` in a forked process. Returns the number of its file system requests below `folder`.

    killed_at: the process is killed just before that request, counted from 0.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        _run_watched(work, str(folder), killed_at, theirs)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        count = pipe.read()
    _, status = os.waitpid(child, 0)
    if killed_at is None:
        assert status == 0, f"the work failed in the child: status {status}"
    else:
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    return len(count)


def _run_watched(work, folder, killed_at, pipe):
    seen = 0

    def watch(event, args):
        nonlocal seen
        if event in FILE_EVENTS and str(args[0]).startswith(folder):
            if seen == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1
            os.write(pipe, b".")

    status = 1
    try:
        torch.set_num_threads(1)
        sys.addaudithook(watch)
        work()
        status = 0
    finally:
        os._exit(status)
