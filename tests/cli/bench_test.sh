#!/bin/sh
# bench --synthetic: figures that agree with one another, as text, JSON, CSV and SVG, and what it refuses.
. "${srcdir:-.}/tests/cli/common.sh"

hearth_gives 0 bench --synthetic tiny --ratios 4,128,0 --layers 4 -C 64,300 -n 8 -r 5 -p 24 --json --csv bench.csv --plot bench.svg
[ "$(json model)" = 'synthetic tiny (4 layers)' ] || fail "the model's name wanted"
[ "$(json decode/\#)" = 2 ] && [ "$(json prefill/\#)" = 1 ] || fail "two contexts and one prompt wanted"
[ "$(json decode/1/context)" = 300 ] && [ "$(json prefill/0/prompt)" = 24 ] || fail "what was asked for wanted"
[ "$(json decode/0/repeats/\#)" = 5 ] || fail "five repeats wanted"
awk -v rate="$(json decode/1/tokens_per_second)" -v bytes="$(json decode/1/costs_per_token/total/bytes)" \
    -v bandwidth="$(json decode/1/read_bytes_per_second)" -v share="$(json decode/1/read_share)" '
    BEGIN { e = rate * bytes / bandwidth / share - 1; exit !(e * e < 1e-9) }' || fail "share = bytes x rate / bandwidth wanted"
awk -v near="$(json decode/0/costs_per_token/index_keys/bytes)" -v far="$(json decode/1/costs_per_token/index_keys/bytes)" '
    BEGIN { exit !(near > 0 && far > 4 * near) }' || fail "more index keys at more context wanted"
awk -v total="$(json decode/0/costs_per_token/total/bytes)" -v experts="$(json decode/0/costs_per_token/routed_experts/bytes)" '
    BEGIN { exit !(experts > 0 && experts < total) }' || fail "the experts' part of the bytes wanted"
[ "$(wc -l <bench.csv)" = 4 ] || fail "--csv: a head and three rows wanted"
awk -F, 'NF != 13 { exit 1 }' bench.csv || fail "--csv: 13 columns wanted"
head -1 bench.csv | grep -q '^phase,tokens,tokens_per_second' || fail "--csv: its head wanted"
[ "$(grep -c '<svg ' bench.svg)" = 3 ] && [ "$(grep -c '</svg>' bench.svg)" = 3 ] || fail "--plot: two charts in one file wanted"

awk -v seconds="$(json load/seconds)" -v bytes="$(json load/bytes)" -v rate="$(json load/bytes_per_second)" '
    BEGIN { e = bytes / seconds / rate - 1; exit !(seconds > 0 && bytes > 0 && e * e < 1e-9) }' || fail "how loading went wanted"
[ "$(json load/mapped_bytes)" = 0 ] && [ "$(json load/packed_bytes)" = 0 ] || fail "no file of random weights wanted"

hearth_gives 0 bench --synthetic tiny --layers 1 -C 16 -n 4 -r 1
grep -q '^load  *[0-9.]* [KM]iB in ' out || fail "text: how loading went wanted"
grep -q 'synthetic tiny (1 layer)' out || fail "text: the model wanted"
grep -q '^routed_experts ' out && grep -q '^total ' out || fail "text: what a token needs wanted"
hearth_gives 0 bench --synthetic tiny --layers 1 --sweep -n 1 -r 1 --json
[ "$(json decode/\#)" = 11 ] && [ "$(json decode/10/context)" = 1048576 ] || fail "--sweep: 1k to 1M wanted"

refused()
{
    pattern=$1
    shift
    hearth_gives 2 bench "$@"
    one_line err "$pattern"
}
refused 'v4-flash, v4-pro or tiny wanted, "v5"' --synthetic v5
refused 'at most 4 of tiny wanted, 5 found' --synthetic tiny --layers 5
refused '0, 4 or 128 wanted, 5 found' --synthetic tiny --ratios 4,5
refused '0, 128' --synthetic tiny --ratios 129
refused 'more than the 32 tokens decoded' --synthetic tiny -C 32
refused '--synthetic with the name' --layers 2
refused '--synthetic with the name' --ratios 4
refused '--synthetic with the name' --prefill 4
refused '--synthetic with the name' --sweep
hearth_gives 3 bench --synthetic tiny -C 2000000
one_line err 'context.length'
hearth_gives 3 bench --synthetic tiny -C 64 -n 4 -r 1 --csv /dev/full/x
exit 0
