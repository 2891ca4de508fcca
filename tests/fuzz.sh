#!/bin/bash
# usage: fuzz.sh BUILD_DIR [SECONDS]: runs each fuzz target over its corpus and on for SECONDS.
# Without SECONDS: 2, from the same seed each time, so that a change is judged by itself.
set -u
build=$1 seconds=${2:-2} seed=0
[ -n "${2:-}" ] || seed=20261120
root=$(cd "$(dirname "$0")/.." && pwd)
report=$root/build/fuzz.report
: >"$report"
status=0
one()
{
    local target=$1 name work
    name=$(basename "$target")
    work=$(mktemp -d)
    if "$target" -seed=$seed -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" \
        "$work" "$root/fuzz/corpus/${name#fuzz_}" >"$work.log" 2>&1; then
        echo "fuzz $name: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$work.log") runs, ok" >>"$report"
    else
        echo "fuzz $name: FAILED" >>"$report"
        tail -n 30 "$work.log" >>"$report"
    fi
    rm -rf "$work" "$work.log"
}
running=0
for target in "$build"/fuzz/fuzz_*; do
    if [ -f "$target" ] && [ -x "$target" ]; then
        one "$target" &
        running=$((running + 1))
        if [ "$running" -ge 2 ]; then
            wait -n
            running=$((running - 1))
        fi
    fi
done
wait
# No target, or one that says ok without a run, is no success.
if [ ! -s "$report" ]; then
    echo "fuzz: FAILED, no target in $build" >>"$report"
fi
sed -i 's/^\(fuzz [^:]*\):  runs, ok$/\1: FAILED, it did not run/' "$report"
grep -q FAILED "$report" && status=1
exit "$status"
