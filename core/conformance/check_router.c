/* check_router.c - chosen experts and their weights; equal experts (equal rows of the gate) go to the lower number. */
#include <math.h>
#include <stdio.h>

#include "core/conformance/check.h"

static const struct shape {
    uint32_t n, dim, n_experts, top_k;
    bool has_table, has_bias, has_twins;
    uint32_t dtype; /* of the gate; 0: F32 */
} shapes[] = {
    {1, 1, 1, 1, false, true, false, 0},
    {3, 64, 8, 2, false, true, false, 0},
    {5, 257, 16, 6, true, false, false, 0},
    {2, 1024, 256, 6, false, true, false, 0},
    {4, 33, 12, 5, false, true, true, 0},
    {3, 128, 64, 8, false, false, true, 0},
    {130, 256, 40, 6, false, true, true, HEARTH_BF16},
};

/* What verify works with. */
struct answer {
    double *affinities, *slacks; /* [n][n_experts] */
    const float *bias;           /* or NULL */
    const int64_t *table;        /* [rows][top_k] */
    const int32_t *ids;
};

static double
choice_score(const struct answer *answer, const struct hearth_op_router *op, uint32_t t, uint32_t e)
{
    return answer->affinities[t * op->n_experts + e] + (answer->bias == NULL ? 0.0 : answer->bias[e]);
}

/* Experts ascend, and none that was left out is clearly better than one that was taken; equals: the lower one. */
static bool
is_choice(const struct answer *answer, const struct hearth_op_router *op, uint32_t t, const struct hearth_route *routes)
{
    for (uint32_t k = 0; k < op->top_k; k++) {
        const uint32_t in = routes[k].expert;
        if (in >= op->n_experts || (k > 0 && routes[k - 1].expert >= in)) {
            return false;
        }
        for (uint32_t out = 0; out < op->n_experts; out++) {
            bool taken = false;
            for (uint32_t j = 0; j < op->top_k; j++) {
                taken = taken || routes[j].expert == out;
            }
            const double lead = choice_score(answer, op, t, out) - choice_score(answer, op, t, in);
            const double slack = answer->slacks[t * op->n_experts + out] + answer->slacks[t * op->n_experts + in];
            if (!taken && (lead > slack || (lead == 0.0 && out < in))) {
                return false;
            }
        }
    }
    return true;
}

static const char *
verify(const struct check_trial *trial, unsigned char *const *outputs)
{
    const struct hearth_op_router *op = &trial->command.args.router;
    const struct answer *answer = trial->verify_context;
    const struct hearth_route *routes = (const void *)outputs[1];
    for (uint32_t t = 0; t < op->n; t++, routes += op->top_k) {
        double sum = 0.0;
        for (uint32_t k = 0; k < op->top_k; k++) {
            if (routes[k].token != t || routes[k].slot != t * op->top_k + k) {
                return "routes: token or slot is wrong";
            }
            if (answer->table != NULL && routes[k].expert != answer->table[(uint64_t)answer->ids[t] * op->top_k + k]) {
                return "routes: not the table's experts";
            }
        }
        if (answer->table == NULL && !is_choice(answer, op, t, routes)) {
            return "routes: not the best experts in ascending order";
        }
        for (uint32_t k = 0; k < op->top_k; k++) {
            sum += answer->affinities[t * op->n_experts + routes[k].expert];
        }
        for (uint32_t k = 0; k < op->top_k; k++) {
            const double weight = answer->affinities[t * op->n_experts + routes[k].expert] / sum * op->route_scale;
            if (!(fabs(routes[k].weight - weight) <= 1e-5 * weight)) {
                return "routes: a weight is wrong";
            }
        }
    }
    return NULL;
}

static void
add_table(struct check_trial *trial, struct hearth_op_router *op, struct answer *answer, uint32_t n_rows)
{
    int64_t *table = check_alloc(trial, (uint64_t)n_rows * op->top_k, sizeof *table);
    for (uint32_t i = 0; i < n_rows * op->top_k; i++) {
        table[i] = (i % op->top_k * 5 + i / op->top_k * 3) % op->n_experts;
    }
    answer->table = table;
    trial->weights[trial->n_weights++] = (struct check_weight){
        .slot = &op->table,
        .role = HEARTH_WEIGHT_TABLE,
        .matrices = {{.dtype = HEARTH_I64,
                      .rows = n_rows,
                      .cols = op->top_k,
                      .data = table,
                      .data_bytes = 8ull * n_rows * op->top_k}},
        .n_matrices = 1,
    };
}

