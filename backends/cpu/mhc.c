/* mhc.c - manifold-constrained hyper-connections: S residual streams collapse to one input for a sublayer (pre), its
 * output returns to all of them (post), and the last collapse before the head (head).
 *
 * X is a token's S streams one after the other, D each.  m = (fn X) * rsqrt(mean(X^2) + norm_eps), the factor after the
 * dot product.  Per token (model.py hc_pre, hc_split_sinkhorn, hc_post, hc_head):
 *
 *     pre[s]     = sigmoid(m[s] * scale[0] + base[s]) + hc_eps
 *     post[s]    = 2 sigmoid(m[S + s] * scale[1] + base[S + s])
 *     comb[j][k] = Sinkhorn(m[2S + S j + k] * scale[2] + base[2S + S j + k])
 *     collapse   = sum_s pre[s] X_s, of the raw streams
 *     X'_k       = post[k] result + sum_j comb[j][k] X_j: the sum runs over comb's FIRST index
 *
 * The mixes are worked out in double; the streams, which are long, in f32. */
#include <math.h>

#include "backends/cpu/kernels.h"

static double
sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* n values, step apart, over their sum */
static void
balance(double *values, uint32_t n, uint64_t step, double eps)
{
    double sum = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        sum += values[i * step];
    }
    for (uint32_t i = 0; i < n; i++) {
        values[i * step] /= sum + eps;
    }
}

/* comb: [n][n].  Row softmax plus eps, columns, then n_iterations - 1 times rows and columns; eps is in every later
 * denominator.  The last step is over columns.  The model's four streams go to a kernel after the softmax. */
static void
sinkhorn(const struct cpu_kernels *kernels, double *comb, uint32_t n, uint32_t n_iterations, double eps)
{
    for (uint32_t j = 0; j < n; j++) {
        double *row = comb + (uint64_t)j * n;
        double most = row[0];
        double sum = 0.0;
        for (uint32_t k = 1; k < n; k++) {
            most = row[k] > most ? row[k] : most;
        }
        for (uint32_t k = 0; k < n; k++) {
            row[k] = exp(row[k] - most);
            sum += row[k];
        }
        for (uint32_t k = 0; k < n; k++) {
            row[k] = row[k] / sum + eps;
        }
    }
    if (n == 4) {
        kernels->balance4(comb, n_iterations, eps);
        return;
    }
    for (uint32_t iteration = 0; iteration < n_iterations; iteration++) {
        for (uint32_t j = 0; iteration > 0 && j < n; j++) {
            balance(comb + (uint64_t)j * n, n, 1, eps);
        }
        for (uint32_t k = 0; k < n; k++) {
            balance(comb + k, n, n, eps);
        }
    }
}

/* What pre and head share.  In head post and comb are NULL and fn has n_streams rows. */
struct collapse {
    const struct cpu_kernels *kernels;
    bool native;
    const float *streams, *norm, *base, *scale;
    float *normed, *post, *comb;
    uint32_t n_streams, dim, n_sinkhorn, n_mix;
    double norm_eps, hc_eps;
    float *dots;    /* [n][n_mix] f32: fn X */
    double *mixes;  /* [threads][n_mix] */
    float *factors; /* [threads][n_streams] */
    float *sums;    /* [threads][dim] */
};

/* mixes: [n_mix]; turns m into pre, post and comb */
static void
gate(const struct collapse *work, uint64_t t, double *mixes)
{
    const uint32_t n = work->n_streams;
    for (uint32_t s = 0; s < n; s++) {
        mixes[s] = sigmoid(mixes[s] * work->scale[0] + work->base[s]) + work->hc_eps;
    }
    if (work->post == NULL) {
        return;
    }
    double *comb = mixes + 2 * n;
    for (uint32_t s = 0; s < n; s++) {
        work->post[t * n + s] = (float)(2.0 * sigmoid(mixes[n + s] * work->scale[1] + work->base[n + s]));
    }
    for (uint32_t i = 0; i < n * n; i++) {
        comb[i] = comb[i] * work->scale[2] + work->base[2 * n + i];
    }
    sinkhorn(work->kernels, comb, n, work->n_sinkhorn, work->hc_eps);
    for (uint32_t i = 0; i < n * n; i++) {
        work->comb[t * n * n + i] = (float)comb[i];
    }
}

