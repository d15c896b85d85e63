/* router.c - chooses each token's experts.
 *
 *     a_e = sqrt(softplus(x . gate_e))
 *
 * Layers with a bias choose the top_k largest a_e + bias_e, ties towards the lower e, and list them by ascending e;
 * hash layers take their experts from a table by token id, in its order.  The weights come from a alone: a_e / sum of
 * the chosen a * route_scale. */
#include "backends/ref/ref.h"

struct router {
    const float *logits; /* [n][n_experts] */
    const float *bias;   /* [n_experts], or NULL */
    const unsigned char *ids;
    const struct host_matrix *table; /* or NULL */
    struct hearth_route *routes;
    float *affinities;     /* [threads][n_experts] */
    unsigned char *chosen; /* [threads][n_experts] */
    const struct hearth_op_router *op;
};

static float
affinity(float logit)
{
    const double x = logit;
    return (float)sqrt(x > 20.0 ? x : log1p(exp(x)));
}

/* experts: [top_k] ascending.  chosen: [n_experts], a mark for each. */
static void
choose(const struct router *work, const float *affinities, unsigned char *chosen, struct hearth_route *routes)
{
    const struct hearth_op_router *op = work->op;
    memset(chosen, 0, op->n_experts);
    for (uint32_t k = 0; k < op->top_k; k++) {
        uint32_t best = op->n_experts;
        float best_score = 0.0f;
        for (uint32_t e = 0; e < op->n_experts; e++) {
            const float score = affinities[e] + (work->bias == NULL ? 0.0f : work->bias[e]);
            if (!chosen[e] && (best == op->n_experts || score > best_score)) {
                best = e;
                best_score = score;
            }
        }
        chosen[best] = 1;
    }
    for (uint32_t e = 0, k = 0; e < op->n_experts; e++) {
        if (chosen[e]) {
            routes[k++].expert = e;
        }
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
    float *affinities = work->affinities + (uint64_t)thread * op->n_experts;
    for (uint64_t t = begin; t < end; t++) {
        struct hearth_route *routes = work->routes + t * op->top_k;
        double sum = 0.0;
        for (uint32_t e = 0; e < op->n_experts; e++) {
            affinities[e] = affinity(work->logits[t * op->n_experts + e]);
        }
        if (work->table == NULL) {
            choose(work, affinities, work->chosen + (uint64_t)thread * op->n_experts, routes);
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
ref_router(struct host_call *call, const struct hearth_op_router *op)
{
    struct ref_pool *pool = call->device->pool;
    struct router work = {.op = op};
    struct ref_input input;
    const float *x = host_view_f32(call, "x", op->x, op->n, op->dim);
    const struct host_matrix *gate = host_weight(call, "gate", op->gate, 0, op->n_experts, op->dim);
    work.routes = host_view(call, "routes", op->routes, op->n, op->top_k, sizeof *work.routes);
    work.bias = op->bias == NULL ? NULL : host_vector(call, "bias", op->bias, op->n_experts);
    if (call->status == 0 && op->table != NULL) {
        check_table(call, &work);
    }
    float *logits = host_scratch_take(call, (uint64_t)op->n * op->n_experts, sizeof *logits);
    work.affinities =
        host_scratch_take(call, (uint64_t)ref_pool_threads(pool) * op->n_experts, sizeof *work.affinities);
    work.chosen = host_scratch_take(call, (uint64_t)ref_pool_threads(pool) * op->n_experts, 1);
    if (call->status < 0 || !host_call_check(call, op->top_k <= op->n_experts, "top_k: at most n_experts wanted") ||
        !host_call_check(call, (uint64_t)op->n * op->top_k <= UINT32_MAX, "n * top_k: within 32 bits wanted")) {
        return;
    }
    work.logits = logits;
    ref_input_prepare(call, x, op->n, op->dim, REF_FORM_EXACT, &input);
    if (call->status < 0) {
        return;
    }
    ref_product_run(call,
                    &(struct ref_product){
                        .weight = gate, .input = &input, .n_tokens = op->n, .y = logits, .y_stride = op->n_experts});
    if (call->status < 0) {
        return;
    }
    ref_pool_run(pool, op->n, (uint64_t)op->n_experts * (30 + op->top_k), (struct ref_work){route_tokens, &work});
}
