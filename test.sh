#!/usr/bin/env bash
# Creates the environment and runs the style checks, the type check and the tests:
#   bash test.sh [--fast] [further arguments of pytest]
#   --fast   skips the tests marked slow: under 90 seconds on two cores; all tests take under ten minutes
# The tests of the HTML report need a browser: Debian's chromium is installed if it is missing and apt-get is permitted.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

install_browser() {
  if command -v chromedriver >/dev/null; then
    return
  fi
  if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "no chromedriver: skipping the report's browser tests (apt-get install chromium chromium-driver)" >&2
    return
  fi
  echo "installing chromium for the report's browser tests ..."
  if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    chromium chromium-driver; } >/dev/null; then
    echo "chromium could not be installed: skipping the report's browser tests" >&2
  fi
}

MARKED=()
if [[ "${1:-}" == --fast ]]; then
  MARKED=(-m "not slow")
  shift
fi

make_environment dev
install_browser
cd "$ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy

# one process per core, each with one thread; the argument -n 0 runs all tests in this process
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# (the + form of MARKED: bash 3 on macOS treats an empty array as unset)
"$PYTHON" -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder ${MARKED[@]+"${MARKED[@]}"} "$@"
