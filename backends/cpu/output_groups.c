/* output_groups.c - the first half of the output projection: each group of heads has its own matrix (wo_a).  The
 * activations are not quantised, whatever the weight's type. */
#include "backends/cpu/kernels.h"

struct groups {
    const struct cpu_kernels *kernels;
    struct cpu_product product;
    const uint32_t *rows; /* [n_groups][n] rows of the input */
    uint64_t n_tokens, rank;
};

/* item: a unit of rows, all of one group */
static void
run_units(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct groups *work = context;
    (void)thread;
    while (begin < end) {
        const uint64_t group = begin * CPU_ROW_UNIT / work->rank;
        const uint64_t group_end = (group + 1) * work->rank / CPU_ROW_UNIT;
        const uint64_t last = group_end < end ? group_end : end;
        struct cpu_product product = work->product;
        product.tokens = work->rows + group * work->n_tokens;
        cpu_product_units(work->kernels, &product, begin, last);
        begin = last;
    }
}

/* Groups that do not begin at a unit go one after the other. */
static void
run_odd_groups(struct host_call *call, const struct groups *work, uint64_t n_groups)
{
    if (work->product.weight->packing == CPU_PANELS) {
        host_call_fail(call, HEARTH_EUNSUPPORTED, "e2m1 groups of %llu rows: a multiple of %u wanted",
                       (unsigned long long)work->rank, CPU_ROW_UNIT);
        return;
    }
    for (uint64_t group = 0; group < n_groups; group++) {
        struct cpu_product product = work->product;
        product.tokens = work->rows + group * work->n_tokens;
        cpu_product_run(call, &product, group * work->rank, (group + 1) * work->rank);
    }
}

void
cpu_output_groups(struct host_call *call, const struct hearth_op_output_groups *op)
{
    const uint64_t n_in = (uint64_t)op->n_groups * op->width;
    const uint64_t n_out = (uint64_t)op->n_groups * op->rank;
    const uint64_t n_rows = (uint64_t)op->n * op->n_groups;
    const float *o = host_view_f32(call, "o", op->o, op->n, n_in);
    float *y = host_view_f32(call, "y", op->y, op->n, n_out);
    const struct host_matrix *weight = host_weight(call, "weight", op->weight, 0, n_out, op->width);
    struct cpu_input input;
    uint32_t *rows = host_scratch_take(call, n_rows, sizeof *rows);
    if (call->status < 0 || !host_call_check(call, n_rows <= UINT32_MAX, "n * n_groups: within 32 bits wanted")) {
        return;
    }
    /* [n * n_groups][width]: row t * n_groups + g is group g of token t */
    const struct cpu_wanted wanted = cpu_input_wanted(false, false, weight);
    cpu_input_prepare(call, o, n_rows, op->width, wanted, &input);
    for (uint64_t i = 0; i < n_rows; i++) {
        rows[i] = (uint32_t)(i % op->n * op->n_groups + i / op->n);
    }
    struct groups work = {.kernels = call->device->kernels, .rows = rows, .n_tokens = op->n, .rank = op->rank};
    work.product = (struct cpu_product){.weight = weight,
                                        .input = &input,
                                        .n_tokens = op->n,
                                        .y = y,
                                        .y_stride = n_out,
                                        .form = wanted.forms,
                                        .round = call->native};
    if (call->status < 0) {
        return;
    }
    if (op->rank % CPU_ROW_UNIT != 0) {
        run_odd_groups(call, &work, op->n_groups);
        return;
    }
    const uint64_t cost = cpu_unit_bytes(weight) * (1 + (uint64_t)op->n);
    /* tokens pass once for all rows of a turn: a band of many, if that leaves each thread some */
    const uint64_t band = HOST_ACT_BLOCK / CPU_ROW_UNIT;
    const bool by_bands =
        op->n > CPU_ROW_UNIT && cpu_row_units(n_out) >= 4 * band * cpu_pool_threads(call->device->pool);
    cpu_pool_run(call->device->pool, cpu_row_units(n_out), by_bands ? band : 1, cost,
                 (struct cpu_work){run_units, &work});
}
