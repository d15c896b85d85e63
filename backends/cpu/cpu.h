/* cpu.h - what the files of the x86-64 backend share: a device, its threads, packed weights, prepared activations.
 *
 * An operation is one function, cpu_<op>: it fetches its arguments, and cuts its work into items that threads take from
 * a common counter.  What an item computes runs in the kernels of the active tier (kernels.h).  An output element is
 * computed by one thread, in one order, from its own token alone: the bits depend on the tier (but for routed experts,
 * which have the reference's on every tier), never on the number of threads nor on how a prompt is cut into commands.
 */
#ifndef BACKENDS_CPU_CPU_H
#define BACKENDS_CPU_CPU_H

#include <pthread.h>

#include "backends/host/host.h"

struct cpu_kernels;
struct cpu_places;
struct cpu_pool;
struct cpu_slab;

/* Rows of an e2m1 weight go in panels of 16, whatever the tier, so that one row is one lane.  A panel holds groups of
 * 128 columns; a group is 16 e8m0 scales for each of its 4 blocks of 32, then the blocks, 256 bytes each: four times 16
 * rows of 4 bytes, byte b of piece j holding column 8j + b in its low half and 8j + 4 + b in its high half. */
#define CPU_PANEL_ROWS 16u
#define CPU_GROUP_COLS 128u
#define CPU_GROUP_BYTES 1088u

/* The name of all that is packed, here and below: files of packed weights bear it.  Another number with any change. */
#define CPU_LAYOUT "cpu-1"

/* host_matrix.packing.  ROWS: data is rows of cols rounded up to 128 elements, the rest 0, aligned to 64; the scales of
 * an e4m3 weight are f32, [ceil(rows / 128)][ceil(cols / 128)].  REDUCED: the same, of a weight that was made e4m3
 * here; its input is not quantised. */
enum cpu_packing { CPU_CANONICAL = 0, CPU_ROWS, CPU_PANELS, CPU_ROWS_REDUCED };

static inline uint64_t
cpu_padded(uint64_t n)
{
    return (n + CPU_GROUP_COLS - 1) / CPU_GROUP_COLS * CPU_GROUP_COLS;
}

enum cpu_tier { CPU_TIER_AVX2 = 0, CPU_TIER_AVX512, CPU_TIER_VNNI, CPU_TIER_BF16, CPU_TIER_AMX, CPU_N_TIERS };

struct hearth_device {
    const struct cpu_kernels *kernels;
    struct cpu_places *places;
    struct cpu_pool *pool;
    struct host_scratch scratch;
    bool reduces_head; /* a bf16 or f32 head is kept as e4m3 */
    struct cpu_slab *slab; /* that weights are cut from; NULL: none yet */
    pthread_mutex_t slab_lock;
};

/* device.c: lines for the log.  A matter is said once as long as the plugin runs. */

enum cpu_matter { CPU_MATTER_PIN = 0, CPU_MATTER_HUGE_PAGES, CPU_MATTER_BIND, CPU_MATTER_MAP, CPU_N_MATTERS };

void cpu_say_once(enum cpu_matter matter, const char *text);

/* tier.c */

/* The best tier of this processor, or -1: not even AVX2, FMA, BMI2 and F16C. */
int cpu_tier_best(void);
/* The tier that is used unless another is named.  All have passed the conformance suite on real processors. */
int cpu_tier_default(int best);
/* Asks the system for what the tier needs.  Returns the tier, or the next below if it is refused. */
int cpu_tier_ask(int tier);
const char *cpu_tier_name(int tier);
int cpu_tier_find(const char *name); /* -1: no such tier */
const struct cpu_kernels *cpu_tier_kernels(int tier);

/* place.c: which core each thread stands on, and which memory is near it. */

#define CPU_MAX_NODES 64u

/* Threads in the order of their NUMA nodes: those of node k are first[k] .. first[k + 1] - 1. */
struct cpu_split {
    uint32_t n_nodes; /* 1 or more */
    uint32_t first[CPU_MAX_NODES + 1];
};

/* The first item that this node's threads take before others' (up to the next node's first).  Packed rows lie alike. */
static inline uint64_t
cpu_split_begin(const struct cpu_split *split, uint64_t n_items, uint32_t node)
{
    const uint64_t n_threads = split->first[split->n_nodes];
    return n_items / n_threads * split->first[node] + n_items % n_threads * split->first[node] / n_threads;
}

