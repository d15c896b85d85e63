#!/bin/sh
# What the world does wrong: no model, a full disk, a closed pipe, a plugin that is not there.
. "${srcdir:-.}/tests/cli/common.sh"

for command in "inspect" "plan" "run -p x" "eval ppl" "bench"; do
    # shellcheck disable=SC2086
    hearth_gives 3 -m "$scratch/missing" $command
    one_line err "missing"
    [ -s out ] && fail "$command: nothing on standard output wanted"
    # shellcheck disable=SC2086
    hearth_gives 3 -m "$scratch/missing" $command --json
    [ "$(json error/status)" = EIO ] || fail "$command --json: EIO wanted"
done

hearth_gives 5 -m "$golden" --set plugins.load=nosuch plan
one_line err nosuch

# a full disk under standard output
if [ -c /dev/full ]; then
    for command in "--help" "config" "config --json" "inspect $golden" "inspect $golden --json"; do
        # shellcheck disable=SC2086
        "$HEARTH" $command >/dev/full 2>err </dev/null
        [ $? = 3 ] || fail "hearth $command >/dev/full: status 3 wanted"
        one_line err 'standard output: No space left on device'
    done
    hearth_gives 3 bench -m "$golden" -C 4 -n 1 -r 1 --csv /dev/full/x
fi

# a reader that has gone away
{
    "$HEARTH" inspect "$golden" --tensors 2>err
    echo $? >status
} | true
sleep 0.2
case $(cat status) in
0 | 3) ;;
*) fail "closed pipe: status 3 wanted, $(cat status) found" ;;
esac
exit 0
