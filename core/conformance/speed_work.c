/* speed_work.c - one token's work of each operation at V4-Flash's sizes (config.json), in a session of 32,768 tokens
 * (index_topk: 65,536).  Contents are random and finite; what they are hardly matters to the time. */
#include <string.h>

#include "core/conformance/speed.h"

enum {
    DIM = 4096,       /* hidden_size */
    STREAMS = 4,      /* hc_mult */
    SINKHORN = 20,    /* hc_sinkhorn_iters */
    HEADS = 64,       /* num_attention_heads */
    HEAD_DIM = 512,   /* head_dim */
    ROPE_DIM = 64,    /* qk_rope_head_dim */
    Q_RANK = 1024,    /* q_lora_rank */
    GROUPS = 8,       /* o_groups */
    O_RANK = 1024,    /* o_lora_rank */
    INDEX_WIDTH = 128,/* index_head_dim; as many heads as attention has */
    INDEX_TOP_K = 512,/* index_topk */
    WINDOW = 128,     /* sliding_window */
    RATIO = 4,        /* of a CSA layer */
    EXPERTS = 256,    /* n_routed_experts */
    TOP_K = 6,        /* num_experts_per_tok */
    INNER = 2048,     /* moe_intermediate_size */
    ENTRIES = 8192,   /* compressed rows */
    INDEX_ENTRIES = 16384,
    TABLE_ROWS = 4096 /* of the embedding: one is read, so that a part of the vocabulary will do */
};

/* Random codes of the type, finite and mostly normal. */
static void
fill_codes(struct check_trial *trial, uint32_t dtype, unsigned char *codes, uint64_t n_bytes)
{
    /* E4M3, BF16, F32: the exponent's upper bit stays 0 */
    const uint64_t mask = dtype == HEARTH_F32    ? 0xBFFFFFFFBFFFFFFFu
                          : dtype == HEARTH_BF16 ? 0xBFFFBFFFBFFFBFFFu
                          : dtype == HEARTH_E4M3 ? 0xBFBFBFBFBFBFBFBFu
                                                 : UINT64_MAX;
    uint64_t state = trial->random | 1u;
    for (uint64_t i = 0; i < n_bytes; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const uint64_t word = state & mask;
        memcpy(codes + i, &word, n_bytes - i < 8 ? n_bytes - i : 8);
    }
    trial->random = state;
}

static struct hearth_matrix
make_matrix(struct check_trial *trial, uint32_t dtype, uint64_t rows, uint64_t cols)
{
    const uint64_t n_bytes = rows * (dtype == HEARTH_F32      ? 4 * cols
                                     : dtype == HEARTH_BF16   ? 2 * cols
                                     : dtype == HEARTH_E2M1X2 ? cols / 2
                                                              : cols);
    const uint64_t n_scales = dtype == HEARTH_E2M1X2 ? rows * (cols / 32)
                              : dtype == HEARTH_E4M3 ? rows / 128 * (cols / 128)
                                                     : 0;
    unsigned char *codes = check_alloc(trial, n_bytes, 1), *scales = NULL;
    fill_codes(trial, dtype, codes, n_bytes);
    if (n_scales > 0) {
        scales = check_alloc(trial, n_scales, 1);
        memset(scales, 119, n_scales); /* 2^-8 */
    }
    return (struct hearth_matrix){.dtype = dtype, .rows = rows, .cols = cols, .data = codes, .data_bytes = n_bytes,
                                  .scales = scales, .scales_bytes = n_scales};
}

static void
add_weight(struct check_trial *trial, const struct hearth_weight **slot, enum hearth_weight_role role, uint32_t dtype,
           uint64_t rows, uint64_t cols)
{
    struct check_weight *weight = &trial->weights[trial->n_weights++];
    const bool is_ffn = role == HEARTH_WEIGHT_EXPERT || role == HEARTH_WEIGHT_SHARED;
    *weight = (struct check_weight){.slot = slot, .role = role, .n_matrices = is_ffn ? 3 : 1};
    for (size_t i = 0; i < weight->n_matrices; i++) {
        weight->matrices[i] = make_matrix(trial, dtype, i == 2 ? cols : rows, i == 2 ? rows : cols);
    }
}

