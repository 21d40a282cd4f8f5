# Sourced by the shell scripts: ROOT is the project's folder, EXP the experiment (first argument), PYTHON the interpreter.
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# One default for the scripts of a data set, so that they find each other's run; those of COCO name their own.
EXP="${1:-${DEFAULT_EXP:-l2g_voc}}"

CHOSEN_PYTHON="${PYTHON:-}"
if [[ -z "$CHOSEN_PYTHON" ]]; then
  PYTHON=python3
  if [[ -x "$ROOT/.venv/bin/python" ]]; then
    PYTHON="$ROOT/.venv/bin/python"
  fi
fi

# The environment of demo.sh and test.sh: .venv with requirements.txt, made once and renewed when the list changes.
# A PYTHON that the caller chose is used as it is.
make_environment() {
  if [[ -n "$CHOSEN_PYTHON" ]]; then
    return
  fi
  local stamp="$ROOT/.venv/requirements.txt"
  if ! cmp -s "$ROOT/requirements.txt" "$stamp"; then
    echo "making the environment in $ROOT/.venv (some minutes the first time) ..."
    python3 -m venv "$ROOT/.venv"
    "$ROOT/.venv/bin/python" -m pip install --quiet --requirement "$ROOT/requirements.txt"
    cp "$ROOT/requirements.txt" "$stamp"
  fi
  PYTHON="$ROOT/.venv/bin/python"
}
