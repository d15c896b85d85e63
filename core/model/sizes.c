/* sizes.c - see sizes.h. */
#include "core/model/sizes.h"

#include <stddef.h>

#include <hearth/command.h>

#include "core/model/layout.h"

static void
row_add(struct size_row *row, const struct size_row *more)
{
    row->n_tensors += more->n_tensors;
    row->n_elements += more->n_elements;
    row->bytes += more->bytes;
    row->n_parameters += more->n_parameters;
    row->active_parameters += more->active_parameters;
    row->active_bytes += more->active_bytes;
}

static void
count_tensor(const struct model_shape *shape, enum tensor_kind kind, enum hearth_dtype dtype, uint64_t n_elements,
             uint64_t bytes, struct model_sizes *sizes)
{
    const bool is_weight = dtype != HEARTH_E8M0 && kind != TENSOR_HASH;
    struct size_row row = {.n_tensors = 1, .n_elements = n_elements, .bytes = bytes,
                           .n_parameters = is_weight ? n_elements * (dtype == HEARTH_E2M1X2 ? 2 : 1) : 0};
    row.active_parameters = row.n_parameters;
    row.active_bytes = bytes;
    if (kind == TENSOR_NEXTN) {
        row.active_parameters = 0;
        row.active_bytes = 0;
    } else if (kind == TENSOR_EMBEDDING || kind == TENSOR_HASH) { /* one row of vocab_size is looked up */
        row.active_parameters = 0;
        row.active_bytes = bytes / shape->vocab_size;
    }
    row_add(&sizes->by_kind[kind], &row);
    row_add(&sizes->by_dtype[dtype], &row);
    row_add(&sizes->total, &row);
}

/* Routed experts are counted whole first: their share is exact only as a sum. */
static void
keep_chosen(const struct model_shape *shape, struct size_row *row, const struct size_row *routed)
{
    const uint64_t parameters = routed->n_parameters / shape->n_experts * shape->experts_per_token;
    const uint64_t bytes = routed->bytes / shape->n_experts * shape->experts_per_token;
    row->active_parameters -= routed->n_parameters - parameters;
    row->active_bytes -= routed->bytes - bytes;
}

static void
finish(const struct model_shape *shape, struct model_sizes *sizes)
{
    const struct size_row routed = sizes->by_kind[TENSOR_ROUTED];
    keep_chosen(shape, &sizes->by_kind[TENSOR_ROUTED], &routed);
    keep_chosen(shape, &sizes->total, &routed);
}

void
sizes_of_tensors(const struct model_shape *shape, const struct tensor *tensors, size_t n_tensors,
                 struct model_sizes *ret_sizes)
{
    struct model_sizes sizes = {0};
    for (size_t i = 0; i < n_tensors; i++) {
        count_tensor(shape, tensors[i].kind, tensors[i].dtype, tensors[i].n_elements, tensors[i].size_bytes, &sizes);
    }
    finish(shape, &sizes);
    *ret_sizes = sizes;
}

struct shape_count {
    const struct model_shape *shape;
    enum hearth_dtype expert_dtype;
    struct model_sizes *sizes;
};

static int
count_matrix(void *context, const struct layout_matrix *matrix, struct hearth_error *err)
{
    const struct shape_count *count = context;
    const enum hearth_dtype dtype = matrix->dtype == HEARTH_DTYPE_NONE ? count->expert_dtype : matrix->dtype;
    const struct layout_tensor weight = layout_weight(matrix, dtype);
    struct layout_tensor scale;
    (void)err;
    count_tensor(count->shape, matrix->kind, dtype, weight.n_elements, weight.size_bytes, count->sizes);
    if (layout_scale(matrix, dtype, &scale)) {
        count_tensor(count->shape, matrix->kind, scale.dtype, scale.n_elements, scale.size_bytes, count->sizes);
    }
    return HEARTH_OK;
}

void
sizes_of_shape(const struct model_shape *shape, enum hearth_dtype expert_dtype, struct model_sizes *ret_sizes)
{
    struct model_sizes sizes = {0};
    struct shape_count count = {shape, expert_dtype, &sizes};
    layout_walk(shape, count_matrix, &count, NULL);
    finish(shape, &sizes);
    *ret_sizes = sizes;
}

/* Bytes that one finished group adds: an entry, and in CSA layers an index key. */
static uint64_t
group_bytes(const struct model_shape *shape, uint32_t kv_format, uint32_t ratio)
{
    const uint64_t entry = hearth_kv_row_bytes(kv_format, shape->head_dim, shape->rope_dim);
    return ratio == 4 ? entry + hearth_index_row_bytes(kv_format, shape->index_head_dim) : entry;
}

struct context_sizes
sizes_context(const struct model_shape *shape, uint32_t kv_format)
{
    struct context_sizes sizes = {0};
    const uint64_t row = hearth_kv_row_bytes(kv_format, shape->head_dim, shape->rope_dim);
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        const uint64_t ratio = shape->compress_ratios[layer];
        sizes.window_bytes += shape->window * row;
        if (ratio == 0) {
            continue;
        }
        const uint64_t overlap = shape_overlap((uint32_t)ratio);
        const uint64_t width = shape->head_dim + (ratio == 4 ? shape->index_head_dim : 0u);
        sizes.bytes_per_token += (double)group_bytes(shape, kv_format, (uint32_t)ratio) / (double)ratio;
        sizes.compressor_bytes += overlap * ratio * overlap * width * 2 * sizeof(float); /* values and scores */
    }
    return sizes;
}

uint64_t
sizes_entry_bytes(const struct model_shape *shape, uint32_t kv_format, uint64_t n_tokens)
{
    uint64_t bytes = 0;
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        const uint32_t ratio = shape->compress_ratios[layer];
        bytes += ratio ? n_tokens / ratio * group_bytes(shape, kv_format, ratio) : 0;
    }
    return bytes;
}

struct flops
sizes_flops(const struct model_shape *shape, uint64_t active_parameters, uint64_t n_tokens)
{
    struct flops flops = {.linear = 2.0 * (double)active_parameters};
    const double window = (double)(n_tokens < shape->window ? n_tokens : shape->window);
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        const uint32_t ratio = shape->compress_ratios[layer];
        const uint64_t entries = ratio ? n_tokens / ratio : 0;
        const uint64_t chosen = ratio == 4 && entries > shape->index_topk ? shape->index_topk : entries;
        flops.core += (window + (double)chosen) * shape->n_heads * shape->head_dim * 4.0;
        if (ratio == 4) {
            flops.indexer += (double)entries * shape->index_n_heads * shape->index_head_dim * 2.0;
        }
    }
    return flops;
}

double
flops_plain(struct flops flops)
{
    return flops.linear + flops.core + flops.indexer;
}

double
flops_fp8(struct flops flops)
{
    return flops.linear + 2 * flops.core + 0.5 * flops.indexer;
}

/* 61 layers, 128 heads, latent rows of 512 + 64, the best 2048 keys by 64 index heads of 128; 37 billion active. */
struct flops
sizes_v32_flops(uint64_t n_tokens)
{
    const double chosen = n_tokens < 2048 ? (double)n_tokens : 2048;
    return (struct flops){.linear = 2 * 37e9, .core = 61 * chosen * 128 * (576 + 512) * 2,
                          .indexer = 61 * (double)n_tokens * 64 * 128 * 2};
}

double
sizes_v32_flops_fp8(uint64_t n_tokens)
{
    const struct flops flops = sizes_v32_flops(n_tokens);
    return flops.linear + 2 * flops.core + flops.indexer;
}
