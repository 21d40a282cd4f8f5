# Sourced by the shell scripts. Sets ROOT (the project's folder), PYTHON (the interpreter) and EXP (the experiment: the
# first argument, else the environment's EXP).
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# The scripts of a dataset share a default, so that they find each other's run; the COCO scripts set their own.
EXP="${1:-${EXP:-${DEFAULT_EXP:-l2g_voc}}}"

CHOSEN_PYTHON="${PYTHON:-}"
if [[ -z "$CHOSEN_PYTHON" ]]; then
  PYTHON=python3
  if [[ -x "$ROOT/.venv/bin/python" ]]; then
    PYTHON="$ROOT/.venv/bin/python"
  fi
fi

source "$ROOT/scripts/environment.sh"

# Segmentation from EXP's pseudo labels to scores and the archive: run_segmentation CONFIG [flags].
# Each step skips finished work and resumes.
run_segmentation() {
  local launch=("$PYTHON")
  if [[ "${NPROC:-1}" -gt 1 ]]; then
    launch=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$NPROC")
  fi
  local deeplab="$ROOT/deeplabv2"
  local settings=(--config-path="$deeplab/configs/$1.yaml" --EXP.ID="$EXP" --EXP.RUN="$1" "${@:2}")

  "${launch[@]}" "$deeplab/main.py" train "${settings[@]}" --resume
  "${launch[@]}" "$deeplab/main.py" test "${settings[@]}"
  "$PYTHON" "$deeplab/main.py" crf "${settings[@]}"

  # the evaluation server expects labels of the test images; without their list, the archive contains val's
  local split=test
  if [[ ! -f "$ROOT/data/voc12/test.txt" && ! -f "$deeplab/VOCdevkit/VOC2012/ImageSets/SegmentationAug/test.txt" ]]; then
    split=val
    echo "data/voc12/test.txt is missing: results.tar.gz will contain labels of the val images"
  fi
  "${launch[@]}" "$deeplab/eval.py" "${settings[@]}" --split="$split"

  # update the report of the classifier's run, if it exists, to include the network
  if [[ -f "$ROOT/runs/$EXP/cam_scores.json" ]]; then
    "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --preset="$ROOT/configs/voc12.yaml" --report --max_images=1
  fi
}
