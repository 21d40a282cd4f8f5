#!/usr/bin/env bash
# The complete pipeline on built-in data: dataset, training, CAMs, pseudo labels, segmentation network, pictures, report.
#   bash demo.sh [EXP]                    run it again to resume; finished steps are skipped
#   BACKBONE=resnet38 bash demo.sh        a narrow ResNet-38, from random weights
#   SEED=1 bash demo.sh demo_1            another seed
#   SE=1 bash demo.sh                     also L2G with suppression and squeeze-and-excitation (SE), to compare
#   CDA=1 bash demo.sh                    three more epochs with CDA+, and three without, to compare
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/scripts/common.sh"
source "$ROOT/scripts/steps.sh"

BACKBONE="${BACKBONE:-lite0}"
case "$BACKBONE" in
  lite0) PRESET=demo ;;
  resnet38) PRESET=demo_resnet38 ;;
  *)
    echo "error: BACKBONE=$BACKBONE: expected lite0 or resnet38" >&2
    exit 2
    ;;
esac
EXP="${1:-$PRESET}"
SEED="${SEED:-0}"
EPOCHS="$(sed -n 's/^epochs: //p' "$ROOT/configs/$PRESET.yaml")"
LOG="$ROOT/runs/$EXP.log"
STEPS=5
[[ -z "${SE:-}" ]] || STEPS=$((STEPS + 1))
[[ -z "${CDA:-}" ]] || STEPS=$((STEPS + 2))
# the rows of the table, and their titles
RUNS="${EXP}_classifier,$EXP"
TITLES="classifier alone,L2G"
TRAINED="classifier alone, L2G (with saliency)"
COMPARED="${EXP}_classifier"
CAMS="$ROOT/runs/$EXP/cam" # of the pseudo labels

# Trains a classifier, computes its CAMs and scores them: classifier NAME [flags of train_l2g.py]
classifier() {
  quietly "$PYTHON" "$ROOT/train_l2g.py" --config="$ROOT/configs/$PRESET.yaml" --seed="$SEED" \
    --experiment_name="$1" --resume "${@:2}"
  quietly "$PYTHON" "$ROOT/test_l2g.py" --experiment_name="$1"
  quietly "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$1"
}

l2g() {
  classifier "$EXP"
  quietly "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --max_images=1
}

# The classifier alone, and with pretrained weights a linear classifier on the frozen backbone
others() {
  classifier "${EXP}_classifier" --kd_weight=0 --global_cls_weight=1 --cam_activation=relu
  if [[ "$BACKBONE" == lite0 ]]; then
    classifier "${EXP}_linear" --config="$ROOT/configs/demo_linear.yaml"
  fi
}

# Trains L2G for three more epochs: second_stage NAME [flags of train_l2g.py]
second_stage() {
  classifier "$1" --config="$ROOT/configs/stage2_cda.yaml" --start_epoch="$EPOCHS" --epochs="$((EPOCHS + 3))" \
    --load_checkpoint="$(ls "$ROOT/runs/$EXP/model/"*"_epoch_$((EPOCHS - 1)).pth")" "${@:2}"
}

copy_paste() {
  quietly "$PYTHON" "$ROOT/scripts/build_foregrounds.py" --experiment_name="$EXP" --preview
  second_stage "${EXP}_cda" --cda_bank="$ROOT/sem_seg_fg/$EXP"
}

# The threshold is fixed, so that masks have no influence. Pixels that may be an object or background, or either of two
# tags, are ignored.
pseudo_labels() {
  if [[ "$BACKBONE" == lite0 ]]; then
    quietly "$PYTHON" "$ROOT/scripts/mean_cams.py" --experiment_name="$EXP" \
      --other_dirs="$ROOT/runs/${EXP}_linear/cam" --out="$CAMS" --update
  fi
  quietly "$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$EXP" --pred_dir="$CAMS" --saliency_weight=0.5 \
    --saliency_support=0.3 --threshold=0.4 --ignore_below=0.25 --crf --ignore_ambiguous=0.3 --update
  quietly "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --mode=png
}

# Trains the segmentation network and scores it on unseen pictures: segmentation NAME [flags of main.py train]
segmentation() {
  local main="$ROOT/deeplabv2/main.py"
  local settings=(--config-path="$ROOT/deeplabv2/configs/demo.yaml" --EXP.ID="$1")
  quietly "$PYTHON" "$main" train "${settings[@]}" --SOLVER.SEED="$SEED" --resume "${@:2}"
  # 80 small pictures: other processes would take longer to start
  quietly "$PYTHON" "$main" test "${settings[@]}" --num_workers=1
  quietly "$PYTHON" "$main" crf "${settings[@]}" --num_workers=1
}

on_labels() {
  segmentation "$EXP"
}

on_masks() {
  segmentation "${EXP}_masks" --DATASET.LABEL_DIR="$ROOT/data/demo/SegmentationClass"
}

report() {
  quietly "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --report --compare="$COMPARED"
}

make_environment
STARTED=$SECONDS # after creating the environment, whose time depends on the download
mkdir -p "$ROOT/runs"
: >"$LOG"

step "draw the dataset: 320 pictures with tags, saliency and masks" \
  quietly "$PYTHON" "$ROOT/scripts/make_demo_data.py" --num_workers=2
if [[ "$BACKBONE" == lite0 ]]; then
  CAMS="$ROOT/runs/$EXP/cam_mean"
  RUNS="$RUNS,${EXP}_linear"
  TITLES="$TITLES,linear classifier"
  TRAINED="$TRAINED, linear classifier"
fi
step "$TRAINED: train on tags, compute CAMs, score them" beside l2g others
if [[ -n "${SE:-}" ]]; then
  step "L2G with suppression and squeeze-and-excitation (SE): the same" \
    classifier "${EXP}_se" --suppression=learnable --attention=se
  RUNS="$RUNS,${EXP}_se"
  TITLES="$TITLES,L2G + suppression + SE"
  COMPARED="$COMPARED,${EXP}_se"
fi
step "pseudo labels from the CAMs and saliency, refined by a CRF" pseudo_labels
if [[ -n "${CDA:-}" ]]; then
  step "three more epochs of L2G with copy-paste (CDA+)" copy_paste
  step "three more epochs of L2G without it, for comparison" second_stage "${EXP}_longer" --cda=off
  RUNS="$RUNS,${EXP}_cda,${EXP}_longer"
  TITLES="$TITLES,L2G + 3 epochs with CDA+,L2G + 3 epochs without"
fi
step "segmentation network on the labels, another on true masks: train, test on unseen pictures, CRF" \
  beside on_labels on_masks
step "pictures and report" report

printf '\nmIoU of CAMs and labels on the 240 training pictures, of the network on 80 unseen ones\n\n'
"$PYTHON" "$ROOT/scripts/show_scores.py" --experiments="$RUNS,${EXP}_masks" --titles="$TITLES,true masks" \
  --expected="$ROOT/configs/expected/$PRESET.yaml" 2>>"$LOG"
cat <<END

$((SECONDS - STARTED)) s in total. Output of the programs: $LOG

pictures   $ROOT/data/demo/preview.jpg
           $ROOT/runs/$EXP/contact_sheet.png
           $ROOT/runs/$EXP/report/index.html
next       your own photos:  bash train_test_L2G_own.sh PHOTOS TAGS.csv NAME     (docs/own_photos.md)
           PASCAL VOC 2012:  python3 scripts/prepare_voc.py --voc=VOCdevkit/VOC2012 --sbd=benchmark_RELEASE     (docs/voc.md)
           the tests:        bash test.sh
END
