/* bandwidth.c - how fast memory can be read: each thread sums its own part of a buffer far larger than the caches. */
#include <config.h>

#include "core/topology/topology.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/error.h"

#define PART_BYTES ((size_t)64 << 20)
#define ROUND_SECONDS 0.05
#define N_ROUNDS 5

struct part {
    pthread_t thread;
    uint64_t *words;
    uint64_t sum;       /* kept so that the reads cannot be optimised away */
    uint64_t n_passes;
    double seconds;
};

static double
seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static uint64_t
words_sum(const uint64_t *words, size_t n)
{
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < n; i += 8) { /* eight words: one cache line a step */
        a += words[i] + words[i + 1];
        b += words[i + 2] + words[i + 3];
        c += words[i + 4] + words[i + 5];
        d += words[i + 6] + words[i + 7];
    }
    return a + b + c + d;
}

static void *
part_fill(void *argument)
{
    struct part *part = argument;
    memset(part->words, 1, PART_BYTES); /* by the thread that reads it: first touch places the pages near it */
    return NULL;
}

static void *
part_read(void *argument)
{
    struct part *part = argument;
    const double start = seconds_now();
    part->n_passes = 0;
    do {
        part->sum += words_sum(part->words, PART_BYTES / sizeof *part->words);
        part->n_passes++;
        part->seconds = seconds_now() - start;
    } while (part->seconds < ROUND_SECONDS);
    return NULL;
}

/* Runs work on every part at once; false if a thread could not be made (those that were are joined). */
static bool
parts_run(struct part *parts, uint32_t n, void *(*work)(void *))
{
    uint32_t n_started = 0;
    while (n_started < n && pthread_create(&parts[n_started].thread, NULL, work, &parts[n_started]) == 0) {
        n_started++;
    }
    for (uint32_t i = 0; i < n_started; i++) {
        pthread_join(parts[i].thread, NULL);
    }
    return n_started == n;
}

static double
parts_rate(const struct part *parts, uint32_t n)
{
    double rate = 0;
    for (uint32_t i = 0; i < n; i++) {
        rate += (double)parts[i].n_passes * (double)PART_BYTES / parts[i].seconds;
    }
    return rate;
}

static int
double_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int
topology_read_bandwidth(uint32_t n_threads, double *ret_bytes_per_second, struct hearth_error *err)
{
    double rates[N_ROUNDS];
    int status = HEARTH_OK;
    struct part *parts = calloc(n_threads, sizeof *parts);
    for (uint32_t i = 0; parts && i < n_threads && status == HEARTH_OK; i++) {
        parts[i].words = aligned_alloc(4096, PART_BYTES);
        status = parts[i].words ? HEARTH_OK : HEARTH_EMEMORY;
    }
    if (!parts || status < 0) {
        status = error_no_memory(err, "measuring memory bandwidth");
        goto fail_parts;
    }
    bool ran = parts_run(parts, n_threads, part_fill);
    for (int round = 0; ran && round < N_ROUNDS; round++) {
        ran = parts_run(parts, n_threads, part_read);
        rates[round] = parts_rate(parts, n_threads);
    }
    if (!ran) {
        status =
            error_set(err, HEARTH_EMEMORY, "%u threads wanted to measure memory bandwidth, fewer found", n_threads);
        goto fail_parts;
    }
    qsort(rates, N_ROUNDS, sizeof rates[0], double_compare);
    *ret_bytes_per_second = rates[N_ROUNDS / 2];

fail_parts:
    for (uint32_t i = 0; parts && i < n_threads; i++) {
        free(parts[i].words);
    }
    free(parts);
    return status;
}
