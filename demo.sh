#!/usr/bin/env bash
# The whole job on built-in data: data, training, CAMs, pseudo labels, a segmentation network, pictures, a report.
#   bash demo.sh [EXP]                 BACKBONE=resnet38 bash demo.sh: the narrow ResNet-38; SEED=1 bash demo.sh: another seed
# Run again, it skips what is done.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/steps.sh"

BACKBONE="${BACKBONE:-lite0}"
case "$BACKBONE" in
  lite0) DEFAULT_NAME=demo ;;
  resnet38) DEFAULT_NAME=demo_resnet38 ;;
  *)
    echo "error: BACKBONE=$BACKBONE: expected lite0 or resnet38" >&2
    exit 2
    ;;
esac
PRESET="$ROOT/configs/$DEFAULT_NAME.yaml"
EXP="${1:-$DEFAULT_NAME}"
SEED="${SEED:-0}"
LOG="$ROOT/runs/$EXP.log"
STEPS=8

# one epoch run: classifier NAME [flags of train_l2g.py]
classifier() {
  quietly "$PYTHON" "$ROOT/train_l2g.py" --config="$PRESET" --seed="$SEED" --experiment_name="$1" --resume "${@:2}"
  quietly "$PYTHON" "$ROOT/test_l2g.py" --experiment_name="$1"
  quietly "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$1" --saliency_weight=0
}

pseudo_labels() {
  quietly "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --saliency_weight=0.5
  quietly "$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$EXP" --saliency_weight=0.5 --crf
  quietly "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --mode=png
}

# segmentation NAME [flags of main.py train]
segmentation() {
  local main="$ROOT/deeplabv2/main.py"
  local settings=(--config-path="$ROOT/deeplabv2/configs/demo.yaml" --EXP.ID="$1")
  quietly "$PYTHON" "$main" train "${settings[@]}" --SOLVER.SEED="$SEED" --resume "${@:2}"
  quietly "$PYTHON" "$main" test "${settings[@]}"
  quietly "$PYTHON" "$main" crf "${settings[@]}"
}

make_environment
mkdir -p "$ROOT/runs"
: >"$LOG"

step "draw the dataset: 320 pictures with tags, imperfect saliency and masks; data/demo/preview.jpg" \
  quietly "$PYTHON" "$ROOT/scripts/make_demo_data.py"
step "train the classifier alone, from tags; its CAMs and their score" \
  classifier "${EXP}_classifier" --kd_weight=0 --global_cls_weight=1 --cam_activation=relu
step "train L2G, from tags and saliency; its CAMs and their score; runs/$EXP/contact_sheet.png" \
  l2g
step "train L2G with suppression and squeeze-and-excitation, to compare; its CAMs and their score" \
  classifier "${EXP}_se" --suppression=learnable --attention=se
step "make pseudo labels from CAMs and saliency, refined by a CRF" \
  pseudo_labels
step "train a segmentation network on the pseudo labels; test it on unseen pictures, with a CRF" \
  segmentation "$EXP"
step "train the same network on the true masks, to compare" \
  segmentation "${EXP}_masks" --DATASET.LABEL_DIR="$ROOT/data/demo/SegmentationClass"
step "draw CAMs and labels, and write the report" \
  quietly "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --report --compare="${EXP}_classifier,${EXP}_se"

echo
"$PYTHON" "$ROOT/scripts/show_scores.py" --experiments="${EXP}_classifier,$EXP,${EXP}_se,${EXP}_masks" \
  --expected="$ROOT/configs/$DEFAULT_NAME.expected.yaml"
cat <<END

Whole demo: $((SECONDS - STARTED)) s. What each program printed: $LOG
Pictures:
  $ROOT/data/demo/preview.jpg               the dataset
  $ROOT/runs/$EXP/contact_sheet.png         photo, saliency, CAMs, pseudo label, mask
  $ROOT/runs/$EXP/report/index.html         the report: curves, every picture, every class
Next:
  python3 scripts/prepare_own.py --images=photos --out=data/mine     your own photos, see README, "Your own photos"
  python3 scripts/prepare_voc.py --voc=VOCdevkit/VOC2012             PASCAL VOC, see README, "PASCAL VOC 2012"
  bash test.sh                                                       the tests
END
