#!/bin/sh
# The configuration as the program shows it: where a file is wrong, where a value came from.
. "${srcdir:-.}/tests/cli/common.sh"

printf 'model:\n  numerics: exact\ncontext:\n  lenght: 5\n' >bad.yaml
hearth_gives 3 config --check bad.yaml
one_line err 'bad.yaml:4:3.*lenght.*context.length'
hearth_gives 3 -c bad.yaml plan --json
[ "$(json error/status)" = ECONFIG ] || fail "ECONFIG wanted"

printf 'cpu:\n  threads: many\n' >bad.yaml
hearth_gives 3 config --check bad.yaml
one_line err 'bad.yaml:2:.*threads.*many'
hearth_gives 3 config --check missing.yaml
one_line err 'missing.yaml'
hearth_gives 3 --set sampling.temprature=1 config
one_line err 'sampling.temprature.*sampling.temperature'

printf 'cpu:\n  threads: 2\nsampling:\n  seed: 7\n' >good.yaml
hearth_gives 0 config --check good.yaml
[ -s out ] && fail "config --check of a good file: nothing wanted"
hearth_gives 0 -c good.yaml --set sampling.seed=9 config --dump
grep -q 'threads: 2  # good.yaml' out || fail "a value with its file wanted"
grep -q 'seed: 9  # command line' out || fail "the command line is stronger than the file"
cp out dumped.yaml
hearth_gives 0 config --check dumped.yaml

# hearth.yaml of the current folder is found; -c takes its place
cp good.yaml hearth.yaml
hearth_gives 0 config --json
[ "$(json sampling.seed/value)" = 7 ] || fail "hearth.yaml of the current folder wanted"
printf 'sampling:\n  seed: 8\n' >other.yaml
hearth_gives 0 config --json -c other.yaml
[ "$(json sampling.seed/value)" = 8 ] || fail "the file of -c wanted"
[ "$(json cpu.threads/origin)" = default ] || fail "no other file than that of -c wanted"
rm hearth.yaml
hearth_gives 0 config --list
grep -q '^sampling.temperature ' out || fail "config --list: every key wanted"
