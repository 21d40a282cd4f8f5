#!/usr/bin/env bash
# Computes the CAMs of a run on COCO 2014 and their scores: bash test_l2g_coco.sh [EXP [further flags of test_l2g.py]]
set -euo pipefail
DEFAULT_EXP=l2g_coco
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

cams_and_scores coco14 --save_attention "${@:2}"
