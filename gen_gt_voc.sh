#!/usr/bin/env bash
# Pseudo labels from the CAMs of a run trained on VOC 2012: ./gen_gt_voc.sh EXP [further flags of gen_gt.py]
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PYTHON="${PYTHON:-python3}"
EXP="${1:-l2g_voc}"

"$PYTHON" "$ROOT/gen_gt.py" \
  --experiment_name="$EXP" \
  "${@:2}"
