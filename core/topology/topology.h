/* core/topology/topology.h - what the machine is: packages, NUMA nodes, cores, caches, memory, and the node each
 * accelerator hangs on.  The one door to hwloc. */
#ifndef CORE_TOPOLOGY_TOPOLOGY_H
#define CORE_TOPOLOGY_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

#include <hearth/status.h>

#define TOPOLOGY_MAX_NODES 64u

struct topology_node {
    uint32_t os_index;
    uint32_t n_cores, n_threads;
    uint64_t memory_bytes;
};

struct topology_facts {
    char cpu_name[128];
    uint32_t n_packages, n_nodes, n_cores, n_threads;
    uint32_t n_threads_allowed;      /* what this process may run on (affinity, cgroup) */
    uint64_t memory_bytes;           /* of the machine, or of the cgroup if that is less */
    uint64_t memory_available_bytes; /* free for us right now; the cgroup's rest if that is less */
    uint64_t l1d_bytes, l2_bytes, l3_bytes; /* one cache of each level; 0: none */
    struct topology_node nodes[TOPOLOGY_MAX_NODES];
};

struct topology;

/* synthetic: an hwloc synthetic description or the path of an XML export, for tests; NULL: this machine. */
int topology_probe(const char *synthetic, struct topology **ret_topology, struct hearth_error *err);
void topology_free(struct topology *topology); /* NULL allowed */
const struct topology_facts *topology_facts(const struct topology *topology);
/* os_index of the NUMA node a PCI address hangs on; -1: unknown. */
int topology_pci_node(const struct topology *topology, const char *pci_address);
/* Sustained bytes per second that n_threads reading disjoint memory get; takes about a quarter of a second. */
int topology_read_bandwidth(uint32_t n_threads, double *ret_bytes_per_second, struct hearth_error *err);

#endif
