/* takeover_case.h - what the tests of failing devices share: conversations and what they should give, engines on a
 * device that fails (partial.c), and what was logged. */
#ifndef TESTS_PLUGINS_TAKEOVER_CASE_H
#define TESTS_PLUGINS_TAKEOVER_CASE_H

#include <stdbool.h>

#include "tests/golden/golden_case.h"

#define N_PROMPT 19u /* chunks of 7: two whole ones and a piece */
#define N_TOKENS 26u
#define CHUNK "7"

extern struct golden_case golden;
extern float *wanted[2];     /* [N_TOKENS][vocab_size] of the first two prompts, by ref alone */
extern char said[65536]; /* warnings and errors, a line each */

extern const char *borrow_tokens; /* of configure: device.borrow_tokens */

void takeover_set_up(void);
void takeover_tear_down(void);

size_t count_lines(const char *text);
/* How often the device of the last engine that was closed was called so. */
unsigned long count_calls(const char *call);

/* One session's way through its prompt.  All of these abort the test on any failure. */
struct talk {
    struct hearth_session *session;
    const int32_t *ids;
    size_t done;
    float *logits; /* [N_TOKENS][vocab_size] */
};

void talk_begin(struct talk *talk, struct hearth_engine *engine, size_t prompt);
void talk_feed(struct talk *talk, size_t n);
/* Compares every logit. */
void talk_end(struct talk *talk, size_t prompt, const char *what);
/* The whole of it: a prompt, then single tokens. */
void converse(struct hearth_engine *engine, const char *what);

/* lacks, memory: of the device; NULL: nothing, unknown.  fault: or NULL. */
struct hearth_config *configure(const char *lacks, const char *memory, const char *fault);
/* reached: whether the fault came.  Then one line was said, else none. */
void check_line(struct hearth_engine *engine, bool reached, const char *fault);

#endif
