#!/bin/sh
# inspect, devices, plan, version and bench on a tiny checkpoint, as text and as JSON.
. "${srcdir:-.}/tests/cli/common.sh"

hearth_gives 0 inspect "$golden"
grep -q '^hyper parameters' out || fail "inspect: the hyper-parameters wanted"
grep -q 'layers.0.attn.wq_a.weight' out && fail "inspect: no tensors wanted without --tensors"
hearth_gives 0 inspect "$golden" --tensors
grep -q 'layers.0.attn.wq_a.weight' out || fail "inspect --tensors: the tensors wanted"
hearth_gives 0 inspect -m "$golden" --json --tensors
[ "$(json name)" = flash ] || fail "inspect --json: the name wanted"
[ "$(json tensors/\#)" = "$(json totals/tensors)" ] || fail "inspect --json: as many tensors as the total says"
hearth_gives 2 inspect "$golden" "$golden"

hearth_gives 0 devices
grep -q '^devices' out || fail "devices: its list wanted"
hearth_gives 0 devices --json --measure
awk -v x="$(json devices/0/read_bytes_per_second)" 'BEGIN { exit !(x > 1e8) }' ||
    fail "devices --measure: more than 100 MB/s wanted"

hearth_gives 0 plan -m "$golden"
grep -q '^devices' out || fail "plan: the devices wanted"
hearth_gives 0 plan -m "$golden" --json
awk -v x="$(json expected/0/tokens_per_second)" 'BEGIN { exit !(x > 0) }' || fail "plan: expected tokens/s wanted"

hearth_gives 0 version --json
json hearth build/compiler >/dev/null
n_plugins=$(json plugins/\#)
[ "$(json plugins/$((n_plugins - 1))/name)" = ref ] || fail "version: the plugins wanted, ref as the last of the default"

hearth_gives 0 bench -m "$golden" -C 8,32 -n 4 -r 3 --json --csv bench.csv --plot bench.svg
[ "$(json contexts/\#)" = 2 ] || fail "bench: two contexts wanted"
[ "$(json contexts/0/decode_repeats/\#)" = 3 ] || fail "bench: three repeats wanted"
[ "$(json contexts/1/context)" = 32 ] || fail "bench: the contexts asked for wanted"
# the ratio is what it says: bytes per token x tokens per second / bandwidth; the median is one of the repeats
awk -v bytes="$(json bytes_per_token)" -v rate="$(json contexts/0/decode_tokens_per_second)" \
    -v roof="$(json read_bytes_per_second)" -v ratio="$(json contexts/0/ratio)" '
    BEGIN { x = bytes * rate / roof; exit !(roof > 0 && bytes > 0 && (x - ratio) ^ 2 < 1e-6 * x * x) }' ||
    fail "bench: ratio = bytes x rate / bandwidth wanted"
[ "$(wc -l <bench.csv)" = 3 ] || fail "bench --csv: a head and two rows wanted"
head -1 bench.csv | grep -q '^model,context,prefill_tokens_per_second' || fail "bench --csv: its head wanted"
grep -q '^<svg ' bench.svg && grep -q '^</svg>' bench.svg || fail "bench --plot: an SVG file wanted"
hearth_gives 0 bench -m "$golden" -C 8 -n 2 -r 1
grep -q 'read bandwidth .* measured' out || fail "bench: the bandwidth wanted"
hearth_gives 3 bench -m "$golden" -C 100000000 -n 2
one_line err context.length
exit 0
