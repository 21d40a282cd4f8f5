# Sourced by the scripts of the datasets, after common.sh: the complete pipeline and its later parts.

# NPROC=4 runs on four GPUs.
LAUNCH=("$PYTHON")
if [[ "${NPROC:-1}" -gt 1 ]]; then
  LAUNCH=("$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$NPROC")
fi

# PRESET below is the name of a file in configs/. It replaces the options of a run without config.yaml: published weights
# copied to runs/EXP/model.

# Computes the CAMs of EXP and their scores: cams_and_scores PRESET [flags of test_l2g.py]
cams_and_scores() {
  local run=(--experiment_name="$EXP" --preset="$ROOT/configs/$1.yaml")
  "${LAUNCH[@]}" "$ROOT/test_l2g.py" "${run[@]}" "${@:2}"
  "$PYTHON" "$ROOT/evaluate.py" "${run[@]}"
}

# Creates pseudo labels from the CAMs of EXP: pseudo_labels PRESET [flags of gen_gt.py]
pseudo_labels() {
  "$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$EXP" --preset="$ROOT/configs/$1.yaml" "${@:2}"
}

# Replaces CAMs, scores and pseudo labels of an earlier stage: renew_labels PRESET
renew_labels() {
  cams_and_scores "$1" --update
  pseudo_labels "$1" --update
}

# From images with tags to pseudo labels and their pictures: whole_job PRESET PREFIX [flags of train_l2g.py]
# PREFIX: of the checkpoints. EPOCHS, CDA_EPOCHS: of the two stages; CDA_EPOCHS=0 skips the second.
# STAGE: all, or one part: 1, bank, 2, cams.
whole_job() {
  local data="$1" preset="$ROOT/configs/$1.yaml" model="$ROOT/runs/$EXP/model/$2_epoch"
  local bank="${BANK:-$ROOT/sem_seg_fg/$EXP}" stage="${STAGE:-all}" last=$((EPOCHS - 1))
  shift 2
  if [[ ! "$stage" =~ ^(all|1|bank|2|cams)$ ]]; then
    echo "error: STAGE=$stage: expected one of all, 1, bank, 2, cams" >&2
    exit 2
  fi
  if [[ "$stage" =~ ^(bank|2)$ && "$CDA_EPOCHS" -eq 0 ]]; then
    echo "error: STAGE=$stage belongs to the second stage, which CDA_EPOCHS=0 skips: give e.g. CDA_EPOCHS=3" >&2
    exit 2
  fi

  if [[ "$stage" =~ ^(all|1)$ && ! -f "${model}_$last.pth" ]]; then
    train_stage "$preset" "$@" --epochs="$EPOCHS"
  fi
  if [[ "$stage" =~ ^(all|bank)$ && "$CDA_EPOCHS" -gt 0 && ! -f "$bank/index.csv" ]]; then
    if [[ -f "$ROOT/sem_seg_fg/seg_fg_dirs.npy" ]]; then # the published bank in its published location
      "$PYTHON" "$ROOT/scripts/build_foregrounds.py" --published="$ROOT/sem_seg_fg" --dataset="$ROOT/data/$data" \
        --experiment_name="$EXP" --out="$bank" --preview
    else
      renew_labels "$data"
      "$PYTHON" "$ROOT/scripts/build_foregrounds.py" --experiment_name="$EXP" --preset="$preset" --out="$bank" --preview
    fi
  fi
  if [[ "$stage" =~ ^(all|2)$ && "$CDA_EPOCHS" -gt 0 && ! -f "${model}_$((last + CDA_EPOCHS)).pth" ]]; then
    if [[ ! -f "${model}_$last.pth" ]]; then
      echo "error: ${model}_$last.pth is missing: stage 2 continues from it; run with STAGE=1 first" >&2
      exit 1
    fi
    train_stage "$preset" "$@" --config="$ROOT/configs/stage2_cda.yaml" --cda_bank="$bank" \
      --epochs="$((EPOCHS + CDA_EPOCHS))"
  fi
  if [[ "$stage" =~ ^(all|cams)$ ]]; then
    renew_labels "$data"
    "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$EXP" --preset="$preset" --mode=png
    "$PYTHON" "$ROOT/res.py" --experiment_name="$EXP" --preset="$preset" --report
  fi
}

# Runs or resumes one stage of training: train_stage PRESET_FILE [flags]
train_stage() {
  "${LAUNCH[@]}" "$ROOT/train_l2g.py" --config="$1" --experiment_name="$EXP" --resume "${@:2}"
}
