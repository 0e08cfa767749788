#!/usr/bin/env bash
# Every check that a change must pass, in order, stopping at the first that fails:
# tools/check.sh FOLDER [pytest arguments], FOLDER being the virtual environment.
# A check that passes says one line; one that fails shows all it has to say.
set -euo pipefail

bin=$(cd "${1:?"say where the environment is"}/bin" && pwd)
shift
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=PASSIVE

check() {
    local name=$1 report
    shift
    if report=$("$@" 2>&1); then
        echo "$name: passed"
    else
        echo "$name: FAILED"
        echo "$report"
        exit 1
    fi
}

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check "mypy" "$bin/mypy"
check "import-linter" "$bin/lint-imports"
check "npe2 validate" "$bin/npe2" validate src/brushfire/napari.yaml
if [ $# -gt 0 ]; then
    exec tools/display.sh --virtual "$bin/python" -m pytest -q "$@"
fi
# The window's and the engine's tests beside all others: on two cores, half of the time each.
tools/display.sh --virtual true
report=$(mktemp)
tools/display.sh --virtual "$bin/python" -m pytest -q tests/ui tests/engine >"$report" 2>&1 &
window=$!
sleep 3 # two screens that start at once would take the same number
failed=0
tools/display.sh --virtual "$bin/python" -m pytest -q \
    --ignore=tests/ui --ignore=tests/engine || failed=1
wait "$window" || failed=1
echo "tests of the window and the engine:"
cat "$report"
rm "$report"
exit $failed
