/* router.c - chooses each token's experts.
 *
 *     a_e = sqrt(softplus(x . gate_e))
 *
 * Layers with a bias choose the top_k largest a_e + bias_e, ties towards the lower e, and list them by ascending e;
 * hash layers take their experts from a table by token id, in its order.  The weights come from a alone: a_e / sum of
 * the chosen a * route_scale. */
#include <string.h>

#include "backends/cpu/kernels.h"

struct router {
    const struct cpu_kernels *kernels;
    float *logits;     /* [n][n_experts], then affinities */
    const float *bias; /* [n_experts], or NULL */
    const unsigned char *ids;
    const struct host_matrix *table; /* or NULL */
    struct hearth_route *routes;
    uint32_t *chosen; /* [threads][top_k] */
    float *scores;    /* [threads][top_k] */
    const struct hearth_op_router *op;
};

/* chosen: [top_k] experts and scores: theirs, best first.  An expert goes behind those that are as good. */
static void
insert(uint32_t *chosen, float *scores, uint32_t n, uint32_t expert, float score)
{
    uint32_t at = n;
    for (; at > 0 && score > scores[at - 1]; at--) {
        chosen[at] = chosen[at - 1];
        scores[at] = scores[at - 1];
    }
    chosen[at] = expert;
    scores[at] = score;
}

/* Writes the experts of routes [top_k], ascending. */
static void
choose(const struct router *work, const float *affinities, uint32_t *chosen, float *scores, struct hearth_route *routes)
{
    const uint32_t top_k = work->op->top_k;
    for (uint32_t e = 0; e < work->op->n_experts; e++) {
        const float score = affinities[e] + (work->bias == NULL ? 0.0f : work->bias[e]);
        if (e < top_k) {
            insert(chosen, scores, e, e, score);
        } else if (score > scores[top_k - 1]) {
            insert(chosen, scores, top_k - 1, e, score);
        }
    }
    for (uint32_t k = 0; k < top_k; k++) {
        uint32_t at = k;
        for (; at > 0 && routes[at - 1].expert > chosen[k]; at--) {
            routes[at].expert = routes[at - 1].expert;
        }
        routes[at].expert = chosen[k];
    }
}

static int64_t
table_at(const struct host_matrix *table, uint64_t at)
{
    int64_t wide;
    int32_t narrow;
    if (table->dtype == HEARTH_I64) {
        memcpy(&wide, table->data + at * sizeof wide, sizeof wide);
        return wide;
    }
    memcpy(&narrow, table->data + at * sizeof narrow, sizeof narrow);
    return narrow;
}

static void
route_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct router *work = context;
    const struct hearth_op_router *op = work->op;
    for (uint64_t t = begin; t < end; t++) {
        float *affinities = work->logits + t * op->n_experts;
        struct hearth_route *routes = work->routes + t * op->top_k;
        double sum = 0.0;
        work->kernels->affinities(affinities, op->n_experts);
        if (work->table == NULL) {
            choose(work, affinities, work->chosen + (uint64_t)thread * op->top_k,
                   work->scores + (uint64_t)thread * op->top_k, routes);
        }
        for (uint32_t k = 0; k < op->top_k; k++) {
            if (work->table != NULL) {
                int32_t id;
                memcpy(&id, work->ids + t * sizeof id, sizeof id);
                routes[k].expert = (uint32_t)table_at(work->table, (uint64_t)id * op->top_k + k);
            }
            sum += affinities[routes[k].expert];
        }
        for (uint32_t k = 0; k < op->top_k; k++) {
            routes[k].token = (uint32_t)t;
            routes[k].slot = (uint32_t)(t * op->top_k + k);
            routes[k].weight = (float)(affinities[routes[k].expert] / sum * op->route_scale);
        }
    }
}

/* Every row of the table that the command will read names experts that exist. */
static void
check_table(struct host_call *call, struct router *work)
{
    const struct hearth_op_router *op = work->op;
    const struct hearth_weight *weight = op->table;
    work->ids = host_view(call, "ids", op->ids, op->n, 1, sizeof(int32_t));
    if (call->status < 0) {
        return;
    }
    work->table = &weight->matrices[0];
    if ((work->table->dtype != HEARTH_I64 && work->table->dtype != HEARTH_I32) || work->table->cols != op->top_k) {
        host_call_fail(call, HEARTH_EINTERNAL, "table: integers, %u a row wanted", op->top_k);
        return;
    }
    for (uint32_t t = 0; t < op->n; t++) {
        int32_t id;
        memcpy(&id, work->ids + t * sizeof id, sizeof id);
        if (id < 0 || (uint64_t)id >= work->table->rows) {
            host_call_fail(call, HEARTH_EINTERNAL, "ids[%u]: 0 .. %llu wanted, %d found", t,
                           (unsigned long long)work->table->rows - 1, id);
            return;
        }
        for (uint32_t k = 0; k < op->top_k; k++) {
            const int64_t expert = table_at(work->table, (uint64_t)id * op->top_k + k);
            if (expert < 0 || expert >= (int64_t)op->n_experts) {
                host_call_fail(call, HEARTH_EFORMAT, "hash table: row %d names expert %lld of %u", id,
                               (long long)expert, op->n_experts);
                return;
            }
        }
    }
}

void
cpu_router(struct host_call *call, const struct hearth_op_router *op)
{
    struct cpu_pool *pool = call->device->pool;
    struct router work = {.kernels = call->device->kernels, .op = op};
    struct cpu_input input;
    const float *x = host_view_f32(call, "x", op->x, op->n, op->dim);
    const struct host_matrix *gate = host_weight(call, "gate", op->gate, 0, op->n_experts, op->dim);
    work.routes = host_view(call, "routes", op->routes, op->n, op->top_k, sizeof *work.routes);
    work.bias = op->bias == NULL ? NULL : host_vector(call, "bias", op->bias, op->n_experts);
    if (call->status == 0 && op->table != NULL) {
        check_table(call, &work);
    }
    work.logits = host_scratch_take(call, (uint64_t)op->n * op->n_experts, sizeof *work.logits);
    work.chosen = host_scratch_take(call, cpu_pool_threads(pool), ((uint64_t)op->top_k + 1) * sizeof *work.chosen);
    work.scores = host_scratch_take(call, cpu_pool_threads(pool), ((uint64_t)op->top_k + 1) * sizeof *work.scores);
    if (call->status < 0 || !host_call_check(call, op->top_k <= op->n_experts, "top_k: at most n_experts wanted") ||
        !host_call_check(call, (uint64_t)op->n * op->top_k <= UINT32_MAX, "n * top_k: within 32 bits wanted")) {
        return;
    }
    const struct cpu_wanted wanted = cpu_input_wanted(false, false, gate);
    cpu_input_prepare(call, x, op->n, op->dim, wanted, &input);
    if (call->status < 0) {
        return;
    }
    const struct cpu_product product = {.weight = gate,
                                        .input = &input,
                                        .n_tokens = op->n,
                                        .y = work.logits,
                                        .y_stride = op->n_experts,
                                        .form = wanted.forms};
    cpu_product_run(call, &product, 0, op->n_experts);
    cpu_pool_run(pool, op->n, 1, (uint64_t)op->n_experts * 8, (struct cpu_work){route_tokens, &work});
}
