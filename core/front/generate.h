/* core/front/generate.h - the loop of run and chat: feed, pick, show, until something ends it. */
#ifndef CORE_FRONT_GENERATE_H
#define CORE_FRONT_GENERATE_H

#include "core/front/front.h"

/* The options of everything that generates. */
#define GENERATE_OPTIONS                                                       \
    {.name = "max-tokens", .letter = 'n', .kind = ARGS_CONFIG, .value = "N",   \
     .key = "generate.max_tokens",                                             \
     .help = "longest answer in tokens; 0: until the context is full"},        \
    {.name = "temperature", .kind = ARGS_CONFIG, .value = "T",                 \
     .key = "sampling.temperature",                                            \
     .help = "0: always the most likely token; 1: as the model says"},         \
    {.name = "top-k", .kind = ARGS_CONFIG, .value = "N",                       \
     .key = "sampling.top_k",                                                  \
     .help = "keep the N most likely tokens; 0: all"},                         \
    {.name = "top-p", .kind = ARGS_CONFIG, .value = "P",                       \
     .key = "sampling.top_p",                                                  \
     .help = "keep the most likely tokens that together reach P; 1: all"},     \
    {.name = "min-p", .kind = ARGS_CONFIG, .value = "P",                       \
     .key = "sampling.min_p",                                                  \
     .help = "drop tokens less likely than P times the most likely; 0: none"}, \
    {.name = "seed", .kind = ARGS_CONFIG, .value = "N",                        \
     .key = "sampling.seed",                                                   \
     .help = "the same seed gives the same text; 0: from the clock"}

enum finish {
    FINISH_STOP,       /* the model ended its answer */
    FINISH_LENGTH,     /* as many tokens as were asked for */
    FINISH_CONTEXT,    /* the context is full */
    FINISH_INTERRUPTED /* Ctrl-C */
};

/* "stop", "length", "context", "interrupted" */
const char *finish_name(enum finish finish);

/* An open model with what every generation needs. */
struct generator {
    struct front *front;
    struct hearth_engine *engine;
    struct hearth_model_facts facts;
    struct hearth_sampler *sampler;
    struct hearth_sampling sampling; /* with the seed that was really taken */
    float *logits;                   /* [vocab_size] */
    uint64_t max_tokens;             /* generate.max_tokens; 0: no limit */
    double load_seconds;
};

/* Opens the configured model and sampler. */
int generator_open(struct front *front, struct generator *ret_generator, struct hearth_error *err);
void generator_close(struct generator *generator);

#define GENERATE_ENOUGH 1

/* Takes text as it comes, whole characters.  Returns HEARTH_OK, GENERATE_ENOUGH to end the answer
 * after this text (FINISH_STOP), or a negative status. */
struct generate_sink {
    int (*text)(void *context, const char *text, size_t length, struct hearth_error *err);
    void *context;
};

struct generation {
    int32_t *ids; /* the answer's tokens, without the end-of-sentence one; free() */
    size_t n;
    size_t n_fed; /* of them in the session: all, or all but the last */
    size_t n_prompt;
    enum finish finish;
    double prefill_seconds, decode_seconds;
};

/* Feeds n_prompt >= 1 tokens and generates.  On failure the session may hold a part of the prompt;
 * ret_generation is as if nothing had come. */
int generate(struct generator *generator, struct hearth_session *session, const int32_t *prompt,
             size_t n_prompt, const struct generate_sink *sink, struct generation *ret_generation,
             struct hearth_error *err);
void generation_done(struct generation *generation);

/* {"prompt_tokens": ..., "prefill_seconds": ...} */
struct json_object *generation_timings(const struct generator *generator,
                                       const struct generation *generation);

#endif
