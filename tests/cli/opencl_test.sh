#!/bin/sh
# The bundled model whole on an OpenCL device: the reference's text in exact numerics, the same text again from compiled kernels,
# and a sentence for a device that fails.  Skipped where no platform has a device.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot
# what drivers and their compilers keep to the end is theirs
ASAN_OPTIONS=detect_leaks=0
export ASAN_OPTIONS
hearth_gives 0 devices --json --set plugins.load=opencl,ref
if ! grep -q '"plugin": *"opencl"' out; then
    echo "SKIP: no OpenCL device" >&2
    exit 77
fi
name=$(json devices/0/name)
for select in 0 "$name"; do
    hearth_gives 0 plan -m "$pilot" --set plugins.load=opencl,ref --set device.plugin=opencl --set device.select="$select"
done
hearth_gives 5 plan -m "$pilot" --set plugins.load=opencl,ref --set device.plugin=opencl --set device.select=0000:ff:1f.7
grep -q 'device 0000:ff:1f.7 wanted' err || fail "a device that is not there is not named"
# PLUGINS OPTION... - an answer of the pilot
answer()
{
    plugins=$1
    shift
    hearth_gives "${status:-0}" run -m "$pilot" --set plugins.load="$plugins" -p "What does the ls command do?" --temperature 0 \
        -n 12 --no-progress --set device.timeout=60 "$@"
}

answer ref --numerics exact
cp out reference
answer opencl,ref --numerics exact
cmp -s out reference || fail "exact numerics: the reference's text wanted"

answer opencl,ref
cp out first
ls cache/hearth/*.clbin >/dev/null 2>&1 || fail "no compiled kernel is kept in cache.directory"
answer opencl,ref
cmp -s out first || fail "kernels from the cache: the same text wanted"
answer opencl,ref --set plugins.options.opencl.cache=no
cmp -s out first || fail "no cache: the same text wanted"

# fails WORDS FAULT OPTION... - the device fails in the middle: the same text, one line that says so, and nothing else
fails()
{
    words=$1
    fault=$2
    shift 2
    answer opencl,ref --numerics exact --set plugins.options.opencl.fault="$fault" "$@"
    cmp -s out reference || fail "$fault: the same text wanted"
    grep -q "warning: device .*: .*$words.* layers moves to device .* (ref)" err || fail "$fault: $words wanted"
    [ "$(wc -l <err)" -eq 1 ] || fail "$fault: one line wanted"
}

fails 'the device is lost' lost:1
fails 'the device is lost' lost:9
grep -q '; [0-9][0-9] tokens are computed again$' err || fail "lost:9: how many tokens are computed again"
fails 'not done after 2.0 s' hang:4 --set device.timeout=2
fails 'kernels-cl/attend.cl' build:attend
for n in 3 20 40; do
    fails CL_MEM_OBJECT_ALLOCATION_FAILURE alloc:$n
done
answer opencl,ref --json --set plugins.options.opencl.fault=lost:3
grep -q '"takeovers": *\[' out || fail "--json: takeovers wanted"

status=5
answer opencl,ref --set plugins.options.opencl.fault=lost:3 --set device.takeover=false
grep -q 'the device is lost' err || fail "a lost device is not named"
answer opencl --set plugins.options.opencl.fault=hang:3 --set device.timeout=2
grep -q 'not done after 2.0 s' err || fail "a hung device is not named"
answer opencl,ref --set plugins.options.opencl.fault=build:attend --set device.takeover=false
grep -q 'kernels-cl/attend.cl' err || fail "a kernel that does not compile is not named"
status=4
answer opencl --set plugins.options.opencl.fault=alloc:20
grep -q 'CL_MEM_OBJECT_ALLOCATION_FAILURE' err || fail "a failed allocation is not named"
answer opencl,ref --set plugins.options.opencl.fault=lost:3 --set memory.limit=1000000
grep -q 'the device is lost; device .* GiB wanted' err || fail "a host that is too small is not named"
