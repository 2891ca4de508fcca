#!/bin/bash
# usage: fuzz.sh BUILD_DIR [SECONDS]: runs each fuzz target over its corpus and on for SECONDS (10).
set -u
build=$1 seconds=${2:-10}
root=$(cd "$(dirname "$0")/.." && pwd)
report=$root/build/fuzz.report
: >"$report"
status=0
one()
{
    local target=$1 name work
    name=$(basename "$target")
    work=$(mktemp -d)
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" \
        "$work" "$root/fuzz/corpus/${name#fuzz_}" >"$work.log" 2>&1; then
        echo "fuzz $name: $(grep -oE '#[0-9]+' "$work.log" | tail -n 1) runs, ok" >>"$report"
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
grep -q FAILED "$report" && status=1
exit "$status"
