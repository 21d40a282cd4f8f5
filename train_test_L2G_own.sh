#!/usr/bin/env bash
# From a folder of tagged photos to masks with one command: see docs/own_photos.md.
#   bash train_test_L2G_own.sh PHOTOS [TAGS.csv] [NAME] [VARIABLE=value ...]
# PHOTOS    a folder; without a table, the name of each subfolder is the tag of its photos
# TAGS.csv  columns file and tags (an empty cell: none of the classes; ?: unknown), or file and 0/1 per class; or .xlsx;
#           or annotations: COCO's .json, CVAT's .xml, or a folder of labelme, Ultralytics, or masks with labelmap.txt
# NAME      name of the dataset, the run and the results; default the name of the folder
# Run it again to resume. Masks, network and report are written to results/NAME.
# Variables, before the command or after its arguments:
#   SALIENCY=auto         auto: rembg if it is installed, else U2-Net, downloaded once (165 MB); rembg; none; FILE.onnx; or a
#                         FOLDER of maps, NAME.png
#   NEGATIVES=FOLDER      photos that show none of the classes
#   MASKS=FOLDER          masks of some photos for scoring: NAME.png, 0 background, 1 the first class, 255 ignored; or
#                         annotations, as above
#   CLASSES=FILE          names of the classes, one per line, in label order; default sorted
#   SEPARATOR=";"         separator of the tags in a cell; default whichever of ; | and , occurs
#   SKIP_MISSING=1        skip rows of the table whose photo is missing
#   QUALITY=balanced      fast, balanced or best: amount of training, and for best a larger network; with a GPU, each is one
#                         size larger. See docs/own_photos.md
#   EPOCHS=4              epochs of the classifier; default 2, 4 or 8 by QUALITY
#   SEG_EPOCHS=12         epochs of the segmentation network; default 6, 12 or 30 by QUALITY
#   CRF=1                 refine the masks with a dense CRF: sharper edges, up to a few seconds per photo; 0 disables it
#   THRESHOLD=0.3         threshold of the labels; default the one at which CAMs and saliency agree best
#   MAX_SIDE=640          largest longer side of training photos, pixels; masks have the photos' own size
#   FORCE=1               continue even if the check finds that nothing can be learnt
#   NPROC=4               number of GPUs
#   L2G_FLAGS="..." SEG_FLAGS="..."   further flags of train_l2g.py and of deeplabv2/main.py
set -euo pipefail
SCRIPT="${BASH_SOURCE[0]}"
VARIABLES=" SALIENCY NEGATIVES MASKS CLASSES SEPARATOR SKIP_MISSING QUALITY EPOCHS SEG_EPOCHS CRF THRESHOLD MAX_SIDE FORCE NPROC L2G_FLAGS SEG_FLAGS "

usage() {
  sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$SCRIPT"
}

refuse() {
  echo "error: $1" >&2
  exit "${2:-2}"
}

# Whether a folder holds annotations, by the rules of utils/annotations/formats.py
has_annotations() {
  [[ -f "$1/data.yaml" && -d "$1/labels" ]] && return
  [[ -f "$1/labelmap.txt" && -d "$1/SegmentationClass" ]] && return
  [[ -n "$(grep -rlm1 --include='*.json' '"imagePath"' "$1" 2>/dev/null | head -n 1)" ]]
}

ARGUMENTS=()
for WORD in "$@"; do
  if [[ "$WORD" == --help || "$WORD" == -h ]]; then
    usage
    exit 0
  elif [[ "$WORD" =~ ^([A-Z_][A-Z0-9_]*)=(.*)$ ]]; then
    [[ "$VARIABLES" == *" ${BASH_REMATCH[1]} "* ]] || refuse "$WORD: expected one of$VARIABLES"
    printf -v "${BASH_REMATCH[1]}" '%s' "${BASH_REMATCH[2]}"
  elif [[ "$WORD" == --* ]]; then
    refuse "$WORD: options are VARIABLE=value; see --help"
  else
    ARGUMENTS+=("$WORD")
  fi
done
[[ "${#ARGUMENTS[@]}" -ge 1 ]] || { usage >&2; exit 2; }
[[ "${#ARGUMENTS[@]}" -le 3 ]] || refuse "${ARGUMENTS[*]:3}: too many arguments; see --help"
PHOTOS="${ARGUMENTS[0]}" TABLE="" NAME=""
[[ -d "$PHOTOS" ]] || refuse "$PHOTOS is not a folder of photos" 1
for WORD in "${ARGUMENTS[@]:1}"; do
  shopt -s nocasematch
  if [[ -z "$TABLE" && -z "$NAME" && ( -f "$WORD" || "$WORD" =~ \.(csv|tsv|txt|xlsx|xlsm|json|xml)$ ) ]]; then
    TABLE="$WORD"
    [[ -f "$TABLE" ]] || refuse "$TABLE: no such tag table" 1
  elif [[ -z "$TABLE" && -z "$NAME" && -d "$WORD" ]] && has_annotations "$WORD"; then
    TABLE="$WORD"
  elif [[ -z "$TABLE" && -z "$NAME" && -d "$WORD" && ! "$WORD" =~ ^[A-Za-z0-9_-]+$ ]]; then
    refuse "$WORD: this folder holds no annotations of labelme, Ultralytics, or masks with labelmap.txt" 1
  elif [[ -z "$NAME" ]]; then
    NAME="$WORD"
  else
    refuse "$WORD: no such tag table, and NAME is already $NAME" 1
  fi
  shopt -u nocasematch
done
PHOTOS="$(cd "$PHOTOS" && pwd)"
if [[ -z "$NAME" ]]; then
  NAME="$(basename "$PHOTOS" | tr -c 'A-Za-z0-9\n-' '_')"
fi
[[ "$NAME" =~ ^[A-Za-z0-9_-]+$ ]] || refuse "NAME=$NAME: expected only letters, digits, _ and -"
[[ "$NAME" != voc12 && "$NAME" != coco14 && "$NAME" != demo && "$NAME" != weights ]] || refuse "NAME=$NAME is taken: give another"

source "$(dirname "$SCRIPT")/scripts/common.sh"
EXP="$NAME"
source "$ROOT/scripts/pipeline.sh"
source "$ROOT/scripts/own_steps.sh"
make_environment
own_photos
