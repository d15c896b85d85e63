#!/bin/sh
# The bundled model on an OpenCL device of the host that is planned too small for all experts: the text of plain host and device,
# whether long steps borrow the host's experts or not, whoever lends them, and when the device fails meanwhile.  Skipped where no
# platform has such a device.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot
# what drivers and their compilers keep to the end is theirs
ASAN_OPTIONS=detect_leaks=0
export ASAN_OPTIONS
hearth_gives 0 devices --json --set plugins.load=opencl,ref
case $(json devices/0/name) in
pthread* | cpu*) ;;
*)
    echo "SKIP: no OpenCL device of the host before any other" >&2
    exit 77
    ;;
esac

# with LENDER COMMAND OPTION...
with()
{
    lender=$1
    command=$2
    shift 2
    hearth_gives 0 "$command" -m "$pilot" -C 512 --set context.prefill_chunk=16 --set plugins.load=opencl,"$lender" "$@"
}

# answer LENDER OPTION... - in native numerics, where every expert has the same bits everywhere
answer()
{
    lender=$1
    shift
    with "$lender" run -p "What does the ls command do?" --temperature 0 -n 12 --no-progress "$@"
}

small=plugins.options.opencl.memory=20000000
borrow=device.borrow_tokens=8

with ref plan --json --set $small --set device.borrow_tokens=0
[ "$(json devices/0/bytes/experts_on_loan)" = 0 ] || fail "device.borrow_tokens=0: no room for loans wanted"
with ref plan --json --set $small --set device.borrow_tokens=17
[ "$(json devices/0/bytes/experts_on_loan)" = 0 ] || fail "steps too short to borrow: no room for loans wanted"
with ref plan --json --set $small --set $borrow
[ "$(json devices/0/bytes/experts_on_loan)" -gt 0 ] || fail "room for loans wanted"
[ "$(json layers/3/experts_per_device/1)" -gt 0 ] || fail "experts on the host wanted"

# steps of a length that nobody has set: long where experts are borrowed, if there is room
# lengths TOKENS MEMORY OPTION...
lengths()
{
    context=$1
    memory=$2
    shift 2
    hearth_gives 0 plan --json -m "$pilot" -C "$context" --set plugins.load=opencl,ref \
        --set plugins.options.opencl.memory="$memory" "$@"
    json prefill_chunk
}
[ "$(lengths 700 60000000)" = 512 ] || fail "nothing to borrow: steps of 512 wanted"
[ "$(lengths 700 40000000)" = 700 ] || fail "experts on loan: longer steps wanted"
[ "$(lengths 700 40000000 --set context.prefill_chunk=600)" = 600 ] || fail "steps of the length that is set wanted"
[ "$(lengths 4096 40000000)" = 512 ] || fail "no room for longer steps: 512 wanted"

answer ref --set $small --set device.borrow_tokens=0
cp out reference
answer ref --set $small --set $borrow
cmp -s out reference || fail "borrowed experts: the same text wanted"
for copies in pinned direct shared; do
    answer ref --set $small --set $borrow --set plugins.options.opencl.copies=$copies
    cmp -s out reference || fail "borrowed experts, copies=$copies: the same text wanted"
    [ -s err ] && fail "copies=$copies: nothing to say wanted"
done
hearth_gives 0 devices --json --set plugins.load=opencl,cpu,ref
if grep -q '"plugin": *"cpu"' out; then
    answer cpu --set $small --set $borrow
    cmp -s out reference || fail "experts borrowed of cpu: the same text wanted"
fi
for fault in lost:2 lost:7 hang:5; do
    answer ref --set $small --set $borrow --set plugins.options.opencl.fault=$fault --set device.timeout=2
    one_line err "warning: device .*; its work in [0-9] of 8 layers moves to device .* (ref)"
done
exit 0
