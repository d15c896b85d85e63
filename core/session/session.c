/* session.c - one timeline: making, growing and forking its state.  snapshot.c writes it to a file. */
#include "core/session/session_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/error.h"

/* A new conversation gets room for this many tokens; it doubles from there. */
#define FIRST_CAPACITY_TOKENS 1024u

struct state *
session_find(const struct session *session, uint32_t layer, enum state_kind kind)
{
    assert(layer < session->world.shape->n_layers && kind < N_STATE_KINDS);
    return &session->states[(size_t)layer * N_STATE_KINDS + kind];
}

struct plugin_device *
session_device(const struct session *session, uint32_t layer)
{
    return session->world.devices[plan_state_device(session->world.plan, layer)];
}

uint64_t
session_rows(const struct session *session, uint32_t layer, enum state_kind kind)
{
    return state_rows(session->world.shape, layer, kind, &session->world.format, session->covered);
}

static int
device_write(struct plugin_device *device, struct hearth_view view, const void *bytes, uint64_t size,
             struct hearth_error *err)
{
    struct hearth_error reason = {0};
    const int status = device->plugin->buffer_write(device->device, view, bytes, size, NULL, &reason);
    return status < 0 ? plugin_device_failed(device, status, &reason, err) : HEARTH_OK;
}

static int
device_read(struct plugin_device *device, struct hearth_view view, void *bytes, uint64_t size, struct hearth_error *err)
{
    struct hearth_error reason = {0};
    const int status = device->plugin->buffer_read(device->device, bytes, view, size, NULL, &reason);
    return status < 0 ? plugin_device_failed(device, status, &reason, err) : HEARTH_OK;
}

int
session_write(const struct session *session, uint32_t layer, enum state_kind kind, uint64_t offset,
              const void *bytes, uint64_t size, struct hearth_error *err)
{
    const struct state *state = session_find(session, layer, kind);
    return device_write(state->device, (struct hearth_view){state->buffer, offset}, bytes, size, err);
}

int
session_read(const struct session *session, uint32_t layer, enum state_kind kind, uint64_t offset,
             void *bytes, uint64_t size, struct hearth_error *err)
{
    const struct state *state = session_find(session, layer, kind);
    return device_read(state->device, (struct hearth_view){state->buffer, offset}, bytes, size, err);
}

/* The first size bytes of one buffer over another's; piece by piece, so offsets stay aligned. */
static int
copy_bytes(struct plugin_device *device, struct hearth_buffer *from, struct hearth_buffer *to, uint64_t size,
           struct hearth_error *err)
{
    int status = HEARTH_OK;
    unsigned char *piece = malloc(SESSION_PIECE_BYTES);
    if (!piece) {
        return error_no_memory(err, "a copy of session state");
    }
    for (uint64_t offset = 0; status == HEARTH_OK && offset < size; offset += SESSION_PIECE_BYTES) {
        const uint64_t rest = size - offset;
        const uint64_t n = rest < SESSION_PIECE_BYTES ? rest : SESSION_PIECE_BYTES;
        status = device_read(device, (struct hearth_view){from, offset}, piece, n, err);
        if (status == HEARTH_OK) {
            status = device_write(device, (struct hearth_view){to, offset}, piece, n, err);
        }
    }
    free(piece);
    return status;
}

/* Rings start as zeros only so that nothing undefined is ever read; unfinished groups start as value 0 and
 * score -infinity (trap 7 of the specification). */
static int
write_initial(const struct session *session, uint32_t layer, enum state_kind kind,
              struct hearth_error *err)
{
    const struct state *state = session_find(session, layer, kind);
    const uint64_t size = state->row_bytes * state->capacity_rows;
    float *initial = calloc(1, size);
    if (!initial) {
        return error_no_memory(err, "session state");
    }
    if (kind == STATE_COMPRESSOR || kind == STATE_INDEX_COMPRESSOR) {
        const size_t n = size / sizeof(float);
        for (size_t i = n / 2; i < n; i++) {
            initial[i] = -INFINITY;
        }
    }
    const int status = session_write(session, layer, kind, 0, initial, size, err);
    free(initial);
    return status;
}

static void
state_free(struct state *state)
{
    if (state->buffer) {
        state->device->plugin->buffer_free(state->device->device, state->buffer);
    }
    state->buffer = NULL;
    state->capacity_rows = 0;
}

