#!/usr/bin/env bash
# The main job on built-in data: environment, data, training, CAMs, scores, pseudo labels, pictures, report.
#   bash demo.sh [EXP]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"

EXP="${1:-demo}"
make_environment

"$PYTHON" "$ROOT/scripts/make_demo_data.py"

# the classifier alone, to compare with: no local network, no saliency
"$PYTHON" "$ROOT/train_l2g.py" \
  --config="$ROOT/configs/demo.yaml" \
  --experiment_name="${EXP}_classifier" \
  --kd_weight=0 \
  --global_cls_weight=1 \
  --cam_activation=relu \
  --resume

"$PYTHON" "$ROOT/train_l2g.py" \
  --config="$ROOT/configs/demo.yaml" \
  --experiment_name="$EXP" \
  --suppression=learnable \
  --attention=se \
  --resume

for NAME in "${EXP}_classifier" "$EXP"; do
  "$PYTHON" "$ROOT/test_l2g.py" --experiment_name="$NAME"
  "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$NAME"
done

"$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$EXP"
"$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --mode=png

# the segmentation network on the pseudo labels, and the same one on the true masks, to compare with
segmentation() {
  local deeplab="$ROOT/deeplabv2"
  local settings=(--config-path="$deeplab/configs/demo.yaml" --EXP.ID="$1")
  "$PYTHON" "$deeplab/main.py" train "${settings[@]}" --resume "${@:2}"
  "$PYTHON" "$deeplab/main.py" test "${settings[@]}"
  "$PYTHON" "$deeplab/main.py" crf "${settings[@]}"
}
segmentation "$EXP"
segmentation "${EXP}_masks" --DATASET.LABEL_DIR="$ROOT/data/demo/SegmentationClass"

"$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --report --compare="${EXP}_classifier"

"$PYTHON" "$ROOT/scripts/show_scores.py" --experiments="${EXP}_classifier,$EXP,${EXP}_masks"
