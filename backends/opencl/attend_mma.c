/* attend_mma.c - attention by matrix instructions (kernels-cl/attend_mma.cl). */
#include <config.h>

#include <math.h>
#include <stdio.h>

#include "backends/opencl/attend.h"
#include "backends/opencl/rows.h"

/* As attend_mma.cl has them. */
#define HEAD_DIM 512u
#define ROPE_DIM 64u
#define TILE 16u
#define CHUNK 640u /* a token's window and 512 listed entries are one */
#define CHUNK_TILES (CHUNK / TILE)
#define ITEMS 128u

/* Work space of a slice; a single token may take more. */
#define SPACE_BYTES (128u << 20)
#define MAX_SLICE 32768u /* work-groups in one dimension */
#define GROUPS_A_UNIT 2u /* with all registers in use */
#define FEW_GROUPS_A_UNIT 4u

/* How the work is cut: no bit depends on it. */
struct cut {
    uint32_t head_tiles, depth; /* of a work-group */
    uint32_t batch;             /* tiles between two barriers */
    uint32_t padded;            /* heads */
    bool is_one;                /* the kernel that sums also ends */
    uint32_t range_tiles, n_ranges;
    struct ocl_span powers, sums, tops;
};

bool
ocl_attend_has_mma(const struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work)
{
    const uint64_t rows_at =
        work->ring.offset | work->entries.offset; /* read in eights of bytes, queries in sixteens */
    return call->device->uses_mma && call->native && op->kv_format == HEARTH_KV_PACKED && op->head_dim == HEAD_DIM &&
           op->rope_dim == ROPE_DIM && rows_at % 8 == 0 && work->q.offset % 16 == 0;
}

static void
launch_scores(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work,
              const struct cut *cut)
{
    char defines[64];
    const uint64_t token_bytes = (uint64_t)op->n_heads * op->head_dim * sizeof(float);
    const size_t groups[3] = {cut->n_ranges, cut->padded / (16u * cut->head_tiles), work->n};
    const size_t local[3] = {ITEMS, 1, 1};
    snprintf(defines, sizeof defines, "-DSCORES -DHEAD_TILES=%u -DCHUNK=%u", cut->head_tiles, CHUNK);
    struct ocl_kernel *kernel = ocl_kernel(call, "attend_mma", defines, "attend_scores_mma");
    ocl_arg_span(call, kernel, ocl_at(work->q, work->first * token_bytes));
    ocl_attend_rows(call, op, work, kernel);
    ocl_arg_span(call, kernel, cut->powers);
    ocl_arg_span(call, kernel, work->maxima);
    ocl_arg_span(call, kernel, cut->sums);
    ocl_arg_span(call, kernel, cut->tops);
    ocl_arg_u32(call, kernel, op->n_heads);
    ocl_arg_u32(call, kernel, cut->padded);
    ocl_arg_u32(call, kernel, work->n_tiles);
    ocl_arg_u32(call, kernel, cut->range_tiles);
    ocl_arg_f32(call, kernel, (float)(1.0 / sqrt((double)op->head_dim)));
    ocl_launch(call, kernel, 3, groups, local);
}

static void
launch_sums(struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work,
            const struct cut *cut)
{
    char defines[96];
    const size_t groups[3] = {work->n_chunks * (size_t)(HEAD_DIM / cut->depth), cut->padded / (16u * cut->head_tiles),
                              work->n};
    const size_t local[3] = {ITEMS, 1, 1};
    snprintf(defines, sizeof defines, "-DDEPTH=%u -DHEAD_TILES=%u -DBATCH=%u -DAHEAD=2 -DCHUNK=%u%s", cut->depth,
             cut->head_tiles, cut->batch, CHUNK, cut->is_one ? " -DONE_CHUNK" : "");
    struct ocl_kernel *kernel = ocl_kernel(call, "attend_mma", defines, "attend_sums_mma");
    ocl_attend_rows(call, op, work, kernel);
    ocl_arg_span(call, kernel, cut->powers);
    ocl_arg_span(call, kernel, work->maxima);
    ocl_arg_span(call, kernel, cut->sums);
    ocl_arg_span(call, kernel, cut->tops);
    if (cut->is_one) {
        ocl_arg_span(call, kernel, work->sinks);
        ocl_arg_span(call, kernel, work->inv_freq);
        ocl_arg_span(call, kernel, ocl_at(work->o, work->first * (uint64_t)op->n_heads * HEAD_DIM * sizeof(float)));
    } else {
        ocl_arg_span(call, kernel, work->parts);
        ocl_arg_span(call, kernel, work->weights);
        ocl_arg_span(call, kernel, work->largest);
        ocl_arg_u32(call, kernel, work->n_chunks);
    }
    ocl_arg_u32(call, kernel, cut->padded);
    ocl_arg_u32(call, kernel, work->n_tiles);
    ocl_arg_u32(call, kernel, cut->n_ranges);
    ocl_arg_u32(call, kernel, cut->range_tiles);
    ocl_launch(call, kernel, 3, groups, local);
}