/* A buffer of n_rows that begins with the first n_kept rows of the old one. */
static int
resize_state(struct session *session, uint32_t layer, enum state_kind kind, uint64_t n_rows,
             uint64_t n_kept, struct hearth_error *err)
{
    struct state *state = session_find(session, layer, kind);
    struct plugin_device *device = session_device(session, layer);
    struct hearth_buffer *buffer = NULL;
    struct hearth_error reason = {0};
    uint64_t size;
    if (!mul_size(n_rows, state->row_bytes, &size)) {
        return error_no_memory(err, "session state");
    }
    int status = device->plugin->buffer_alloc(device->device, size, &buffer, &reason);
    if (status < 0) {
        return plugin_device_failed(device, status, &reason, err);
    }
    if (n_kept > 0) {
        status = copy_bytes(device, state->buffer, buffer, n_kept * state->row_bytes, err);
    }
    if (status < 0) {
        device->plugin->buffer_free(device->device, buffer);
        return status;
    }
    state_free(state);
    state->device = device;
    state->buffer = buffer;
    state->capacity_rows = n_rows;
    return HEARTH_OK;
}

static bool
grows(enum state_kind kind)
{
    return kind == STATE_ENTRIES || kind == STATE_INDEX_KEYS;
}

/* Rings and unfinished groups, at full size, in their initial state. */
static int
make_fixed_states(struct session *session, struct hearth_error *err)
{
    const struct model_shape *shape = session->world.shape;
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        for (int i = 0; i < N_STATE_KINDS; i++) {
            const enum state_kind kind = (enum state_kind)i;
            struct state *state = session_find(session, layer, kind);
            state->row_bytes = state_row_bytes(shape, layer, kind, &session->world.format);
            if (state->row_bytes == 0 || grows(kind)) {
                continue;
            }
            const uint64_t n_rows = state_rows(shape, layer, kind, &session->world.format, 0);
            int status = resize_state(session, layer, kind, n_rows, 0, err);
            if (status == HEARTH_OK) {
                status = write_initial(session, layer, kind, err);
            }
            if (status < 0) {
                return status;
            }
        }
    }
    return HEARTH_OK;
}

static int
resize_ids(struct session *session, uint64_t n_tokens, struct hearth_error *err)
{
    uint64_t size;
    if (!mul_size(n_tokens, sizeof(int32_t), &size) || size > SIZE_MAX) {
        return error_no_memory(err, "token ids");
    }
    int32_t *ids = realloc(session->ids, size);
    if (!ids) {
        return error_no_memory(err, "token ids");
    }
    session->ids = ids;
    return HEARTH_OK;
}

/* Room for n_tokens in ids, entries and keys. */
static int
resize(struct session *session, uint64_t n_tokens, struct hearth_error *err)
{
    const struct model_shape *shape = session->world.shape;
    int status = n_tokens > session->capacity_tokens ? resize_ids(session, n_tokens, err) : HEARTH_OK;
    if (status < 0) {
        return status;
    }
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        for (int i = STATE_ENTRIES; i <= STATE_INDEX_KEYS; i++) {
            const enum state_kind kind = (enum state_kind)i;
            const struct state *state = session_find(session, layer, kind);
            /* a command names the buffer even while the first group is unfinished: one row at least */
            const uint64_t n_rows =
                state_rows(shape, layer, kind, &session->world.format, n_tokens) + 1;
            if (state->row_bytes == 0 || n_rows <= state->capacity_rows) {
                continue;
            }
            status = resize_state(session, layer, kind, n_rows, session_rows(session, layer, kind), err);
            if (status < 0) {
                return status;
            }
        }
    }
    session->capacity_tokens = n_tokens;
    return HEARTH_OK;
}

int
session_new(const struct session_world *world, uint64_t max_tokens, struct session **ret_session,
            struct hearth_error *err)
{
    assert(max_tokens > 0);
    int status = HEARTH_OK;
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        return error_no_memory(err, "a session");
    }
    session->world = *world;
    session->max_tokens = max_tokens;
    session->states = calloc((size_t)world->shape->n_layers * N_STATE_KINDS, sizeof(struct state));
    if (!session->states) {
        status = error_no_memory(err, "a session");
        goto fail;
    }
    status = make_fixed_states(session, err);
    if (status < 0) {
        goto fail;
    }
    status = resize(session, max_tokens < FIRST_CAPACITY_TOKENS ? max_tokens : FIRST_CAPACITY_TOKENS,
                    err);
    if (status < 0) {
        goto fail;
    }
    *ret_session = session;
    return HEARTH_OK;