static void
add_vector(struct check_trial *trial, const struct hearth_weight **slot, uint64_t n)
{
    add_weight(trial, slot, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, n);
}

static void
add_input(struct check_trial *trial, struct hearth_view *view, uint64_t n)
{
    check_input(trial, "input", view, 1, n, 0.5);
}

static void
add_output(struct check_trial *trial, struct hearth_view *view, uint64_t n_bytes)
{
    check_tensor(trial, "output", view, CHECK_OUT, n_bytes, 1, 0);
}

/* Both read and written. */
static void
add_state(struct check_trial *trial, struct hearth_view *view, uint64_t n)
{
    add_input(trial, view, n);
    trial->tensors[trial->n_tensors - 1].role = CHECK_INOUT;
}

/* n rows that a session would hold: 16 random ones over and over. */
static void
add_rows(struct check_trial *trial, struct hearth_view *view, bool native, bool is_index, uint64_t n)
{
    const uint32_t format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32, width = is_index ? INDEX_WIDTH : HEAD_DIM;
    const uint64_t row_bytes =
        is_index ? hearth_index_row_bytes(format, width) : hearth_kv_row_bytes(format, width, ROPE_DIM);
    unsigned char *rows = check_tensor(trial, "rows", view, CHECK_IN, n, row_bytes, 0);
    for (uint64_t i = 0; i < n; i++) {
        double row[HEAD_DIM];
        for (uint32_t c = 0; i < 16 && c < width; c++) {
            row[c] = check_normal(trial);
        }
        if (i >= 16) {
            memcpy(rows + i * row_bytes, rows + i % 16 * row_bytes, row_bytes);
        } else if (is_index) {
            check_index_encode(row, format, width, rows + i * row_bytes);
        } else {
            check_kv_encode(row, format, HEAD_DIM, ROPE_DIM, rows + i * row_bytes);
        }
    }
}

/* The works.  Each returns how many bytes of what it added the operation does not touch. */

static double
work_embed(struct check_trial *trial, bool native)
{
    struct hearth_op_embed *op = &trial->command.args.embed;
    (void)native;
    *op = (struct hearth_op_embed){.n = 1, .n_streams = STREAMS, .dim = DIM};
    int32_t *id = check_tensor(trial, "ids", &op->ids, CHECK_IN, 1, sizeof *id, 0);
    *id = (int32_t)check_below(trial, TABLE_ROWS);
    add_weight(trial, &op->table, HEARTH_WEIGHT_EMBEDDING, HEARTH_BF16, TABLE_ROWS, DIM);
    add_output(trial, &op->streams, STREAMS * DIM * sizeof(float));
    return (TABLE_ROWS - 1.0) * DIM * 2.0;
}

static double
work_mhc_pre(struct check_trial *trial, bool native)
{
    struct hearth_op_mhc_pre *op = &trial->command.args.mhc_pre;
    const uint64_t n_mixes = (2 + STREAMS) * STREAMS;
    (void)native;
    *op = (struct hearth_op_mhc_pre){.n = 1, .n_streams = STREAMS, .dim = DIM, .n_sinkhorn = SINKHORN,
                                     .norm_eps = 1e-6f, .hc_eps = 1e-6f};
    add_input(trial, &op->streams, STREAMS * DIM);
    add_weight(trial, &op->fn, HEARTH_WEIGHT_LINEAR, HEARTH_F32, n_mixes, STREAMS * DIM);
    add_vector(trial, &op->base, n_mixes);
    add_vector(trial, &op->scale, 3);
    add_vector(trial, &op->norm, DIM);
    add_output(trial, &op->normed, DIM * sizeof(float));
    add_output(trial, &op->post, STREAMS * sizeof(float));
    add_output(trial, &op->comb, STREAMS * STREAMS * sizeof(float));
    return 0.0;
}

static double
work_mhc_post(struct check_trial *trial, bool native)
{
    struct hearth_op_mhc_post *op = &trial->command.args.mhc_post;
    (void)native;
    *op = (struct hearth_op_mhc_post){.n = 1, .n_streams = STREAMS, .dim = DIM};
    add_state(trial, &op->streams, STREAMS * DIM);
    add_input(trial, &op->result, DIM);
    check_input(trial, "post", &op->post, 1, STREAMS, 0.1); /* small: the streams stay finite over all rounds */
    check_input(trial, "comb", &op->comb, STREAMS, STREAMS, 0.1);
    return 0.0;
}

