#!/usr/bin/env bash
# From pseudo labels of VOC 2012 to scores and the archive for the evaluation server, with the published settings and
# ImageNet weights:
#   bash run_voc12_imagenet_pretrained.sh [EXP] [further flags, e.g. --SOLVER.AMP=bf16]
# EXP, also as EXP=... before it, names the labels data/voc12/pseudo_seg_labels_EXP and the results in
# deeplabv2/data/{models,features,scores}/EXP. Run it again to resume.
# The archive is for the server's comp5: the initial weights were trained on image tags only.
# On several GPUs: NPROC=4 bash run_voc12_imagenet_pretrained.sh
set -euo pipefail
[[ "${1:-}" == --* ]] && set -- "" "$@" # only flags: EXP comes from the environment
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

run_segmentation voc12_imagenet_pretrained "${@:2}"
