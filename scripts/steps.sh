# Sourced by demo.sh: one line a step, with its time; what the programs print goes to LOG, and is shown where one fails.
STEP=0
STARTED=$SECONDS

# The newest part of what a program prints over and over, as progress bars do, on one line that the next one replaces.
show_progress() {
  while kill -0 "$1" 2>/dev/null; do
    printf '\r\033[K  %s' "$(tail -c 400 "$LOG" | tr '\r' '\n' | grep -v '^ *$' | tail -n 1 | cut -c 1-90)"
    sleep 1
  done
  printf '\r\033[K'
}

# The programs of a step in turn, each quiet: quietly COMMAND [arguments]
quietly() {
  printf '\n$ %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1
}

# step "what it does" COMMAND [arguments]: COMMAND may be a function. STEPS is how many there are.
step() {
  local what="$1" began=$SECONDS status=0
  shift
  STEP=$((STEP + 1))
  if [[ -t 1 ]]; then
    printf '[%d/%d] %s ...' "$STEP" "$STEPS" "$what"
    printf '\n'
  fi
  (set -e; "$@") &
  local job=$!
  # a stopped demo stops its step
  trap 'kill "$job" 2>/dev/null; exit 130' INT TERM
  if [[ -t 1 ]]; then
    show_progress "$job"
    printf '\033[1A\r\033[K'
  fi
  wait "$job" || status=$?
  trap - INT TERM
  if [[ "$status" -ne 0 ]]; then
    printf '[%d/%d] %s: failed. The end of %s:\n\n' "$STEP" "$STEPS" "$what" "$LOG" >&2
    tail -n 25 "$LOG" | tr '\r' '\n' | tail -n 25 >&2
    exit "$status"
  fi
  printf '[%d/%d] %s (%d s)\n' "$STEP" "$STEPS" "$what" "$((SECONDS - began))"
}
