import multiprocessing
import os
import signal

import pytest

from utils.files.shared_flag import SharedFlag


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_flag_is_seen_in_other_processes_and_outlives_them(method):
    context = multiprocessing.get_context(method)
    flag = SharedFlag(context)
    assert not flag.is_set()
    child = context.Process(target=set_and_be_killed, args=(flag,))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL and flag.is_set()


def set_and_be_killed(flag):
    flag.set()
    os.kill(os.getpid(), signal.SIGKILL)
