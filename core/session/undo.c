/* undo.c - a step that fails midway, taken back.
 *
 * Where all state lies in host memory and another device does a part of every step (experts, say), that device's end
 * must not cost the conversation.  A step that is run again writes the same rows to the same places of rings, entries
 * and keys; only unfinished groups are used up when a step completes them, so those are kept until the step has ended.
 * Without memory for that the state is lost, and computed again. */
#include <stdlib.h>
#include <string.h>

#include "core/session/session_internal.h"

static const enum state_kind group_kinds[] = {STATE_COMPRESSOR, STATE_INDEX_COMPRESSOR};

#define N_GROUP_KINDS (sizeof group_kinds / sizeof group_kinds[0])

/* The state's bytes in this process; NULL: it has none there. */
static unsigned char *
host_bytes(const struct state *state)
{
    const struct plugin_device *device = state->device;
    return (device->info.flags & HEARTH_DEVICE_HOST_MEMORY) && device->plugin->buffer_host
               ? device->plugin->buffer_host(device->device, state->buffer)
               : NULL;
}

/* Whether all state is within reach while another device takes part in the steps. */
static bool
is_needed(const struct session *session)
{
    const struct session_world *world = &session->world;
    uint32_t owners = 0;
    bool others = false;
    for (uint32_t layer = 0; layer < world->shape->n_layers; layer++) {
        owners |= UINT32_C(1) << plan_state_device(world->plan, layer);
        for (size_t i = 0; i < N_GROUP_KINDS; i++) {
            const struct state *state = session_find(session, layer, group_kinds[i]);
            if (state->buffer && !host_bytes(state)) {
                return false;
            }
        }
    }
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        const bool is_owner = owners >> i & 1u;
        if (is_owner && !(world->devices[i]->info.flags & HEARTH_DEVICE_HOST_MEMORY)) {
            return false;
        }
        others = others || (!is_owner && plan_uses_device(world->plan, i));
    }
    return others;
}

/* Copies the unfinished groups that a step over n tokens completes: out of the way, or back.  Bytes of all groups. */
static uint64_t
pass_groups(const struct session *session, uint64_t n, unsigned char *bytes, bool is_back)
{
    uint64_t at = 0;
    for (uint32_t layer = 0; layer < session->world.shape->n_layers; layer++) {
        const uint64_t ratio = session->world.shape->compress_ratios[layer];
        for (size_t i = 0; i < N_GROUP_KINDS; i++) {
            const struct state *state = session_find(session, layer, group_kinds[i]);
            if (bytes && state->buffer && session->covered % ratio + n >= ratio) {
                unsigned char *here = host_bytes(state);
                memcpy(is_back ? here : bytes + at, is_back ? bytes + at : here, state->row_bytes);
            }
            at += state->row_bytes;
        }
    }
    return at;
}

void
session_begin(struct session *session, uint64_t n)
{
    struct undo *undo = &session->undo;
    undo->n_tokens = 0;
    if (!is_needed(session)) {
        return;
    }
    if (!undo->bytes) {
        const uint64_t size = pass_groups(session, n, NULL, false);
        undo->bytes = malloc(size > 0 ? size : 1);
    }
    if (undo->bytes) {
        pass_groups(session, n, undo->bytes, false);
        undo->n_tokens = n;
    }
}

void
session_undo(struct session *session)
{
    struct undo *undo = &session->undo;
    if (undo->n_tokens == 0) {
        session_lose(session);
        return;
    }
    pass_groups(session, undo->n_tokens, undo->bytes, true);
    undo->n_tokens = 0;
}
