/* roof.c - measures what all threads of the device do at best (plugin.h, measure). */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "backends/cpu/kernels.h"

/* What is read: some times what the last cache holds, so that little of it is still there the next time round. */
#define CACHES 4u
#define LEAST_READ (256ull << 20)
#define MOST_READ (2048ull << 20)
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

/* Pages that nobody wrote are all the same one; those that are lie near who wrote them. */
static void
run_touch(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct roof *roof = context;
    (void)thread;
    memset(roof->memory + begin * READ_PIECE, 1, (end - begin) * READ_PIECE);
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

static uint64_t
bytes_to_read(void)
{
    uint64_t bytes = LEAST_READ;
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    while (bytes < MOST_READ && cache > 0 && bytes < CACHES * (uint64_t)cache) {
        bytes *= 2;
    }
#endif
    return bytes;
}

/* On huge pages where weights are, too: a roof of small pages is lower than what stands under it. */
static unsigned char *
take_memory(uint64_t size)
{
    unsigned char *memory = aligned_alloc(HUGE_PAGE, size);
#ifdef MADV_HUGEPAGE
    if (memory != NULL) {
        (void)madvise(memory, size, MADV_HUGEPAGE);
    }
#endif
    return memory;
}

int
cpu_measure(struct hearth_device *device, double seconds, struct hearth_roof *ret_roof, struct hearth_error *err)
{
    struct hearth_roof filled = {0};
    struct roof roof = {.kernels = device->kernels};
    const uint64_t n_items = 8u * cpu_pool_threads(device->pool);
    const uint64_t size = bytes_to_read();
    roof.memory = take_memory(size);
    if (roof.memory == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory to measure reads with: %llu bytes wanted",
                          (unsigned long long)size);
    }
    cpu_pool_run(device->pool, size / READ_PIECE, 1, UINT32_MAX, (struct cpu_work){run_touch, &roof});
    filled.read_bytes_per_second = (double)READ_PIECE * best_rate(device->pool, size / READ_PIECE,
                                                                  (struct cpu_work){run_read, &roof}, seconds / 2);
    free(roof.memory);
    filled.operations_per_second = (double)roof.kernels->roof_dots(ROUNDS) *
                                   best_rate(device->pool, n_items, (struct cpu_work){run_dots, &roof}, seconds / 4);
    filled.exact_operations_per_second =
        (double)roof.kernels->roof_fmas(ROUNDS) *
        best_rate(device->pool, n_items, (struct cpu_work){run_fmas, &roof}, seconds / 4);
    snprintf(filled.operation, sizeof filled.operation, "%s", roof.kernels->dot_name);
    const uint32_t room = ret_roof->struct_size;
    memcpy(ret_roof, &filled, room < sizeof filled ? room : sizeof filled);
    ret_roof->struct_size = room;
    return 0;
}
