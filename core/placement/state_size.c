/* state_size.c - see state_size.h. */
#include "core/placement/state_size.h"

#include <hearth/command.h>

uint32_t
state_ring_slots(const struct model_shape *shape, uint32_t max_step)
{
    return shape->window - 1 + max_step;
}

/* values and scores, each [c * ratio][c * width] f32; ratio 4 overlaps: c = 2 */
static uint64_t
compressor_bytes(uint32_t ratio, uint32_t width)
{
    const uint64_t c = ratio == 4 ? 2 : 1;
    return 2 * (c * ratio) * (c * width) * sizeof(float);
}

uint64_t
state_row_bytes(const struct model_shape *shape, uint32_t layer, enum state_kind kind,
                const struct state_format *format)
{
    const enum layer_kind layer_kind = shape_layer_kind(shape, layer);
    const uint32_t ratio = shape->compress_ratios[layer];
    const uint64_t kv = hearth_kv_row_bytes(format->kv_format, shape->head_dim, shape->rope_dim);
    switch (kind) {
    case STATE_RING:
        return kv;
    case STATE_ENTRIES:
        return layer_kind != LAYER_SWA ? kv : 0;
    case STATE_COMPRESSOR:
        return layer_kind != LAYER_SWA ? compressor_bytes(ratio, shape->head_dim) : 0;
    case STATE_INDEX_KEYS:
        return layer_kind == LAYER_CSA
                   ? hearth_index_row_bytes(format->kv_format, shape->index_head_dim) : 0;
    case STATE_INDEX_COMPRESSOR:
        return layer_kind == LAYER_CSA ? compressor_bytes(ratio, shape->index_head_dim) : 0;
    case N_STATE_KINDS:
        break;
    }
    return 0;
}

uint64_t
state_rows(const struct model_shape *shape, uint32_t layer, enum state_kind kind,
           const struct state_format *format, uint64_t n_tokens)
{
    if (state_row_bytes(shape, layer, kind, format) == 0) {
        return 0;
    }
    switch (kind) {
    case STATE_RING:
        return format->ring_slots;
    case STATE_ENTRIES:
    case STATE_INDEX_KEYS:
        return n_tokens / shape->compress_ratios[layer];
    default:
        return 1;
    }
}

uint64_t
state_layer_bytes(const struct model_shape *shape, uint32_t layer,
                  const struct state_format *format, uint64_t n_tokens)
{
    uint64_t bytes = 0;
    for (int kind = 0; kind < N_STATE_KINDS; kind++) {
        bytes += state_row_bytes(shape, layer, (enum state_kind)kind, format) *
                 state_rows(shape, layer, (enum state_kind)kind, format, n_tokens);
    }
    return bytes;
}
