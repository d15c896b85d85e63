/* layout.c - the table of tensors.  Source: headers of the published checkpoints. */
#include "core/model/layout.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/error.h"

/* A side of a matrix, as a formula of the shape.  ratio is the layer's compress ratio, c its shape_overlap. */
enum extent {
    ONE, THREE, DIM, VOCAB, HEADS, Q_RANK, Q_WIDTH, HEAD_DIM, GROUP_IN, O_WIDTH, EXPERTS, TOPK, INNER, STREAMS, MIXES,
    STREAM_WIDTH, RATIO, ENTRY_WIDTH, INDEX_HEADS, INDEX_WIDTH, INDEX_DIM, INDEX_ENTRY_WIDTH, TAPS_WIDTH, MARKOV,
    DIM_MARKOV
};

static uint64_t
extent_value(const struct model_shape *shape, uint32_t ratio, enum extent extent)
{
    const uint64_t dim = shape->dim, streams = shape->n_streams;
    const uint64_t q_width = (uint64_t)shape->n_heads * shape->head_dim;
    switch (extent) {
    case ONE: return 1;
    case THREE: return 3;
    case DIM: return dim;
    case VOCAB: return shape->vocab_size;
    case HEADS: return shape->n_heads;
    case Q_RANK: return shape->q_lora_rank;
    case Q_WIDTH: return q_width;
    case HEAD_DIM: return shape->head_dim;
    case GROUP_IN: return q_width / shape->o_groups;
    case O_WIDTH: return (uint64_t)shape->o_groups * shape->o_lora_rank;
    case EXPERTS: return shape->n_experts;
    case TOPK: return shape->experts_per_token;
    case INNER: return shape->expert_inner;
    case STREAMS: return streams;
    case MIXES: return (2 + streams) * streams; /* pre, post and the mixing matrix */
    case STREAM_WIDTH: return streams * dim;
    case RATIO: return ratio;
    case ENTRY_WIDTH: return (uint64_t)shape_overlap(ratio) * shape->head_dim;
    case INDEX_HEADS: return shape->index_n_heads;
    case INDEX_WIDTH: return (uint64_t)shape->index_n_heads * shape->index_head_dim;
    case INDEX_DIM: return shape->index_head_dim;
    case INDEX_ENTRY_WIDTH: return (uint64_t)shape_overlap(ratio) * shape->index_head_dim;
    case TAPS_WIDTH: return (uint64_t)shape->dspark_n_taps * dim;
    case MARKOV: return shape->dspark_rank;
    case DIM_MARKOV: return dim + shape->dspark_rank;
    }
    return 0;
}

enum presence { ALWAYS, COMPRESSED, CSA_ONLY, HASHED, SCORED, EVERY_MTP, FIRST_DSPARK, LAST_DSPARK, LAST_STAGE };

struct layout_row {
    const char *suffix;
    enum presence presence;
    enum hearth_dtype dtype;
    enum tensor_kind kind;
    enum extent rows, cols;
    bool is_vector;
    size_t member;
};

