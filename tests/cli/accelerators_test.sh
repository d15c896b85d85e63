#!/bin/sh
# The bundled model over two OpenCL devices of PoCL: the text of one, a plan that shows who has which layers, the host's help where
# both lack room, and the same text again when one of them fails.  Skipped where PoCL does not give two.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot
POCL_DEVICES="pthread pthread"
# what drivers and their compilers keep to the end is theirs
ASAN_OPTIONS=detect_leaks=0
export POCL_DEVICES ASAN_OPTIONS
hearth_gives 0 devices --json --set plugins.load=opencl,ref
case $(json devices/0/name) in
pthread*) case $(json devices/1/name) in pthread*) has_two=yes ;; esac ;;
esac
if [ -z "${has_two:-}" ]; then
    echo "SKIP: two devices of PoCL, before any other, wanted" >&2
    exit 77
fi

# with_two COMMAND OPTION... - on the first of them, and the second if it takes both
with_two()
{
    command=$1
    shift
    hearth_gives 0 "$command" -m "$pilot" --numerics exact -C 512 --set context.prefill_chunk=16 \
        --set plugins.load=opencl,ref "$@"
}

# answer OPTION...
answer()
{
    with_two run -p "What does the ls command do?" --temperature 0 -n 16 --no-progress "$@"
}

small=plugins.options.opencl.memory=20000000
smaller=plugins.options.opencl.memory=12000000

with_two plan --json
[ "$(json devices/\#)" = 1 ] || fail "a model that fits one device: no other wanted"
last=$(json devices/0/last_layer)
with_two plan --json --set $small
[ "$(json devices/\#)" = 2 ] || fail "two devices wanted"
first=$(json devices/0/first_layer)
next=$(($(json devices/0/last_layer) + 1))
[ "$first $(json devices/1/first_layer) $(json devices/1/last_layer)" = "0 $next $last" ] || fail "two ranges wanted"
[ "$(json layers/0/device) $(json layers/"$last"/device)" = "0 1" ] || fail "a device for each layer wanted"
awk -v x="$(json expected/0/tokens_per_second)" 'BEGIN { exit !(x > 0) }' || fail "expected tokens/s wanted"
with_two plan --json --set $small --set device.accelerators=1
[ "$(json devices/1/plugin)" = ref ] || fail "device.accelerators=1: the host as helper wanted"
with_two plan --json --set $smaller
[ "$(json devices/\# devices/2/plugin | tr '\n' ' ')" = "3 ref " ] || fail "too little memory: the host as helper wanted"
with_two plan --set $small
grep -q '^ *last layer' out || fail "the ranges in the table wanted"

answer
cp out reference
for memory in $small $smaller; do
    answer --set "$memory"
    cmp -s out reference || fail "$memory: the same text wanted"
    [ -s err ] && fail "$memory: nothing to say wanted"
done

# fails INDEX FAULT MEMORY WORDS - the same text, and a line that ends so
fails()
{
    answer --set "$3" --set plugins.options.opencl.fault="device:$1,$2"
    cmp -s out reference || fail "device:$1,$2: the same text wanted"
    one_line err "warning: device pthread.*; its work in [0-9] of 8 layers moves to $4"
}

both='device pthread.* (opencl) and device .* (ref)'
fails 1 lost:1 $small "$both"
fails 1 lost:9 $small "$both; [0-9]* tokens are computed again"
fails 1 alloc:20 $small "$both"
fails 0 lost:9 $small "$both; [0-9]* tokens are computed again"
# what is left cannot hold the layers
fails 1 lost:9 plugins.options.opencl.memory=14000000 'device [^(]* (ref); [0-9]* tokens'
exit 0
