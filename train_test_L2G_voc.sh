#!/usr/bin/env bash
# The whole job on VOC 2012 with the published numbers, from images with tags to pseudo labels and their pictures:
#   bash train_test_L2G_voc.sh [EXP [further flags of train_l2g.py]]
# Run again after an interruption it goes on where it stopped, and skips what is done.
#   STAGE=1      trains epochs 0 to 9 and nothing else; likewise
#   STAGE=bank   the foreground bank that CDA+ pastes from, by way of the pseudo labels of stage 1
#   STAGE=2      epochs 10 to 12 with CDA+
#   STAGE=cams   CAMs, scores, pseudo labels, pictures of what is trained
#   BANK=FOLDER  another bank than sem_seg_fg/EXP, e.g. the published one after its import
#   NPROC=4      on several GPUs
#   EPOCHS=10 CDA_EPOCHS=3    the epochs of both stages
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

STAGE="${STAGE:-all}"
EPOCHS="${EPOCHS:-10}"
CDA_EPOCHS="${CDA_EPOCHS:-3}"
BANK="${BANK:-$ROOT/sem_seg_fg/$EXP}"
MODEL="$ROOT/runs/$EXP/model/pascal_voc_epoch"

LAUNCH=("$PYTHON")
if [[ "${NPROC:-1}" -gt 1 ]]; then
  LAUNCH=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$NPROC")
fi

wanted() { [[ "$STAGE" == all || "$STAGE" == "$1" ]]; }
if [[ ! "$STAGE" =~ ^(all|1|bank|2|cams)$ ]]; then
  echo "error: STAGE=$STAGE: legal are all, 1, bank, 2, cams" >&2
  exit 2
fi

# CAMs, their scores, pseudo labels; those of an earlier stage are replaced
labels() {
  "${LAUNCH[@]}" "$ROOT/test_l2g.py" --experiment_name="$EXP" --update
  "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP"
  "$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$EXP" --update
}

if wanted 1 && [[ ! -f "${MODEL}_$((EPOCHS - 1)).pth" ]]; then
  "${LAUNCH[@]}" "$ROOT/train_l2g.py" \
    --config="$ROOT/configs/voc12.yaml" \
    --experiment_name="$EXP" \
    --resume \
    "${@:2}" \
    --epochs="$EPOCHS"
fi

if wanted bank && [[ ! -f "$BANK/index.csv" ]]; then
  labels
  "$PYTHON" "$ROOT/scripts/build_foregrounds.py" \
    --experiment_name="$EXP" \
    --out="$BANK" \
    --preview
fi

if wanted 2 && [[ ! -f "${MODEL}_$((EPOCHS + CDA_EPOCHS - 1)).pth" ]]; then
  if [[ ! -f "${MODEL}_$((EPOCHS - 1)).pth" ]]; then
    echo "error: ${MODEL}_$((EPOCHS - 1)).pth is missing: stage 2 goes on from it; run with STAGE=1 first" >&2
    exit 1
  fi
  "${LAUNCH[@]}" "$ROOT/train_l2g.py" \
    --config="$ROOT/configs/voc12.yaml" \
    --experiment_name="$EXP" \
    --resume \
    "${@:2}" \
    --config="$ROOT/configs/stage2_cda.yaml" \
    --cda_bank="$BANK" \
    --epochs="$((EPOCHS + CDA_EPOCHS))"
fi

if wanted cams; then
  labels
  "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --mode=png
  "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --report
fi
