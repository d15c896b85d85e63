/* sampler.c - logits to a token.
 *
 * Order: top_k keeps the k largest logits; softmax at the temperature; min_p drops what is less likely than
 * min_p times the most likely; top_p keeps the shortest run of the most likely whose share of what is left
 * reaches top_p; one is drawn in proportion.  Equal logits count as ordered by id, the lower one first.
 * Temperature 0 takes the first of that order.  One draw per token, whatever the settings, so a seed gives
 * the same text again.
 *
 * Nothing is sorted: candidates come out of a heap, as many as top_k or top_p ask for. */
#include <math.h>
#include <stdlib.h>

#include <hearth/engine.h>

#include "core/base/error.h"
#include "core/base/random.h"

struct candidate {
    float logit;
    int32_t id;
    double weight; /* exp((logit - max) / temperature) */
};

struct hearth_sampler {
    struct hearth_sampling sampling;
    struct random random;
    struct candidate *heap; /* [capacity]; the first n are candidates */
    size_t capacity;
};

static int
check_sampling(const struct hearth_sampling *sampling, struct hearth_error *err)
{
    if (!(sampling->temperature >= 0.0f) || isinf(sampling->temperature)) {
        return error_set(err, HEARTH_EUSAGE, "temperature: a number of 0 or more wanted, %g found",
                         (double)sampling->temperature);
    }
    if (!(sampling->top_p > 0.0f && sampling->top_p <= 1.0f)) {
        return error_set(err, HEARTH_EUSAGE, "top_p: a number in (0, 1] wanted, %g found",
                         (double)sampling->top_p);
    }
    if (!(sampling->min_p >= 0.0f && sampling->min_p <= 1.0f)) {
        return error_set(err, HEARTH_EUSAGE, "min_p: a number in [0, 1] wanted, %g found",
                         (double)sampling->min_p);
    }
    return HEARTH_OK;
}

int
hearth_sampler_new(const struct hearth_sampling *sampling, struct hearth_sampler **ret_sampler,
                   struct hearth_error *err)
{
    const int status = check_sampling(sampling, err);
    if (status < 0) {
        return status;
    }
    struct hearth_sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler) {
        return error_no_memory(err, "a sampler");
    }
    sampler->sampling = *sampling;
    random_seed(&sampler->random, sampling->seed);
    *ret_sampler = sampler;
    return HEARTH_OK;
}

void
hearth_sampler_free(struct hearth_sampler *sampler)
{
    if (!sampler) {
        return;
    }
    free(sampler->heap);
    free(sampler);
}

/* The id of the largest logit, the lowest of equals. */
static int
find_largest(const float *logits, size_t n, size_t *ret_id, struct hearth_error *err)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(logits[i])) {
            return error_set(err, HEARTH_EINTERNAL, "logit of token %zu: a number wanted, NaN found", i);
        }
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    if (n == 0 || isinf(logits[best])) {
        return error_set(err, HEARTH_EINTERNAL, "logits: at least one finite largest value wanted");
    }
    *ret_id = best;
    return HEARTH_OK;
}

static bool
comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void
sift_down(struct candidate *heap, size_t n, size_t i)
{
    const struct candidate moved = heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) {
            break;
        }
        if (child + 1 < n && comes_before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!comes_before(&heap[child], &moved)) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = moved;
}

static void
make_heap(struct candidate *heap, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) {
        sift_down(heap, n, i);
    }
}

/* Moves the first of n to heap[n - 1]; the others stay a heap.  Popping k of n leaves the k first in
 * heap[n - 1], heap[n - 2] ... */
static void
pop_first(struct candidate *heap, size_t n)
{
    const struct candidate first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    if (n > 1) {
        sift_down(heap, n - 1, 0);
    }
}

/* All candidates that min_p leaves, in the order of their ids. */
static size_t
gather(struct hearth_sampler *sampler, const float *logits, size_t n, float max)
{
    const double temperature = (double)sampler->sampling.temperature;
    const double min_weight = (double)sampler->sampling.min_p;
    size_t n_candidates = 0;
    for (size_t i = 0; i < n; i++) {
        const double weight = exp(((double)logits[i] - (double)max) / temperature);
        if (weight >= min_weight && weight > 0) {
            sampler->heap[n_candidates++] = (struct candidate){logits[i], (int32_t)i, weight};
        }
    }
    return n_candidates;
}

static double
sum_weights(const struct candidate *candidates, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += candidates[i].weight;
    }
    return sum;
}

/* Leaves the k first of n, likeliest last, and returns where they begin. */
static struct candidate *
keep_top_k(struct candidate *heap, size_t n, size_t k)
{
    make_heap(heap, n);
    for (size_t i = 0; i < k; i++) {
        pop_first(heap, n - i);
    }
    return heap + (n - k);
}

/* The same for the shortest run of the likeliest that holds the share top_p of the whole weight. */
static struct candidate *
keep_top_p(struct candidate *heap, size_t n, double top_p, size_t *ret_n)
{
    const double wanted = top_p * sum_weights(heap, n);
    double sum = 0;
    size_t kept = 0;
    make_heap(heap, n);
    while (kept < n && sum < wanted) {
        sum += heap[0].weight;
        pop_first(heap, n - kept);
        kept++;
    }
    *ret_n = kept;
    return heap + (n - kept);
}

static int32_t
draw(struct hearth_sampler *sampler, const struct candidate *candidates, size_t n)
{
    double rest = random_unit(&sampler->random) * sum_weights(candidates, n);
    size_t i = 0;
    while (i + 1 < n && rest >= candidates[i].weight) {
        rest -= candidates[i].weight;
        i++;
    }
    return candidates[i].id;
}

static int
reserve(struct hearth_sampler *sampler, size_t n, struct hearth_error *err)
{
    if (n <= sampler->capacity) {
        return HEARTH_OK;
    }
    struct candidate *heap = realloc(sampler->heap, n * sizeof *heap);
    if (!heap) {
        return error_no_memory(err, "sampling candidates");
    }
    sampler->heap = heap;
    sampler->capacity = n;
    return HEARTH_OK;
}

int
hearth_sampler_pick(struct hearth_sampler *sampler, const float *logits, size_t n, int32_t *ret_id,
                    struct hearth_error *err)
{
    const struct hearth_sampling *sampling = &sampler->sampling;
    size_t largest = 0;
    int status = find_largest(logits, n, &largest, err);
    if (status == HEARTH_OK) {
        status = reserve(sampler, n, err);
    }
    if (status < 0) {
        return status;
    }
    if (sampling->temperature == 0.0f || sampling->top_k == 1) {
        random_next(&sampler->random);
        *ret_id = (int32_t)largest;
        return HEARTH_OK;
    }
    size_t n_left = gather(sampler, logits, n, logits[largest]);
    struct candidate *left = sampler->heap;
    if (sampling->top_k > 0 && sampling->top_k < n_left) {
        left = keep_top_k(left, n_left, sampling->top_k);
        n_left = sampling->top_k;
    }
    if (sampling->top_p < 1.0f) {
        left = keep_top_p(left, n_left, (double)sampling->top_p, &n_left);
    }
    *ret_id = draw(sampler, left, n_left);
    return HEARTH_OK;
}
