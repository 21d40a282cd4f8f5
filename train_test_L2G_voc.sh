#!/usr/bin/env bash
# The complete pipeline on VOC 2012 with the published settings, from images with tags to pseudo labels and a report:
#   bash train_test_L2G_voc.sh [EXP [further flags of train_l2g.py]]
# Run it again to resume; finished steps are skipped. Flags override the presets of both stages (configs/voc12.yaml, and
# additionally configs/stage2_cda.yaml). With STAGE=2 they apply to stage 2 only.
#   STAGE=1      only train epochs 0 to 9
#   STAGE=bank   only build the foreground bank for CDA+, from the pseudo labels of stage 1
#   STAGE=2      only train epochs 10 to 12 with CDA+
#   STAGE=cams   only compute CAMs, scores, pseudo labels and the report of the trained network
#   BANK=FOLDER  use another bank than sem_seg_fg/EXP, e.g. the imported published one
#   NPROC=4      use four GPUs
#   EPOCHS=10 CDA_EPOCHS=3    epochs of the two stages; CDA_EPOCHS=0 skips the second
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

EPOCHS="${EPOCHS:-10}"
CDA_EPOCHS="${CDA_EPOCHS:-3}"
whole_job voc12 pascal_voc "${@:2}"
