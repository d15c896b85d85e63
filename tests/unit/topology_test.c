/* topology_test.c - synthetic machines, this machine, and a description that is none. */
#include <config.h>

#include <check.h>
#include <string.h>

#include "core/topology/topology.h"

START_TEST(two_sockets_are_seen)
{
    struct topology *topology;
    struct hearth_error err = {0};
    ck_assert_int_eq(
        topology_probe("package:2 [numa(memory=17179869184)] l3:1 l2:8 l1d:1 core:1 pu:2", &topology, &err), HEARTH_OK);
    const struct topology_facts *facts = topology_facts(topology);
    ck_assert_uint_eq(facts->n_packages, 2);
    ck_assert_uint_eq(facts->n_nodes, 2);
    ck_assert_uint_eq(facts->n_cores, 16);
    ck_assert_uint_eq(facts->n_threads, 32);
    ck_assert_uint_eq(facts->nodes[1].n_cores, 8);
    ck_assert_uint_eq(facts->nodes[1].memory_bytes, 17179869184u);
    ck_assert_uint_eq(facts->memory_bytes, 2 * 17179869184u);
    ck_assert_uint_gt(facts->l2_bytes, 0);
    ck_assert_int_eq(topology_pci_node(topology, "0000:01:00.0"), -1);
    topology_free(topology);
}
END_TEST

/* Two nodes with a graphics card each. */
START_TEST(a_card_is_near_its_node)
{
    struct topology *topology;
    struct hearth_error err = {0};
    ck_assert_msg(topology_probe(SOURCE_FOLDER "/tests/data/topology/two-nodes.xml", &topology, &err) == HEARTH_OK,
                  "%s", err.text);
    ck_assert_uint_eq(topology_facts(topology)->n_nodes, 2);
    ck_assert_int_eq(topology_pci_node(topology, "0000:41:00.0"), 0);
    ck_assert_int_eq(topology_pci_node(topology, "0001:65:00.0"), 1);
    ck_assert_int_eq(topology_pci_node(topology, "0000:65:00.0"), -1);
    ck_assert_int_eq(topology_pci_node(topology, ""), -1);
    topology_free(topology);
}
END_TEST

START_TEST(this_machine_has_a_core_and_memory)
{
    struct topology *topology;
    struct hearth_error err = {0};
    ck_assert_int_eq(topology_probe(NULL, &topology, &err), HEARTH_OK);
    const struct topology_facts *facts = topology_facts(topology);
    ck_assert_uint_gt(facts->n_cores, 0);
    ck_assert_uint_gt(facts->n_threads_allowed, 0);
    ck_assert_uint_gt(facts->memory_available_bytes, 0);
    ck_assert_uint_le(facts->memory_available_bytes, facts->memory_bytes);
    ck_assert(memchr(facts->cpu_name, '\0', sizeof facts->cpu_name) != NULL);
    topology_free(topology);
}
END_TEST

START_TEST(nonsense_is_refused)
{
    struct topology *topology = NULL;
    struct hearth_error err = {0};
    ck_assert_int_eq(topology_probe("three little pigs", &topology, &err), HEARTH_ECONFIG);
    ck_assert_ptr_null(topology);
    ck_assert_ptr_nonnull(strstr(err.text, "three little pigs"));
}
END_TEST

START_TEST(bandwidth_is_measured)
{
    double rate = 0;
    struct hearth_error err = {0};
    ck_assert_int_eq(topology_read_bandwidth(2, &rate, &err), HEARTH_OK);
    ck_assert(rate > 1e6 && rate < 1e15);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("topology");
    TCase *tcase = tcase_create("topology");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, two_sockets_are_seen);
    tcase_add_test(tcase, a_card_is_near_its_node);
    tcase_add_test(tcase, this_machine_has_a_core_and_memory);
    tcase_add_test(tcase, nonsense_is_refused);
    tcase_add_test(tcase, bandwidth_is_measured);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}
