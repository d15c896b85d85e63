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
 * Everything is double inside and rounded once. */
#include "backends/ref/ref.h"

static double
sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* comb: [n][n].  Row softmax plus eps, columns, then n_iterations - 1 times rows and columns; eps is in every later
 * denominator.  The last step is over columns. */
static void
sinkhorn(double *comb, uint32_t n, uint32_t n_iterations, double eps)
{
    for (uint32_t iteration = 0; iteration < n_iterations; iteration++) {
        for (uint32_t j = 0; j < n; j++) {
            double *row = comb + (uint64_t)j * n;
            double most = row[0];
            double sum = 0.0;
            for (uint32_t k = 1; k < n; k++) {
                most = row[k] > most ? row[k] : most;
            }
            for (uint32_t k = 0; k < n; k++) {
                row[k] = iteration == 0 ? exp(row[k] - most) : row[k];
                sum += row[k];
            }
            for (uint32_t k = 0; k < n; k++) {
                row[k] = iteration == 0 ? row[k] / sum + eps : row[k] / (sum + eps);
            }
        }
        for (uint32_t k = 0; k < n; k++) {
            double sum = 0.0;
            for (uint32_t j = 0; j < n; j++) {
                sum += comb[(uint64_t)j * n + k];
            }
            for (uint32_t j = 0; j < n; j++) {
                comb[(uint64_t)j * n + k] /= sum + eps;
            }
        }
    }
}

/* What pre and head share.  In head post and comb are NULL and fn has n_streams rows. */
struct collapse {
    bool native;
    const float *streams, *norm, *base, *scale;
    float *normed, *post, *comb;
    uint32_t n_streams, dim, n_sinkhorn, n_mix;
    double norm_eps, hc_eps;
    float *dots;   /* [n][n_mix] f32: fn X */
    double *mixes; /* [threads][n_mix] */
    float *sums;   /* [threads][dim] */
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
    sinkhorn(comb, n, work->n_sinkhorn, work->hc_eps);
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
    float *sums = work->sums + (uint64_t)thread * work->dim;
    for (uint64_t t = begin; t < end; t++) {
        const float *x = work->streams + t * n;
        double squares = 0.0;
        for (uint64_t i = 0; i < n; i++) {
            squares += (double)x[i] * (double)x[i];
        }
        const double factor = 1.0 / sqrt(squares / (double)n + work->norm_eps);
        for (uint32_t k = 0; k < work->n_mix; k++) {
            mixes[k] = (double)work->dots[t * work->n_mix + k] * factor;
        }
        gate(work, t, mixes);
        for (uint32_t d = 0; d < work->dim; d++) {
            double sum = 0.0;
            for (uint32_t s = 0; s < work->n_streams; s++) {
                sum += mixes[s] * (double)x[(uint64_t)s * work->dim + d];
            }
            sums[d] = ref_round(work->native, sum);
        }
        ref_normalise(work->native, sums, work->norm, work->dim, (float)work->norm_eps, work->normed + t * work->dim);
    }
}

static void
collapse(struct host_call *call, struct collapse *work, const struct host_matrix *fn, uint32_t n)
{
    const uint32_t n_threads = ref_pool_threads(call->device->pool);
    const uint64_t n_in = (uint64_t)work->n_streams * work->dim;
    struct ref_input input;
    work->dots = host_scratch_take(call, (uint64_t)n * work->n_mix, sizeof *work->dots);
    work->mixes = host_scratch_take(call, (uint64_t)n_threads * work->n_mix, sizeof *work->mixes);
    work->sums = host_scratch_take(call, (uint64_t)n_threads * work->dim, sizeof *work->sums);
    if (call->status < 0) {
        return;
    }
    ref_input_prepare(call, work->streams, n, n_in, REF_FORM_EXACT, &input);
    if (call->status < 0) {
        return;
    }
    ref_product_run(call, &(struct ref_product){
                              .weight = fn, .input = &input, .n_tokens = n, .y = work->dots, .y_stride = work->n_mix});
    if (call->status < 0) {
        return;
    }
    ref_pool_run(call->device->pool, n, n_in * 4, (struct ref_work){collapse_tokens, work});
}

/* A bound that no model comes near; it keeps (2 + S) S within 32 bits. */
#define MAX_STREAMS 1024u

void
ref_mhc_pre(struct host_call *call, const struct hearth_op_mhc_pre *op)
{
    const uint64_t n_in = (uint64_t)op->n_streams * op->dim;
    if (!host_call_check(call, op->n_streams > 0 && op->n_streams <= MAX_STREAMS, "n_streams: 1 .. 1024 wanted") ||
        !host_call_check(call, op->n_sinkhorn > 0, "n_sinkhorn: 1 or more wanted")) {
        return;
    }
    const uint32_t n_mix = (2 + op->n_streams) * op->n_streams;
    struct collapse work = {
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
ref_mhc_head(struct host_call *call, const struct hearth_op_mhc_head *op)
{
    const uint64_t n_in = (uint64_t)op->n_streams * op->dim;
    struct collapse work = {
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
    bool native;
    float *streams;
    const float *result, *post, *comb;
    uint32_t n_streams, dim;
    double *sums; /* [threads][n_streams] */
};

static void
expand_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct expand *work = context;
    const uint32_t n = work->n_streams;
    double *sums = work->sums + (uint64_t)thread * n;
    for (uint64_t t = begin; t < end; t++) {
        float *x = work->streams + t * n * work->dim;
        const float *post = work->post + t * n;
        const float *comb = work->comb + t * n * n;
        for (uint32_t d = 0; d < work->dim; d++) {
            const double result = work->result[t * work->dim + d];
            for (uint32_t k = 0; k < n; k++) {
                sums[k] = (double)post[k] * result;
                for (uint32_t j = 0; j < n; j++) {
                    sums[k] += (double)comb[(uint64_t)j * n + k] * (double)x[(uint64_t)j * work->dim + d];
                }
            }
            for (uint32_t k = 0; k < n; k++) {
                x[(uint64_t)k * work->dim + d] = ref_round(work->native, sums[k]);
            }
        }
    }
}

void
ref_mhc_post(struct host_call *call, const struct hearth_op_mhc_post *op)
{
    const uint64_t n_values = (uint64_t)op->n_streams * op->dim;
    struct expand work = {
        .native = call->native,
        .streams = host_view_f32(call, "streams", op->streams, op->n, n_values),
        .result = host_view_f32(call, "result", op->result, op->n, op->dim),
        .post = host_view_f32(call, "post", op->post, op->n, op->n_streams),
        .comb = host_view_f32(call, "comb", op->comb, op->n, (uint64_t)op->n_streams * op->n_streams),
        .n_streams = op->n_streams,
        .dim = op->dim,
        .sums = host_scratch_take(call, ref_pool_threads(call->device->pool), op->n_streams * sizeof(double)),
    };
    if (call->status == 0) {
        ref_pool_run(call->device->pool, op->n, n_values * (op->n_streams + 1),
                     (struct ref_work){expand_tokens, &work});
    }
}