/* Few tokens are cut into many work-groups; many share unpacked rows among as many heads as registers hold. */
static struct cut
choose_cut(const struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work)
{
    const uint64_t n_units = call->device->caps.n_units;
    const bool many = op->n_heads > 16 && (uint64_t)op->n * work->n_chunks * 3 >= n_units;
    struct cut cut = {.head_tiles = many ? 4 : 1, .depth = many ? 128 : 64, .batch = many ? 1 : 2};
    cut.padded = (uint32_t)rows_divide_up(op->n_heads, 16u * cut.head_tiles) * 16u * cut.head_tiles;
    cut.is_one = work->n_chunks == 1 && cut.padded == op->n_heads;
    const uint64_t n_groups = (uint64_t)op->n * work->n_tiles * (cut.padded / (16u * cut.head_tiles));
    const uint64_t share = rows_divide_up(n_groups, (many ? GROUPS_A_UNIT : FEW_GROUPS_A_UNIT) * n_units);
    cut.range_tiles = share < CHUNK_TILES ? (uint32_t)share : CHUNK_TILES;
    cut.n_ranges = (uint32_t)rows_divide_up(work->n_tiles, cut.range_tiles);
    return cut;
}

/* Tokens of a slice: what fits the work space, and if it is many, as many as keep all units at work. */
static uint64_t
choose_slice(const struct ocl_call *call, const struct hearth_op_attention *op, const struct attend *work,
             const struct cut *cut)
{
    const uint64_t floats = (uint64_t)cut->padded *
                            (work->n_tiles * (TILE + 2ull) + cut->n_ranges + work->n_chunks * (HEAD_DIM + 1ull) + 1);
    const uint64_t wave = (uint64_t)GROUPS_A_UNIT * call->device->caps.n_units;
    uint64_t at_once = SPACE_BYTES / sizeof(float) / floats;
    at_once = at_once < 1 ? 1 : (at_once > MAX_SLICE ? MAX_SLICE : at_once);
    at_once = at_once > wave ? at_once / wave * wave : at_once;
    return at_once < op->n ? at_once : op->n;
}

void
ocl_attend_mma(struct ocl_call *call, const struct hearth_op_attention *op, struct attend *work, uint64_t n_keys)
{
    work->n_tiles = (uint32_t)rows_divide_up(n_keys, TILE);
    work->n_chunks = (uint32_t)rows_divide_up(n_keys, CHUNK);
    struct cut cut = choose_cut(call, op, work);
    const uint64_t at_once = choose_slice(call, op, work, &cut);
    const uint64_t n_tiles = at_once * work->n_tiles, n_parts = at_once * work->n_chunks * cut.padded;
    cut.powers = ocl_scratch(call, n_tiles * cut.padded, TILE * sizeof(float));
    work->maxima = ocl_scratch(call, n_tiles, cut.padded * sizeof(float));
    cut.sums = ocl_scratch(call, n_tiles, cut.padded * sizeof(float));
    cut.tops = ocl_scratch(call, at_once * cut.n_ranges, cut.padded * sizeof(float));
    work->parts = ocl_scratch(call, n_parts, HEAD_DIM * sizeof(float));
    work->weights = ocl_scratch(call, n_parts, sizeof(float));
    work->largest = ocl_scratch(call, at_once, cut.padded * sizeof(float));
    work->n_rows = cut.padded;
    snprintf(work->defines, sizeof work->defines, "-DHEAD_STEPS=2 -DCHUNK=%u", CHUNK);
    for (uint64_t first = 0; first < op->n && call->status == 0; first += at_once) {
        work->first = (uint32_t)first;
        work->n = (uint32_t)(op->n - first < at_once ? op->n - first : at_once);
        launch_scores(call, op, work, &cut);
        launch_sums(call, op, work, &cut);
        if (!cut.is_one) {
            ocl_attend_finish(call, op, work);
        }
    }
}
