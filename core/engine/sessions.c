/* sessions.c - the public side of sessions: one lock, and lengths checked against the model. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/base/error.h"

/* Wraps a session; frees it if there is no memory for the wrapper. */
static int
wrap(struct hearth_engine *engine, struct session *inner, struct hearth_session **ret_session,
     struct hearth_error *err)
{
    struct hearth_session *session = malloc(sizeof *session);
    if (!session) {
        session_free(inner);
        return error_no_memory(err, "a session");
    }
    *session = (struct hearth_session){
        .engine = engine, .session = inner, .next = engine->sessions, .link = &engine->sessions};
    if (session->next) {
        session->next->link = &session->next;
    }
    engine->sessions = session;
    *ret_session = session;
    return HEARTH_OK;
}

static int
settle_max_tokens(const struct hearth_engine *engine, uint64_t *max_tokens, struct hearth_error *err)
{
    const uint32_t limit = model_shape(engine->rooms.model)->max_positions;
    if (*max_tokens == 0) {
        *max_tokens = engine->rooms.context_length;
    }
    if (*max_tokens > limit) {
        return error_set(err, HEARTH_EUSAGE,
                         "session: a context of at most %u tokens wanted (the model's), %" PRIu64
                         " asked", limit, *max_tokens);
    }
    return HEARTH_OK;
}

int
hearth_session_new(struct hearth_engine *engine, uint64_t max_tokens,
                   struct hearth_session **ret_session, struct hearth_error *err)
{
    struct session *inner = NULL;
    bool may_refuse;
    int status = settle_max_tokens(engine, &max_tokens, err);
    if (status < 0) {
        return status;
    }
    pthread_mutex_lock(&engine->lock);
    do {
        status = engine_prepare(engine, NULL, NULL, err);
        may_refuse = status == HEARTH_OK && engine->sessions;
        status = status < 0 ? status : session_new(&engine->world, max_tokens, &inner, err);
    } while (status < 0 && engine_take_over(engine, status, may_refuse));
    status = status < 0 ? status : wrap(engine, inner, ret_session, err);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

void
hearth_session_free(struct hearth_session *session)
{
    if (!session) {
        return;
    }
    struct hearth_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    session_free(session->session);
    *session->link = session->next;
    if (session->next) {
        session->next->link = session->link;
    }
    pthread_mutex_unlock(&engine->lock);
    free(session);
}

int
hearth_session_fork(const struct hearth_session *session, struct hearth_session **ret_session,
                    struct hearth_error *err)
{
    struct hearth_engine *engine = session->engine;
    struct session *inner = NULL;
    bool may_refuse;
    int status;
    pthread_mutex_lock(&engine->lock);
    do {
        status = engine_prepare(engine, session->session, NULL, err);
        may_refuse = status == HEARTH_OK;
        status = status < 0 ? status : session_fork(session->session, &inner, err);
    } while (status < 0 && engine_take_over(engine, status, may_refuse));
    status = status < 0 ? status : wrap(engine, inner, ret_session, err);
    pthread_mutex_unlock(&engine->lock);
    return status;
}

uint64_t
hearth_session_length(const struct hearth_session *session)
{
    return session_length(session->session);
}

const int32_t *
hearth_session_ids(const struct hearth_session *session)
{
    return session_ids(session->session);
}

int
hearth_session_save(const struct hearth_session *session, const char *path, struct hearth_error *err)
{
    struct hearth_engine *engine = session->engine;
    int status;
    pthread_mutex_lock(&engine->lock);
    do {
        status = engine_prepare(engine, session->session, NULL, err);
        status = status < 0 ? status : session_save(session->session, path, err);
    } while (status < 0 && engine_take_over(engine, status, false));
    pthread_mutex_unlock(&engine->lock);
    return status;
}

int
hearth_session_load(struct hearth_engine *engine, const char *path, uint64_t max_tokens,
                    struct hearth_session **ret_session, struct hearth_error *err)
{
    struct session *inner = NULL;
    bool may_refuse;
    int status = settle_max_tokens(engine, &max_tokens, err);
    if (status < 0) {
        return status;
    }
    pthread_mutex_lock(&engine->lock);
    do {
        status = engine_prepare(engine, NULL, NULL, err);
        may_refuse = status == HEARTH_OK && engine->sessions;
        status = status < 0 ? status : session_load(&engine->world, path, max_tokens, &inner, err);
    } while (status < 0 && engine_take_over(engine, status, may_refuse));
    status = status < 0 ? status : wrap(engine, inner, ret_session, err);
    pthread_mutex_unlock(&engine->lock);
    return status;
}