/* gate as a matrix of F32 or BF16, so that twins can be made; returns its values */
static float *
add_gate(struct check_trial *trial, struct hearth_op_router *op, const struct shape *shape)
{
    const uint32_t n = op->n_experts * op->dim, half = op->dim * (op->n_experts / 2);
    const bool is_bf16 = shape->dtype == HEARTH_BF16;
    float *gate = check_alloc(trial, n, sizeof *gate);
    uint16_t *bits = check_alloc(trial, n, sizeof *bits);
    for (uint32_t i = 0; i < n; i++) {
        gate[i] = shape->has_twins && i >= half ? gate[i - half] : (float)(check_normal(trial) / sqrt(op->dim));
        bits[i] = hearth_bf16_from_f32(gate[i]);
        gate[i] = is_bf16 ? hearth_bf16_to_f32(bits[i]) : gate[i];
    }
    trial->weights[trial->n_weights++] = (struct check_weight){
        .slot = &op->gate,
        .role = HEARTH_WEIGHT_LINEAR,
        .matrices = {{.dtype = is_bf16 ? HEARTH_BF16 : HEARTH_F32,
                      .rows = op->n_experts,
                      .cols = op->dim,
                      .data = is_bf16 ? (const void *)bits : gate,
                      .data_bytes = (is_bf16 ? sizeof *bits : sizeof *gate) * (uint64_t)n}},
        .n_matrices = 1,
    };
    return gate;
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    const struct shape *shape = &shapes[index];
    struct hearth_op_router *op = &trial->command.args.router;
    struct answer *answer = check_alloc(trial, 1, sizeof *answer);
    (void)numerics;
    op->n = shape->n;
    op->dim = shape->dim;
    op->n_experts = shape->n_experts;
    op->top_k = shape->top_k;
    op->route_scale = 2.5f;
    const float *x = check_input(trial, "x", &op->x, op->n, op->dim, 2.0);
    check_tensor(trial, "routes", &op->routes, CHECK_OUT, (uint64_t)op->n * op->top_k, sizeof(struct hearth_route), 0);
    int32_t *ids = check_tensor(trial, "ids", &op->ids, CHECK_IN, op->n, sizeof *ids, 0);
    const float *gate = add_gate(trial, op, shape);
    if (shape->has_bias) {
        float *bias = check_weight_add(trial, &op->bias, HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, op->n_experts, 0.1);
        answer->bias = bias;
        if (shape->has_twins) {
            float *stored = (float *)(uintptr_t)trial->weights[trial->n_weights - 1].matrices[0].data;
            for (uint32_t e = op->n_experts / 2; e < op->n_experts; e++) {
                stored[e] = bias[e] = bias[e - op->n_experts / 2];
            }
        }
    }
    if (shape->has_table) {
        add_table(trial, op, answer, 11);
    }
    answer->ids = ids;
    answer->affinities = check_alloc(trial, (uint64_t)op->n * op->n_experts, sizeof(double));
    answer->slacks = check_alloc(trial, (uint64_t)op->n * op->n_experts, sizeof(double));
    for (uint32_t t = 0; t < op->n; t++) {
        ids[t] = (int32_t)check_below(trial, 11);
        for (uint32_t e = 0; e < op->n_experts; e++) {
            double sum = 0.0, magnitude = 0.0;
            for (uint32_t i = 0; i < op->dim; i++) {
                sum += (double)x[t * op->dim + i] * gate[e * op->dim + i];
                magnitude += fabs((double)x[t * op->dim + i] * gate[e * op->dim + i]);
            }
            answer->affinities[t * op->n_experts + e] = sqrt(log1p(exp(sum)));
            answer->slacks[t * op->n_experts + e] = check_tight(op->dim, magnitude) + 0x1p-21;
        }
    }
    trial->verify = verify;
    trial->verify_context = answer;
    snprintf(trial->name, sizeof trial->name, "n=%u dim=%u experts=%u top_k=%u%s%s%s", op->n, op->dim, op->n_experts,
             op->top_k, shape->has_table ? " table" : "", shape->has_twins ? " twins" : "",
             shape->dtype == HEARTH_BF16 ? " bf16" : "");
}

const struct check check_router = {
    .name = "router", .op = HEARTH_OP_ROUTER, .n_trials = sizeof shapes / sizeof shapes[0], .make = make};
