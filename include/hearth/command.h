/* hearth/command.h - the operations of a DeepSeek-V4 layer and their arguments.
 *
 * A command is one operation on device memory.  Its meaning is that of its scalar reference in backends/ref; the
 * numbers it must give, and how far another implementation may stray, stand in docs/numerics.md.
 *
 * Conventions.  n is the number of tokens of the command; token t (0 <= t < n) has position `position + t`.
 * Activations are f32, row-major, contiguous, [n][...]; in native numerics the values written are already rounded to
 * bf16 wherever the reference model holds bf16.  `in`, `out` say who writes; an `out` view never overlaps an `in` view
 * unless the text says "in place".  Weights are handles made by weight_create.  All counts are > 0 unless said
 * otherwise.
 * Sources: DeepSeek-V4 technical report (CSA, HCA, mHC), inference/model.py and kernel.py of V4-Flash. */
#ifndef HEARTH_COMMAND_H
#define HEARTH_COMMAND_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hearth_buffer; /* device memory, made by buffer_alloc */
struct hearth_weight; /* one or more matrices in the backend's own layout, made by weight_create */

enum hearth_op {
#define HEARTH_OP(NAME, name) HEARTH_OP_##NAME,
#include <hearth/ops.def>
#undef HEARTH_OP
    HEARTH_N_OPS
};

/* exact: weights dequantised exactly, activations and state in f32, nothing simulated.
 * native: the quantised arithmetic the model was trained for. */
enum hearth_numerics { HEARTH_EXACT = 0, HEARTH_NATIVE = 1 };

/* A place in device memory.  offset is in bytes. */
struct hearth_view {
    struct hearth_buffer *buffer; /* NULL: absent */
    uint64_t offset;
};

/* How one row of KV state is stored.
 * F32 (exact): the row's elements as f32.
 * PACKED (native), a KV row of head_dim elements, the last rope_dim of them rotated:
 *   (head_dim - rope_dim) e4m3, then rope_dim bf16, then one e8m0 per 64 e4m3 elements, padded with 0 to a multiple
 *   of 8.
 * PACKED, an indexer key of width elements: width/2 bytes of e2m1 pairs, then one e8m0 per 32 elements, padded to 4.
 * Both lose nothing of the values native numerics computes. */
enum hearth_kv_format { HEARTH_KV_F32 = 0, HEARTH_KV_PACKED = 1 };

static inline uint64_t
hearth_kv_row_bytes(uint32_t format, uint32_t head_dim, uint32_t rope_dim)
{
    const uint64_t nope = head_dim - rope_dim;
    if (format == HEARTH_KV_F32) {
        return (uint64_t)head_dim * 4u;
    }
    return (nope + 2u * (uint64_t)rope_dim + (nope + 63u) / 64u + 7u) / 8u * 8u;
}

static inline uint64_t
hearth_index_row_bytes(uint32_t format, uint32_t width)
{
    if (format == HEARTH_KV_F32) {
        return (uint64_t)width * 4u;
    }
    return ((uint64_t)(width + 1u) / 2u + (width + 31u) / 32u + 3u) / 4u * 4u;
}

/* One (token, expert) pair chosen by the router.  slot is the row of expert_ffn's output that the pair writes. */
struct hearth_route {
    uint32_t token;
    uint32_t slot;
    uint32_t expert;
    float weight;
};

/* streams[t][s] = table[ids[t]] for every stream s. */
struct hearth_op_embed {
    struct hearth_view ids;     /* in: i32 [n], each in [0, n_rows of table) */
    struct hearth_view streams; /* out: f32 [n][n_streams][dim] */
    const struct hearth_weight *table;
    uint32_t n, n_streams, dim;
};

/* Collapses the streams for a sublayer and prepares its return: normed = rmsnorm(sum_s pre[s] * stream s).
 * fn is [(2 + n_streams) * n_streams][n_streams * dim], base [(2 + n_streams) * n_streams], scale [3], norm [dim]. */
struct hearth_op_mhc_pre {
    struct hearth_view streams; /* in: f32 [n][n_streams][dim] */
    struct hearth_view normed;  /* out: f32 [n][dim] */
    struct hearth_view post;    /* out: f32 [n][n_streams] */
    struct hearth_view comb;    /* out: f32 [n][n_streams][n_streams], row j = source stream */
    const struct hearth_weight *fn, *base, *scale, *norm;
    uint32_t n, n_streams, dim, n_sinkhorn;
    float norm_eps, hc_eps;
};

/* streams'[k] = post[k] * result + sum_j comb[j][k] * streams[j].  In place on streams. */
struct hearth_op_mhc_post {
    struct hearth_view streams;          /* in, out: f32 [n][n_streams][dim] */
    struct hearth_view result;           /* in: f32 [n][dim], the sublayer's output */
    struct hearth_view post, comb;       /* in: as written by mhc_pre */
    uint32_t n, n_streams, dim;
};

