/* check_expert_ffn.c - routes in any order over some experts, others absent.  Native, quantised weights: bits by the
 * contract. */
#include <stdio.h>
#include <string.h>

#include "core/conformance/ffn.h"

#define MAX_EXPERTS 8

static const struct shape {
    uint32_t dtype, n, n_routes, n_experts, dim, inner;
    double magnitude;
} shapes[] = {
    {HEARTH_E2M1X2, 1, 1, 1, 32, 32, 1.0},      {HEARTH_E2M1X2, 3, 7, 5, 96, 160, 1.0},
    {HEARTH_E2M1X2, 2, 5, 4, 514, 34, 3.0},     {HEARTH_E2M1X2, 5, 17, 8, 256, 640, 1e-3},
    {HEARTH_E2M1X2, 1, 6, 8, 1088, 544, 1.0},   {HEARTH_E4M3, 3, 6, 4, 130, 257, 1.0},
    {HEARTH_E4M3, 1, 2, 3, 640, 1152, 20.0},    {HEARTH_BF16, 2, 4, 3, 65, 33, 1.0},
    {HEARTH_F32, 2, 3, 2, 40, 24, 1.0},         {HEARTH_E2M1X2, 4, 4, 2, 2048, 1024, 1.0},
    {HEARTH_E2M1X2, 2, 4, 3, 64, 64, 0.0},      {HEARTH_E2M1X2, 2, 4, 3, 128, 64, 1e30},
    {HEARTH_E2M1X2, 9, 54, 8, 160, 96, 1.0},    {HEARTH_E4M3, 20, 40, 7, 144, 33, 1.0},
    {HEARTH_E2M1X2, 40, 120, 3, 544, 80, 1.0},  {HEARTH_E2M1X2, 50, 130, 3, 640, 256, 1.0},
    {HEARTH_E2M1X2, 1, 6, 8, 1152, 640, 1.0},   {HEARTH_E2M1X2, 1, 3, 5, 4224, 128, 3.0},
    {HEARTH_E2M1X2, 1, 4, 3, 256, 128, 1e30},   {HEARTH_E2M1X2, 1, 4, 3, 128, 256, 0.0},
    {HEARTH_E2M1X2, 60, 180, 3, 384, 128, 1.0},
};

/* Every third expert lives elsewhere. */
static bool
is_here(uint32_t e)
{
    return e % 3 != 1;
}

/* Elements 512 .. 639 meet equal x and opposite, loud weights of elements 0 .. 127: what the two pieces' sums lose by
 * rounding stays visible when they cancel, so that another cut of the sum gives other bits. */
static void
make_cancel(struct check_matrix *w, float *x, uint32_t n)
{
    unsigned char *data = (unsigned char *)(uintptr_t)w->matrix.data;
    unsigned char *scales = (unsigned char *)(uintptr_t)w->matrix.scales;
    const uint64_t cols = w->matrix.cols, n_scales = (cols + 31) / 32;
    for (uint64_t t = 0; t < n; t++) {
        memcpy(x + t * cols + 512, x + t * cols, 128 * sizeof *x);
    }
    for (uint64_t row = 0; row < w->matrix.rows; row++) {
        for (uint64_t i = 0; i < 64; i++) {
            data[(row * cols + 512) / 2 + i] = data[row * cols / 2 + i] ^ 0x88;
        }
        for (uint64_t i = 0; i < 4; i++) {
            scales[row * n_scales + i] = scales[row * n_scales + 16 + i] =
                (unsigned char)(scales[row * n_scales + i] + 8);
        }
        for (uint64_t i = 0; i < 128; i++) {
            w->values[row * cols + i] *= 256.0f;
            w->values[row * cols + 512 + i] = -w->values[row * cols + i];
        }
    }
}

static void
make(struct check_trial *trial, uint32_t index, uint32_t numerics)
{
    const struct shape *shape = &shapes[index];
    struct hearth_op_expert_ffn *op = &trial->command.args.expert_ffn;
    const bool native = numerics == HEARTH_NATIVE;
    const bool quantised = shape->dtype == HEARTH_E2M1X2 || shape->dtype == HEARTH_E4M3;
    const struct hearth_weight **experts = check_alloc(trial, shape->n_experts, sizeof *experts);
    struct ffn ffns[MAX_EXPERTS];
    op->n = shape->n;
    op->n_routes = shape->n_routes;
    op->n_slots = shape->n_routes + 2;
    op->n_experts = shape->n_experts;
    op->dim = shape->dim;
    op->inner = shape->inner;
    op->limit = 10.0f;
    op->experts = experts;
    for (uint32_t e = 0; e < op->n_experts; e++) {
        if (is_here(e)) {
            ffn_make(trial, &experts[e], HEARTH_WEIGHT_EXPERT, shape->dtype, op->dim, op->inner, &ffns[e]);
        }
    }
    float *x = check_input(trial, "x", &op->x, op->n, op->dim, shape->magnitude);
    for (uint32_t e = 0; native && shape->dtype == HEARTH_E2M1X2 && op->dim >= 640 && e < op->n_experts; e++) {
        if (is_here(e)) {
            make_cancel(&ffns[e].w1, x, op->n);
            make_cancel(&ffns[e].w3, x, op->n);
        }
    }
    struct hearth_route *routes =
        check_tensor(trial, "routes", &op->routes, CHECK_IN, op->n_routes, sizeof *routes, sizeof *routes);
    struct check_tensor *y = check_output(trial, "y", &op->y, op->n_slots, op->dim);
    float *before = (float *)(void *)y->initial;
    trial->tensors[0].token_bytes = y->token_bytes = 0; /* the cut is by routes */
    y->role = CHECK_INOUT;
    for (uint64_t i = 0; i < y->n_values; i++) {
        y->expected[i] = before[i] = 7.0f; /* slots of absent experts stay */
    }
    for (uint32_t r = 0; r < op->n_routes; r++) {
        routes[r] = (struct hearth_route){.token = check_below(trial, op->n),
                                          .slot = op->n_slots - 1 - r,
                                          .expert = check_below(trial, op->n_experts),
                                          .weight = (float)check_uniform(trial, 0.01, 2.5)};
        const uint32_t e = routes[r].expert;
        if (is_here(e)) {
            const uint64_t at = (uint64_t)routes[r].slot * op->dim;
            ffn_expect(trial, &ffns[e], native, true, x + (uint64_t)routes[r].token * op->dim, &routes[r].weight,
                       op->limit, y->expected + at, y->slack + at);
        }
    }
    y->same_bits = native && quantised;
    trial->n = &op->n_routes;
    trial->n_products = 3.0 * op->n_routes * op->dim * op->inner;
    snprintf(trial->name, sizeof trial->name, "%s n=%u routes=%u experts=%u dim=%u inner=%u magnitude=%g",
             (const char *[]){"", "f32", "bf16", "e4m3", "e8m0", "e2m1"}[shape->dtype], op->n, op->n_routes,
             op->n_experts, op->dim, op->inner, shape->magnitude);
}

const struct check check_expert_ffn = {
    .name = "expert_ffn", .op = HEARTH_OP_EXPERT_FFN, .n_trials = sizeof shapes / sizeof shapes[0], .make = make};
