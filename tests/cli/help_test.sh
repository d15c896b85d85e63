#!/bin/sh
# The help of every command, and that the man pages name exactly its options.
. "${srcdir:-.}/tests/cli/common.sh"

# options_of_help COMMAND... - the options of the command itself, without the global ones
options_of_help()
{
    "$HEARTH" "$@" --help | sed -n '/^Options:/,/^Global options/p' |
        sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p' | LC_ALL=C sort
}

# options_of_man FILE - what stands as the head of a paragraph
options_of_man()
{
    sed -n '/^\.TP/{n;p;}' "$1" | sed 's/\\-/-/g' | grep -o -- '--[a-z-]*' | LC_ALL=C sort
}

for command in run chat plan devices inspect "eval ppl" "eval passkey" bench config "plugin check" version; do
    # shellcheck disable=SC2086
    hearth_gives 0 $command --help
    grep -q "^Usage: hearth $command " out || fail "usage line of $command"
    cp out help
    # shellcheck disable=SC2086
    hearth_gives 0 help $command
    cmp -s out help || fail "hearth help $command: the same as --help wanted"
    # shellcheck disable=SC2086
    options_of_help $command >of_help
    page=$source_folder/docs/man/hearth-$(echo "$command" | tr ' ' -).1
    [ -f "$page" ] || fail "$page wanted"
    options_of_man "$page" >of_man
    diff of_help of_man >out || fail "$page: the options of --help wanted"
    awk 'length($0) > 80 { exit 1 }' help || fail "help of $command: at most 80 columns wanted"
done

hearth_gives 0 --help
sed -n '/^Global options/,$p' out | sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\2/p' | LC_ALL=C sort >of_help
sed -n '/^\.SH OPTIONS/,/^\.SH EXIT/p' "$source_folder/docs/man/hearth.1" >page
options_of_man page >of_man


diff of_help of_man >out || fail "hearth.1: the global options of --help wanted"

hearth_gives 0 eval --help
grep -q 'eval passkey' out || fail "eval --help: its commands wanted"
hearth_gives 0 --version
grep -q '^hearth  *[0-9]' out || fail "--version: a version wanted"

hearth_gives 0 config --list --json
"$json_get" <out >/dev/null || fail "config --list --json: JSON wanted"
grep '"key"' out | sed 's/.*: "\(.*\)".*/\1/' | LC_ALL=C sort >of_help
sed -n '/^\.TP/{n;p;}' "$source_folder/docs/man/hearth.yaml.5" | sed -n 's/^\\fB\([a-z_.]*\)\\fR.*/\1/p' |
    LC_ALL=C sort >of_man
diff of_help of_man >out || fail "hearth.yaml.5: the keys of config --list wanted"
