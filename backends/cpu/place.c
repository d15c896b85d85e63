/* place.c - one thread a core, those of a NUMA node together, and the memory of packed rows near those who read them.
 *
 * A slot is what one thread can have for itself.  Slots of a node are in the order of cores, first hardware threads
 * before second ones, so that the first n slots are n cores as long as there are as many. */
#include <config.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/cpu/place.h"

struct slot {
    hwloc_obj_t core;
    unsigned sibling; /* which of its allowed hardware threads; 0: the first, or all */
    uint32_t node;
};

struct slots {
    struct slot *slots; /* by node */
    uint32_t n;
    uint32_t first[CPU_MAX_NODES + 1]; /* slots of a node */
};

/* Places without slots: threads anywhere, on one node. */
static struct cpu_places *
new_places(uint32_t n_threads, struct hearth_error *err)
{
    struct cpu_places *places = calloc(1, sizeof *places);
    struct cpu_place *list = calloc(n_threads, sizeof *list);
    if (places == NULL || list == NULL) {
        free(places);
        free(list);
        (void)host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for %u places", n_threads);
        return NULL;
    }
    places->n_threads = n_threads;
    places->places = list;
    places->split = (struct cpu_split){.n_nodes = 1, .first = {0, n_threads}};
    return places;
}

/* The index in places->nodes of the memory nearest to a core, entered there if it is new. */
static uint32_t
node_of(struct cpu_places *places, uint32_t *n_nodes, hwloc_obj_t core)
{
    const int n = hwloc_get_nbobjs_by_type(places->topology, HWLOC_OBJ_NUMANODE);
    hwloc_obj_t found = NULL;
    for (int i = 0; i < n && found == NULL; i++) {
        const hwloc_obj_t node = hwloc_get_obj_by_type(places->topology, HWLOC_OBJ_NUMANODE, (unsigned)i);
        found = hwloc_bitmap_isincluded(core->cpuset, node->cpuset) ? node : NULL;
    }
    for (uint32_t i = 0; i < *n_nodes; i++) {
        if (places->nodes[i] == found) {
            return i;
        }
    }
    if (*n_nodes == CPU_MAX_NODES) {
        return CPU_MAX_NODES - 1;
    }
    places->nodes[*n_nodes] = found;
    return (*n_nodes)++;
}

static unsigned
n_allowed(hwloc_obj_t core, hwloc_const_bitmap_t allowed)
{
    unsigned n = 0;
    int pu;
    hwloc_bitmap_foreach_begin(pu, core->cpuset)
        n += hwloc_bitmap_isset(allowed, (unsigned)pu) != 0;
    hwloc_bitmap_foreach_end();
    return n;
}

static int
compare_slots(const void *a, const void *b)
{
    const struct slot *left = a, *right = b;
    if (left->node != right->node) {
        return left->node < right->node ? -1 : 1;
    }
    if (left->sibling != right->sibling) {
        return left->sibling < right->sibling ? -1 : 1;
    }
    return left->core->logical_index < right->core->logical_index ? -1 : 1;
}

/* siblings: hardware threads beyond a core's first are slots as well. */
static int
list_slots(struct cpu_places *places, hwloc_const_bitmap_t allowed, bool siblings, struct slots *ret_slots,
           struct hearth_error *err)
{
    const hwloc_topology_t topology = places->topology;
    const bool has_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0; /* a container may hide them */
    const hwloc_obj_type_t type = has_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    const int n_cores = hwloc_get_nbobjs_by_type(topology, type);
    const int n_most = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    struct slots slots = {.n = 0};
    uint32_t n_nodes = 0;
    slots.slots = calloc((size_t)n_most + 1, sizeof *slots.slots);
    if (slots.slots == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for a list of %d cores", n_most);
    }
    for (int i = 0; i < n_cores; i++) {
        const hwloc_obj_t core = hwloc_get_obj_by_type(topology, type, (unsigned)i);
        const unsigned n_threads = n_allowed(core, allowed);
        const uint32_t node = n_threads > 0 ? node_of(places, &n_nodes, core) : 0;
        for (unsigned k = 0; k < (siblings || n_threads == 0 ? n_threads : 1); k++) {
            slots.slots[slots.n++] = (struct slot){core, k, node};
            slots.first[node + 1]++;
        }
    }
    qsort(slots.slots, slots.n, sizeof *slots.slots, compare_slots);
    for (uint32_t node = 0; node < CPU_MAX_NODES; node++) {
        slots.first[node + 1] += slots.first[node];
    }
    places->split.n_nodes = n_nodes;
    *ret_slots = slots;
    return 0;
}

/* siblings: each slot is one hardware thread; otherwise a core with all that are allowed. */
static hwloc_bitmap_t
slot_set(const struct slot *slot, hwloc_const_bitmap_t allowed, bool siblings)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    if (set == NULL || hwloc_bitmap_and(set, slot->core->cpuset, allowed) < 0) {
        hwloc_bitmap_free(set);
        return NULL;
    }
    if (siblings) {
        int pu = hwloc_bitmap_first(set);
        for (unsigned k = 0; k < slot->sibling; k++) {
            pu = hwloc_bitmap_next(set, pu);
        }
        hwloc_bitmap_only(set, (unsigned)pu);
    }
    return set;
}

