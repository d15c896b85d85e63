/* topology.c - reads the machine through hwloc. */
#include <config.h>

#include "core/topology/topology.h"

#include <hwloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"

struct topology {
    hwloc_topology_t hwloc;
    struct topology_facts facts;
};

/* A number from a one-line file such as a cgroup's limit; UINT64_MAX if there is none ("max"). */
static uint64_t
file_number(const char *path)
{
    uint64_t number = UINT64_MAX;
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%" SCNu64, &number) != 1) {
            number = UINT64_MAX;
        }
        fclose(file);
    }
    return number;
}

/* Both from one reading, for the machine's total can grow while we look (memory hot-plug of virtual machines). */
static void
meminfo_read(struct topology_facts *facts)
{
    char line[128];
    uint64_t total_kib = 0, available_kib = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) {
        return;
    }
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "MemTotal: %" SCNu64 " kB", &total_kib);
        sscanf(line, "MemAvailable: %" SCNu64 " kB", &available_kib);
    }
    fclose(file);
    facts->memory_bytes = total_kib * 1024;
    facts->memory_available_bytes = available_kib * 1024;
}

/* What this process may take: the kernel's estimate, cut by the cgroup it runs in (v2, then v1). */
static void
memory_read(struct topology_facts *facts)
{
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    static const char *const uses[] = {"/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes"};
    meminfo_read(facts);
    for (int i = 0; i < 2; i++) {
        const uint64_t limit = file_number(limits[i]);
        const uint64_t used = file_number(uses[i]);
        if (limit < facts->memory_bytes) {
            const uint64_t rest = used < limit ? limit - used : 0;
            facts->memory_bytes = limit;
            facts->memory_available_bytes =
                rest < facts->memory_available_bytes ? rest : facts->memory_available_bytes;
        }
    }
}

static uint64_t
cache_bytes(hwloc_topology_t hwloc, hwloc_obj_type_t type)
{
    const hwloc_obj_t cache = hwloc_get_obj_by_type(hwloc, type, 0);
    return cache ? cache->attr->cache.size : 0;
}

static void
nodes_read(struct topology *topology)
{
    struct topology_facts *facts = &topology->facts;
    const int n = hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE);
    for (int i = 0; i < n && facts->n_nodes < TOPOLOGY_MAX_NODES; i++) {
        const hwloc_obj_t object = hwloc_get_obj_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, (unsigned)i);
        struct topology_node *node = &facts->nodes[facts->n_nodes++];
        node->os_index = object->os_index;
        node->memory_bytes = object->attr->numanode.local_memory;
        node->n_cores =
            (uint32_t)hwloc_get_nbobjs_inside_cpuset_by_type(topology->hwloc, object->cpuset, HWLOC_OBJ_CORE);
        node->n_threads = (uint32_t)hwloc_bitmap_weight(object->cpuset);
        facts->memory_bytes += node->memory_bytes;
    }
}

static void
facts_read(struct topology *topology, bool is_this_machine)
{
    struct topology_facts *facts = &topology->facts;
    hwloc_topology_t hwloc = topology->hwloc;
    const hwloc_obj_t package = hwloc_get_obj_by_type(hwloc, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    snprintf(facts->cpu_name, sizeof facts->cpu_name, "%s", model ? model : "unknown CPU");
    facts->n_packages = (uint32_t)hwloc_get_nbobjs_by_type(hwloc, HWLOC_OBJ_PACKAGE);
    facts->n_cores = (uint32_t)hwloc_get_nbobjs_by_type(hwloc, HWLOC_OBJ_CORE);
    facts->n_threads = (uint32_t)hwloc_get_nbobjs_by_type(hwloc, HWLOC_OBJ_PU);
    facts->l1d_bytes = cache_bytes(hwloc, HWLOC_OBJ_L1CACHE);
    facts->l2_bytes = cache_bytes(hwloc, HWLOC_OBJ_L2CACHE);
    facts->l3_bytes = cache_bytes(hwloc, HWLOC_OBJ_L3CACHE);
    nodes_read(topology);
    facts->n_threads_allowed = facts->n_threads;
    facts->memory_available_bytes = facts->memory_bytes;
    if (is_this_machine) {
        hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
        if (allowed && hwloc_get_cpubind(hwloc, allowed, HWLOC_CPUBIND_PROCESS) == 0 &&
            hwloc_bitmap_weight(allowed) > 0) {
            facts->n_threads_allowed = (uint32_t)hwloc_bitmap_weight(allowed);
        }
        hwloc_bitmap_free(allowed);
        memory_read(facts);
    }
    if (facts->n_cores == 0) { /* a container may hide cores but not processing units */
        facts->n_cores = facts->n_threads;
    }
}

int
topology_probe(const char *synthetic, struct topology **ret_topology, struct hearth_error *err)
{
    struct topology *topology = calloc(1, sizeof *topology);
    if (!topology || hwloc_topology_init(&topology->hwloc) < 0) {
        free(topology);
        return error_no_memory(err, "the topology");
    }
    hwloc_topology_set_io_types_filter(topology->hwloc, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    if (synthetic) {
        const bool is_xml = access(synthetic, R_OK) == 0;
        const int set = is_xml ? hwloc_topology_set_xml(topology->hwloc, synthetic)
                               : hwloc_topology_set_synthetic(topology->hwloc, synthetic);
        if (set < 0) {
            hwloc_topology_destroy(topology->hwloc);
            free(topology);
            return error_set(err, HEARTH_ECONFIG,
                             "topology.synthetic: an hwloc synthetic description or XML file wanted, \"%.80s\" found",
                             synthetic);
        }
    }
    if (hwloc_topology_load(topology->hwloc) < 0) {
        hwloc_topology_destroy(topology->hwloc);
        free(topology);
        return error_set(err, HEARTH_EINTERNAL, "hwloc could not read the machine's topology");
    }
    facts_read(topology, synthetic == NULL);
    *ret_topology = topology;
    return HEARTH_OK;
}

void
topology_free(struct topology *topology)
{
    if (topology) {
        hwloc_topology_destroy(topology->hwloc);
        free(topology);
    }
}

const struct topology_facts *
topology_facts(const struct topology *topology)
{
    return &topology->facts;
}

int
topology_pci_node(const struct topology *topology, const char *pci_address)
{
    const hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(topology->hwloc, pci_address);
    const hwloc_obj_t place = device ? hwloc_get_non_io_ancestor_obj(topology->hwloc, device) : NULL;
    if (!place || !place->nodeset || hwloc_bitmap_weight(place->nodeset) != 1) {
        return -1;
    }
    return hwloc_bitmap_first(place->nodeset);
}
