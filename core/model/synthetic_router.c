/* synthetic_router.c - see synthetic_router.h. */
#include "core/model/synthetic_router.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/noise.h"

#define MAX_PROBABILITY 0.999

static double
power_law(uint32_t rank, double factor)
{
    const double p = factor * pow(rank + 1.0, -SYNTHETIC_SKEW);
    return p < MAX_PROBABILITY ? p : MAX_PROBABILITY;
}

void
synthetic_ranks(uint32_t n, uint32_t n_chosen, double *ret_probabilities)
{
    double low = 0, high = 1;
    while (power_law(n - 1, high) < MAX_PROBABILITY) { /* so large that every expert is always chosen */
        high *= 2;
    }
    for (int i = 0; i < 100; i++) { /* the sum grows with the factor */
        const double middle = (low + high) / 2;
        double sum = 0;
        for (uint32_t rank = 0; rank < n; rank++) {
            sum += power_law(rank, middle);
        }
        if (sum < n_chosen) {
            low = middle;
        } else {
            high = middle;
        }
    }
    for (uint32_t rank = 0; rank < n; rank++) {
        ret_probabilities[rank] = power_law(rank, low);
    }
}

/* Which expert has which rank. */
static void
deal(struct random *random, uint32_t n, uint32_t *experts)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t other = (uint32_t)(random_next(random) % (i + 1));
        experts[i] = experts[other];
        experts[other] = i;
    }
}

/* An expert is chosen when its score a = sqrt(softplus(logit)) plus its bias is among the highest.  With many experts
 * what is needed for that hardly varies, so a bias of minus the score that a random logit exceeds with probability p
 * has it chosen that often. */
static float
bias_for(double probability, double deviation)
{
    const double logit = deviation * noise_quantile(1 - probability);
    return (float)-sqrt(log1p(exp(logit)));
}

int
synthetic_fill_bias(const struct model_shape *shape, double deviation, struct random *random, float *bias,
                    struct hearth_error *err)
{
    const uint32_t n = shape->n_experts;
    double *ranks = calloc(n, sizeof *ranks);
    uint32_t *experts = calloc(n, sizeof *experts);
    int status = HEARTH_OK;
    if (!ranks || !experts) {
        status = error_no_memory(err, "ranks of experts");
        goto done;
    }
    synthetic_ranks(n, shape->experts_per_token, ranks);
    for (uint32_t layer = 0; layer < shape->n_layers; layer++, bias += n) {
        deal(random, n, experts);
        for (uint32_t rank = 0; rank < n; rank++) {
            bias[experts[rank]] = bias_for(ranks[rank], deviation * sqrt(shape->dim));
        }
    }

done:
    free(ranks);
    free(experts);
    return status;
}

static bool
contains(const int64_t *row, uint32_t n, uint32_t expert)
{
    for (uint32_t i = 0; i < n; i++) {
        if (row[i] == expert) {
            return true;
        }
    }
    return false;
}

int
synthetic_fill_table(const struct model_shape *shape, struct random *random, int64_t *table, struct hearth_error *err)
{
    const uint32_t n = shape->n_experts, k = shape->experts_per_token;
    double *ranks = calloc(n, sizeof *ranks);
    uint32_t *experts = calloc(n, sizeof *experts);
    int status = HEARTH_OK;
    if (!ranks || !experts) {
        status = error_no_memory(err, "ranks of experts");
        goto done;
    }
    synthetic_ranks(n, k, ranks);
    deal(random, n, experts);
    for (uint32_t row = 0; row < shape->vocab_size; row++, table += k) {
        for (uint32_t chosen = 0; chosen < k;) { /* any expert, kept as often as its rank is chosen */
            const uint32_t rank = (uint32_t)(random_next(random) % n);
            if (random_unit(random) * ranks[0] < ranks[rank] && !contains(table, chosen, experts[rank])) {
                table[chosen++] = experts[rank];
            }
        }
    }

done:
    free(ranks);
    free(experts);
    return status;
}
