# Sourced by demo.sh: prints one line per step with its time. The programs' output goes to LOG, whose end is printed if a
# step fails. STEPS is the number of steps.
STEP=0

# Runs a program with its output in LOG: quietly COMMAND [arguments]
quietly() {
  printf '\n$ %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1
}

# Runs two functions side by side, each with half of the processor's cores: beside FUNCTION FUNCTION
# The second one's output is in LOG.beside until both end, and stays there if the first one fails.
beside() {
  local cores available first second status=0 other=0
  cores="$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)" # nproc returns OMP_NUM_THREADS if it is set
  available="$(env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
  # with more threads than cores, those of one program wait for those of the other: six times the time
  [[ "$cores" -le "$available" ]] || cores="$available"
  export OMP_NUM_THREADS="$(((cores + 1) / 2))"
  (
    set -e
    "$1"
  ) &
  first=$!
  (
    LOG="$LOG.beside"
    : >"$LOG"
    set -e
    "$2"
  ) &
  second=$!
  wait "$first" || status=$?
  wait "$second" || other=$?
  if [[ "$status" -eq 0 ]]; then # else the end of LOG, which step shows, has to stay
    cat "$LOG.beside" >>"$LOG"
    rm "$LOG.beside"
    status=$other
  fi
  return "$status"
}

# Shows the last line of LOG, e.g. a progress bar, while the process $1 runs.
show_progress() {
  while kill -0 "$1" 2>/dev/null; do
    printf '\r\033[K      %s' "$(tail -c 400 "$LOG" | tr '\r' '\n' | sed '/^ *$/d' | tail -n 1 | cut -c 1-90)"
    sleep 1
  done
  printf '\r\033[K'
}

# step "description" COMMAND [arguments]; COMMAND is a program, or a function whose programs run quietly.
step() {
  local what="$1" began=$SECONDS status=0 job
  shift
  STEP=$((STEP + 1))
  what="[$STEP/$STEPS] $what"
  [[ ! -t 1 ]] || printf '%s ...\n' "$what"
  # in the background, so that set -e works in functions, and in a process group, which is stopped as a whole
  set -m
  (
    set -e
    "$@"
  ) &
  job=$!
  set +m
  trap 'kill -TERM -- "-$job" 2>/dev/null || true; wait "$job" || true; exit 130' INT TERM
  if [[ -t 1 ]]; then
    show_progress "$job"
    printf '\033[1A\r\033[K' # rewrite the line with its time
  fi
  wait "$job" || status=$?
  trap - INT TERM
  if [[ "$status" -ne 0 ]]; then
    printf '%s: failed with status %d; the end of %s:\n\n' "$what" "$status" "$LOG" >&2
    tr '\r' '\n' <"$LOG" | tail -n 25 >&2
    exit "$status"
  fi
  printf '%s (%d s)\n' "$what" "$((SECONDS - began))"
}
