#!/usr/bin/env bash
# The whole job on VOC 2012 with the published numbers, from images with tags to pseudo labels and their pictures:
#   bash train_test_L2G_voc.sh [EXP [further flags of train_l2g.py]]
# Run again after an interruption it goes on where it stopped. On several GPUs: NPROC=4 bash train_test_L2G_voc.sh
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

LAUNCH=("$PYTHON")
if [[ "${NPROC:-1}" -gt 1 ]]; then
  LAUNCH=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$NPROC")
fi

"${LAUNCH[@]}" "$ROOT/train_l2g.py" \
  --config="$ROOT/configs/voc12.yaml" \
  --experiment_name="$EXP" \
  --resume \
  "${@:2}"

"${LAUNCH[@]}" "$ROOT/test_l2g.py" --experiment_name="$EXP"

"$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP"

"$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$EXP"

"$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --mode=png

"$PYTHON" "$ROOT/res.py" --experiment_name="$EXP"