/* The final collapse: normed = rmsnorm(sum_s pre[s] * stream s).  fn [n_streams][n_streams * dim], base [n_streams],
 * scale [1]. */
struct hearth_op_mhc_head {
    struct hearth_view streams; /* in: f32 [n][n_streams][dim] */
    struct hearth_view normed;  /* out: f32 [n][dim] */
    const struct hearth_weight *fn, *base, *scale, *norm;
    uint32_t n, n_streams, dim;
    float norm_eps, hc_eps;
};

/* y = x * rsqrt(mean(x^2) + eps) * norm.  y may be x. */
struct hearth_op_rmsnorm {
    struct hearth_view x, y; /* in, out: f32 [n][dim] */
    const struct hearth_weight *norm;
    uint32_t n, dim;
    float eps;
};

/* y[t][o] = sum_i weight[o][i] * x[t][i].  In native numerics an E4M3 or E2M1X2 weight first quantises x (e4m3, blocks
 * of 128, power-of-two scales).  round_output: in native numerics y is rounded to bf16 (else it stays f32). */
struct hearth_op_linear {
    struct hearth_view x; /* in: f32 [n][n_in] */
    struct hearth_view y; /* out: f32 [n][n_out] */
    const struct hearth_weight *weight;
    uint32_t n, n_in, n_out;
    uint32_t round_output;
};

/* Each query head: q * rsqrt(mean(q^2) + eps), then rotates its last rope_dim elements.  In place. */
struct hearth_op_query_rope {
    struct hearth_view q;                  /* in, out: f32 [n][n_heads][head_dim] */
    const struct hearth_weight *inv_freq;  /* f32 [rope_dim / 2] */
    uint64_t position;
    uint32_t n, n_heads, head_dim, rope_dim;
    float eps;
};

/* Normalises, rotates and (native) quantises the n new KV rows and stores row t in ring slot (position + t) mod
 * ring_slots.  ring_slots >= window - 1 + n, so that no row still visible to a query of this command is overwritten. */
struct hearth_op_kv_append {
    struct hearth_view kv;   /* in: f32 [n][head_dim], the raw projection */
    struct hearth_view ring; /* in, out: [ring_slots] rows of kv_format */
    const struct hearth_weight *norm, *inv_freq;
    uint64_t position;
    uint32_t n, head_dim, rope_dim, ring_slots, kv_format;
    float eps;
};

enum hearth_entry_kind { HEARTH_ENTRY_KV = 0, HEARTH_ENTRY_INDEX = 1 };

/* Feeds n tokens to a compressor and stores the entries they complete: entry w covers tokens ratio*w ..
 * ratio*w + ratio-1 (overlapping compressors, ratio 4, also the group before), is rotated at position ratio*w and
 * stored as row w.
 * values and gates are [n][c * width], c = 2 when overlap, else 1; ape is [ratio][c * width] and is added to the gates
 * here.  state: two f32 arrays [c * ratio][c * width], values then scores; a new session holds 0 and -infinity.
 * ENTRY_KV stores kv_format rows of width elements; ENTRY_INDEX Hadamard-rotates (native) and stores indexer keys. */
struct hearth_op_compress {
    struct hearth_view values, gates; /* in: f32 */
    struct hearth_view state;         /* in, out */
    struct hearth_view entries;       /* out: rows; only rows position/ratio .. (position+n)/ratio - 1 are written */
    const struct hearth_weight *ape, *norm, *inv_freq;
    uint64_t position;
    uint32_t n, ratio, width, rope_dim, kv_format;
    uint16_t overlap, kind;
    float eps;
};

/* Indexer queries: rotates the last rope_dim elements, then (native) Hadamard and e2m1 rounding by 32.  In place. */
struct hearth_op_index_query {
    struct hearth_view q; /* in, out: f32 [n][n_heads][width] */
    const struct hearth_weight *inv_freq;
    uint64_t position;
    uint32_t n, n_heads, width, rope_dim;
};

/* score[w] = sum_h relu(q[h] . keys[w]) * head_weights[h] * width^-1/2 * n_heads^-1/2 for the entries w < (p + 1) /
 * ratio visible at position p; the top_k best (ties: the lower w), in ascending order of w, padded with -1. */
struct hearth_op_index_topk {
    struct hearth_view q;            /* in: f32 [n][n_heads][width], from index_query */
    struct hearth_view head_weights; /* in: f32 [n][n_heads] */
    struct hearth_view keys;         /* in: indexer-key rows */
    struct hearth_view indices;      /* out: i32 [n][top_k] */
    uint64_t position;
    uint32_t n, n_heads, width, ratio, top_k, kv_format;
};

