/* place.h - the choice of cores as a function of a topology, for place.c and its test. */
#ifndef BACKENDS_CPU_PLACE_H
#define BACKENDS_CPU_PLACE_H

#include <hwloc.h>

#include "backends/cpu/cpu.h"

struct cpu_place {
    hwloc_bitmap_t set; /* hardware threads it may run on: a core's, or one of them; NULL: any */
    uint32_t node;      /* which of nodes[] its memory is */
};

struct cpu_places {
    hwloc_topology_t topology; /* borrowed, unless owns_topology; NULL: the machine could not be read */
    bool owns_topology;
    uint32_t n_threads;
    struct cpu_place *places; /* [n_threads], by node */
    struct cpu_split split;
    hwloc_obj_t nodes[CPU_MAX_NODES]; /* the memory of each; NULL: unknown */
};

/* Pure.  allowed: what the process may run on; empty or NULL: everything.  topology outlives the places.  Fewer threads
 * than cores are spread over the nodes; more of them share, other hardware threads first.  Errors: EMEMORY. */
int cpu_places_choose(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, uint32_t n_threads, bool smt,
                      struct cpu_places **ret_places, struct hearth_error *err);

#endif
