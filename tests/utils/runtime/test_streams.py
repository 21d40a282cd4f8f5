import os
import subprocess
import sys

import pytest

from utils.files.locate import PROJECT_ROOT

PROGRAM = f"""
import sys
sys.path.insert(0, {str(PROJECT_ROOT)!r})
from pathlib import Path
from utils.runtime.streams import lasting_streams
with lasting_streams():
    for number in range(3000):
        print("a line of text, with käfer", number)
        print("an error", number, file=sys.stderr, flush=True)
    Path(sys.argv[1]).write_text("done")
"""


@pytest.mark.parametrize(
    "where", ["| head -1", "> /dev/full", "2> /dev/full", "> /dev/full 2>&1", ">&- 2>&-", "2>&1 | true", "< /dev/null"]
)
def test_a_program_outlives_its_terminal(tmp_path, where):
    line = f'set -o pipefail; "$PY" -c "$PROGRAM" {tmp_path}/done {where}'
    names = os.environ | {"PY": sys.executable, "PROGRAM": PROGRAM, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(["bash", "-c", line], env=names, capture_output=True, text=True)
    assert (tmp_path / "done").read_text() == "done"
    assert ended.returncode == 0 and "Traceback" not in ended.stderr and "Exception" not in ended.stderr