/* n_threads 0: one for each core the caller may run on, with smt one for each of its hardware threads.  Where the
 * machine cannot be read, threads stand nowhere in particular.  Owner: the caller; cpu_places_free. */
int cpu_places_new(uint32_t n_threads, bool smt, struct cpu_places **ret_places, struct hearth_error *err);
void cpu_places_free(struct cpu_places *places); /* NULL allowed */
const struct cpu_split *cpu_places_split(const struct cpu_places *places);
uint32_t cpu_places_threads(const struct cpu_places *places);
/* False: it could not be done. */
bool cpu_places_pin(const struct cpu_places *places, pthread_t thread, uint32_t index);
/* Units of packed rows, unit_bytes each, come to lie on the nodes of the threads that prefer them.  For memory that
 * nobody has touched.  True also when there is one node, and nothing to do. */
bool cpu_places_bind(const struct cpu_places *places, void *memory, uint64_t n_units, uint64_t unit_bytes);

/* pool.c: the threads of one device. */

/* Computes items begin .. end-1; thread < cpu_pool_threads and differs between calls that run at once. */
struct cpu_work {
    void (*run)(void *context, uint64_t begin, uint64_t end, uint32_t thread);
    void *context;
};

/* pin: every thread but the caller's stays at its place.  ret_n_unpinned: threads for which that failed.  places
 * outlive the pool. */
int cpu_pool_new(const struct cpu_places *places, bool pin, struct cpu_pool **ret_pool, uint32_t *ret_n_unpinned,
                 struct hearth_error *err);
void cpu_pool_free(struct cpu_pool *pool); /* joins the threads; NULL allowed */
uint32_t cpu_pool_threads(const struct cpu_pool *pool);
/* Runs items in pieces of at least `least`, and returns when all are done.  cost: about how many bytes or operations an
 * item is worth; what is not worth a second thread runs in the caller. */
void cpu_pool_run(struct cpu_pool *pool, uint64_t n_items, uint64_t least, uint64_t cost, struct cpu_work work);

/* input.c: activations in the forms that weights want them in. */

/* For an e2m1 weight: one block of 32 quantised activations, as integers of 2^(shift - 9), written in balanced digits.
 */
struct cpu_digits {
    int8_t digits[3][32];
    int32_t correction; /* 12 * sum: kernels read a weight's half as 0 .. 24 */
    int32_t worth;      /* scale and unit: what they add to the exponent of a weight's scale, in the place of f32's */
    uint8_t n;          /* digits used; the others are 0 */
    uint8_t shift;
    uint8_t scale; /* e8m0 */
};

/* A row of them: no scale makes a product meet a limit of the contract; one may; one is a NaN. */
enum cpu_digits_kind { CPU_DIGITS_FREE, CPU_DIGITS_LIMITED, CPU_DIGITS_NAN };

/* Beside digits, for tiles: the same activations as bf16, times their scales.  The even ones of eight columns come
 * before the odd. */
struct cpu_blocks {
    uint16_t *pairs;   /* as cpu_tiled_at has them */
    uint16_t *inexact; /* [n][cpu_chunks]: blocks of 32 whose sums of products may need more bits than f32 has */
};

enum cpu_form {
    CPU_FORM_PLAIN = 1,  /* f32, in order */
    CPU_FORM_SPLIT = 2,  /* f32, each 4 W elements in the order of vf_load_e4m3, times E4M3_LIFT */
    CPU_FORM_DIGITS = 4, /* struct cpu_digits */
    CPU_FORM_CODES = 8,  /* split; e4m3 values without their scales */
    CPU_FORM_PAIRS = 16, /* bf16 of x itself, where the tier multiplies pairs */
    CPU_FORM_BLOCKS = 32 /* beside DIGITS: struct cpu_blocks, of CPU_TILED_TOKENS or more, where the tier has tiles */
};

/* Fewer tokens meet a panel faster by digits. */
#define CPU_TILED_TOKENS 5u

/* Columns of bf16 pairs that are ordered together. */
#define CPU_PAIRS_BLOCK 256u
/* Where tiles multiply them: columns that pass before the next are read, tokens and columns of a tile. */
#define CPU_TILED_COLS 512u
#define CPU_TILE_TOKENS 16u
#define CPU_TILE_COLS 32u

static inline uint64_t
cpu_pairs_padded(uint64_t n)
{
    return (n + CPU_PAIRS_BLOCK - 1) / CPU_PAIRS_BLOCK * CPU_PAIRS_BLOCK;
}

