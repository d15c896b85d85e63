/* roof.c - measures what all threads of the device do at best (plugin.h, measure). */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "backends/cpu/kernels.h"

#define READ_BYTES (256ull << 20) /* larger than caches */
#define READ_PIECE (256ull << 10)
#define HUGE_PAGE (2u << 20)
#define ROUNDS 20000u /* some 100 us of one core */

struct roof {
    const struct cpu_kernels *kernels;
    unsigned char *memory;
};

static double
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void
run_read(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct roof *roof = context;
    (void)thread;
    roof->kernels->roof_read(roof->memory + begin * READ_PIECE, (end - begin) * READ_PIECE);
}

static void
run_dots(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct roof *roof = context;
    (void)thread;
    roof->kernels->roof_dots((end - begin) * ROUNDS);
}

static void
run_fmas(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct roof *roof = context;
    (void)thread;
    roof->kernels->roof_fmas((end - begin) * ROUNDS);
}

/* The fastest of passes over n items for about `seconds`, in items a second: what others take of the machine is not the
 * device's limit. */
static double
best_rate(struct cpu_pool *pool, uint64_t n_items, struct cpu_work work, double seconds)
{
    const double end = now() + seconds;
    double best = 0.0, before;
    do {
        before = now();
        cpu_pool_run(pool, n_items, 1, UINT32_MAX, work);
        const double rate = (double)n_items / (now() - before);
        best = rate > best ? rate : best;
    } while (now() < end);
    return best;
}

/* On huge pages where weights are, too: a roof of small pages is lower than what stands under it. */
static unsigned char *
take_memory(void)
{
    unsigned char *memory = aligned_alloc(HUGE_PAGE, READ_BYTES);
    if (memory != NULL) {
#ifdef MADV_HUGEPAGE
        (void)madvise(memory, READ_BYTES, MADV_HUGEPAGE);
#endif
        memset(memory, 1, READ_BYTES); /* pages that nobody wrote are all the same one */
    }
    return memory;
}

int
cpu_measure(struct hearth_device *device, double seconds, struct hearth_roof *ret_roof, struct hearth_error *err)
{
    struct hearth_roof filled = {0};
    struct roof roof = {.kernels = device->kernels};
    const uint64_t n_items = 8u * cpu_pool_threads(device->pool);
    roof.memory = take_memory();
    if (roof.memory == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory to measure reads with: %llu bytes wanted",
                          READ_BYTES);
    }
    filled.read_bytes_per_second = (double)READ_PIECE * best_rate(device->pool, READ_BYTES / READ_PIECE,
                                                                  (struct cpu_work){run_read, &roof}, seconds / 2);
    free(roof.memory);
    filled.operations_per_second = (double)roof.kernels->roof_dots(ROUNDS) *
                                   best_rate(device->pool, n_items, (struct cpu_work){run_dots, &roof}, seconds / 4);
    filled.exact_operations_per_second =
        (double)roof.kernels->roof_fmas(ROUNDS) *
        best_rate(device->pool, n_items, (struct cpu_work){run_fmas, &roof}, seconds / 4);
    snprintf(filled.operation, sizeof filled.operation, "%s", roof.kernels->dot_name);
    const uint32_t size = ret_roof->struct_size;
    memcpy(ret_roof, &filled, size < sizeof filled ? size : sizeof filled);
    ret_roof->struct_size = size;
    return 0;
}
