#!/bin/sh
# run-fuzzers.sh SECONDS [TARGET ...] - runs every fuzz target of the build tree (the current folder) for SECONDS, two at a
# time, each from its seed corpus in a scratch folder.  One line per target; exit 1 if any found something, and the input
# that did it then lies in fuzz-findings/.
set -eu
seconds=${1:?SECONDS wanted}
shift
source=$(cd "$(dirname "$0")" && pwd)
build=$(pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if [ $# -eq 0 ]; then
    set -- "$build"/tests/fuzz/fuzz_*
fi

# run_target PROGRAM - leaves the report line in NAME.line, and NAME.failed if there is a finding
run_target() {
    name=$(basename "$1")
    corpus=$source/corpus/${name#fuzz_}
    mkdir -p "$scratch/$name/corpus" "$scratch/$name/found"
    [ ! -d "$corpus" ] || cp "$corpus"/* "$scratch/$name/corpus/"
    dictionary=$source/$name.dict
    result=0
    "$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        ${dictionary:+$([ -f "$dictionary" ] && echo "-dict=$dictionary")} \
        -artifact_prefix="$scratch/$name/found/" "$scratch/$name/corpus" >"$scratch/$name.log" 2>&1 || result=$?
    execs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$scratch/$name.log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$scratch/$name.log")
    if [ "$result" -eq 0 ] && [ "${execs:-0}" -gt 0 ]; then
        echo "ok   $name: $execs execs, $rate a second" >"$scratch/$name.line"
    else
        mkdir -p "$build/fuzz-findings/$name"
        cp "$scratch/$name.log" "$build/fuzz-findings/$name/log"
        cp "$scratch/$name/found/"* "$build/fuzz-findings/$name/" 2>/dev/null || :
        echo "FAIL $name: see fuzz-findings/$name (exit $result)" >"$scratch/$name.line"
        : >"$scratch/$name.failed"
    fi
}

n=0
for program; do
    [ -x "$program" ] && [ ! -d "$program" ] || continue
    case $program in *.o | *.c) continue ;; esac
    run_target "$program" &
    n=$((n + 1))
    [ $((n % 2)) -ne 0 ] || wait
done
wait
if [ "$n" -eq 0 ]; then
    echo "no fuzz target in $build/tests/fuzz: configure with --enable-fuzzers and CC=clang" >&2
    exit 1
fi
cat "$scratch"/*.line
! ls "$scratch"/*.failed >/dev/null 2>&1
