#!/usr/bin/env bash
# Creates pseudo labels from the CAMs of a run on VOC 2012: bash gen_gt_voc.sh [EXP [further flags of gen_gt.py]]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

pseudo_labels voc12 "${@:2}"
