/* place_test.c - where threads of the x86-64 backend stand, on machines that are only described, and the pool on one of
 * them: every item once, wherever it belongs. */
#include <config.h>

#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "backends/cpu/place.h"

#define TWO_SOCKETS "package:2 numa:1 core:4 pu:2"

static hwloc_topology_t topology;
static struct cpu_places *places;

/* allowed: as hwloc lists sets ("0-3,8"), or NULL */
static void
choose(const char *machine, const char *allowed, uint32_t n_threads, bool smt)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    struct hearth_error err = {0};
    ck_assert_int_eq(hwloc_topology_init(&topology), 0);
    ck_assert_int_eq(hwloc_topology_set_synthetic(topology, machine), 0);
    ck_assert_int_eq(hwloc_topology_load(topology), 0);
    ck_assert(allowed == NULL || hwloc_bitmap_list_sscanf(set, allowed) == 0);
    ck_assert_msg(cpu_places_choose(topology, set, n_threads, smt, &places, &err) == 0, "%s", err.text);
    hwloc_bitmap_free(set);
}

static void
leave(void)
{
    cpu_places_free(places);
    hwloc_topology_destroy(topology);
}

/* Sets of `weight` hardware threads, no two sharing one, each inside the memory's own cores. */
static void
check_apart(int weight)
{
    hwloc_bitmap_t seen = hwloc_bitmap_alloc();
    for (uint32_t i = 0; i < places->n_threads; i++) {
        const struct cpu_place *place = &places->places[i];
        ck_assert_int_eq(hwloc_bitmap_weight(place->set), weight);
        ck_assert_msg(!hwloc_bitmap_intersects(seen, place->set), "thread %u shares its core", i);
        ck_assert(hwloc_bitmap_isincluded(place->set, places->nodes[place->node]->cpuset));
        ck_assert_uint_ge(i, places->split.first[place->node]);
        ck_assert_uint_lt(i, places->split.first[place->node + 1]);
        hwloc_bitmap_or(seen, seen, place->set);
    }
    hwloc_bitmap_free(seen);
}

static void
check_firsts(uint32_t n_nodes, const uint32_t *firsts)
{
    ck_assert_uint_eq(places->split.n_nodes, n_nodes);
    for (uint32_t node = 0; node <= n_nodes; node++) {
        ck_assert_uint_eq(places->split.first[node], firsts[node]);
    }
}

START_TEST(one_thread_a_core)
{
    choose(TWO_SOCKETS, NULL, 0, false);
    check_firsts(2, (uint32_t[]){0, 4, 8});
    check_apart(2);
    leave();
    choose("package:2 numa:2 core:3 pu:1", NULL, 0, false); /* sub-NUMA */
    check_firsts(4, (uint32_t[]){0, 3, 6, 9, 12});
    check_apart(1);
    leave();
}
END_TEST

START_TEST(siblings_when_asked)
{
    choose(TWO_SOCKETS, NULL, 0, true);
    check_firsts(2, (uint32_t[]){0, 8, 16});
    check_apart(1);
    /* cores first: the first four of a node are four cores */
    for (uint32_t i = 0; i < 4; i++) {
        ck_assert_int_eq(hwloc_bitmap_first(places->places[i].set), (int)(2 * i));
        ck_assert_int_eq(hwloc_bitmap_first(places->places[i + 4].set), (int)(2 * i + 1));
    }
    leave();
    choose(TWO_SOCKETS, NULL, 12, false); /* more than cores is asking, too */
    check_firsts(2, (uint32_t[]){0, 6, 12});
    check_apart(1);
    leave();
}
END_TEST

START_TEST(few_and_many)
{
    choose(TWO_SOCKETS, NULL, 3, false);
    check_firsts(2, (uint32_t[]){0, 2, 3});
    check_apart(2);
    leave();
    choose(TWO_SOCKETS, NULL, 1, false);
    check_firsts(2, (uint32_t[]){0, 1, 1});
    leave();
    choose(TWO_SOCKETS, NULL, 40, false); /* more than there are hardware threads */
    check_firsts(2, (uint32_t[]){0, 20, 40});
    ck_assert(hwloc_bitmap_isequal(places->places[0].set, places->places[8].set));
    leave();
}
END_TEST

START_TEST(only_what_is_allowed)
{
    choose(TWO_SOCKETS, "1-3,8", 0, false); /* a core's second thread, a whole core; one thread of the other socket */
    check_firsts(2, (uint32_t[]){0, 2, 3});
    ck_assert_int_eq(hwloc_bitmap_weight(places->places[0].set), 1);
    ck_assert_int_eq(hwloc_bitmap_first(places->places[0].set), 1);
    ck_assert_int_eq(hwloc_bitmap_weight(places->places[1].set), 2);
    ck_assert_int_eq(hwloc_bitmap_first(places->places[2].set), 8);
    leave();
    choose(TWO_SOCKETS, "8-15", 0, false); /* the second socket alone is one node */
    check_firsts(1, (uint32_t[]){0, 4});
    check_apart(2);
    leave();
}
END_TEST

struct count {
    _Atomic uint32_t n_done[1000];
};

static void
count_items(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    struct count *count = context;
    (void)thread;
    for (uint64_t i = begin; i < end; i++) {
        count->n_done[i]++;
    }
}

START_TEST(every_item_once)
{
    static const uint64_t sizes[] = {2, 3, 7, 64, 999, 1000};
    struct hearth_error err = {0};
    struct cpu_pool *pool;
    uint32_t n_unpinned;
    choose("package:3 numa:1 core:2 pu:1", NULL, 4, false);
    ck_assert_msg(cpu_pool_new(places, false, &pool, &n_unpinned, &err) == 0, "%s", err.text);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct count count = {{0}};
        cpu_pool_run(pool, sizes[s], 1, 1u << 20, (struct cpu_work){count_items, &count});
        for (uint64_t i = 0; i < 1000; i++) {
            ck_assert_uint_eq(count.n_done[i], i < sizes[s]);
        }
    }
    cpu_pool_free(pool);
    leave();
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("place");
    TCase *all = tcase_create("all");
    tcase_add_test(all, one_thread_a_core);
    tcase_add_test(all, siblings_when_asked);
    tcase_add_test(all, few_and_many);
    tcase_add_test(all, only_what_is_allowed);
    tcase_add_test(all, every_item_once);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
