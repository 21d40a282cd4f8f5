#!/usr/bin/env bash
# The CAMs of a run trained on VOC 2012: ./test_l2g_voc.sh EXP [further flags of test_l2g.py]
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PYTHON="${PYTHON:-python3}"
EXP="${1:-l2g_voc}"

"$PYTHON" "$ROOT/test_l2g.py" \
  --experiment_name="$EXP" \
  --scales=0.5,1.0,1.5,2.0 \
  "${@:2}"