static void
collapse_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct collapse *work = context;
    const uint64_t n = (uint64_t)work->n_streams * work->dim;
    double *mixes = work->mixes + (uint64_t)thread * work->n_mix;
    float *factors = work->factors + (uint64_t)thread * work->n_streams;
    float *sums = work->sums + (uint64_t)thread * work->dim;
    for (uint64_t t = begin; t < end; t++) {
        const float *x = work->streams + t * n;
        const double squares = work->kernels->squares(x, n);
        const double factor = 1.0 / sqrt(squares / (double)n + work->norm_eps);
        for (uint32_t k = 0; k < work->n_mix; k++) {
            mixes[k] = (double)work->dots[t * work->n_mix + k] * factor;
        }
        gate(work, t, mixes);
        for (uint32_t s = 0; s < work->n_streams; s++) {
            factors[s] = (float)mixes[s];
        }
        work->kernels->collapse(work->native, x, factors, work->n_streams, work->dim, sums);
        work->kernels->normalise(work->native, sums, work->norm, work->dim, (float)work->norm_eps,
                                 work->normed + t * work->dim);
    }
}

static void
collapse(struct host_call *call, struct collapse *work, const struct host_matrix *fn, uint32_t n)
{
    const uint32_t n_threads = cpu_pool_threads(call->device->pool);
    const uint64_t n_in = (uint64_t)work->n_streams * work->dim;
    struct cpu_input input;
    work->dots = host_scratch_take(call, (uint64_t)n * work->n_mix, sizeof *work->dots);
    work->mixes = host_scratch_take(call, (uint64_t)n_threads * work->n_mix, sizeof *work->mixes);
    work->factors = host_scratch_take(call, (uint64_t)n_threads * work->n_streams, sizeof *work->factors);
    work->sums = host_scratch_take(call, (uint64_t)n_threads * work->dim, sizeof *work->sums);
    if (call->status < 0) {
        return;
    }
    const struct cpu_wanted wanted = cpu_input_wanted(false, false, fn);
    cpu_input_prepare(call, work->streams, n, n_in, wanted, &input);
    if (call->status < 0) {
        return;
    }
    const struct cpu_product product = {
        .weight = fn, .input = &input, .n_tokens = n, .y = work->dots, .y_stride = work->n_mix, .form = wanted.forms};
    cpu_product_run(call, &product, 0, work->n_mix);
    cpu_pool_run(call->device->pool, n, 1, n_in, (struct cpu_work){collapse_tokens, work});
}

/* A bound that no model comes near; it keeps (2 + S) S within 32 bits. */
#define MAX_STREAMS 1024u

