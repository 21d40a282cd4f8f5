#!/usr/bin/env bash
# The complete pipeline on COCO 2014 with the published settings, from images with tags to pseudo labels and a report:
#   bash train_test_L2G_coco.sh [EXP [further flags of train_l2g.py]]
# Run it again to resume; finished steps are skipped.
#   STAGE=1, bank, 2, cams    only one part, as in train_test_L2G_voc.sh; also BANK and NPROC
#   EPOCHS=15 CDA_EPOCHS=0    epochs of the two stages; the published run has no second stage
set -euo pipefail
DEFAULT_EXP=l2g_coco
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

EPOCHS="${EPOCHS:-15}"
CDA_EPOCHS="${CDA_EPOCHS:-0}"
whole_job coco14 mscoco "${@:2}"
