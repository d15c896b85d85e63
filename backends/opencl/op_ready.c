/* op_ready.c - what attention and the indexer want of new tokens: query_rope, kv_append, index_query and the
 * compressors of a layer, as one launch where they stand together (kernels-cl/ready.cl). */
#include <config.h>

#include <math.h>
#include <stdio.h>

#include "backends/opencl/rows.h"

/* A compressor's state is one work-group's, which is quick enough for few tokens; and kernels that make one thing each
 * have more work-groups on a unit. */
#define FEW_TOKENS 16u

#define MAX_COMPRESSORS 2u
#define MAX_VIEWS 4u

/* Commands that are one launch, and the index_topk among them, which follows it. */
struct ready {
    const struct hearth_op_query_rope *query;
    const struct hearth_op_kv_append *append;
    const struct hearth_op_index_query *index;
    const struct hearth_op_compress *compress[MAX_COMPRESSORS];
    uint32_t n_compressors;
    const struct hearth_op_index_topk *topk;
};

/* As ready.cl has them. */
struct ready_queries {
    uint32_t n, n_heads, head_dim, rope_dim;
    float eps, hadamard;
};

struct ready_rows {
    uint32_t n, head_dim, rope_dim, ring_slots, row_bytes, format;
    float eps;
};

struct ready_compressor {
    uint32_t ratio, width, rope_dim, overlap, is_index, row_bytes, format, n_entries;
    float eps, hadamard;
};

struct ready_sizes {
    uint64_t position;
    uint32_t n, native, n_compressors;
    struct ready_compressor compressors[MAX_COMPRESSORS];
    struct ready_rows rows;
    struct ready_queries queries, index;
};

/* The memory of a command: first what it writes. */
struct touched {
    struct hearth_view views[MAX_VIEWS];
    uint32_t n_written;
};

static struct touched
touched_by(const struct hearth_command *command)
{
    const struct hearth_op_kv_append *append = &command->args.kv_append;
    const struct hearth_op_compress *compress = &command->args.compress;
    const struct hearth_op_index_topk *topk = &command->args.index_topk;
    switch (command->op) {
    case HEARTH_OP_QUERY_ROPE:
        return (struct touched){{command->args.query_rope.q}, 1};
    case HEARTH_OP_KV_APPEND:
        return (struct touched){{append->ring, append->kv}, 1};
    case HEARTH_OP_INDEX_QUERY:
        return (struct touched){{command->args.index_query.q}, 1};
    case HEARTH_OP_COMPRESS:
        return (struct touched){{compress->state, compress->entries, compress->values, compress->gates}, 2};
    default:
        return (struct touched){{topk->indices, topk->q, topk->head_weights, topk->keys}, 1};
    }
}

/* Whether the order of the two may change. */
static bool
is_apart(const struct hearth_command *a, const struct hearth_command *b)
{
    const struct touched x = touched_by(a), y = touched_by(b);
    for (uint32_t i = 0; i < MAX_VIEWS; i++) {
        for (uint32_t j = 0; j < MAX_VIEWS; j++) {
            const bool is_written = i < x.n_written || j < y.n_written;
            if (is_written && x.views[i].buffer != NULL && x.views[i].buffer == y.views[j].buffer) {
                return false;
            }
        }
    }
    return true;
}

/* Takes the command in if it is of the kind and none of its kind is there yet. */
static bool
take(struct ready *ready, const struct hearth_command *command, const struct hearth_command *first)
{
    const struct hearth_op_query_rope *query = &first->args.query_rope;
    const struct hearth_op_compress *compress = &command->args.compress;
    const uint64_t position = query->position;
    switch (command->op) {
    case HEARTH_OP_KV_APPEND:
        if (ready->append != NULL || command->args.kv_append.inv_freq != query->inv_freq ||
            command->args.kv_append.n != query->n || command->args.kv_append.position != position) {
            return false;
        }
        ready->append = &command->args.kv_append;
        return true;
    case HEARTH_OP_INDEX_QUERY:
        if (ready->index != NULL || command->args.index_query.inv_freq != query->inv_freq ||
            command->args.index_query.n != query->n || command->args.index_query.position != position) {
            return false;
        }
        ready->index = &command->args.index_query;
        return true;
    case HEARTH_OP_COMPRESS:
        if (ready->n_compressors == MAX_COMPRESSORS || compress->inv_freq != query->inv_freq ||
            compress->n != query->n || compress->position != position || compress->ratio == 0 ||
            (position + compress->n) / compress->ratio > position / compress->ratio + 1) {
            return false;
        }
        ready->compress[ready->n_compressors++] = compress;
        return true;
    default:
        return false;
    }
}

/* How many commands, of which the first is a query_rope; ret_ready: these. */
static size_t
collect(const struct hearth_command *commands, size_t n_commands, struct ready *ret_ready)
{
    struct ready ready = {.query = &commands[0].args.query_rope};
    size_t n = 1, topk_at = 0;
    const bool is_few = ready.query->n <= FEW_TOKENS;
    while (is_few && n < n_commands && commands[n].numerics == commands[0].numerics) {
        const bool is_topk = commands[n].op == HEARTH_OP_INDEX_TOPK && ready.topk == NULL;
        bool is_apart_of_all = true;
        for (size_t i = 0; i < n && !is_topk; i++) {
            is_apart_of_all = is_apart_of_all && is_apart(&commands[i], &commands[n]);
        }
        if (is_topk) {
            ready.topk = &commands[n].args.index_topk;
            topk_at = n;
        } else if (!is_apart_of_all || !take(&ready, &commands[n], &commands[0])) {
            break;
        }
        n++;
    }
    if (ready.topk != NULL && topk_at == n - 1) { /* nothing behind it: it may as well come by itself */
        ready.topk = NULL;
        n--;
    }
    *ret_ready = ready;
    return n;
}