static double
work_mhc_head(struct check_trial *trial, bool native)
{
    struct hearth_op_mhc_head *op = &trial->command.args.mhc_head;
    (void)native;
    *op = (struct hearth_op_mhc_head){.n = 1, .n_streams = STREAMS, .dim = DIM, .norm_eps = 1e-6f, .hc_eps = 1e-6f};
    add_input(trial, &op->streams, STREAMS * DIM);
    add_weight(trial, &op->fn, HEARTH_WEIGHT_LINEAR, HEARTH_F32, STREAMS, STREAMS * DIM);
    add_vector(trial, &op->base, STREAMS);
    add_vector(trial, &op->scale, 1);
    add_vector(trial, &op->norm, DIM);
    add_output(trial, &op->normed, DIM * sizeof(float));
    return 0.0;
}

static double
work_rmsnorm(struct check_trial *trial, bool native)
{
    struct hearth_op_rmsnorm *op = &trial->command.args.rmsnorm;
    (void)native;
    *op = (struct hearth_op_rmsnorm){.n = 1, .dim = DIM, .eps = 1e-6f};
    add_input(trial, &op->x, DIM);
    add_vector(trial, &op->norm, DIM);
    add_output(trial, &op->y, DIM * sizeof(float));
    return 0.0;
}

/* The largest linear of a layer: a query's rank to its heads. */
static double
work_linear(struct check_trial *trial, bool native)
{
    struct hearth_op_linear *op = &trial->command.args.linear;
    (void)native;
    *op = (struct hearth_op_linear){.n = 1, .n_in = Q_RANK, .n_out = HEADS * HEAD_DIM, .round_output = 1};
    add_input(trial, &op->x, Q_RANK);
    add_weight(trial, &op->weight, HEARTH_WEIGHT_LINEAR, HEARTH_E4M3, HEADS * HEAD_DIM, Q_RANK);
    add_output(trial, &op->y, HEADS * HEAD_DIM * sizeof(float));
    return 0.0;
}

static double
work_query_rope(struct check_trial *trial, bool native)
{
    struct hearth_op_query_rope *op = &trial->command.args.query_rope;
    (void)native;
    *op = (struct hearth_op_query_rope){.n = 1, .n_heads = HEADS, .head_dim = HEAD_DIM, .rope_dim = ROPE_DIM,
                                        .position = RATIO * ENTRIES - 1, .eps = 1e-6f};
    add_state(trial, &op->q, HEADS * HEAD_DIM);
    check_freqs_add(trial, &op->inv_freq, ROPE_DIM / 2);
    return 0.0;
}

static double
work_kv_append(struct check_trial *trial, bool native)
{
    struct hearth_op_kv_append *op = &trial->command.args.kv_append;
    *op = (struct hearth_op_kv_append){.n = 1, .head_dim = HEAD_DIM, .rope_dim = ROPE_DIM, .ring_slots = WINDOW,
                                       .position = RATIO * ENTRIES - 1, .eps = 1e-6f,
                                       .kv_format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32};
    const uint64_t row_bytes = hearth_kv_row_bytes(op->kv_format, HEAD_DIM, ROPE_DIM);
    add_input(trial, &op->kv, HEAD_DIM);
    add_vector(trial, &op->norm, HEAD_DIM);
    check_freqs_add(trial, &op->inv_freq, ROPE_DIM / 2);
    add_output(trial, &op->ring, WINDOW * row_bytes);
    return (WINDOW - 1.0) * (double)row_bytes;
}

/* The token that completes a group of an overlapping compressor. */
static double
work_compress(struct check_trial *trial, bool native)
{
    struct hearth_op_compress *op = &trial->command.args.compress;
    *op = (struct hearth_op_compress){.n = 1, .ratio = RATIO, .width = HEAD_DIM, .rope_dim = ROPE_DIM, .overlap = 1,
                                      .kind = HEARTH_ENTRY_KV, .position = RATIO - 1, .eps = 1e-6f,
                                      .kv_format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32};
    add_input(trial, &op->values, 2 * HEAD_DIM);
    add_input(trial, &op->gates, 2 * HEAD_DIM);
    add_state(trial, &op->state, 2ull * 2 * RATIO * 2 * HEAD_DIM);
    add_weight(trial, &op->ape, HEARTH_WEIGHT_VECTOR, HEARTH_F32, RATIO, 2 * HEAD_DIM);
    add_vector(trial, &op->norm, HEAD_DIM);
    check_freqs_add(trial, &op->inv_freq, ROPE_DIM / 2);
    add_output(trial, &op->entries, hearth_kv_row_bytes(op->kv_format, HEAD_DIM, ROPE_DIM));
    return 0.0;
}