#define MATRIX(suffix, presence, dtype, kind, rows, cols, owner, member)                           \
    {suffix, presence, HEARTH_##dtype, TENSOR_##kind, rows, cols, false, offsetof(struct owner, member)}
#define VECTOR(suffix, presence, dtype, kind, cols, owner, member)                                 \
    {suffix, presence, HEARTH_##dtype, TENSOR_##kind, ONE, cols, true, offsetof(struct owner, member)}
#define STAGE_MATRIX(suffix, presence, dtype, rows, cols)                                          \
    {suffix, presence, HEARTH_##dtype, TENSOR_NEXTN, rows, cols, false, 0}
#define STAGE_VECTOR(suffix, presence, dtype, cols)                                                \
    {suffix, presence, HEARTH_##dtype, TENSOR_NEXTN, ONE, cols, true, 0}

static const struct layout_row model_rows[] = {
    MATRIX("embed.weight", ALWAYS, BF16, EMBEDDING, VOCAB, DIM, model_roles, embed),
    MATRIX("head.weight", ALWAYS, BF16, HEAD, VOCAB, DIM, model_roles, head),
    VECTOR("norm.weight", ALWAYS, BF16, NORM, DIM, model_roles, norm),
    MATRIX("hc_head_fn", ALWAYS, F32, HYPER, STREAMS, STREAM_WIDTH, model_roles, hc_head_fn),
    VECTOR("hc_head_base", ALWAYS, F32, HYPER, STREAMS, model_roles, hc_head_base),
    VECTOR("hc_head_scale", ALWAYS, F32, HYPER, ONE, model_roles, hc_head_scale),
};

#define ROW_M(s, p, t, k, r, c, m) MATRIX(s, p, t, k, r, c, layer_roles, m)
#define ROW_V(s, p, t, k, c, m) VECTOR(s, p, t, k, c, layer_roles, m)

static const struct layout_row layer_rows[] = {
    ROW_V("attn_norm.weight", ALWAYS, BF16, NORM, DIM, attn_norm),
    ROW_V("ffn_norm.weight", ALWAYS, BF16, NORM, DIM, ffn_norm),
    ROW_M("hc_attn_fn", ALWAYS, F32, HYPER, MIXES, STREAM_WIDTH, hc_attn_fn),
    ROW_V("hc_attn_base", ALWAYS, F32, HYPER, MIXES, hc_attn_base),
    ROW_V("hc_attn_scale", ALWAYS, F32, HYPER, THREE, hc_attn_scale),
    ROW_M("hc_ffn_fn", ALWAYS, F32, HYPER, MIXES, STREAM_WIDTH, hc_ffn_fn),
    ROW_V("hc_ffn_base", ALWAYS, F32, HYPER, MIXES, hc_ffn_base),
    ROW_V("hc_ffn_scale", ALWAYS, F32, HYPER, THREE, hc_ffn_scale),
    ROW_V("attn.attn_sink", ALWAYS, F32, ATTENTION, HEADS, attn_sink),
    ROW_V("attn.q_norm.weight", ALWAYS, BF16, ATTENTION, Q_RANK, q_norm),
    ROW_V("attn.kv_norm.weight", ALWAYS, BF16, ATTENTION, HEAD_DIM, kv_norm),
    ROW_M("attn.wq_a.weight", ALWAYS, E4M3, ATTENTION, Q_RANK, DIM, wq_a),
    ROW_M("attn.wq_b.weight", ALWAYS, E4M3, ATTENTION, Q_WIDTH, Q_RANK, wq_b),
    ROW_M("attn.wkv.weight", ALWAYS, E4M3, ATTENTION, HEAD_DIM, DIM, wkv),
    ROW_M("attn.wo_a.weight", ALWAYS, E4M3, ATTENTION, O_WIDTH, GROUP_IN, wo_a),
    ROW_M("attn.wo_b.weight", ALWAYS, E4M3, ATTENTION, DIM, O_WIDTH, wo_b),
    ROW_M("attn.compressor.ape", COMPRESSED, F32, COMPRESSOR, RATIO, ENTRY_WIDTH, compressor.ape),
    ROW_M("attn.compressor.wkv.weight", COMPRESSED, BF16, COMPRESSOR, ENTRY_WIDTH, DIM, compressor.wkv),
    ROW_M("attn.compressor.wgate.weight", COMPRESSED, BF16, COMPRESSOR, ENTRY_WIDTH, DIM, compressor.wgate),
    ROW_V("attn.compressor.norm.weight", COMPRESSED, BF16, COMPRESSOR, HEAD_DIM, compressor.norm),
    ROW_M("attn.indexer.wq_b.weight", CSA_ONLY, E4M3, INDEXER, INDEX_WIDTH, Q_RANK, index_wq_b),
    ROW_M("attn.indexer.weights_proj.weight", CSA_ONLY, BF16, INDEXER, INDEX_HEADS, DIM, index_weights_proj),
    ROW_M("attn.indexer.compressor.ape", CSA_ONLY, F32, INDEXER, RATIO, INDEX_ENTRY_WIDTH, index_compressor.ape),
    ROW_M("attn.indexer.compressor.wkv.weight", CSA_ONLY, BF16, INDEXER, INDEX_ENTRY_WIDTH, DIM, index_compressor.wkv),
    ROW_M("attn.indexer.compressor.wgate.weight", CSA_ONLY, BF16, INDEXER, INDEX_ENTRY_WIDTH, DIM,
          index_compressor.wgate),
    ROW_V("attn.indexer.compressor.norm.weight", CSA_ONLY, BF16, INDEXER, INDEX_DIM, index_compressor.norm),
    ROW_M("ffn.gate.weight", ALWAYS, BF16, GATE, EXPERTS, DIM, gate),
    ROW_V("ffn.gate.bias", SCORED, F32, GATE, EXPERTS, gate_bias),
    ROW_M("ffn.gate.tid2eid", HASHED, I64, HASH, VOCAB, TOPK, tid2eid),
    ROW_M("ffn.shared_experts.w1.weight", ALWAYS, E4M3, SHARED, INNER, DIM, shared.w[0]),
    ROW_M("ffn.shared_experts.w3.weight", ALWAYS, E4M3, SHARED, INNER, DIM, shared.w[1]),
    ROW_M("ffn.shared_experts.w2.weight", ALWAYS, E4M3, SHARED, DIM, INNER, shared.w[2]),
};

static const struct layout_row expert_rows[] = {
    MATRIX("w1.weight", ALWAYS, DTYPE_NONE, ROUTED, INNER, DIM, expert_roles, w[0]),
    MATRIX("w3.weight", ALWAYS, DTYPE_NONE, ROUTED, INNER, DIM, expert_roles, w[1]),
    MATRIX("w2.weight", ALWAYS, DTYPE_NONE, ROUTED, DIM, INNER, expert_roles, w[2]),
};

/* What a drafter's stage has besides the rows of an uncompressed layer. */
static const struct layout_row stage_rows[] = {
    STAGE_MATRIX("e_proj.weight", EVERY_MTP, E4M3, DIM, DIM),
    STAGE_MATRIX("h_proj.weight", EVERY_MTP, E4M3, DIM, DIM),
    STAGE_VECTOR("enorm.weight", EVERY_MTP, BF16, DIM),
    STAGE_VECTOR("hnorm.weight", EVERY_MTP, BF16, DIM),
    STAGE_MATRIX("main_proj.weight", FIRST_DSPARK, E4M3, DIM, TAPS_WIDTH),
    STAGE_VECTOR("main_norm.weight", FIRST_DSPARK, BF16, DIM),
    STAGE_VECTOR("norm.weight", LAST_STAGE, BF16, DIM),
    STAGE_MATRIX("hc_head_fn", LAST_STAGE, F32, STREAMS, STREAM_WIDTH),
    STAGE_VECTOR("hc_head_base", LAST_STAGE, F32, STREAMS),
    STAGE_VECTOR("hc_head_scale", LAST_STAGE, F32, ONE),
    STAGE_MATRIX("markov_head.markov_w1.weight", LAST_DSPARK, BF16, VOCAB, MARKOV),
    STAGE_MATRIX("markov_head.markov_w2.weight", LAST_DSPARK, BF16, VOCAB, MARKOV),
    STAGE_MATRIX("confidence_head.proj.weight", LAST_DSPARK, BF16, ONE, DIM_MARKOV),
};

/* Where the walk stands. */
struct walk {
    const struct model_shape *shape;
    int (*visit)(void *context, const struct layout_matrix *matrix, struct hearth_error *err);
    void *context;
    struct hearth_error *err;
    char prefix[LAYOUT_NAME_BYTES];
    enum layout_owner owner;
    uint32_t layer, expert, ratio;
    bool hashed;
};

static bool
is_present(const struct walk *walk, enum presence presence)
{
    const bool dspark = walk->shape->nextn_kind == NEXTN_DSPARK;
    const bool last = walk->layer + 1 == walk->shape->n_nextn;
    switch (presence) {
    case ALWAYS: return true;
    case COMPRESSED: return walk->ratio != 0;
    case CSA_ONLY: return walk->ratio == 4;
    case HASHED: return walk->hashed;
    case SCORED: return !walk->hashed;
    case EVERY_MTP: return !dspark;
    case FIRST_DSPARK: return dspark && walk->layer == 0;
    case LAST_DSPARK: return dspark && last;
    case LAST_STAGE: return !dspark || last; /* every MTP block predicts on its own */
    }
    return false;
}

static int
walk_rows(const struct walk *walk, const struct layout_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        if (!is_present(walk, rows[i].presence)) {
            continue;
        }
        struct layout_matrix matrix = {
            .owner = walk->owner, .member = rows[i].member, .layer = walk->layer, .expert = walk->expert,
            .kind = walk->owner == LAYOUT_STAGE ? TENSOR_NEXTN : rows[i].kind, .dtype = rows[i].dtype,
            .is_vector = rows[i].is_vector, .rows = extent_value(walk->shape, walk->ratio, rows[i].rows),
            .cols = extent_value(walk->shape, walk->ratio, rows[i].cols)};
        snprintf(matrix.name, sizeof matrix.name, "%.48s%.46s", walk->prefix, rows[i].suffix);
        const int status = walk->visit(walk->context, &matrix, walk->err);
        if (status != 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

#define WALK(walk, rows) walk_rows(walk, rows, sizeof(rows) / sizeof(rows)[0])

static int
walk_experts(struct walk *walk, const char *where)
{
    int status = HEARTH_OK;
    for (walk->expert = 0; walk->expert < walk->shape->n_experts && status == 0; walk->expert++) {
        snprintf(walk->prefix, sizeof walk->prefix, "%s.%u.ffn.experts.%u.", where, walk->layer, walk->expert);
        status = WALK(walk, expert_rows);
    }
    walk->expert = 0;
    return status;
}

int
layout_walk(const struct model_shape *shape,
            int (*visit)(void *context, const struct layout_matrix *matrix, struct hearth_error *err), void *context,
            struct hearth_error *err)
{
    struct walk walk = {.shape = shape, .visit = visit, .context = context, .err = err, .owner = LAYOUT_MODEL,
                        .layer = TENSOR_NO_LAYER};
    int status = WALK(&walk, model_rows);
    for (walk.layer = 0; walk.layer < shape->n_layers && status == 0; walk.layer++) {
        walk.ratio = shape->compress_ratios[walk.layer];
        walk.hashed = walk.layer < shape->n_hash_layers;
        walk.owner = LAYOUT_LAYER;
        snprintf(walk.prefix, sizeof walk.prefix, "layers.%u.", walk.layer);
        status = WALK(&walk, layer_rows);
        walk.owner = LAYOUT_EXPERT;
        status = status ? status : walk_experts(&walk, "layers");
    }
    walk.owner = LAYOUT_STAGE;
    walk.ratio = 0;
    walk.hashed = false;
    for (walk.layer = 0; walk.layer < shape->n_nextn && status == 0; walk.layer++) {
        snprintf(walk.prefix, sizeof walk.prefix, "mtp.%u.", walk.layer);
        status = WALK(&walk, layer_rows);
        status = status ? status : WALK(&walk, stage_rows);
        status = status ? status : walk_experts(&walk, "mtp");
    }
    return status;
}

static struct layout_tensor
stored(enum hearth_dtype dtype, uint32_t element_bytes, uint64_t rows, uint64_t cols, bool is_vector)
{
    struct layout_tensor tensor = {.dtype = dtype, .n_dims = is_vector ? 1 : 2, .n_elements = rows * cols,
                                   .size_bytes = rows * cols * element_bytes};
    tensor.dims[0] = is_vector ? cols : rows;
    tensor.dims[1] = is_vector ? 0 : cols;
    return tensor;
}

static uint32_t
element_bytes(enum hearth_dtype dtype)
{
    switch (dtype) {
#define ELEMENT_BYTES(name, bits, text) case HEARTH_##name: return (bits) / 8;
        HEARTH_DTYPE_MAP(ELEMENT_BYTES)
#undef ELEMENT_BYTES
    default:
        return 0;
    }
}

struct layout_tensor
layout_weight(const struct layout_matrix *matrix, enum hearth_dtype dtype)
{
    const uint64_t cols = dtype == HEARTH_E2M1X2 ? matrix->cols / 2 : matrix->cols;
    return stored(dtype, element_bytes(dtype), matrix->rows, cols, matrix->is_vector);
}

bool
layout_scale(const struct layout_matrix *matrix, enum hearth_dtype dtype, struct layout_tensor *ret_scale)
{
    if (dtype == HEARTH_E4M3) {
        *ret_scale = stored(HEARTH_E8M0, 1, ceil_div(matrix->rows, 128), ceil_div(matrix->cols, 128), false);
    } else if (dtype == HEARTH_E2M1X2) {
        *ret_scale = stored(HEARTH_E8M0, 1, matrix->rows, ceil_div(matrix->cols, 32), false);
    } else {
        return false;
    }
    return true;
}

void
layout_scale_name(const char *name, char ret_name[LAYOUT_NAME_BYTES])
{
    static const char weight[] = ".weight";
    size_t stem = strlen(name);
    if (stem >= sizeof weight - 1 && strcmp(name + stem - (sizeof weight - 1), weight) == 0) {
        stem -= sizeof weight - 1;
    }
    snprintf(ret_name, LAYOUT_NAME_BYTES, "%.*s.scale", (int)(stem < 80 ? stem : 80), name);
}
