#!/usr/bin/env bash
# The CAMs of a run on VOC 2012 and their scores: bash test_l2g_voc.sh [EXP [further flags of test_l2g.py]]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

"$PYTHON" "$ROOT/test_l2g.py" \
  --experiment_name="$EXP" \
  --save_attention \
  "${@:2}"

"$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP"