static double
work_index_query(struct check_trial *trial, bool native)
{
    struct hearth_op_index_query *op = &trial->command.args.index_query;
    (void)native;
    *op = (struct hearth_op_index_query){.n = 1, .n_heads = HEADS, .width = INDEX_WIDTH, .rope_dim = ROPE_DIM,
                                         .position = RATIO * ENTRIES - 1};
    add_state(trial, &op->q, HEADS * INDEX_WIDTH);
    check_freqs_add(trial, &op->inv_freq, ROPE_DIM / 2);
    return 0.0;
}

static double
work_index_topk(struct check_trial *trial, bool native)
{
    struct hearth_op_index_topk *op = &trial->command.args.index_topk;
    *op = (struct hearth_op_index_topk){.n = 1, .n_heads = HEADS, .width = INDEX_WIDTH, .ratio = RATIO,
                                        .top_k = INDEX_TOP_K, .position = RATIO * INDEX_ENTRIES - 1,
                                        .kv_format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32};
    add_input(trial, &op->q, HEADS * INDEX_WIDTH);
    add_input(trial, &op->head_weights, HEADS);
    add_rows(trial, &op->keys, native, true, INDEX_ENTRIES);
    add_output(trial, &op->indices, INDEX_TOP_K * sizeof(int32_t));
    return 0.0;
}

/* A CSA layer: the window and the rows that the indexer chose. */
static double
work_attention(struct check_trial *trial, bool native)
{
    struct hearth_op_attention *op = &trial->command.args.attention;
    *op = (struct hearth_op_attention){.n = 1, .n_heads = HEADS, .head_dim = HEAD_DIM, .rope_dim = ROPE_DIM,
                                       .window = WINDOW, .ring_slots = WINDOW, .ratio = RATIO, .top_k = INDEX_TOP_K,
                                       .position = RATIO * ENTRIES - 1,
                                       .kv_format = native ? HEARTH_KV_PACKED : HEARTH_KV_F32};
    add_input(trial, &op->q, HEADS * HEAD_DIM);
    add_rows(trial, &op->ring, native, false, WINDOW);
    add_rows(trial, &op->entries, native, false, ENTRIES);
    int32_t *indices = check_tensor(trial, "indices", &op->indices, CHECK_IN, INDEX_TOP_K, sizeof *indices, 0);
    for (int32_t i = 0; i < INDEX_TOP_K; i++) {
        indices[i] = i * (ENTRIES / INDEX_TOP_K) + (int32_t)check_below(trial, ENTRIES / INDEX_TOP_K);
    }
    add_vector(trial, &op->sinks, HEADS);
    check_freqs_add(trial, &op->inv_freq, ROPE_DIM / 2);
    add_output(trial, &op->o, HEADS * HEAD_DIM * sizeof(float));
    return (ENTRIES - INDEX_TOP_K) * (double)hearth_kv_row_bytes(op->kv_format, HEAD_DIM, ROPE_DIM);
}

static double
work_output_groups(struct check_trial *trial, bool native)
{
    struct hearth_op_output_groups *op = &trial->command.args.output_groups;
    const uint32_t width = HEADS * HEAD_DIM / GROUPS;
    (void)native;
    *op = (struct hearth_op_output_groups){.n = 1, .n_groups = GROUPS, .width = width, .rank = O_RANK};
    add_input(trial, &op->o, HEADS * HEAD_DIM);
    add_weight(trial, &op->weight, HEARTH_WEIGHT_GROUPS, HEARTH_E4M3, GROUPS * O_RANK, width);
    add_output(trial, &op->y, GROUPS * O_RANK * sizeof(float));
    return 0.0;
}