/* One softmax per query and head over the window rows max(0, p-window+1) .. p, then the compressed entries, with the
 * head's sink in the denominator; keys are values; the result's last rope_dim elements are rotated back at position p.
 * entries: absent; or all entries w < (p + 1) / ratio (indices absent); or those listed in indices (-1: none). */
struct hearth_op_attention {
    struct hearth_view q;       /* in: f32 [n][n_heads][head_dim], from query_rope */
    struct hearth_view ring;    /* in: as kv_append left it */
    struct hearth_view entries; /* in: rows of kv_format, or absent */
    struct hearth_view indices; /* in: i32 [n][top_k], or absent */
    struct hearth_view o;       /* out: f32 [n][n_heads][head_dim] */
    const struct hearth_weight *sinks, *inv_freq; /* sinks: f32 [n_heads] */
    uint64_t position;
    uint32_t n, n_heads, head_dim, rope_dim, window, ring_slots, ratio, top_k, kv_format;
};

/* Group g of n_groups: y[t][g * rank + r] = sum_i weight[g * rank + r][i] * o[t][g * width + i].  The weight's
 * activations are not quantised whatever its type. */
struct hearth_op_output_groups {
    struct hearth_view o; /* in: f32 [n][n_groups * width] */
    struct hearth_view y; /* out: f32 [n][n_groups * rank] */
    const struct hearth_weight *weight; /* [n_groups * rank][width] */
    uint32_t n, n_groups, width, rank;
};

/* a_e = sqrt(softplus(x . gate_e)).  Chooses the top_k largest a_e + bias_e (ties: the lower e), or with table the
 * experts table[id]; weight = a_e / sum of the chosen a * route_scale.  Token t writes routes t*top_k .. t*top_k +
 * top_k-1 with slot equal to that index: chosen experts in ascending order, experts of the table in the table's. */
struct hearth_op_router {
    struct hearth_view x;      /* in: f32 [n][dim] */
    struct hearth_view ids;    /* in: i32 [n]; read only with table */
    struct hearth_view routes; /* out: struct hearth_route [n * top_k] */
    const struct hearth_weight *gate;  /* [n_experts][dim] */
    const struct hearth_weight *bias;  /* f32 [n_experts], or NULL */
    const struct hearth_weight *table; /* i64 [vocab][top_k], or NULL */
    uint32_t n, dim, n_experts, top_k;
    float route_scale;
};

/* For each route: y[slot] = w2 (silu(min(w1 x, limit)) * clamp(w3 x, -limit, limit) * weight).  Routes may come in any
 * order; each slot is written once.  A route whose experts[] entry is NULL lives elsewhere: its slot is left alone.  In
 * native numerics the bits of y are part of the contract (docs/numerics.md). */
struct hearth_op_expert_ffn {
    struct hearth_view x;      /* in: f32 [n][dim] */
    struct hearth_view routes; /* in: struct hearth_route [n_routes]; token < n, slot < n_slots */
    struct hearth_view y;      /* out: f32 [n_slots][dim] */
    const struct hearth_weight *const *experts; /* host array [n_experts]; unchanged until the command's event */
    uint32_t n, n_routes, n_slots, n_experts, dim, inner;
    float limit;
};

/* The shared expert: as expert_ffn with weight 1, for every token. */
struct hearth_op_shared_ffn {
    struct hearth_view x, y; /* in, out: f32 [n][dim] */
    const struct hearth_weight *expert;
    uint32_t n, dim, inner;
    float limit;
};

/* y[t] = sum of parts[slot] over token t's routes by ascending expert, then + shared[t]. */
struct hearth_op_moe_sum {
    struct hearth_view parts;  /* in: f32 [n * top_k][dim], from expert_ffn */
    struct hearth_view routes; /* in: as the router wrote them */
    struct hearth_view shared; /* in: f32 [n][dim] */
    struct hearth_view y;      /* out: f32 [n][dim] */
    uint32_t n, top_k, dim;
};

#define HEARTH_COMMAND_BYTES 256

struct hearth_command {
    uint32_t op;       /* enum hearth_op */
    uint32_t numerics; /* enum hearth_numerics */
    union {
#define HEARTH_OP(NAME, name) struct hearth_op_##name name;
#include <hearth/ops.def>
#undef HEARTH_OP
        unsigned char size[HEARTH_COMMAND_BYTES - 8];
    } args;
};

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(struct hearth_command) == HEARTH_COMMAND_BYTES, "a command is 256 bytes for the life of ABI v1");
_Static_assert(sizeof(struct hearth_route) == 16, "a route is 16 bytes");
#endif

#ifdef __cplusplus
}
#endif
#endif