/* Where a token's pairs begin: of all tokens the first n_together columns, then the next and so on, so that what meets
 * a tile of weights lies close.  col: a multiple of a block. */
static inline uint64_t
cpu_pairs_at(uint64_t n_together, uint64_t n_padded, uint64_t n_tokens, uint64_t token, uint64_t col)
{
    const uint64_t first = col / n_together * n_together, left = cpu_pairs_padded(n_padded) - first;
    return first * n_tokens + token * (left < n_together ? left : n_together) + (col - first);
}

/* Tokens for which there is room. */
static inline uint64_t
cpu_pairs_tokens(uint64_t n_tokens)
{
    return (n_tokens + CPU_TILE_TOKENS - 1) / CPU_TILE_TOKENS * CPU_TILE_TOKENS;
}

/* The same where tiles multiply them: within the first CPU_TILED_COLS columns 16 tokens and then the next 16, and of
 * those a tile behind the other, as it is loaded.  col: a multiple of CPU_TILE_COLS. */
static inline uint64_t
cpu_tiled_at(uint64_t n_padded, uint64_t n_tokens, uint64_t token, uint64_t col)
{
    const uint64_t first = col / CPU_TILED_COLS * CPU_TILED_COLS, left = cpu_pairs_padded(n_padded) - first;
    const uint64_t n_cols = left < CPU_TILED_COLS ? left : CPU_TILED_COLS, in_tile = token % CPU_TILE_TOKENS;
    return first * cpu_pairs_tokens(n_tokens) + (token - in_tile) * n_cols + (col - first) * CPU_TILE_TOKENS +
           in_tile * CPU_TILE_COLS;
}

/* Chunks of the contract's sums (HEARTH_EXPERT_CHUNK). */
static inline uint64_t
cpu_chunks(uint64_t n_padded)
{
    return (n_padded + HEARTH_EXPERT_CHUNK - 1) / HEARTH_EXPERT_CHUNK;
}

/* Of an input of no more tokens SPLIT holds also those that have pairs: for kernels that take a lone one that way. */
#define CPU_FEW_TOKENS 16u

struct cpu_input {
    uint64_t n, n_in, n_padded;         /* n_in rounded up to 128; what is beyond n_in is 0 */
    const float *plain, *split, *codes; /* [n][n_padded] */
    const uint16_t *pairs;              /* bf16, in the order of k_pairs.c: of tokens whose activations are such */
    const bool *has_pairs;       /* [n], where the tier multiplies pairs; split holds the others, or CPU_FEW_TOKENS */
    const uint16_t *plain_pairs; /* PAIRS, of tokens whose activations are such */
    const bool *has_plain_pairs; /* [n] */
    const struct cpu_digits *digits;    /* [n][n_padded / 32] */
    const uint8_t *digits_kinds;        /* [n], with digits */
    struct cpu_blocks blocks;           /* BLOCKS */
    const uint8_t *scales;              /* [n][n_padded / 128], with codes */
};

/* quantise: the values are those of e4m3 in blocks of 128 (SPLIT); DIGITS and CODES always are. */
struct cpu_wanted {
    uint32_t forms;
    bool quantise;
};

/* The form in which a product with this weight wants its input.  contract: with the bits of a routed expert. */
struct cpu_wanted cpu_input_wanted(bool native, bool contract, const struct host_matrix *weight);
/* x: [n][n_in] f32 */
void cpu_input_prepare(struct host_call *call, const float *x, uint64_t n, uint64_t n_in, struct cpu_wanted wanted,
                       struct cpu_input *ret_input);

/* product.c: y[slots[i] * y_stride + row] = sum_k weight[row][k] * input[tokens[i]][k] */
struct cpu_product {
    const struct host_matrix *weight;
    const struct cpu_input *input;
    const uint32_t *tokens; /* [n_tokens] rows of input, or NULL: row i */
    const uint32_t *slots;  /* [n_tokens] rows of y, or NULL: row i */
    uint64_t n_tokens;
    float *y;
    uint64_t y_stride;
    uint32_t form; /* the one that cpu_input_wanted named */
    bool round;    /* y is rounded to bf16 */
};

static inline uint64_t
cpu_token_of(const struct cpu_product *product, uint64_t i)
{
    return product->tokens == NULL ? i : product->tokens[i];
}

