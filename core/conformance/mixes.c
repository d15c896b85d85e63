/* mixes.c - see mixes.h. */
#include <math.h>

#include "core/conformance/mixes.h"

static double
sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

/* The steps of the specification, one after the other, on a matrix by (j, k). */
static void
sinkhorn(double *c, uint32_t n, uint32_t n_iterations, double eps)
{
    for (uint32_t j = 0; j < n; j++) {
        double sum = 0.0;
        for (uint32_t k = 0; k < n; k++) {
            sum += exp(c[j * n + k]);
        }
        for (uint32_t k = 0; k < n; k++) {
            c[j * n + k] = exp(c[j * n + k]) / sum + eps;
        }
    }
    for (uint32_t half = 1; half < 2 * n_iterations; half++) { /* odd: columns; even: rows */
        for (uint32_t a = 0; a < n; a++) {
            const uint32_t first = half % 2 ? a : a * n, step = half % 2 ? n : 1;
            double sum = eps;
            for (uint32_t b = 0; b < n; b++) {
                sum += c[first + b * step];
            }
            for (uint32_t b = 0; b < n; b++) {
                c[first + b * step] /= sum;
            }
        }
    }
}

/* m[row] and its error */
static double
mix(const struct mixes *mixes, const float *x, uint32_t row, double *error)
{
    const uint32_t n = mixes->n_streams * mixes->dim;
    double sum = 0.0, magnitude = 0.0, squares = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        const double term = (double)mixes->fn[row * n + i] * x[i];
        sum += term;
        magnitude += fabs(term);
        squares += (double)x[i] * x[i];
    }
    const double factor = pow(squares / n + mixes->norm_eps, -0.5);
    *error = check_tight(n, magnitude * factor) + check_tight(n, fabs(sum * factor));
    return sum * factor;
}

static void
expect_collapse(struct check_trial *trial, const struct mixes *mixes, bool native, const float *x, const double *pre,
                double pre_error, double *normed, double *slack)
{
    const uint32_t dim = mixes->dim;
    double *y = check_alloc(trial, dim, sizeof *y), *error = check_alloc(trial, dim, sizeof *error);
    double squares = 0.0, errors = 0.0;
    for (uint32_t d = 0; d < dim; d++) {
        double magnitude = 0.0;
        for (uint32_t s = 0; s < mixes->n_streams; s++) {
            y[d] += pre[s] * x[s * dim + d];
            magnitude += fabs((double)x[s * dim + d]);
        }
        error[d] = pre_error * magnitude + check_tight(mixes->n_streams, magnitude);
        error[d] += native ? 2.0 * check_half_bf16(fabs(y[d]) + error[d]) : 0.0;
        y[d] = native ? check_bf16(y[d]) : y[d];
        squares += y[d] * y[d];
        errors += error[d] * error[d];
    }
    const double factor = pow(squares / dim + mixes->norm_eps, -0.5);
    const double relative = sqrt(errors / squares) + (8.0 + sqrt(dim)) * 0x1p-24;
    check_normalise(y, mixes->norm, dim, mixes->norm_eps, normed);
    for (uint32_t d = 0; d < dim; d++) {
        slack[d] = error[d] * factor * fabs((double)mixes->norm[d]) + relative * fabs(normed[d]) +
                   check_half_step(native, normed[d]);
    }
}

void
mixes_expect(struct check_trial *trial, const struct mixes *mixes, bool native, const float *x, double *normed,
             double *normed_slack, double *post, double *post_slack, double *comb, double *comb_slack)
{
    const uint32_t n = mixes->n_streams;
    double *pre = check_alloc(trial, n, sizeof *pre);
    double pre_error = 0.0, comb_error = 0.0, error;
    for (uint32_t s = 0; s < n; s++) {
        pre[s] = sigmoid(mix(mixes, x, s, &error) * mixes->scale[0] + mixes->base[s]) + mixes->hc_eps;
        pre_error = fmax(pre_error, error * fabs((double)mixes->scale[0]) / 4.0 + 0x1p-21);
    }
    expect_collapse(trial, mixes, native, x, pre, pre_error, normed, normed_slack);
    if (post == NULL) {
        return;
    }
    for (uint32_t s = 0; s < n; s++) {
        post[s] = 2.0 * sigmoid(mix(mixes, x, n + s, &error) * mixes->scale[1] + mixes->base[n + s]);
        post_slack[s] = error * fabs((double)mixes->scale[1]) / 2.0 + 0x1p-20;
    }
    for (uint32_t i = 0; i < n * n; i++) {
        comb[i] = mix(mixes, x, 2 * n + i, &error) * mixes->scale[2] + mixes->base[2 * n + i];
        comb_error = fmax(comb_error, error * fabs((double)mixes->scale[2]));
    }
    sinkhorn(comb, n, mixes->n_sinkhorn, mixes->hc_eps);
    for (uint32_t i = 0; i < n * n; i++) { /* each half step adds some units of rounding and no error grows */
        comb_slack[i] = (4.0 * comb_error + (2.0 * mixes->n_sinkhorn + 8.0) * 0x1p-23) * comb[i] + 0x1p-26;
    }
}