static double
work_router(struct check_trial *trial, bool native)
{
    struct hearth_op_router *op = &trial->command.args.router;
    (void)native;
    *op = (struct hearth_op_router){.n = 1, .dim = DIM, .n_experts = EXPERTS, .top_k = TOP_K, .route_scale = 1.5f};
    add_input(trial, &op->x, DIM);
    check_tensor(trial, "ids", &op->ids, CHECK_IN, 1, sizeof(int32_t), 0);
    add_weight(trial, &op->gate, HEARTH_WEIGHT_LINEAR, HEARTH_BF16, EXPERTS, DIM);
    add_vector(trial, &op->bias, EXPERTS);
    add_output(trial, &op->routes, TOP_K * sizeof(struct hearth_route));
    return 0.0;
}

static void
add_routes(struct check_trial *trial, struct hearth_view *view)
{
    struct hearth_route *routes = check_tensor(trial, "routes", view, CHECK_IN, TOP_K, sizeof *routes, 0);
    for (uint32_t i = 0; i < TOP_K; i++) {
        routes[i] = (struct hearth_route){.token = 0, .slot = i, .expert = i, .weight = 0.25f};
    }
}

/* The experts of one token; those that it did not choose are not there. */
static double
work_expert_ffn(struct check_trial *trial, bool native)
{
    struct hearth_op_expert_ffn *op = &trial->command.args.expert_ffn;
    const struct hearth_weight **experts = check_alloc(trial, TOP_K, sizeof *experts);
    (void)native;
    *op = (struct hearth_op_expert_ffn){.n = 1, .n_routes = TOP_K, .n_slots = TOP_K, .n_experts = TOP_K, .dim = DIM,
                                        .inner = INNER, .limit = 10.0f, .experts = experts};
    add_input(trial, &op->x, DIM);
    add_routes(trial, &op->routes);
    for (uint32_t i = 0; i < TOP_K; i++) {
        add_weight(trial, &experts[i], HEARTH_WEIGHT_EXPERT, HEARTH_E2M1X2, INNER, DIM);
    }
    add_output(trial, &op->y, TOP_K * DIM * sizeof(float));
    return 0.0;
}

static double
work_shared_ffn(struct check_trial *trial, bool native)
{
    struct hearth_op_shared_ffn *op = &trial->command.args.shared_ffn;
    (void)native;
    *op = (struct hearth_op_shared_ffn){.n = 1, .dim = DIM, .inner = INNER, .limit = 10.0f};
    add_input(trial, &op->x, DIM);
    add_weight(trial, &op->expert, HEARTH_WEIGHT_SHARED, HEARTH_E4M3, INNER, DIM);
    add_output(trial, &op->y, DIM * sizeof(float));
    return 0.0;
}

static double
work_moe_sum(struct check_trial *trial, bool native)
{
    struct hearth_op_moe_sum *op = &trial->command.args.moe_sum;
    (void)native;
    *op = (struct hearth_op_moe_sum){.n = 1, .top_k = TOP_K, .dim = DIM};
    add_input(trial, &op->parts, TOP_K * DIM);
    add_routes(trial, &op->routes);
    add_input(trial, &op->shared, DIM);
    add_output(trial, &op->y, DIM * sizeof(float));
    return 0.0;
}

void
speed_work_make(struct check_trial *trial, uint32_t op, uint32_t numerics, double *ret_bytes)
{
    static double (*const works[HEARTH_N_OPS])(struct check_trial *trial, bool native) = {
#define HEARTH_OP(NAME, name) [HEARTH_OP_##NAME] = work_##name,
#include <hearth/ops.def>
#undef HEARTH_OP
    };
    double bytes = -works[op](trial, numerics == HEARTH_NATIVE);
    for (size_t i = 0; i < trial->n_tensors; i++) {
        const double passes = trial->tensors[i].role == CHECK_INOUT ? 2.0 : 1.0;
        bytes += passes * (double)trial->tensors[i].size_bytes;
    }
    for (size_t i = 0; i < trial->n_weights; i++) {
        for (size_t m = 0; m < trial->weights[i].n_matrices; m++) {
            const struct hearth_matrix *matrix = &trial->weights[i].matrices[m];
            bytes += (double)matrix->data_bytes + (double)matrix->scales_bytes;
        }
    }
    *ret_bytes = bytes;
}
