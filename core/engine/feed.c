/* feed.c - tokens into a session, a chunk at a time: graph, exec, and the logits somebody wants.
 *
 * Between chunks progress is told and may interrupt; a chunk is all or nothing.  A chunk that fails on a
 * device leaves state of no known position, and the session says so from then on. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <inttypes.h>

#include "core/base/error.h"

void
engine_step_init(const struct hearth_engine *engine, uint64_t position, uint32_t n_tokens,
                 struct graph_step *ret_step)
{
    *ret_step = (struct graph_step){
        .shape = model_shape(engine->rooms.model),
        .numerics = engine->rooms.numerics,
        .format = engine->rooms.format,
        .position = position,
        .n_tokens = n_tokens,
    };
}

/* Logits of the step's tokens first .. n_tokens-1. */
static int
run_head(struct hearth_engine *engine, const struct session *session, const struct graph_step *step,
         uint32_t first, float *logits, struct hearth_error *err)
{
    const uint32_t align = exec_head_step(engine->exec);
    int status = HEARTH_OK;
    while (status == HEARTH_OK && first < step->n_tokens) {
        const uint32_t begin = first / align * align;
        const uint32_t rest = step->n_tokens - begin;
        const uint32_t n = rest < GRAPH_HEAD_TOKENS ? rest : GRAPH_HEAD_TOKENS;
        const uint32_t skip = first - begin;
        status = graph_build_head(&engine->graph, step, begin, n, err);
        if (status == HEARTH_OK) {
            status = exec_run(engine->exec, &engine->graph, session, err);
        }
        if (status == HEARTH_OK) {
            status = exec_read_logits(engine->exec, logits, skip, n - skip, err);
        }
        logits += (size_t)(n - skip) * step->shape->vocab_size;
        first = begin + n;
    }
    return status;
}

/* One chunk.  logits: of its last n_logits tokens. */
static int
run_chunk(struct hearth_engine *engine, struct session *session, const int32_t *ids, uint32_t n,
          float *logits, uint32_t n_logits, struct hearth_error *err)
{
    struct graph_step step;
    int status = session_reserve(session, n, err);
    if (status < 0) {
        return status;
    }
    engine_step_init(engine, session_length(session), n, &step);
    status = graph_build_layers(&engine->graph, &step, err);
    if (status == HEARTH_OK) {
        status = exec_write_ids(engine->exec, ids, n, err);
    }
    if (status < 0) {
        return status;
    }
    status = exec_run(engine->exec, &engine->graph, session, err);
    if (status == HEARTH_OK && n_logits > 0) {
        status = run_head(engine, session, &step, n - n_logits, logits, err);
    }
    if (status < 0) {
        session_spoil(session);
        return status;
    }
    session_advance(session, ids, n);
    return HEARTH_OK;
}

static int
tell(const struct hearth_progress *progress, uint64_t done, uint64_t total, struct hearth_error *err)
{
    if (!progress || !progress->step ||
        progress->step(progress->context, "reading", done, total, "tokens")) {
        return HEARTH_OK;
    }
    return error_set(err, HEARTH_EINTERRUPTED, "interrupted after %" PRIu64 " of %" PRIu64 " tokens",
                     done, total);
}

static int
check_feed(const struct hearth_session *session, const int32_t *ids, size_t n, size_t n_logits,
           struct hearth_error *err)
{
    const uint32_t vocab_size = model_shape(session->engine->rooms.model)->vocab_size;
    const uint64_t length = session_length(session->session);
    const uint64_t max_tokens = session_max_tokens(session->session);
    if (!session_is_sound(session->session)) {
        return error_set(err, HEARTH_EDEVICE,
                         "session: its state was lost when a step failed at token %" PRIu64, length);
    }
    if (n_logits > n) {
        return error_set(err, HEARTH_EUSAGE, "logits of at most %zu tokens wanted, of %zu asked", n,
                         n_logits);
    }
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocab_size) {
            return error_set(err, HEARTH_EUSAGE, "token %zu: an id below %u wanted, %d found", i,
                             vocab_size, ids[i]);
        }
    }
    if (n > max_tokens - length) {
        return error_set(err, HEARTH_ECONTEXT,
                         "context: room for %zu more tokens wanted, %" PRIu64 " of %" PRIu64
                         " are taken (context.length)", n, length, max_tokens);
    }
    return HEARTH_OK;
}

int
hearth_session_feed(struct hearth_session *session, const int32_t *ids, size_t n, float *logits,
                    size_t n_logits, const struct hearth_progress *progress, struct hearth_error *err)
{
    struct hearth_engine *engine = session->engine;
    const size_t first_logit = n - n_logits;
    int status = check_feed(session, ids, n, n_logits, err);
    if (status == HEARTH_OK && n > 0) {
        status = tell(progress, 0, n, err);
    }
    for (size_t done = 0; status == HEARTH_OK && done < n;) {
        const uint32_t chunk =
            n - done < engine->rooms.chunk ? (uint32_t)(n - done) : engine->rooms.chunk;
        const size_t end = done + chunk;
        const size_t from = done > first_logit ? done : first_logit;
        const uint32_t n_here = end > from ? (uint32_t)(end - from) : 0;
        const size_t vocab_size = model_shape(engine->rooms.model)->vocab_size;
        float *target = n_here > 0 ? logits + (from - first_logit) * vocab_size : NULL;
        pthread_mutex_lock(&engine->lock);
        status = run_chunk(engine, session->session, ids + done, chunk, target, n_here, err);
        pthread_mutex_unlock(&engine->lock);
        done = end;
        if (status == HEARTH_OK) {
            const int told = tell(progress, done, n, err);
            status = done < n ? told : HEARTH_OK; /* what is finished cannot be interrupted */
        }
    }
    return status;
}
