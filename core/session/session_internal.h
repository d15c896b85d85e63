/* core/session/session_internal.h - the members of a session, for the files of this room. */
#ifndef CORE_SESSION_SESSION_INTERNAL_H
#define CORE_SESSION_SESSION_INTERNAL_H

#include "core/session/session.h"

struct state {
    struct plugin_device *device; /* of the buffer */
    struct hearth_buffer *buffer; /* NULL: the layer has no such state, or no row of it yet */
    uint64_t row_bytes;           /* 0: the layer has no such state */
    uint64_t capacity_rows;
};

/* What the running step destroys: undo.c. */
struct undo {
    uint64_t n_tokens;    /* of the step; 0: it cannot be taken back */
    unsigned char *bytes; /* room for the unfinished groups of all layers; NULL: not needed so far */
};

struct session {
    struct session_world world;
    uint64_t max_tokens;
    uint64_t length;          /* of ids; of no concern to other threads, unlike all that follows */
    uint64_t covered;         /* tokens that the state has seen */
    uint64_t capacity_tokens; /* of ids; entries and keys have room for as many */
    int32_t *ids;
    bool is_lost;             /* the state is of no known position */
    bool is_pretended;        /* no tokens give this state */
    struct state *states;     /* [n_layers][N_STATE_KINDS] */
    struct undo undo;
};

/* Bytes are moved through a piece of memory of this size. */
#define SESSION_PIECE_BYTES (UINT64_C(1) << 20)

struct state *session_find(const struct session *session, uint32_t layer, enum state_kind kind);
struct plugin_device *session_device(const struct session *session, uint32_t layer);
/* Rows of a state that mean something. */
uint64_t session_rows(const struct session *session, uint32_t layer, enum state_kind kind);
int session_write(const struct session *session, uint32_t layer, enum state_kind kind,
                  uint64_t offset, const void *bytes, uint64_t size, struct hearth_error *err);
int session_read(const struct session *session, uint32_t layer, enum state_kind kind,
                 uint64_t offset, void *bytes, uint64_t size, struct hearth_error *err);

#endif
