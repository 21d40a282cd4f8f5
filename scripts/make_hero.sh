#!/usr/bin/env bash
# Draws the README's strips from runs of this repository:
#   bash scripts/make_hero.sh OWN [DEMO]
# OWN    a run of train_test_L2G_own.sh whose classes include cat and person, e.g. trained on VOC's photos and tags;
#        its classifier and network are applied to public-domain photographs that they were not trained on
# DEMO   a run of demo.sh; default demo
# Writes docs/hero_photos.jpg and docs/hero_demo.jpg.
set -euo pipefail
OWN="${1:?usage: bash scripts/make_hero.sh OWN [DEMO]}"
DEMO="${2:-demo}"
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
WORK="$(mktemp -d)"
trap 'rm -r "$WORK"' EXIT

"$PYTHON" "$ROOT/scripts/export_photographs.py" --out="$WORK/photos"
"$PYTHON" "$ROOT/scripts/prepare_own.py" --images="$WORK/photos" --tags="$WORK/photos_tags.csv" \
  --classes="$ROOT/results/$OWN/classes.txt" --out="$WORK/hero"
# a copy of the run without its CAMs, for the CAMs of the photographs
mkdir -p "$WORK/runs/$OWN"
cp "$ROOT/runs/$OWN/config.yaml" "$WORK/runs/$OWN/"
CHECKPOINTS=("$ROOT/runs/$OWN/model/"*.pth)
"$PYTHON" "$ROOT/test_l2g.py" --runs_dir="$WORK/runs" --experiment_name="$OWN" --dataset="$WORK/hero" \
  --checkpoint="${CHECKPOINTS[${#CHECKPOINTS[@]} - 1]}"
"$PYTHON" "$ROOT/deeplabv2/main.py" predict --config-path="$ROOT/deeplabv2/configs/voc_light.yaml" \
  --dataset="$WORK/hero" --model_path="$ROOT/results/$OWN/network.pth" --image_dir="$WORK/photos" --out="$WORK/seen" --crf
"$PYTHON" "$ROOT/scripts/draw_strip.py" --runs_dir="$WORK/runs" --experiment_name="$OWN" --dataset="$WORK/hero" \
  --label_dir="$WORK/seen/labels" --label_title=network --out="$ROOT/docs/hero_photos.jpg" \
  --names="[chelsea,astronaut,camera,grace_hopper,coffee,rocket]"
"$PYTHON" "$ROOT/scripts/draw_strip.py" --experiment_name="$DEMO" --out="$ROOT/docs/hero_demo.jpg"
