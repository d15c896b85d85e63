#!/bin/sh
# hearth plugin check: what it says of a right plugin, of one that is wrong in one bit, of one that does one operation,
# and of what is no plugin.
. "${srcdir:-.}/tests/cli/common.sh"

plugin=$build_folder/tests/plugins/.libs/hearth-partial.so
if ! [ -f "$plugin" ]; then
    echo "SKIP: built without Check or the reference: no $plugin" >&2
    exit 77
fi

hearth_gives 0 plugin check "$plugin" --op rmsnorm
grep -q '^rmsnorm  *exact  *10  same bits  .* us  .*B/s' out || fail "plugin check: trials, verdict and bandwidth wanted"
grep -q '^roof .*measured' out || fail "plugin check: the roof and where it comes from wanted"

hearth_gives 0 plugin check "$plugin" --option lacks=all-but:expert_ffn --no-speed --json
[ "$(json plugin)" = partial ] || fail "plugin check --json: the plugin's name wanted"
[ "$(json operations/\#)" = 34 ] || fail "plugin check --json: every operation in both numerics wanted"
[ "$(json operations/0/supported)" = false ] || fail "plugin check --json: embed not supported wanted"
[ "$(json operations/29/operation)" = expert_ffn ] || fail "plugin check --json: expert_ffn as number 29 wanted"
[ "$(json operations/29/numerics)" = native ] || fail "plugin check --json: native second wanted"
[ "$(json operations/29/same_bits)" = true ] || fail "plugin check --json: the contract's bits wanted"
[ "$(json right)" = true ] || fail "plugin check --json: right wanted"

# one bit of one output, where bits are the contract and where a tolerance is
for op in expert_ffn rmsnorm; do
    hearth_gives 5 plugin check "$plugin" --op $op --option spoils=$op
    grep -q 'WRONG: ' out || fail "plugin check: WRONG in the table wanted"
    grep -q '^This plugin is wrong' out || fail "plugin check: the verdict wanted"
    grep -q "^$op native .*:\$" out || fail "plugin check: the failed trial's name wanted"
    hearth_gives 5 plugin check "$plugin" --op $op --option spoils=$op --json
    [ "$(json right)" = false ] || fail "plugin check --json: right: false wanted"
done

# weights that are packed ahead
hearth_gives 0 plugin check "$plugin" --op linear --no-speed --option packs=right
hearth_gives 5 plugin check "$plugin" --op linear --no-speed --option packs=wrong
grep -q 'other bits with weights that were packed and mapped' out || fail "plugin check: wrong packing found wanted"

hearth_gives 2 plugin check
one_line err 'one plugin file wanted'
hearth_gives 2 plugin check "$plugin" --op softmax
one_line err 'softmax'
hearth_gives 2 plugin check "$plugin" --option novalue
one_line err 'KEY=VALUE wanted'
hearth_gives 2 plugin check "$plugin" --device 7
one_line err 'device 7 wanted, 1 device(s) found'
hearth_gives 5 plugin check "$scratch/hearth-absent.so"
one_line err 'hearth-absent.so'