static inline uint64_t
cpu_slot_of(const struct cpu_product *product, uint64_t i)
{
    return product->slots == NULL ? i : product->slots[i];
}

/* Panels that several tokens pass side by side, where the tier has the registers: a piece of work has no fewer. */
#define CPU_PANELS_AT_ONCE 2u

/* Threads take rows in units of 16, so that none shares a panel, or a line of y, with another. */
#define CPU_ROW_UNIT CPU_PANEL_ROWS

static inline uint64_t
cpu_row_units(uint64_t rows)
{
    return (rows + CPU_ROW_UNIT - 1) / CPU_ROW_UNIT;
}

/* Bytes of a unit of the weight's rows: what a thread reads for it. */
uint64_t cpu_unit_bytes(const struct host_matrix *weight);
/* Rows begin .. end-1 in the caller's thread; begin is a multiple of a unit if the weight is packed in panels. */
void cpu_product_rows(const struct cpu_kernels *kernels, const struct cpu_product *product, uint64_t begin,
                      uint64_t end);
/* Units begin .. end-1 of all rows. */
void cpu_product_units(const struct cpu_kernels *kernels, const struct cpu_product *product, uint64_t begin,
                       uint64_t end);
/* Rows begin .. end-1 on all threads. */
void cpu_product_run(struct host_call *call, const struct cpu_product *product, uint64_t begin, uint64_t end);

/* turn.c: angles. */

/* out: [rope_dim / 2] cosines, then as many sines, of position * inv_freq; direction 1 or -1 */
void cpu_angles(const float *inv_freq, uint32_t rope_dim, uint64_t position, int direction, float *out);
/* The same for n positions step apart.  NULL: the call has failed. */
const float *cpu_angles_take(struct host_call *call, const float *inv_freq, uint32_t rope_dim, uint64_t position,
                             uint64_t n, uint64_t step, int direction);

/* kv.c: stored rows. */

/* Fails unless the format is known and fits the numerics. */
void cpu_kv_check(struct host_call *call, uint32_t format, uint32_t head_dim, uint32_t rope_dim);

/* row: [head_dim], which becomes what the store holds of it; bytes: hearth_kv_row_bytes */
void cpu_kv_store(const struct cpu_kernels *kernels, float *row, uint32_t format, bool native, uint32_t head_dim,
                  uint32_t rope_dim, unsigned char *bytes);
/* key, codes: [width], work space as well */
void cpu_index_store(const struct cpu_kernels *kernels, float *key, uint8_t *codes, uint32_t format, bool native,
                     uint32_t width, unsigned char *bytes);

/* head.c: matrix, canonical, becomes e4m3.  ret_memory: what it then points to; owner: the caller, free(). */
int cpu_head_reduce(struct hearth_device *device, struct host_matrix *matrix, void **ret_memory,
                    struct hearth_error *err);

/* slab.c: memory for weights.  size: a multiple of 64, and so is the address.  NULL: there is none.  Thread: any. */
unsigned char *cpu_slab_take(struct hearth_device *device, uint64_t size, struct cpu_slab **ret_slab);
void cpu_slab_leave(struct hearth_device *device, struct cpu_slab *slab); /* NULL allowed */

/* weight.c */
int cpu_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                      size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err);
void cpu_weight_free(struct hearth_device *device, struct hearth_weight *weight);
int cpu_packed_bytes(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                     size_t n_matrices, uint64_t *ret_bytes, struct hearth_error *err);
int cpu_weight_pack(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                    size_t n_matrices, void *dst, struct hearth_error *err);
int cpu_weight_map(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                   size_t n_matrices, const void *packed, struct hearth_weight **ret_weight, struct hearth_error *err);

/* unpack.c */
int cpu_weight_read(struct hearth_device *device, const struct hearth_weight *weight, size_t index, void *data,
                    void *scales, struct hearth_error *err);

#define HEARTH_OP(NAME, name) void cpu_##name(struct host_call *call, const struct hearth_op_##name *op);
#include <hearth/ops.def>
#undef HEARTH_OP

/* device.c: the calls of the plugin table. */

int cpu_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err);
void cpu_stop(void);
int cpu_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err);
int cpu_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err);
void cpu_close(struct hearth_device *device);
bool cpu_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics);
int cpu_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
               struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
               struct hearth_error *err);

/* roof.c */
int cpu_measure(struct hearth_device *device, double seconds, struct hearth_roof *ret_roof, struct hearth_error *err);

#endif
