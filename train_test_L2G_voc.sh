#!/usr/bin/env bash
# The whole job on VOC 2012 with the published numbers, from images with tags to pseudo labels and their pictures:
#   bash train_test_L2G_voc.sh [EXP [further flags of train_l2g.py]]
# Run again, it resumes where it stopped and skips finished steps. Flags beat the presets of both
# stages (configs/voc12.yaml, and configs/stage2_cda.yaml on top of it): with STAGE=2 they are those of stage 2 alone.
#   STAGE=1      trains epochs 0 to 9 and nothing else; likewise
#   STAGE=bank   the foreground bank that CDA+ pastes from, by way of the pseudo labels of stage 1
#   STAGE=2      epochs 10 to 12 with CDA+
#   STAGE=cams   CAMs, scores, pseudo labels, pictures of what is trained
#   BANK=FOLDER  another bank than sem_seg_fg/EXP, e.g. the published one after its import
#   NPROC=4      on several GPUs
#   EPOCHS=10 CDA_EPOCHS=3    the epochs of both stages; CDA_EPOCHS=0 leaves the second out
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/pipeline.sh"

EPOCHS="${EPOCHS:-10}"
CDA_EPOCHS="${CDA_EPOCHS:-3}"
whole_job voc12 pascal_voc "${@:2}"