size_t
ocl_count_ready(const struct hearth_command *commands, size_t n_commands)
{
    struct ready ready;
    return collect(commands, n_commands, &ready);
}

static struct ready_queries
sizes_of_queries(uint32_t n, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim, float eps)
{
    return (struct ready_queries){.n = n * n_heads,
                                  .n_heads = n_heads,
                                  .head_dim = head_dim,
                                  .rope_dim = rope_dim,
                                  .eps = eps,
                                  .hadamard = (float)(1.0 / sqrt((double)head_dim))};
}

static void
add_compressor(struct ocl_call *call, const struct hearth_op_compress *op, struct ready_sizes *sizes,
               struct rows_compressor *ret_work)
{
    const struct rows_compressor work = rows_find_compressor(call, op);
    sizes->compressors[sizes->n_compressors++] =
        (struct ready_compressor){.ratio = op->ratio,
                                  .width = op->width,
                                  .rope_dim = op->rope_dim,
                                  .overlap = op->overlap != 0,
                                  .is_index = op->kind == HEARTH_ENTRY_INDEX,
                                  .row_bytes = (uint32_t)work.row_bytes,
                                  .format = op->kv_format,
                                  .n_entries = (uint32_t)work.n_entries,
                                  .eps = op->eps,
                                  .hadamard = (float)(1.0 / sqrt((double)op->width))};
    *ret_work = work;
}

static void
arg_compressor(struct ocl_call *call, struct ocl_kernel *kernel, const struct rows_compressor *work)
{
    ocl_arg_span(call, kernel, work->values);
    ocl_arg_span(call, kernel, work->gates);
    ocl_arg_span(call, kernel, work->ape);
    ocl_arg_span(call, kernel, work->state);
    ocl_arg_span(call, kernel, work->entries);
    ocl_arg_span(call, kernel, work->norm);
}

/* Room for a row, and for the largest magnitudes of its blocks, of whichever the launch has. */
static void
arg_room(struct ocl_call *call, struct ocl_kernel *kernel, const struct ready_sizes *sizes)
{
    uint64_t n = 1, n_maxima = 1;
    const struct {
        uint32_t width, rope_dim;
        bool is_index;
    } all[] = {
        {sizes->rows.head_dim, sizes->rows.rope_dim, false},
        {sizes->index.head_dim, 0, true},
        {sizes->compressors[0].width, sizes->compressors[0].rope_dim, sizes->compressors[0].is_index},
        {sizes->compressors[1].width, sizes->compressors[1].rope_dim, sizes->compressors[1].is_index},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const uint64_t own = rows_n_maxima(all[i].width, all[i].rope_dim, all[i].is_index);
        n = all[i].width > n ? all[i].width : n;
        n_maxima = own > n_maxima ? own : n_maxima;
    }
    ocl_arg_local(call, kernel, n * sizeof(float));
    ocl_arg_local(call, kernel, n_maxima * sizeof(uint32_t));
}

static void
launch(struct ocl_call *call, const struct ready *ready)
{
    char defines[64];
    const uint32_t group = rows_group(call, ROW_ITEMS), head_items = rows_group(call, HEAD_ITEMS);
    const struct hearth_op_query_rope *query = ready->query;
    struct ready_sizes sizes = {.position = query->position, .n = query->n, .native = call->native};
    struct rows_queries index = {.q = {NULL, 0}};
    struct rows_new rows = {.row_bytes = 0};
    struct rows_compressor compressors[MAX_COMPRESSORS] = {{.columns = 0}};
    const struct rows_queries queries = rows_find_queries(call, query);
    sizes.queries = sizes_of_queries(query->n, query->n_heads, query->head_dim, query->rope_dim, query->eps);
    if (ready->append != NULL) {
        const struct hearth_op_kv_append *op = ready->append;
        rows = rows_find_new(call, op);
        sizes.rows = (struct ready_rows){op->n,          op->head_dim,  op->rope_dim, op->ring_slots,
                                         rows.row_bytes, op->kv_format, op->eps};
    }
    if (ready->index != NULL) {
        const struct hearth_op_index_query *op = ready->index;
        index = rows_find_index_queries(call, op);
        sizes.index = sizes_of_queries(op->n, op->n_heads, op->width, op->rope_dim, 0.0f);
    }
    for (uint32_t i = 0; i < ready->n_compressors; i++) {
        add_compressor(call, ready->compress[i], &sizes, &compressors[i]);
    }
    snprintf(defines, sizeof defines, "-DGROUP=%u -DHEAD_ITEMS=%u", group, head_items);
    struct ocl_kernel *kernel = ocl_kernel(call, "ready", defines, "make_ready");
    ocl_arg_span(call, kernel, queries.inv_freq);
    ocl_arg_span(call, kernel, queries.q);
    ocl_arg_span(call, kernel, index.q);
    ocl_arg_span(call, kernel, rows.kv);
    ocl_arg_span(call, kernel, rows.ring);
    ocl_arg_span(call, kernel, rows.norm);
    arg_compressor(call, kernel, &compressors[0]);
    arg_compressor(call, kernel, &compressors[1]);
    ocl_arg_struct(call, kernel, &sizes, sizeof sizes);
    arg_room(call, kernel, &sizes);
    const uint64_t head_groups = rows_divide_up(sizes.queries.n, group / head_items);
    ocl_launch_1d(call, kernel, sizes.n_compressors + sizes.rows.n + head_groups + sizes.index.n, group);
}

void
ocl_ready(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands)
{
    struct ready ready;
    (void)collect(commands, n_commands, &ready);
    launch(call, &ready);
    if (ready.topk != NULL) {
        call->op = "index_topk";
        ocl_index_topk(call, ready.topk);
    }
}
