#!/usr/bin/env bash
# Computes the CAMs of a run on VOC 2012 and their scores: bash test_l2g_voc.sh [EXP [further flags of test_l2g.py]]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

cams_and_scores voc12 --save_attention "${@:2}"
