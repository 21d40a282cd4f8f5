import ctypes
import subprocess
import sys

import pytest

from utils.files.locate import PROJECT_ROOT

# prints the page faults of allocating 64 MiB five times more
PROGRAM = """
import resource, numpy as np
from utils.runtime.memory import keep_freed_memory
{first}
np.ones(1 << 23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(1 << 23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    words = [sys.executable, "-c", PROGRAM.format(first=first)]
    return int(subprocess.run(words, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc can keep freed memory")
def test_freed_memory_is_used_again_without_new_pages():
    assert faults("keep_freed_memory()") < 100 < faults("")
