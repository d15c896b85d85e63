/* core/session/session_internal.h - the members of a session, for the files of this room. */
#ifndef CORE_SESSION_SESSION_INTERNAL_H
#define CORE_SESSION_SESSION_INTERNAL_H

#include "core/session/session.h"

struct state {
    struct hearth_buffer *buffer; /* NULL: the layer has no such state, or no row of it yet */
    uint64_t row_bytes;           /* 0: the layer has no such state */
    uint64_t capacity_rows;
};

struct session {
    struct session_world world;
    uint64_t max_tokens;
    uint64_t length;
    uint64_t capacity_tokens; /* of ids; entries and keys have room for as many */
    int32_t *ids;
    bool is_spoilt;
    struct state *states;     /* [n_layers][N_STATE_KINDS] */
};

/* Bytes are moved through a piece of memory of this size. */
#define SESSION_PIECE_BYTES (UINT64_C(1) << 20)

struct state *session_find(const struct session *session, uint32_t layer, enum state_kind kind);
const struct plugin_device *session_device(const struct session *session, uint32_t layer);
/* Rows of a state that mean something at the session's length. */
uint64_t session_rows(const struct session *session, uint32_t layer, enum state_kind kind);
int session_write(const struct session *session, uint32_t layer, enum state_kind kind,
                  uint64_t offset, const void *bytes, uint64_t size, struct hearth_error *err);
int session_read(const struct session *session, uint32_t layer, enum state_kind kind,
                 uint64_t offset, void *bytes, uint64_t size, struct hearth_error *err);

#endif