void
cpu_mhc_pre(struct host_call *call, const struct hearth_op_mhc_pre *op)
{
    const uint64_t n_in = (uint64_t)op->n_streams * op->dim;
    if (!host_call_check(call, op->n_streams > 0 && op->n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted") ||
        !host_call_check(call, op->n_sinkhorn > 0, "n_sinkhorn: 1 or more wanted")) {
        return;
    }
    const uint32_t n_mix = (2 + op->n_streams) * op->n_streams;
    struct collapse work = {
        .kernels = call->device->kernels,
        .native = call->native,
        .streams = host_view_f32(call, "streams", op->streams, op->n, n_in),
        .norm = host_vector(call, "norm", op->norm, op->dim),
        .base = host_vector(call, "base", op->base, n_mix),
        .scale = host_vector(call, "scale", op->scale, 3),
        .normed = host_view_f32(call, "normed", op->normed, op->n, op->dim),
        .post = host_view_f32(call, "post", op->post, op->n, op->n_streams),
        .comb = host_view_f32(call, "comb", op->comb, op->n, (uint64_t)op->n_streams * op->n_streams),
        .n_streams = op->n_streams,
        .dim = op->dim,
        .n_sinkhorn = op->n_sinkhorn,
        .n_mix = n_mix,
        .norm_eps = op->norm_eps,
        .hc_eps = op->hc_eps,
    };
    const struct host_matrix *fn = host_weight(call, "fn", op->fn, 0, n_mix, n_in);
    if (call->status == 0) {
        collapse(call, &work, fn, op->n);
    }
}

void
cpu_mhc_head(struct host_call *call, const struct hearth_op_mhc_head *op)
{
    const uint64_t n_in = (uint64_t)op->n_streams * op->dim;
    struct collapse work = {
        .kernels = call->device->kernels,
        .native = call->native,
        .streams = host_view_f32(call, "streams", op->streams, op->n, n_in),
        .norm = host_vector(call, "norm", op->norm, op->dim),
        .base = host_vector(call, "base", op->base, op->n_streams),
        .scale = host_vector(call, "scale", op->scale, 1),
        .normed = host_view_f32(call, "normed", op->normed, op->n, op->dim),
        .n_streams = op->n_streams,
        .dim = op->dim,
        .n_mix = op->n_streams,
        .norm_eps = op->norm_eps,
        .hc_eps = op->hc_eps,
    };
    const struct host_matrix *fn = host_weight(call, "fn", op->fn, 0, op->n_streams, n_in);
    if (call->status == 0) {
        collapse(call, &work, fn, op->n);
    }
}

struct expand {
    const struct cpu_kernels *kernels;
    bool native;
    float *streams;
    const float *result, *post, *comb;
    uint32_t n_streams, dim;
    double *sums; /* [threads][n_streams] */
};

/* More streams than a kernel takes at once.  sums: [n_streams] */
static void
expand_slowly(const struct expand *work, float *x, const float *result, const float *post, const float *comb,
              double *sums)
{
    const uint32_t n = work->n_streams;
    for (uint32_t d = 0; d < work->dim; d++) {
        for (uint32_t k = 0; k < n; k++) {
            sums[k] = (double)post[k] * (double)result[d];
            for (uint32_t j = 0; j < n; j++) {
                sums[k] += (double)comb[(uint64_t)j * n + k] * (double)x[(uint64_t)j * work->dim + d];
            }
        }
        for (uint32_t k = 0; k < n; k++) {
            const float value = (float)sums[k];
            x[(uint64_t)k * work->dim + d] = work->native ? hearth_round_bf16(value) : value;
        }
    }
}

static void
expand_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct expand *work = context;
    const uint32_t n = work->n_streams;
    for (uint64_t t = begin; t < end; t++) {
        float *x = work->streams + t * n * work->dim;
        const float *result = work->result + t * work->dim;
        const float *post = work->post + t * n;
        const float *comb = work->comb + t * n * n;
        if (n <= CPU_MAX_STREAMS) {
            work->kernels->expand(work->native, x, result, post, comb, n, work->dim);
        } else {
            expand_slowly(work, x, result, post, comb, work->sums + (uint64_t)thread * n);
        }
    }
}

void
cpu_mhc_post(struct host_call *call, const struct hearth_op_mhc_post *op)
{
    const uint64_t n_values = (uint64_t)op->n_streams * op->dim;
    struct expand work = {
        .kernels = call->device->kernels,
        .native = call->native,
        .streams = host_view_f32(call, "streams", op->streams, op->n, n_values),
        .result = host_view_f32(call, "result", op->result, op->n, op->dim),
        .post = host_view_f32(call, "post", op->post, op->n, op->n_streams),
        .comb = host_view_f32(call, "comb", op->comb, op->n, (uint64_t)op->n_streams * op->n_streams),
        .n_streams = op->n_streams,
        .dim = op->dim,
        .sums = host_scratch_take(call, cpu_pool_threads(call->device->pool), op->n_streams * sizeof(double)),
    };
    if (call->status == 0) {
        cpu_pool_run(call->device->pool, op->n, 1, n_values * 2, (struct cpu_work){expand_tokens, &work});
    }
}
