#!/bin/sh
# eval ppl and eval passkey on the bundled model: small, but with figures that mean something.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot

hearth_gives 0 eval ppl -m "$pilot" -n 300 -C 128 --json
[ "$(json tokens)" = 300 ] || fail "eval ppl -n 300: 300 tokens wanted"
awk -v p="$(json perplexity)" -v n="$(json nats_per_token)" -v b="$(json bits_per_byte)" -v bytes="$(json bytes)" '
    BEGIN { e = exp(n) / p - 1; c = n * 300 / log(2) / bytes / b - 1
            exit !(e * e < 1e-8 && c * c < 1e-8 && p > 1 && p < 500) }' || fail "eval ppl: figures that agree wanted"
whole=$(json nats_per_token)
# more context for each token: a smaller surprise, or nearly so
hearth_gives 0 eval ppl -m "$pilot" -n 300 -C 128 -s 32 --json
awk -v a="$whole" -v b="$(json nats_per_token)" 'BEGIN { exit !(b < a + 0.02) }' ||
    fail "eval ppl -s: no worse with more context wanted"
printf 'The file is opened and then it is closed again.\n' >text
hearth_gives 0 eval ppl -m "$pilot" -f text
grep -q '^perplexity' out || fail "eval ppl: the perplexity wanted"
: >empty
hearth_gives 3 eval ppl -m "$pilot" -f empty
one_line err 'at least 2 tokens'
hearth_gives 3 eval ppl -m "$pilot" -f nowhere
one_line err nowhere

hearth_gives 0 eval passkey -m "$pilot" -C 512 --records 8 --queries 8 --trials 1 --json --csv queries.csv
[ "$(json contexts/0/asked)" = 8 ] || fail "eval passkey: eight queries wanted"
awk -v x="$(json contexts/0/accuracy)" 'BEGIN { exit !(x >= 0.75) }' || fail "eval passkey: at least 6 of 8 right wanted"
[ "$(wc -l <queries.csv)" = 9 ] || fail "eval passkey --csv: a head and eight rows wanted"
[ "$(grep -c ',1$' queries.csv)" = "$(json contexts/0/right)" ] || fail "eval passkey --csv: the same answers wanted"
cp queries.csv before
hearth_gives 0 eval passkey -m "$pilot" -C 512 --records 8 --queries 8 --trials 1 --csv queries.csv
cmp -s queries.csv before || fail "eval passkey: the same seed gives the same contexts"
hearth_gives 0 eval passkey -m "$pilot" -C 512 --records 8 --queries 8 --trials 1 --csv queries.csv --seed 2
cmp -s queries.csv before && fail "eval passkey: another seed gives other contexts"
hearth_gives 2 eval passkey -m "$pilot" -C 64 --records 32
one_line err 'records'
exit 0
