#!/usr/bin/env bash
# Creates pseudo labels from the CAMs of a run on COCO 2014: bash gen_gt_coco.sh [EXP [further flags of gen_gt.py]]
set -euo pipefail
DEFAULT_EXP=l2g_coco
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

pseudo_labels coco14 "${@:2}"
