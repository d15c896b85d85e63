/* core/placement/state_size.h - how large the state of a conversation is.
 *
 * Per layer: the window ring; with a compressor its entries and its unfinished groups; with an indexer
 * the same again for its keys.  Rings and unfinished groups are as large as they ever get from the start;
 * entries and keys grow with the context.  Source: specification 6.1, 12.3. */
#ifndef CORE_PLACEMENT_STATE_SIZE_H
#define CORE_PLACEMENT_STATE_SIZE_H

#include "core/model/shape.h"

enum state_kind {
    STATE_RING = 0,         /* kv rows, slot = position mod ring_slots */
    STATE_ENTRIES,          /* kv rows, entry w covers the tokens ratio*w .. */
    STATE_INDEX_KEYS,       /* indexer-key rows, same numbering */
    STATE_COMPRESSOR,       /* one row: values, then scores (hearth_op_compress) */
    STATE_INDEX_COMPRESSOR,
    N_STATE_KINDS
};

/* What the sizes depend on besides the shape. */
struct state_format {
    uint32_t kv_format;  /* enum hearth_kv_format */
    uint32_t ring_slots; /* >= window - 1 + the most tokens of one step */
};

/* Slots a ring needs so that a step of max_step tokens never overwrites a row it still reads. */
uint32_t state_ring_slots(const struct model_shape *shape, uint32_t max_step);
/* Bytes of one row; 0: the layer has no such state. */
uint64_t state_row_bytes(const struct model_shape *shape, uint32_t layer, enum state_kind kind,
                         const struct state_format *format);
/* Rows in use, or to be allocated, at n_tokens of context. */
uint64_t state_rows(const struct model_shape *shape, uint32_t layer, enum state_kind kind,
                    const struct state_format *format, uint64_t n_tokens);
/* All state of one layer. */
uint64_t state_layer_bytes(const struct model_shape *shape, uint32_t layer,
                           const struct state_format *format, uint64_t n_tokens);

#endif
