/* cost.c - see cost.h.  Agrees with sizes.c: of one token, weights are its active bytes, operations its FLOPs. */
#include "core/model/cost.h"

#include <math.h>
#include <stddef.h>

#include <hearth/command.h>

#include "core/model/layout.h"

enum state_cost { COST_WINDOW = 0, COST_ENTRIES, COST_INDEX_KEYS, COST_COMPRESSOR_STATE, N_STATE_COSTS };

static const char *const state_names[N_STATE_COSTS] = {"window_rows", "entries", "index_keys", "compressor_state"};

struct sum {
    const struct cost_step *step;
    struct hearth_cost weights[N_TENSOR_KINDS];
    struct hearth_cost state[N_STATE_COSTS];
};

static void
add(struct hearth_cost *sum, double bytes, double quantised, double exact)
{
    sum->bytes += bytes;
    sum->quantised_operations += quantised;
    sum->exact_operations += exact;
}

/* The part of a tensor's bytes that the step reads, and the number of its tokens that multiply with it. */
static void
take_shares(const struct cost_step *step, enum tensor_kind kind, double *ret_read, double *ret_tokens)
{
    const double n = (double)step->n_tokens;
    const double chosen = (double)step->shape->experts_per_token / step->shape->n_experts;
    *ret_read = 1;
    *ret_tokens = n;
    if (kind == TENSOR_EMBEDDING || kind == TENSOR_HASH) { /* rows are looked up */
        *ret_read = n / step->shape->vocab_size;
        *ret_tokens = 0;
    } else if (kind == TENSOR_ROUTED) { /* as if every expert were as likely */
        *ret_read = 1 - pow(1 - chosen, n);
        *ret_tokens = n * chosen;
    } else if (kind == TENSOR_HEAD) {
        *ret_tokens = 1;
    }
}

/* Products whose activations are quantised too: all of quantised weights, but not wo_a (command.h, output_groups). */
static bool
is_quantised(const struct cost_step *step, const struct layout_matrix *place, enum hearth_dtype dtype)
{
    const bool is_wo_a = place->owner == LAYOUT_LAYER && place->member == offsetof(struct layer_roles, wo_a);
    return step->numerics == HEARTH_NATIVE && (dtype == HEARTH_E4M3 || dtype == HEARTH_E2M1X2) && !is_wo_a;
}

static int
add_matrix(void *context, const struct layout_matrix *place, struct hearth_error *err)
{
    struct sum *sum = context;
    const enum hearth_dtype dtype = place->dtype == HEARTH_DTYPE_NONE ? sum->step->expert_dtype : place->dtype;
    struct layout_tensor scale;
    double read, tokens;
    (void)err;
    if (place->owner == LAYOUT_STAGE) {
        return HEARTH_OK; /* a drafter is not loaded */
    }
    take_shares(sum->step, place->kind, &read, &tokens);
    const double operations = 2 * tokens * (double)place->rows * (double)place->cols;
    const bool quantised = is_quantised(sum->step, place, dtype);
    double bytes = (double)layout_weight(place, dtype).size_bytes;
    if (layout_scale(place, dtype, &scale)) {
        bytes += (double)scale.size_bytes;
    }
    if (place->kind == TENSOR_HEAD && sum->step->head_bytes > 0) {
        bytes = fmin(bytes, (double)sum->step->head_bytes);
    }
    add(&sum->weights[place->kind], bytes * read, quantised ? operations : 0, quantised ? 0 : operations);
    return HEARTH_OK;
}

/* What one token at that position reads and multiplies of a layer's state. */
static void
add_state(struct sum *sum, uint32_t layer, uint64_t position)
{
    const struct model_shape *shape = sum->step->shape;
    const uint32_t ratio = shape->compress_ratios[layer];
    const double row = (double)hearth_kv_row_bytes(sum->step->kv_format, shape->head_dim, shape->rope_dim);
    const double row_operations = 4.0 * shape->n_heads * shape->head_dim; /* scores and weighted sums */
    const uint64_t seen = position + 1;
    const double window = (double)(seen < shape->window ? seen : shape->window);
    add(&sum->state[COST_WINDOW], window * row, 0, window * row_operations);
    if (ratio == 0) {
        return;
    }
    const bool indexed = ratio == 4;
    const uint64_t entries = seen / ratio;
    const double chosen = (double)(indexed && entries > shape->index_topk ? shape->index_topk : entries);
    add(&sum->state[COST_ENTRIES], chosen * row, 0, chosen * row_operations);
    const double width = shape->head_dim + (indexed ? shape->index_head_dim : 0u);
    const double overlap = shape_overlap(ratio);
    /* values and scores of a whole state, [overlap * ratio][overlap * width], once in ratio tokens */
    add(&sum->state[COST_COMPRESSOR_STATE], 2 * overlap * overlap * width * sizeof(float), 0, 0);
    if (indexed) {
        const double key = (double)hearth_index_row_bytes(sum->step->kv_format, shape->index_head_dim);
        const double operations = 2.0 * (double)entries * shape->index_n_heads * shape->index_head_dim;
        const bool quantised = sum->step->numerics == HEARTH_NATIVE;
        add(&sum->state[COST_INDEX_KEYS], (double)entries * key, quantised ? operations : 0,
            quantised ? 0 : operations);
    }
}

static void
append(struct hearth_costs *costs, const char *kind, struct hearth_cost cost)
{
    if (cost.bytes == 0) {
        return;
    }
    cost.kind = kind;
    costs->items[costs->n_items++] = cost;
    add(&costs->total, cost.bytes, cost.quantised_operations, cost.exact_operations);
}

void
cost_of_step(const struct cost_step *step, struct hearth_costs *ret_costs)
{
    struct sum sum = {.step = step};
    struct hearth_costs costs = {.total.kind = "total"};
    layout_walk(step->shape, add_matrix, &sum, NULL);
    for (uint64_t token = 0; token < step->n_tokens; token++) {
        for (uint32_t layer = 0; layer < step->shape->n_layers; layer++) {
            add_state(&sum, layer, step->position + token);
        }
    }
    for (int kind = 0; kind < N_TENSOR_KINDS; kind++) {
        append(&costs, tensor_kind_text((enum tensor_kind)kind), sum.weights[kind]);
    }
    for (int kind = 0; kind < N_STATE_COSTS; kind++) {
        append(&costs, state_names[kind], sum.state[kind]);
    }
    *ret_costs = costs;
}
