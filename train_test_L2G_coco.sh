#!/usr/bin/env bash
# The whole job on COCO 2014 with the published numbers, from images with tags to pseudo labels and their pictures:
#   bash train_test_L2G_coco.sh [EXP [further flags of train_l2g.py]]
# Run again, it resumes where it stopped and skips finished steps.
#   STAGE=1, bank, 2, cams    one part alone, as in train_test_L2G_voc.sh; BANK and NPROC as there
#   EPOCHS=15 CDA_EPOCHS=0    the epochs of both stages: the published run has no second one
set -euo pipefail
DEFAULT_EXP=l2g_coco
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

EPOCHS="${EPOCHS:-15}"
CDA_EPOCHS="${CDA_EPOCHS:-0}"
whole_job coco14 mscoco "${@:2}"
