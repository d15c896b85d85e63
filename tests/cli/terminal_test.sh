#!/bin/sh
# On a terminal: progress bars, line editing and history, Ctrl-C at the prompt and in an answer.
. "${srcdir:-.}/tests/cli/common.sh"

# on_terminal STATUS SCRIPT ARGUMENT...
on_terminal()
{
    wanted=$1
    script=$2
    shift 2
    "$with_terminal" 60 "$script" "$HEARTH" "$@" >out 2>err
    found=$?
    [ $found = 77 ] && exit 77
    [ $found = "$wanted" ] || fail "hearth $*: status $wanted wanted, $found found"
}

# a bar, and nothing of it left at the end; none with --quiet
on_terminal 0 '' bench -m "$golden" -C 256,512 -n 8 -r 2
grep -q 'bench.*\[=*.*\].*%.*tokens' out || fail "a progress bar wanted"
"$with_terminal" 60 '' "$HEARTH" bench -m "$golden" -C 256,512 -n 8 -r 2 --no-progress >out 2>err
grep -q '%.*tokens' out && fail "no progress bar wanted with --no-progress"

# no prompt on a terminal is a mistake, not a wait
on_terminal 2 '' run -m "$golden"
grep -q 'a prompt wanted' out || fail "run without a prompt: a line wanted"

needs_pilot
on_terminal 0 '=Ctrl-D;=> ;+/think sideways;=on, off;=> ;-\x03;=leaves;=> ;+What is a file?;+/stats;=turns;=> ;-\x04' \
    chat -m "$pilot" --temperature 0 -n 12 --set chat.history=history
"$HEARTH" version | grep -q 'line editing *yes' || exit 0
grep -q 'What' history || fail "a history file wanted"
[ "$(stat -c %a history)" = 600 ] || fail "a history that only its owner reads wanted"
# the line before comes back with the arrow key
on_terminal 0 '=> ;-\x1b[A\x1b[A;=What is a file?;+;+/stats;=turns;=> ;-\x04' chat -m "$pilot" --temperature 0 -n 12 --set chat.history=history
exit 0
