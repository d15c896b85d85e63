/* product.c - y = x W^T: which kernel serves a weight, and the cut of its rows into units. */
#include "backends/cpu/joint.h"
#include "backends/cpu/kernels.h"

#define ROWS_AT_ONCE 4u

uint64_t
cpu_unit_bytes(const struct host_matrix *weight)
{
    const uint64_t n = cpu_padded(weight->cols);
    switch (weight->dtype) {
    case HEARTH_E2M1X2:
        return n / CPU_GROUP_COLS * CPU_GROUP_BYTES;
    case HEARTH_E4M3:
        return CPU_ROW_UNIT * n;
    case HEARTH_BF16:
        return CPU_ROW_UNIT * n * 2;
    default:
        return CPU_ROW_UNIT * n * 4;
    }
}

void
cpu_product_rows(const struct cpu_kernels *kernels, const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    if (product->form & CPU_FORM_DIGITS) {
        kernels->panels(product, begin, end);
    } else if (product->form & CPU_FORM_CODES) {
        kernels->rows_exact(product, begin, end);
    } else if (product->weight->packing == CPU_PANELS) {
        kernels->panels_exact(product, begin, end);
    } else {
        kernels->rows(product, begin, end);
    }
}

void
cpu_product_units(const struct cpu_kernels *kernels, const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const uint64_t rows = product->weight->rows;
    cpu_product_rows(kernels, product, begin * CPU_ROW_UNIT, end * CPU_ROW_UNIT < rows ? end * CPU_ROW_UNIT : rows);
}

/* Rows that a thread takes at least: as many panels or rows as their kernel takes at once; for a lone token so few that
 * no thread is without.  More tokens than one pass once for all of these rows: as many, up to a band, as leave two
 * turns for each thread. */
static uint64_t
least_rows(const struct cpu_product *product, uint32_t n_threads)
{
    const struct host_matrix *weight = product->weight;
    uint64_t rows = CPU_PANEL_ROWS;
    if (weight->packing == CPU_PANELS) {
        return product->n_tokens == 1 ? CPU_PANEL_ROWS : CPU_PANELS_AT_ONCE * CPU_PANEL_ROWS;
    }
    if (product->n_tokens == 1) {
        rows = ROWS_AT_ONCE;
        while (rows > 1 && weight->rows < 2 * rows * n_threads) {
            rows /= 2;
        }
        return rows;
    }
    while (product->n_tokens > CPU_PANEL_ROWS && rows < HOST_ACT_BLOCK && weight->rows >= 4 * rows * n_threads) {
        rows *= 2;
    }
    return rows;
}

struct product_run {
    const struct cpu_kernels *kernels;
    const struct cpu_product *product;
    uint64_t begin, end, least;
};

/* item: `least` rows */
static void
run_items(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct product_run *run = context;
    const uint64_t last = run->begin + end * run->least;
    (void)thread;
    cpu_product_rows(run->kernels, run->product, run->begin + begin * run->least, last < run->end ? last : run->end);
}

void
cpu_product_run(struct host_call *call, const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    struct product_run run = {call->device->kernels, product, begin, end, 0};
    run.least = least_rows(product, cpu_pool_threads(call->device->pool));
    const uint64_t cost = cpu_unit_bytes(product->weight) / CPU_ROW_UNIT * run.least * (1 + product->n_tokens);
    const uint64_t n_items = (end - begin + run.least - 1) / run.least;
    cpu_pool_run(call->device->pool, n_items, 1, cost, (struct cpu_work){run_items, &run});
}

/* Items of several products, one list behind the other; an item is `least` rows of its product. */
struct products_run {
    const struct cpu_kernels *kernels;
    const struct cpu_product *products;
    uint32_t n_products;
    uint64_t least[CPU_MAX_JOINT];
};

static uint64_t
count_items(const struct products_run *run, uint32_t i)
{
    return (run->products[i].weight->rows + run->least[i] - 1) / run->least[i];
}

static void
run_list(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct products_run *run = context;
    uint64_t first = 0;
    (void)thread;
    for (uint32_t i = 0; i < run->n_products && first < end; i++) {
        const struct cpu_product *product = &run->products[i];
        const uint64_t last = first + count_items(run, i);
        if (begin < last) {
            const uint64_t least = run->least[i], rows = product->weight->rows;
            const uint64_t row = ((begin > first ? begin : first) - first) * least;
            const uint64_t row_end = ((end < last ? end : last) - first) * least;
            cpu_product_rows(run->kernels, product, row, row_end < rows ? row_end : rows);
        }
        first = last;
    }
}

void
cpu_products_run(struct host_call *call, const struct cpu_product *products, uint32_t n_products)
{
    struct products_run run = {call->device->kernels, products, n_products, {0}};
    uint64_t n_items = 0, cost = 0;
    for (uint32_t i = 0; i < n_products; i++) {
        const struct host_matrix *weight = products[i].weight;
        run.least[i] = least_rows(&products[i], cpu_pool_threads(call->device->pool));
        n_items += count_items(&run, i);
        cost += cpu_unit_bytes(weight) * weight->rows / CPU_ROW_UNIT * (1 + products[i].n_tokens);
    }
    if (n_items > 0) {
        cpu_pool_run(call->device->pool, n_items, 1, cost / n_items, (struct cpu_work){run_list, &run});
    }
}