fail:
    session_free(session);
    return status;
}

static void
free_states(struct session *session)
{
    for (size_t i = 0; i < (size_t)session->world.shape->n_layers * N_STATE_KINDS; i++) {
        state_free(&session->states[i]);
    }
}

void
session_free(struct session *session)
{
    if (!session) {
        return;
    }
    if (session->states) {
        free_states(session);
    }
    free(session->states);
    free(session->undo.bytes);
    free(session->ids);
    free(session);
}

int
session_fork(const struct session *session, struct session **ret_session, struct hearth_error *err)
{
    const uint32_t n_layers = session->world.shape->n_layers;
    struct session *fork = NULL;
    int status = session_new(&session->world, session->max_tokens, &fork, err);
    if (status == HEARTH_OK && session->capacity_tokens > fork->capacity_tokens) {
        status = resize(fork, session->capacity_tokens, err);
    }
    for (uint32_t layer = 0; status == HEARTH_OK && layer < n_layers; layer++) {
        for (int i = 0; status == HEARTH_OK && i < N_STATE_KINDS; i++) {
            const enum state_kind kind = (enum state_kind)i;
            const struct state *from = session_find(session, layer, kind);
            status = copy_bytes(from->device, from->buffer, session_find(fork, layer, kind)->buffer,
                                session_rows(session, layer, kind) * from->row_bytes, err);
        }
    }
    if (status < 0) {
        session_free(fork);
        return status;
    }
    memcpy(fork->ids, session->ids, session->length * sizeof(int32_t));
    fork->length = session->length;
    fork->covered = session->covered;
    fork->is_pretended = session->is_pretended;
    *ret_session = fork;
    return HEARTH_OK;
}

uint64_t
session_length(const struct session *session)
{
    return session->length;
}

uint64_t
session_max_tokens(const struct session *session)
{
    return session->max_tokens;
}

const int32_t *
session_ids(const struct session *session)
{
    return session->ids;
}

uint64_t
session_covered(const struct session *session)
{
    return session->covered;
}

int
session_reserve(struct session *session, uint64_t n, struct hearth_error *err)
{
    if (n > session->max_tokens - session->covered) {
        return error_set(err, HEARTH_ECONTEXT,
                         "context: room for %" PRIu64 " more tokens wanted, %" PRIu64 " of %" PRIu64 " are taken", n,
                         session->covered, session->max_tokens);
    }
    const uint64_t wanted = session->covered + n;
    if (wanted <= session->capacity_tokens) {
        return HEARTH_OK;
    }
    uint64_t capacity = 2 * session->capacity_tokens;
    capacity = capacity < wanted ? wanted : capacity;
    return resize(session, capacity < session->max_tokens ? capacity : session->max_tokens, err);
}

struct hearth_view
session_state(const struct session *session, uint32_t layer, enum state_kind kind)
{
    return (struct hearth_view){session_find(session, layer, kind)->buffer, 0};
}

void
session_advance(struct session *session, const int32_t *ids, uint64_t n)
{
    assert(session->covered + n <= session->capacity_tokens);
    session->covered += n;
    session->undo.n_tokens = 0;
    if (session->covered > session->length) {
        memcpy(session->ids + session->length, ids, n * sizeof *ids);
        session->length = session->covered;
    }
}

void
session_move(struct session *session, const struct session_world *world)
{
    bool stays = true;
    session->world = *world;
    for (size_t i = 0; i < (size_t)world->shape->n_layers * N_STATE_KINDS; i++) {
        const struct state *state = &session->states[i];
        stays = stays && (!state->buffer || state->device == session_device(session, (uint32_t)(i / N_STATE_KINDS)));
    }
    if (!stays) {
        free_states(session);
        session_lose(session);
    }
}

void
session_lose(struct session *session)
{
    session->is_lost = true;
    session->covered = 0;
    session->undo.n_tokens = 0;
}

bool
session_is_lost(const struct session *session)
{
    return session->is_lost;
}

int
session_restart(struct session *session, struct hearth_error *err)
{
    if (session->is_pretended) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "session: its state was lost, and it was a pretended one: no tokens give it again");
    }
    int status = make_fixed_states(session, err);
    if (status == HEARTH_OK) {
        status = resize(session, session->capacity_tokens, err);
    }
    if (status == HEARTH_OK) {
        session->is_lost = false;
    }
    return status;
}
