/* core/front/passkey.h - the contexts of eval passkey: a filler text of whole lines with `key:
 * value` lines spread over it, as exactly so many tokens. */
#ifndef CORE_FRONT_PASSKEY_H
#define CORE_FRONT_PASSKEY_H

#include <hearth/engine.h>

#include "core/base/text.h"
#include "core/front/front.h"

#define PASSKEY_MAX_WORDS 4096u

/* What contexts are made of: the words of keys, and the filler cut where a line begins. */
struct passkey_source {
    const struct hearth_engine *engine;
    int32_t bos_id;        /* -1: none */
    struct text word_text; /* the words, each ended by NUL */
    const char *words[PASSKEY_MAX_WORDS];
    size_t n_words;
    int32_t *ids; /* the filler's tokens, */
    size_t n_ids;
    size_t *lines; /* where each of its lines begins in ids, and n_ids at the end: [n_lines + 1] */
    size_t n_lines;
};

struct passkey_record {
    char key[96], value[8];
    size_t at; /* the token of the context where its line begins */
};

struct passkey_context {
    int32_t *ids;
    size_t n;
    struct passkey_record *records; /* by place */
    size_t n_records;
};

/* filler: length bytes.  words: lower-case words separated by white space; NULL: a small list of
 * our own. */
int passkey_source_open(const struct hearth_engine *engine, int32_t bos_id,
                        const struct text *filler, const struct text *words,
                        struct passkey_source *ret_source, struct hearth_error *err);
void passkey_source_close(struct passkey_source *source);

/* A context of exactly n tokens with n_records records; *state is the random state, advanced.
 * Errors: EUSAGE when the records alone are longer. */
int passkey_context_make(const struct passkey_source *source, size_t n, size_t n_records,
                         uint64_t *state, struct passkey_context *ret_context,
                         struct hearth_error *err);
void passkey_context_done(struct passkey_context *context);

/* A number below n > 0, evenly spread. */
uint64_t passkey_random(uint64_t *state, uint64_t n);

#endif
