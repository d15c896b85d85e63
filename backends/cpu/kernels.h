/* kernels.h - the inner loops, one table for each tier.  A kernel computes in the caller's thread and checks nothing.
 */
#ifndef BACKENDS_CPU_KERNELS_H
#define BACKENDS_CPU_KERNELS_H

#include "backends/cpu/cpu.h"

/* Rows of keys that are unpacked together; heads side by side; floats between rows that keep them apart in a cache. */
#define CPU_KEY_TILE 32u
#define CPU_ATTEND_PANEL 16u
#define CPU_ATTEND_SKEW 16u

/* One token's attention for some of its heads.  See attention.c. */
#define CPU_HEADS_AT_ONCE 32u

struct cpu_attend {
    const float *q;                   /* [stride / 16][width][16]: attend_turn; tiled: see k_tile_attend.c, as scores */
    float *o;                         /* [n_heads][head_dim] */
    const unsigned char *const *rows; /* [n_keys] stored rows */
    uint64_t n_keys;
    uint32_t n_heads, head_dim, rope_dim, format;
    bool native, is_tiled;
    uint64_t width;           /* head_dim rounded up to 16 */
    uint64_t stride;          /* n_heads rounded up to 16 */
    float *scores;            /* [tiles][CPU_KEY_TILE][stride]: z, then P */
    float *greatest, *totals; /* [tiles][stride]: of z, of P before rounding */
    float *most;              /* [stride]: M */
    double *denominators;     /* [n_heads] */
    uint64_t first_head, end_head; /* of attend_sum; multiples of CPU_HEADS_AT_ONCE, or the end is stride */
    float *keys; /* work space: [CPU_KEY_TILE][width + CPU_ATTEND_SKEW] and [stride][columns of attend_sum] */
};

/* Hyper-connection streams that expand takes at once. */
#define CPU_MAX_STREAMS 8u

/* Queries that meet a tile of keys, and keys in a tile. */
#define CPU_INDEX_QUERIES 4u
#define CPU_INDEX_TILE 32u

/* One token's query of the indexer: in f32, or as bytes in blocks of 32 elements (k_index_bytes.c).  stride: n_heads
 * rounded up to 16. */
struct cpu_index_query {
    bool is_in_bytes, is_joint; /* joint: units of a head's blocks are the same, and in joint_factors */
    bool is_tiled;              /* the bytes are in tiles too */
    uint64_t stride;
    float *factors;                     /* [stride]: a_h; 0 beyond n_heads */
    float *turned;                      /* [width][stride], heads along a row */
    int8_t *codes;                      /* [width / 4][stride][4], in the place of turned */
    int8_t *tiles;                      /* [width][stride], for AMX: [stride / 16][even, odd][16][16][4] */
    int32_t *corrections, *multipliers; /* [width / 32][stride] */
    float *units;                       /* [width / 32][stride] */
    int32_t *totals;                    /* [stride]: sums of corrections */
    float *joint_factors;               /* [stride] */
    float *scores;                      /* of all entries: results */
};

/* Entries begin .. end-1 meet some queries. */
struct cpu_index {
    const struct cpu_index_query *queries; /* [n_queries] */
    uint32_t n_queries;
    const unsigned char *keys;
    uint64_t row_bytes;
    uint32_t width, format;
    bool native;
    float *key;         /* [width]: work space, as are */
    uint8_t *bytes;     /* [CPU_INDEX_TILE][width] */
    float *block_units; /* [CPU_INDEX_TILE][width / 32] */
};

struct cpu_index_tile {
    uint32_t n;
    bool is_joint; /* the scales of each key are in units */
    float units[CPU_INDEX_TILE];
};

/* Entries that choose looks at together; it needs as much work space twice. */
#define CPU_CHOOSE_ROOM(top_k) (((uint64_t)(top_k) + 15) / 16 * 32 + 64)

struct cpu_kernels {
    const char *name;

    /* input: one token.  out forms may be NULL; n: elements of x; all forms are n_padded long. */
    void (*plain)(const float *x, uint64_t n, uint64_t n_padded, float *out);
    void (*split)(const float *x, uint64_t n, uint64_t n_padded, float *out);
    /* Where the tier multiplies pairs of bf16, else NULL.  One of n_tokens tokens, for weights of this type, e4m3 or
     * bf16; false: x is not exact in bf16. */
    bool (*pairs)(const float *x, uint64_t n, uint64_t n_padded, uint32_t dtype, uint16_t *pairs, uint64_t token,
                  uint64_t n_tokens);
    /* values: e4m3 values of x / scale, [n_padded]; scales: [n_padded / 128] */
    void (*quantise)(const float *x, uint64_t n, uint64_t n_padded, float *values, uint8_t *scales);
    /* values *= their scales */
    void (*dequantise)(float *values, const uint8_t *scales, uint64_t n_padded);
    enum cpu_digits_kind (*digits)(const float *values, const uint8_t *scales, uint64_t n_padded,
                                   struct cpu_digits *out);
    /* Where the tier has tiles for panels, else NULL: one of n_tokens tokens, of the same values and scales. */
    void (*blocks)(const float *values, const uint8_t *scales, const struct cpu_digits *digits, uint64_t n_padded,
                   uint64_t token, uint64_t n_tokens, const struct cpu_blocks *blocks);

