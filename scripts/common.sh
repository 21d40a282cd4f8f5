# Sourced by the shell scripts: ROOT is the project's folder, PYTHON the interpreter, EXP the experiment: the first
# argument, else what the environment says.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# One default for the scripts of a dataset, so that they find each other's run; those of COCO name their own.
EXP="${1:-${EXP:-${DEFAULT_EXP:-l2g_voc}}}"

CHOSEN_PYTHON="${PYTHON:-}"
if [[ -z "$CHOSEN_PYTHON" ]]; then
  PYTHON=python3
  if [[ -x "$ROOT/.venv/bin/python" ]]; then
    PYTHON="$ROOT/.venv/bin/python"
  fi
fi

source "$ROOT/scripts/environment.sh"

# The segmentation trainer from EXP's pseudo labels to scores and the archive: run_segmentation CONFIG [flags].
# Each step skips what is finished and resumes where it was stopped.
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

  # the server takes labels of the test images; where their list is missing, what it would take is made of val
  local split=test
  if [[ ! -f "$ROOT/data/voc12/test.txt" && ! -f "$deeplab/VOCdevkit/VOC2012/ImageSets/SegmentationAug/test.txt" ]]; then
    split=val
    echo "data/voc12/test.txt is missing: results.tar.gz is made of the val images"
  fi
  "${launch[@]}" "$deeplab/eval.py" "${settings[@]}" --split="$split"

  # where the classifier's run is here too, its report now includes the network as well
  if [[ -f "$ROOT/runs/$EXP/cam_scores.json" ]]; then
    "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --preset="$ROOT/configs/voc12.yaml" --report --max_images=1
  fi
}
