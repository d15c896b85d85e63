/* golden_case.h - the golden cases as tests see them: folders of tests/golden/data with a
 * checkpoint, prompts and the logits that an independent implementation gives for them (README.md). */
#ifndef TESTS_GOLDEN_GOLDEN_CASE_H
#define TESTS_GOLDEN_GOLDEN_CASE_H

#include <stddef.h>
#include <stdint.h>

#include <hearth/engine.h>

#include "core/model/mapped_file.h"
#include "core/model/safetensors.h"

#define GOLDEN_MAX_CASES 32u
#define GOLDEN_MAX_PROMPTS 4u

struct golden_prompt {
    size_t n;
    int32_t *ids;        /* [n] */
    const float *exact;  /* [n][vocab_size], in the mapping */
    const float *native;
};

struct golden_case {
    char folder[512];
    struct mapped_file map;
    struct safetensors header;
    size_t vocab_size, n_prompts;
    struct golden_prompt prompts[GOLDEN_MAX_PROMPTS];
};

/* Names of all cases, sorted; 0: there is none.  Called before tests run, so it checks nothing itself. */
size_t golden_list(char *names[GOLDEN_MAX_CASES]);
/* These abort the test on any failure. */
void golden_open(const char *name, struct golden_case *ret_case);
void golden_close(struct golden_case *golden);

/* A configuration for a model folder, on ref unless told; options: NULL-terminated key, value, key, value ... */
struct hearth_config *golden_config(const char *folder, const char *const *options);
struct hearth_engine *golden_engine(const struct hearth_config *config);
/* Feeds n tokens in pieces of `piece` into a new session; logits of all of them to logits.  The
 * session comes back. */
struct hearth_session *golden_feed(struct hearth_engine *engine, const int32_t *ids, size_t n, size_t piece,
                                   float *logits, size_t vocab_size);

#endif
