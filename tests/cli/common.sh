# common.sh - read by every test of this folder: where the program is, a scratch folder, and how a test fails.
# Set by `make check`: srcdir (the source folder), HEARTH (the program, ./hearth), the current folder is the build folder.
set -u
LC_ALL=C.UTF-8
export LC_ALL
source_folder=$(cd "${srcdir:-.}" && pwd)
build_folder=$(pwd)
HEARTH=${HEARTH:-$build_folder/hearth}
json_get=$build_folder/tests/cli/json_get
with_terminal=$build_folder/tests/cli/with_terminal
pilot=$source_folder/models/pilot
golden=$source_folder/tests/golden/data/flash
HEARTH_PLUGIN_PATH=$build_folder/.libs
export HEARTH_PLUGIN_PATH
unset HEARTH_MODEL
# hwloc's PCI component leaves memory behind when it is unloaded; a leak checker would blame us
HWLOC_COMPONENTS=-pci
export HWLOC_COMPONENTS

scratch=$(mktemp -d "${TMPDIR:-/tmp}/hearth-cli.XXXXXX") || exit 99
trap 'rm -rf "$scratch"' EXIT
trap 'exit 99' HUP INT TERM
# no configuration of the person who runs the tests
HOME=$scratch
XDG_CONFIG_HOME=$scratch/config
XDG_CACHE_HOME=$scratch/cache
export HOME XDG_CONFIG_HOME XDG_CACHE_HOME
cd "$scratch" || exit 99

fail()
{
    echo "FAIL: $*" >&2
    for file in out err; do
        [ -s "$scratch/$file" ] && sed "s/^/$file: /" "$scratch/$file" | head -20 >&2
    done
    exit 1
}

# hearth_gives STATUS ARGUMENT... - runs the program with the arguments; its output lies in out and err.
hearth_gives()
{
    wanted=$1
    shift
    "$HEARTH" "$@" >out 2>err </dev/null
    found=$?
    [ "$found" = "$wanted" ] || fail "hearth $*: status $wanted wanted, $found found"
}

# one_line FILE PATTERN - the file is one line that the basic regular expression matches.
one_line()
{
    [ "$(wc -l <"$1")" = 1 ] || fail "$1: one line wanted"
    grep -q -- "$2" "$1" || fail "$1: $2 wanted"
}

# json PATH... - out is valid JSON and has these members; prints their values.
json()
{
    "$json_get" "$@" <out || fail "valid JSON with $* wanted"
}

needs_pilot()
{
    if ! [ -f "$pilot/config.json" ]; then
        echo "SKIP: $pilot holds no model" >&2
        exit 77
    fi
}
