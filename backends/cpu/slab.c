/* slab.c - memory for packed weights: large pieces on huge pages where the system gives them, cut from front to back,
 * so that a weight neither has small pages at its end nor takes a huge one for a piece of it.  What of a slab nobody
 * has touched takes no memory.  A slab goes when all its weights are gone and it is no longer the one that is cut. */
#include <config.h>

#include <stdlib.h>
#include <sys/mman.h>

#include "backends/cpu/cpu.h"

#define SLAB_BYTES (UINT64_C(256) << 20)
#define HUGE_PAGE (UINT64_C(2) << 20)

struct cpu_slab {
    unsigned char *bytes;
    uint64_t size, used;
    uint64_t n_users; /* its weights, and the device while it cuts it */
};

static struct cpu_slab *
new_slab(uint64_t size)
{
    void *bytes = NULL;
    struct cpu_slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL || posix_memalign(&bytes, HUGE_PAGE, (size_t)size) != 0) {
        free(slab);
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (madvise(bytes, (size_t)size, MADV_HUGEPAGE) != 0) {
        cpu_say_once(CPU_MATTER_HUGE_PAGES, "cpu: no huge pages for weights: small ones serve as well, slower");
    }
#endif
    *slab = (struct cpu_slab){.bytes = bytes, .size = size, .n_users = 1};
    return slab;
}

static void
leave(struct cpu_slab *slab)
{
    if (slab != NULL && --slab->n_users == 0) {
        free(slab->bytes);
        free(slab);
    }
}

unsigned char *
cpu_slab_take(struct hearth_device *device, uint64_t size, struct cpu_slab **ret_slab)
{
    unsigned char *bytes = NULL;
    pthread_mutex_lock(&device->slab_lock);
    struct cpu_slab *slab = device->slab;
    if (slab == NULL || slab->size - slab->used < size) {
        const uint64_t whole = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        slab = new_slab(whole > SLAB_BYTES ? whole : SLAB_BYTES);
        if (slab != NULL) {
            leave(device->slab);
            device->slab = slab;
        }
    }
    if (slab != NULL) {
        bytes = slab->bytes + slab->used;
        slab->used += size;
        slab->n_users++;
        *ret_slab = slab;
    }
    pthread_mutex_unlock(&device->slab_lock);
    return bytes;
}

void
cpu_slab_leave(struct hearth_device *device, struct cpu_slab *slab)
{
    pthread_mutex_lock(&device->slab_lock);
    leave(slab);
    pthread_mutex_unlock(&device->slab_lock);
}
