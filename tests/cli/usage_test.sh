#!/bin/sh
# A wrong command line: one line that names the nearest right word, status 2, nothing on standard output.
. "${srcdir:-.}/tests/cli/common.sh"

# refused PATTERN ARGUMENT...
refused()
{
    pattern=$1
    shift
    hearth_gives 2 "$@"
    one_line err "$pattern"
    [ -s out ] && fail "hearth $*: nothing on standard output wanted"
}

refused 'a command wanted'
refused '"rn".*did you mean "run"' rn
refused 'no command "xyzzy".*hearth --help' xyzzy
refused 'eval: a second word wanted' eval
refused '"eval pp1".*did you mean "eval ppl"' eval pp1
refused 'no option --temprature.*--temperature' run --temprature 1
refused 'no option -Z' run -Z
refused 'no option --frobnicate; hearth plan --help' plan --frobnicate
refused '--prompt: TEXT wanted, nothing found' run --prompt
refused '--raw takes no value' run --raw=1
refused 'plan takes options only, "x" found' plan x
refused 'run: one of --prompt and --file wanted' run -p a -f b
refused 'KEY=VALUE wanted, "x" found' --set x plan
refused 'a whole number in \[1, 64\] wanted, "0" found' bench -r 0
refused 'a whole number .* wanted, "12x" found' bench -n 12x
refused 'a whole number .* wanted' eval passkey --context 64,,128
refused 'one of --dump, --check and --list wanted' config --dump --list

# options stand before and after the command, and values may begin with a dash
hearth_gives 0 --set context.length=4k config --dump
grep -q 'length: 4096  # command line' out || fail "--set before the command: its value in the dump wanted"
hearth_gives 0 config --set context.length=4k
grep -q 'length: 4096  # command line' out || fail "--set after the command: its value in the dump wanted"
hearth_gives 0 config -C 5000 -t 3 --numerics exact
grep -q 'length: 5000  # command line' out || fail "-C: its value in the dump wanted"
grep -q 'threads: 3  # command line' out || fail "-t: its value in the dump wanted"
grep -q 'numerics: "exact"  # command line' out || fail "--numerics: its value in the dump wanted"

# with --json the same mistake is an object, wherever --json stands
for arguments in "--json rn" "run --bogus --json"; do
    # shellcheck disable=SC2086
    hearth_gives 2 $arguments
    [ "$(json error/status)" = EUSAGE ] || fail "hearth $arguments: EUSAGE wanted"
    [ -s err ] && fail "hearth $arguments: nothing on standard error wanted"
done
exit 0
