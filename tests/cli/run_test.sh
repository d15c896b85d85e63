#!/bin/sh
# hearth run on the bundled model: the seed decides, every way to give the prompt, JSON, limits, Ctrl-C.
. "${srcdir:-.}/tests/cli/common.sh"
needs_pilot

# The program ends an answer's last line; --json gives the answer as it is, which may hold that line's end already.
same_text()
{
    [ "$(cat "$1")" = "$(cat "$2")" ]
}

hearth_gives 0 run -m "$pilot" -p 'How do I list files?' -n 24 --seed 5
[ -s out ] || fail "run: an answer wanted"
cp out first
hearth_gives 0 run -m "$pilot" -p 'How do I list files?' -n 24 --seed 5 -t 1
cmp -s out first || fail "the same seed gives the same text, whatever the threads"
hearth_gives 0 run -m "$pilot" -p 'How do I list files?' -n 24 --seed 6
cmp -s out first && fail "another seed gives another text"

hearth_gives 0 run -m "$pilot" -p 'How do I list files?' -n 24 --temperature 0 --seed 1 --json
[ "$(json ids/\#)" -le 24 ] || fail "run -n: at most 24 tokens wanted"
[ "$(json seed)" = 1 ] || fail "run --json: the seed wanted"
json timings/prompt_tokens timings/decode_tokens_per_second finish_reason >/dev/null
json text >text
hearth_gives 0 run -m "$pilot" -p 'How do I list files?' -n 24 --temperature 0
same_text out text || fail "run: the text of run --json wanted"
printf 'How do I list files?' >prompt
hearth_gives 0 run -m "$pilot" -f prompt -n 24 --temperature 0
same_text out text || fail "run -f: the same answer wanted"
"$HEARTH" run -m "$pilot" -n 24 --temperature 0 <prompt >out 2>err || fail "run <prompt"
same_text out text || fail "run <prompt: the same answer wanted"

# a seed from the clock is told, and gives the text again
hearth_gives 0 run -m "$pilot" --raw -p 'The' -n 16 --json
json text >text
hearth_gives 0 run -m "$pilot" --raw -p 'The' -n 16 --seed "$(json seed)"
same_text out text || fail "the seed that was told gives the text again"

hearth_gives 0 run -m "$pilot" --raw -p 'The' -n 3 --json
[ "$(json finish_reason)" = length ] || fail "run -n 3: finish reason length wanted"
[ "$(json ids/\#)" = 3 ] || fail "run -n 3: three tokens wanted"
hearth_gives 0 run -m "$pilot" --raw -p 'One two three' -C 24 --temperature 1 --seed 3 --json
case $(json finish_reason) in context | stop) ;; *) fail "run -C 24: finish reason context wanted" ;; esac
awk 'BEGIN { for (i = 0; i < 2000; i++) printf "word " }' >prompt
hearth_gives 4 run -m "$pilot" -f prompt -C 64
one_line err .

# the prompt may hold anything but a NUL byte
printf 'a\0b' >prompt
hearth_gives 3 run -m "$pilot" -f prompt
one_line err NUL
hearth_gives 2 run -m "$pilot" --think sideways -p x
one_line err 'on, off'

"$HEARTH" run -m "$pilot" --raw -p 'The' -n 8 >/dev/full 2>err
[ $? = 3 ] || fail "run >/dev/full: status 3 wanted"
one_line err 'standard output'

# Ctrl-C: what was written stays, status 130
env --default-signal=INT "$HEARTH" run -m "$pilot" --raw -p 'The' -n 100000 -C 8k --temperature 100 --seed 3 >out 2>err &
process=$!
for _ in $(seq 100); do
    [ -s out ] && break
    sleep 0.1
done
kill -INT $process
wait $process
[ $? = 130 ] || fail "Ctrl-C: status 130 wanted"
[ -s out ] || fail "Ctrl-C: the text so far wanted"
[ -s err ] && fail "Ctrl-C: no complaint wanted"
exit 0
