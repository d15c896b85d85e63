#!/bin/sh
# eval ppl and eval passkey on the bundled model: small, but with figures that mean something.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot

# HEARTH_TEST_BRIEF: for sanitizers, which slow everything down
n=300
passkey='-C 512 --records 8 --queries 8 --trials 1'
asked=8
if [ -n "${HEARTH_TEST_BRIEF:-}" ]; then
    n=140
    passkey='-C 192 --records 4 --queries 4 --trials 1'
    asked=4
fi

hearth_gives 0 eval ppl -m "$pilot" -n $n -C 128 --json
[ "$(json tokens)" = $n ] || fail "eval ppl -n $n: $n tokens wanted"
awk -v tokens=$n -v p="$(json perplexity)" -v n="$(json nats_per_token)" -v b="$(json bits_per_byte)" -v bytes="$(json bytes)" '
    BEGIN { e = exp(n) / p - 1; c = n * tokens / log(2) / bytes / b - 1
            exit !(e * e < 1e-8 && c * c < 1e-8 && p > 1 && p < 500) }' || fail "eval ppl: figures that agree wanted"
whole=$(json nats_per_token)
# more context for each token: a smaller surprise, or nearly so
hearth_gives 0 eval ppl -m "$pilot" -n $n -C 128 -s 32 --json
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

# shellcheck disable=SC2086 # words
hearth_gives 0 eval passkey -m "$pilot" $passkey --json --csv queries.csv
[ "$(json contexts/0/asked)" = $asked ] || fail "eval passkey: $asked queries wanted"
awk -v x="$(json contexts/0/accuracy)" 'BEGIN { exit !(x >= 0.75) }' || fail "eval passkey: at least three of four right wanted"
[ "$(wc -l <queries.csv)" = $((asked + 1)) ] || fail "eval passkey --csv: a head and $asked rows wanted"
[ "$(grep -c ',1$' queries.csv)" = "$(json contexts/0/right)" ] || fail "eval passkey --csv: the same answers wanted"
cp queries.csv before
hearth_gives 0 eval passkey -m "$pilot" $passkey --csv queries.csv
cmp -s queries.csv before || fail "eval passkey: the same seed gives the same contexts"
hearth_gives 0 eval passkey -m "$pilot" $passkey --csv queries.csv --seed 2
cmp -s queries.csv before && fail "eval passkey: another seed gives other contexts"
hearth_gives 2 eval passkey -m "$pilot" -C 64 --records 32
one_line err 'records'
exit 0
