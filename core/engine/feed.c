/* feed.c - tokens into a session, a chunk at a time: graph, exec, and the logits somebody wants.
 *
 * Between chunks progress is told and may interrupt; a chunk is all or nothing.  One that fails leaves the session's
 * tokens as they were; what it did to their state, the next call computes again (takeover.c). */
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

int
engine_step(struct hearth_engine *engine, struct session *session, const int32_t *ids, uint32_t n, float *logits,
            uint32_t n_logits, struct hearth_error *err)
{
    struct graph_step step;
    int status = session_reserve(session, n, err);
    if (status < 0) {
        return status;
    }
    engine_step_init(engine, session_covered(session), n, &step);
    status = graph_build_layers(&engine->graph, &step, err);
    if (status == HEARTH_OK) {
        status = exec_write_ids(engine->exec, ids, n, err);
    }
    if (status < 0) {
        return status;
    }
    session_begin(session, n);
    status = exec_run(engine->exec, &engine->graph, session, err);
    if (status == HEARTH_OK && n_logits > 0) {
        status = run_head(engine, session, &step, n - n_logits, logits, err);
    }
    if (status < 0) {
        session_undo(session);
        return status;
    }
    session_advance(session, ids, n);
    return HEARTH_OK;
}

/* The same for the session's own next tokens, whatever becomes of the devices meanwhile. */
static int
run_chunk(struct hearth_session *session, const int32_t *ids, uint32_t n, float *logits, uint32_t n_logits,
          const struct hearth_progress *progress, struct hearth_error *err)
{
    struct hearth_engine *engine = session->engine;
    bool may_refuse;
    int status;
    pthread_mutex_lock(&engine->lock);
    do {
        may_refuse = false;
        status = engine_prepare(engine, session->session, progress, err);
        if (status == HEARTH_OK) {
            status = session_reserve(session->session, n, err);
            may_refuse = status < 0 && engine->sessions->next;
        }
        if (status == HEARTH_OK) {
            status = engine_step(engine, session->session, ids, n, logits, n_logits, err);
        }
    } while (status < 0 && engine_take_over(engine, status, may_refuse));
    pthread_mutex_unlock(&engine->lock);
    return status;
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
        status = run_chunk(session, ids + done, chunk, target, n_here, progress, err);
        done = end;
        if (status == HEARTH_OK) {
            const int told = tell(progress, done, n, err);
            status = done < n ? told : HEARTH_OK; /* what is finished cannot be interrupted */
        }
    }
    return status;
}
