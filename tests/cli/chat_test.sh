#!/bin/sh
# hearth chat with a script as its input, and Ctrl-C while it answers.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot

# chat SCRIPT OPTION... - types the script, as printf has it
chat()
{
    # shellcheck disable=SC2059
    printf "$1" >script
    shift
    "$HEARTH" chat -m "$pilot" --temperature 0 -n 16 "$@" <script >out 2>err
    found=$?
}

# two turns; the second feeds only what is new
chat 'What is a file?\n/stats\nAnd a folder?\n/stats\n'
[ $found = 0 ] || fail "chat: status 0 wanted, $found found"
[ -s out ] || fail "chat: answers wanted"
cp out whole
grep -c 'turns, ' err | grep -q '^2$' || fail "chat: two /stats wanted"
set -- $(sed -n 's/.*: \([0-9]*\) turns, \([0-9]*\) tokens in the context/\2/p' err)
first=$1
second=$2
set -- $(sed -n 's/.*read \([0-9]*\) tokens .* wrote \([0-9]*\) .*/\1 \2/p' err)
# all that was read and written stands in the context once, but the last token of an answer that was cut
total=$(($3 + $4))
[ "$second" -le "$total" ] && [ "$second" -ge $((total - 2)) ] ||
    fail "chat: each token fed once: $total read and written, $second in the context"
[ "$first" -lt "$second" ] || fail "chat: a growing context wanted"

# saved after the first turn, loaded in another process: the second answer is the same
chat 'What is a file?\n/save kept\n'
[ $found = 0 ] || fail "/save: status 0 wanted"
cp out first
[ -s kept ] || fail "/save: a file wanted"
chat '/load kept\nAnd a folder?\n'
[ $found = 0 ] || fail "/load: status 0 wanted"
cat first out >joined
cmp -s joined whole || fail "/load: the same second answer wanted"
chat 'And a folder?\n' --load kept
cat first out >joined
cmp -s joined whole || fail "--load: the same second answer wanted"

# forgetting, and a system prompt
chat 'What is a file?\n/reset\nWhat is a file?\n'
cat first first >joined
cmp -s out joined || fail "/reset: the same answer again wanted"
chat '/system Answer in one word.\nWhat is a file?\n/system\n/reset\nWhat is a file?\n'
[ $found = 0 ] || fail "/system: status 0 wanted"
chat '/help\n'
grep -q '/save *FILE' err || fail "/help: the commands wanted"
chat '/exit\nnever read\n'
[ $found = 0 ] && ! [ -s out ] || fail "/exit: nothing after it wanted"

# a script ends with its first mistake
chat '/lod x\nWhat is a file?\n'
[ $found = 2 ] || fail "an unknown command: status 2 wanted, $found found"
one_line err '/lod.*did you mean /load'
chat '/load nowhere\n'
[ $found = 3 ] || fail "/load of nothing: status 3 wanted"
one_line err nowhere
head -c 100 kept >cut
chat '/load cut\n'
[ $found = 3 ] || fail "/load of a cut file: status 3 wanted"
one_line err cut
chat 'What is a file?\n/save nowhere/kept\n'
[ $found = 3 ] || fail "/save into no folder: status 3 wanted"
chat '/think sideways\n'
[ $found = 2 ] || fail "/think sideways: status 2 wanted"

# Ctrl-C stops the answer and not the program
mkfifo typed
env --default-signal=INT "$HEARTH" chat -m "$pilot" --temperature 100 --seed 3 -C 8k --set generate.max_tokens=0 <typed >out 2>err &
process=$!
exec 9>typed
echo 'Tell me everything about files, slowly.' >&9
for _ in $(seq 100); do
    [ -s out ] && break
    sleep 0.1
done
kill -INT $process
sleep 0.3
echo '/stats' >&9
echo '/exit' >&9
exec 9>&-
wait $process
[ $? = 0 ] || fail "Ctrl-C in an answer: status 0 at the end wanted"
grep -q 'answer stopped' err || fail "Ctrl-C: the answer stops, the conversation goes on"
exit 0