    /* Rows begin .. end-1 of a product (of panels: begin a multiple of 16): rows with f32 input, panels by digits,
     * panels with f32 input, rows by codes. */
    void (*rows)(const struct cpu_product *product, uint64_t begin, uint64_t end);
    void (*panels)(const struct cpu_product *product, uint64_t begin, uint64_t end);
    void (*panels_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end);
    void (*rows_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end);
    /* gates = the activation of gates and ups; weight: NULL or one factor */
    void (*swiglu)(float *gates, const float *ups, uint64_t n, float limit, const float *weight, bool native);

    /* y: [n], may be x */
    void (*normalise)(bool native, const float *x, const float *norm, uint64_t n, float eps, float *y);
    void (*norm_head)(bool native, float *q, uint64_t n, float eps);
    /* x: [rope_dim]; angles: cosines, then sines */
    void (*turn)(bool native, float *x, const float *angles, uint32_t rope_dim);
    /* x: [width] */
    void (*hadamard)(float *x, uint32_t width);
    /* e2m1 in blocks of 32: codes one a byte (or NULL), scales (or NULL), x becomes the values they stand for */
    void (*round_e2m1)(float *x, uint32_t n, uint8_t *codes, uint8_t *scales);
    /* e4m3 in blocks of 64: the same */
    void (*round_e4m3)(float *x, uint32_t n, uint8_t *codes, uint8_t *scales);

    /* Where the tier has tiles, else NULL: whether these elements of queries can be in them. */
    bool (*attend_fits)(const float *q, uint64_t n);
    /* Attention in its steps: queries with heads along a row, then tiles begin .. end-1 of keys twice, then columns
     * begin .. end-1, multiples of 16. */
    void (*attend_turn)(const struct cpu_attend *attend, const float *q, float *turned);
    void (*attend_scores)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
    void (*attend_weigh)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
    void (*attend_sum)(const struct cpu_attend *attend, uint64_t begin, uint64_t end);
    /* A native query, [n_heads][width], into bytes, whole blocks; query has its factors.  False: it takes f32. */
    bool (*index_query)(const float *q, uint32_t n_heads, uint32_t width, struct cpu_index_query *query);
    void (*index)(const struct cpu_index *index, uint64_t begin, uint64_t end);
    /* The top_k best of n scores, none a NaN or -0, ascending, then -1; of equal ones the lower entries.
     * work: [2 * CPU_CHOOSE_ROOM(top_k)] */
    void (*choose)(const float *scores, uint64_t n, uint32_t top_k, int32_t *work, int32_t *indices);

    float (*squares)(const float *x, uint64_t n);
    /* out[d] = round(sum_s factors[s] * x[s][d]) */
    void (*collapse)(bool native, const float *x, const float *factors, uint32_t n_streams, uint64_t dim, float *out);
    /* comb: [4][4]; columns over their sums, then n_iterations - 1 times rows and columns */
    void (*balance4)(double *comb, uint32_t n_iterations, double eps);
    /* x[k] = round(post[k] * result + sum_j comb[j][k] * x[j]); at most CPU_MAX_STREAMS */
    void (*expand)(bool native, float *x, const float *result, const float *post, const float *comb, uint32_t n_streams,
                   uint64_t dim);
    /* y = ((parts[0] + parts[1]) + ..) + shared, each [n], native: bits of the contract; exact: in double */
    void (*moe_sum)(bool native, const float *const *parts, uint32_t n_parts, const float *shared, uint64_t n,
                    float *y);
    /* x = sqrt(softplus(x)) */
    void (*affinities)(float *x, uint64_t n);
    /* out[c] = sum_s softmax_s(scores[s][c]) * values[s][c]; rows: [n_slots] */
    void (*pool)(const float *const *scores, const float *const *values, uint64_t n_slots, uint64_t n, float *out);

    /* A whole panel of an e2m1 weight: 16 rows of n_groups * 128 columns. */
    void (*pack_panel)(const unsigned char *data, const unsigned char *scales, uint64_t n_groups, unsigned char *out);
    /* The same panel back to rows. */
    void (*unpack_panel)(const unsigned char *from, uint64_t n_groups, unsigned char *data, unsigned char *scales);
    /* Copies n codes; whether one is NaN. */
    bool (*pack_e4m3)(const unsigned char *from, uint64_t n, unsigned char *out);

    /* For measure: dot products of bytes, and f32 multiply-adds, in registers; they return the operations done.  from
     * is aligned to 64, n a multiple of 256. */
    uint64_t (*roof_dots)(uint64_t n_rounds);
    uint64_t (*roof_fmas)(uint64_t n_rounds);
    void (*roof_read)(const unsigned char *from, uint64_t n);
    const char *dot_name; /* the instruction behind roof_dots */
};

extern const struct cpu_kernels cpu_kernels_avx2, cpu_kernels_avx512, cpu_kernels_vnni, cpu_kernels_bf16,
    cpu_kernels_amx; /* amx: where the compiler knows it */

#endif
