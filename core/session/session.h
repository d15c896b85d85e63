/* core/session/session.h - one conversation: its tokens and, per layer, its KV state in device memory.
 *
 * State follows the plan: every layer's rings, entries, keys and unfinished groups lie in buffers of the device that
 * attends there.  State that is lost with its device is computed again from the tokens.  Entries and keys grow by
 * doubling up to what max_tokens needs.  This room moves bytes; what they mean is the operations' business.
 * Thread: one at a time. */
#ifndef CORE_SESSION_SESSION_H
#define CORE_SESSION_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/placement/plan.h"
#include "core/plugin/plugin_set.h"

struct session;

/* What every session of an engine shares.  All of it must outlive the session. */
struct session_world {
    const struct model_shape *shape;
    const struct plan *plan;
    struct plugin_device *const *devices;
    const unsigned char *identity; /* 32 bytes: the model's */
    uint32_t numerics;
    struct state_format format;
};

/* Owner: the caller; session_free.  Errors: EMEMORY, device errors. */
int session_new(const struct session_world *world, uint64_t max_tokens, struct session **ret_session,
                struct hearth_error *err);
void session_free(struct session *session); /* NULL allowed */
int session_fork(const struct session *session, struct session **ret_session,
                 struct hearth_error *err);

uint64_t session_length(const struct session *session);
uint64_t session_max_tokens(const struct session *session);
const int32_t *session_ids(const struct session *session);

/* The tokens that the state has seen: all of them, or fewer while they are computed again.  0 once it is lost. */
uint64_t session_covered(const struct session *session);
/* Follows another plan.  State that does not lie where that plan wants it is lost, and its memory is given back. */
void session_move(struct session *session, const struct session_world *world);
/* A step failed midway: the state is of no known position. */
void session_lose(struct session *session);
bool session_is_lost(const struct session *session);
/* Lost state begins anew, at no token; the session's tokens stay, to be fed again from session_ids.  Errors: EMEMORY,
 * device errors, EUNSUPPORTED (a pretended session has no tokens that would give its state). */
int session_restart(struct session *session, struct hearth_error *err);

/* Makes room for n more tokens behind those covered; nothing of the state changes.  Errors: ECONTEXT, EMEMORY. */
int session_reserve(struct session *session, uint64_t n, struct hearth_error *err);
/* The buffer of a state, for a command of that layer. */
struct hearth_view session_state(const struct session *session, uint32_t layer, enum state_kind kind);
/* A step over n tokens begins.  Where all state lies in host memory beside devices that might fail, what the step will
 * destroy is kept. */
void session_begin(struct session *session, uint64_t n);
/* It is done: the state covers n tokens more.  ids may be the session's own. */
void session_advance(struct session *session, const int32_t *ids, uint64_t n);
/* It failed: the state is again what it was before, or else it is lost. */
void session_undo(struct session *session);

/* For measuring: makes the session look as if length tokens had been fed to it.  Tokens and rows behind its present
 * length are random, rings and unfinished groups too; every number is one that the operations could have stored.  A
 * smaller length only goes back.  Memory for max_tokens is taken at once, so that nothing grows while somebody looks at
 * a clock.  Errors: ECONTEXT, EMEMORY, device errors (the state is then lost). */
int session_pretend(struct session *session, uint64_t length, struct hearth_error *err);

/* Writes the session to a file that appears whole or not at all.  Errors: EIO. */
int session_save(const struct session *session, const char *path, struct hearth_error *err);
/* Errors: EIO, EFORMAT (damaged, or of another model, numerics or version), ECONTEXT (longer than
 * max_tokens), EMEMORY. */
int session_load(const struct session_world *world, const char *path, uint64_t max_tokens,
                 struct session **ret_session, struct hearth_error *err);

#endif
