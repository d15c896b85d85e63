/* generate.c - see generate.h. */
#include <config.h>

#include "core/front/generate.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/front/human.h"
#include "core/front/interrupt.h"

const char *
finish_name(enum finish finish)
{
    static const char *const names[] = {"stop", "length", "context", "interrupted"};
    return names[finish];
}

int
generator_open(struct front *front, struct generator *ret_generator, struct hearth_error *err)
{
    struct generator made = {.front = front};
    const double start = clock_seconds();
    const char *most = hearth_config_get(front->config, "generate.max_tokens");
    made.max_tokens = most ? strtoull(most, NULL, 10) : 0;
    int status = front_engine_open(front, &made.engine, &made.facts, err);
    if (status < 0) {
        return status;
    }
    made.load_seconds = clock_seconds() - start;
    status = hearth_sampling_for(made.engine, front->config, &made.sampling, err);
    status = status < 0 ? status : hearth_sampler_new(&made.sampling, &made.sampler, err);
    if (status < 0) {
        goto fail_sampler;
    }
    made.logits = calloc(made.facts.vocab_size, sizeof made.logits[0]);
    if (!made.logits) {
        status = error_no_memory(err, "the logits");
        goto fail_logits;
    }
    *ret_generator = made;
    return HEARTH_OK;
fail_logits:
    hearth_sampler_free(made.sampler);
fail_sampler:
    hearth_engine_close(made.engine);
    return status;
}

void
generator_close(struct generator *generator)
{
    free(generator->logits);
    hearth_sampler_free(generator->sampler);
    hearth_engine_close(generator->engine);
    *generator = (struct generator){0};
}

/* Room for one more token in the answer. */
static int
generation_reserve(struct generation *made, size_t *capacity, struct hearth_error *err)
{
    if (made->n < *capacity) {
        return HEARTH_OK;
    }
    const size_t wanted = *capacity ? *capacity * 2 : 256;
    int32_t *ids = realloc(made->ids, wanted * sizeof ids[0]);
    if (!ids) {
        return error_no_memory(err, "the answer");
    }
    made->ids = ids;
    *capacity = wanted;
    return HEARTH_OK;
}

static int
sink_push(const struct generate_sink *sink, const char *text, struct hearth_error *err)
{
    size_t length = 0;
    while (text[length]) {
        length++;
    }
    return length ? sink->text(sink->context, text, length, err) : HEARTH_OK;
}

/* Of a single token there is nothing to tell, but of what may have to come first: weights that another device loads,
 * tokens that it computes again. */
static bool
decode_step(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
    struct progress *progress = context;
    return strcmp(phase, "reading") == 0 || progress->callback.step(progress, phase, done, total, unit);
}

static int
feed_token(struct generator *generator, struct hearth_session *session, int32_t id, struct hearth_error *err)
{
    struct progress *progress = &generator->front->progress;
    const struct hearth_progress callback = {.step = decode_step, .context = progress};
    const int status = hearth_session_feed(session, &id, 1, generator->logits, 1, &callback, err);
    progress_clear(progress);
    return status;
}

/* The tokens after the prompt; the logits of the prompt's last token are there. */
static int
generate_answer(struct generator *generator, struct hearth_session *session,
                struct hearth_text_stream *stream, const struct generate_sink *sink,
                struct generation *made, struct hearth_error *err)
{
    size_t capacity = 0;
    for (;;) {
        int32_t id;
        const char *text;
        if (interrupt_seen()) {
            made->finish = FINISH_INTERRUPTED;
            return HEARTH_OK;
        }
        int status = hearth_sampler_pick(generator->sampler, generator->logits,
                                         generator->facts.vocab_size, &id, err);
        if (status < 0) {
            return status;
        }
        if (id == generator->facts.eos_id) {
            made->finish = FINISH_STOP;
            return HEARTH_OK;
        }
        if ((status = generation_reserve(made, &capacity, err)) < 0
            || (status = hearth_text_stream_push(stream, id, &text, err)) < 0) {
            return status;
        }
        made->ids[made->n++] = id;
        status = sink_push(sink, text, err);
        if (status != HEARTH_OK) {
            made->finish = FINISH_STOP;
            return status < 0 ? status : HEARTH_OK;
        }
        if (generator->max_tokens && made->n >= generator->max_tokens) {
            made->finish = FINISH_LENGTH;
            return HEARTH_OK;
        }
        status = feed_token(generator, session, id, err);
        if (status == HEARTH_ECONTEXT || status == HEARTH_EINTERRUPTED) {
            made->finish = status == HEARTH_ECONTEXT ? FINISH_CONTEXT : FINISH_INTERRUPTED;
            return HEARTH_OK;
        }
        if (status < 0) {
            return status;
        }
        made->n_fed = made->n;
    }
}

int
generate(struct generator *generator, struct hearth_session *session, const int32_t *prompt,
         size_t n_prompt, const struct generate_sink *sink, struct generation *ret_generation,
         struct hearth_error *err)
{
    struct generation made = {.n_prompt = n_prompt};
    struct progress *progress = &generator->front->progress;
    struct hearth_text_stream *stream;
    int status = hearth_text_stream_new(generator->engine, &stream, err);
    if (status < 0) {
        return status;
    }
    const double start = clock_seconds();
    status = hearth_session_feed(session, prompt, n_prompt, generator->logits, 1,
                                 &progress->callback, err);
    progress_clear(progress);
    const double fed = clock_seconds();
    made.prefill_seconds = fed - start;
    if (status == HEARTH_OK) {
        status = generate_answer(generator, session, stream, sink, &made, err);
    }
    const char *rest;
    if (status == HEARTH_OK
        && (status = hearth_text_stream_finish(stream, &rest, err)) == HEARTH_OK) {
        status = sink_push(sink, rest, err);
        status = status < 0 ? status : HEARTH_OK;
    }
    made.decode_seconds = clock_seconds() - fed;
    hearth_text_stream_free(stream);
    if (status < 0) {
        generation_done(&made);
        return status;
    }
    *ret_generation = made;
    return HEARTH_OK;
}

void
generation_done(struct generation *generation)
{
    free(generation->ids);
    *generation = (struct generation){0};
}

static double
rate(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

struct json_object *
generation_timings(const struct generator *generator, const struct generation *generation)
{
    struct json_object *timings = json_object_new_object();
    json_object_object_add(timings, "load_seconds",
                           json_object_new_double(generator->load_seconds));
    json_object_object_add(timings, "prompt_tokens", json_object_new_uint64(generation->n_prompt));
    json_object_object_add(timings, "prefill_seconds",
                           json_object_new_double(generation->prefill_seconds));
    json_object_object_add(
        timings, "prefill_tokens_per_second",
        json_object_new_double(rate(generation->n_prompt, generation->prefill_seconds)));
    json_object_object_add(timings, "generated_tokens", json_object_new_uint64(generation->n));
    json_object_object_add(timings, "decode_seconds",
                           json_object_new_double(generation->decode_seconds));
    json_object_object_add(timings, "decode_tokens_per_second",
                           json_object_new_double(rate(generation->n, generation->decode_seconds)));
    return timings;
}
