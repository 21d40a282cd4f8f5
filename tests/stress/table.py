"""The table: a row per kind of fault, seen in this software or known from similar software."""

from tests.stress.case import Case
from tests.stress.table_data import DATA
from tests.stress.table_options import OPTIONS
from tests.stress.table_runs import RUNS
from tests.stress.table_segmentation import SEGMENTATION
from tests.stress.table_surroundings import SURROUNDINGS
from tests.stress.table_tools import TOOLS

CASES: tuple[Case, ...] = (*OPTIONS, *RUNS, *DATA, *SEGMENTATION, *TOOLS, *SURROUNDINGS)