/* Each node has threads by its share of the slots. */
static int
fill_places(struct cpu_places *places, const struct slots *slots, hwloc_const_bitmap_t allowed, bool siblings,
            struct hearth_error *err)
{
    struct cpu_split *split = &places->split;
    for (uint32_t node = 0; node <= split->n_nodes; node++) {
        split->first[node] =
            (uint32_t)(((uint64_t)places->n_threads * slots->first[node] + slots->n - 1) / slots->n);
    }
    for (uint32_t node = 0; node < split->n_nodes; node++) {
        const uint32_t n_slots = slots->first[node + 1] - slots->first[node];
        for (uint32_t i = split->first[node]; i < split->first[node + 1]; i++) {
            const struct slot *slot = &slots->slots[slots->first[node] + (i - split->first[node]) % n_slots];
            places->places[i] = (struct cpu_place){slot_set(slot, allowed, siblings), node};
            if (places->places[i].set == NULL) {
                return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for %u places", places->n_threads);
            }
        }
    }
    return 0;
}

/* The slots for as many threads: with siblings if they are wanted or cores do not suffice. */
static int
choose_slots(struct cpu_places *places, hwloc_const_bitmap_t allowed, uint32_t n_threads, bool *siblings,
             struct slots *ret_slots, struct hearth_error *err)
{
    int status = list_slots(places, allowed, *siblings, ret_slots, err);
    if (status == 0 && !*siblings && n_threads > ret_slots->n) {
        free(ret_slots->slots);
        *siblings = true;
        status = list_slots(places, allowed, true, ret_slots, err);
    }
    return status;
}

int
cpu_places_choose(hwloc_topology_t topology, hwloc_const_bitmap_t allowed, uint32_t n_threads, bool smt,
                  struct cpu_places **ret_places, struct hearth_error *err)
{
    struct cpu_places *places = NULL;
    struct cpu_places chosen = {.topology = topology};
    struct slots slots = {.slots = NULL};
    bool siblings = smt;
    hwloc_bitmap_t usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology));
    if (usable == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "cpu: no memory for a set of cores");
    }
    if (allowed != NULL && hwloc_bitmap_intersects(usable, allowed)) {
        hwloc_bitmap_and(usable, usable, allowed);
    }
    int status = choose_slots(&chosen, usable, n_threads, &siblings, &slots, err);
    if (status < 0) {
        goto done;
    }
    const uint32_t n_most = slots.n < HOST_MAX_THREADS ? slots.n : HOST_MAX_THREADS;
    places = new_places(n_threads > 0 ? n_threads : (n_most > 0 ? n_most : 1), err);
    if (places == NULL) {
        status = HEARTH_EMEMORY;
    } else if (slots.n > 0) {
        chosen.n_threads = places->n_threads;
        chosen.places = places->places;
        *places = chosen;
        status = fill_places(places, &slots, usable, siblings, err);
    }
    if (status < 0) {
        cpu_places_free(places);
    } else {
        *ret_places = places;
    }

done:
    free(slots.slots);
    hwloc_bitmap_free(usable);
    return status;
}

/* This machine's topology; NULL: it cannot be read. */
static hwloc_topology_t
read_machine(void)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) < 0) {
        return NULL;
    }
    if (hwloc_topology_load(topology) < 0) {
        hwloc_topology_destroy(topology);
        return NULL;
    }
    return topology;
}

int
cpu_places_new(uint32_t n_threads, bool smt, struct cpu_places **ret_places, struct hearth_error *err)
{
    hwloc_topology_t topology = read_machine();
    if (topology == NULL) {
        struct cpu_places *places = new_places(n_threads > 0 ? n_threads : host_count_cores(), err);
        *ret_places = places != NULL ? places : *ret_places;
        return places != NULL ? 0 : HEARTH_EMEMORY;
    }
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    if (allowed != NULL && hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_THREAD) < 0) {
        hwloc_bitmap_zero(allowed);
    }
    const int status = cpu_places_choose(topology, allowed, n_threads, smt, ret_places, err);
    hwloc_bitmap_free(allowed);
    if (status < 0) {
        hwloc_topology_destroy(topology);
        return status;
    }
    (*ret_places)->topology = topology;
    (*ret_places)->owns_topology = true;
    return 0;
}

void
cpu_places_free(struct cpu_places *places)
{
    if (places == NULL) {
        return;
    }
    for (uint32_t i = 0; i < places->n_threads; i++) {
        hwloc_bitmap_free(places->places[i].set);
    }
    if (places->owns_topology) {
        hwloc_topology_destroy(places->topology);
    }
    free(places->places);
    free(places);
}

const struct cpu_split *
cpu_places_split(const struct cpu_places *places)
{
    return &places->split;
}

uint32_t
cpu_places_threads(const struct cpu_places *places)
{
    return places->n_threads;
}

bool
cpu_places_pin(const struct cpu_places *places, pthread_t thread, uint32_t index)
{
    const hwloc_bitmap_t set = places->places[index].set;
    return set != NULL && hwloc_set_thread_cpubind(places->topology, thread, set, 0) == 0;
}

bool
cpu_places_bind(const struct cpu_places *places, void *memory, uint64_t n_units, uint64_t unit_bytes)
{
    const struct cpu_split *split = &places->split;
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t base = (uintptr_t)memory;
    bool is_bound = true;
    for (uint32_t node = 0; split->n_nodes > 1 && node < split->n_nodes; node++) {
        /* a page that two nodes share goes to the first */
        const uintptr_t from = base + (uintptr_t)(cpu_split_begin(split, n_units, node) * unit_bytes);
        const uintptr_t to = base + (uintptr_t)(cpu_split_begin(split, n_units, node + 1) * unit_bytes);
        const uintptr_t begin = (from + page - 1) / page * page;
        const uintptr_t end = node + 1 < split->n_nodes ? (to + page - 1) / page * page : to / page * page;
        if (end > begin && places->nodes[node] != NULL) {
            is_bound &= hwloc_set_area_membind(places->topology, (const void *)begin, end - begin,
                                               places->nodes[node]->nodeset, HWLOC_MEMBIND_BIND,
                                               HWLOC_MEMBIND_BYNODESET) == 0;
        }
    }
    return is_bound;
}
