/* ranges_test.c - plans that deal a model's layers to several accelerators. */
#include <config.h>

#include <check.h>
#include <json-c/json.h>
#include <string.h>

#include "tests/unit/placement_case.h"

/* The request is of n cards with so much memory, and a host behind them if it has any. */
static void
cards(uint32_t n, const uint64_t *memory_bytes, uint64_t host_bytes)
{
    for (uint32_t i = 0; i < n; i++) {
        devices[i].is_host = false;
        devices[i].memory_bytes = memory_bytes[i];
    }
    devices[n].is_host = true;
    devices[n].memory_bytes = host_bytes;
    request.n_devices = n + (host_bytes > 0);
}

/* Each layer is whole on one card, in ascending order, and both ends have what belongs to them. */
static void
check_ranges(const struct plan *plan)
{
    const uint32_t last = shape.n_layers - 1;
    for (uint32_t layer = 0; layer <= last; layer++) {
        const uint32_t device = plan_layer_device(plan, layer);
        ck_assert(!devices[device].is_host);
        ck_assert_uint_ge(device, plan_layer_device(plan, layer > 0 ? layer - 1 : 0));
        ck_assert_uint_eq(plan_state_device(plan, layer), device);
        ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_MHC_PRE), device);
        ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_MOE_SUM), device);
    }
    ck_assert_uint_eq(plan_op_device(plan, last + 1, HEARTH_OP_EMBED), plan_layer_device(plan, 0));
    ck_assert_uint_eq(plan_op_device(plan, last + 1, HEARTH_OP_MHC_HEAD), plan_layer_device(plan, last));
    ck_assert_uint_eq(plan_op_device(plan, last + 1, HEARTH_OP_LINEAR), plan_layer_device(plan, last));
}

/* All fits, and no card is emptier or fuller than all together by more than two layers, of which an end may have to
 * wait. */
static void
check_shares(const struct plan *plan, uint32_t n)
{
    double memory = 0, wanted = 0;
    for (uint32_t i = 0; i < n; i++) {
        memory += (double)devices[i].memory_bytes;
        wanted += (double)placement_total(plan, i);
    }
    const double layer = wanted / shape.n_layers;
    for (uint32_t i = 0; i < n; i++) {
        const double share = wanted / memory * (double)devices[i].memory_bytes;
        ck_assert_uint_le(placement_total(plan, i), devices[i].memory_bytes);
        ck_assert_double_lt((double)placement_total(plan, i), share + 2 * layer);
        ck_assert_double_gt((double)placement_total(plan, i), share - 2 * layer);
    }
    for (uint32_t i = 0; i < shape.n_layers; i++) {
        ck_assert_uint_eq(plan_expert_devices(plan, i), 1u << plan_layer_device(plan, i));
    }
    ck_assert(!plan_is_short(plan));
}

START_TEST(cards_share_the_layers)
{
    const uint64_t memory[][3] = {{80 * GIB, 80 * GIB}, {130 * GIB, 40 * GIB}, {40 * GIB, 24 * GIB, 100 * GIB}};
    for (size_t i = 0; i < 3; i++) {
        const uint32_t n = memory[i][2] > 0 ? 3 : 2;
        cards(n, memory[i], 0);
        struct plan *plan = placement_make();
        check_ranges(plan);
        check_shares(plan, n);
        plan_free(plan);
    }
}
END_TEST

/* A million tokens weigh nothing on layers without compression and most where the indexer's keys lie. */
START_TEST(cards_share_a_long_context)
{
    const uint64_t memory[] = {90 * GIB, 90 * GIB};
    uint64_t n_first[2] = {0, 0};
    for (size_t i = 0; i < 2; i++) {
        for (uint32_t layer = 0; i == 1 && layer < shape.n_layers; layer++) {
            shape.compress_ratios[layer] = layer < shape.n_layers / 2 ? 4 : 0;
        }
        request.context_length = i == 0 ? 1024 : shape.max_positions;
        request.format.kv_format = HEARTH_KV_F32;
        cards(2, memory, 0);
        struct plan *plan = placement_make();
        check_ranges(plan);
        check_shares(plan, 2);
        while (plan_layer_device(plan, (uint32_t)n_first[i]) == 0) {
            n_first[i]++;
        }
        plan_free(plan);
    }
    ck_assert_uint_lt(n_first[1], n_first[0]);
}
END_TEST

START_TEST(cards_that_fit_to_the_byte)
{
    uint64_t memory[] = {60 * GIB, 90 * GIB, 30 * GIB};
    cards(3, memory, 0);
    struct plan *plan = placement_make();
    for (uint32_t i = 0; i < 3; i++) {
        memory[i] = placement_total(plan, i);
    }
    plan_free(plan);
    cards(3, memory, 0);
    plan = placement_make();
    check_ranges(plan);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(placement_total(plan, i), memory[i]);
    }
    plan_free(plan);
    for (uint32_t i = 0; i < 3; i++) {
        struct hearth_error err = {0};
        plan = NULL;
        devices[i].memory_bytes--;
        ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EMEMORY);
        ck_assert_ptr_nonnull(strstr(err.text, "context.length "));
        devices[i].memory_bytes++;
    }
}
END_TEST

/* Experts that have no room go to the host, from all layers of a card alike; the layers stay. */
START_TEST(cards_too_small_and_the_host)
{
    const uint64_t memory[] = {40 * GIB, 24 * GIB};
    uint32_t n_here[2] = {0, 0};
    cards(2, memory, 120 * GIB);
    struct plan *plan = placement_make();
    check_ranges(plan);
    ck_assert(plan_is_short(plan));
    for (uint32_t layer = 0; layer < shape.n_layers; layer++) {
        const uint32_t device = plan_layer_device(plan, layer);
        uint32_t n = 0;
        for (uint32_t expert = 0; expert < shape.n_experts; expert++) {
            const uint32_t home = plan_expert_device(plan, layer, expert);
            ck_assert(home == device || home == 2);
            n += home == device;
        }
        n_here[device] = n_here[device] > 0 ? n_here[device] : n;
        ck_assert_uint_eq(n, n_here[device]);
    }
    ck_assert_uint_gt(n_here[0], 0);
    ck_assert_uint_gt(n_here[1], 0);
    ck_assert_uint_le(placement_total(plan, 0), memory[0]);
    ck_assert_uint_le(placement_total(plan, 1), memory[1]);
    ck_assert_uint_eq(plan_bytes(plan, 2, PLAN_STATE), 0);
    plan_free(plan);

    /* without it they are refused, with all that is missing */
    struct hearth_error err = {0};
    plan = NULL;
    request.n_devices = 2;
    ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EMEMORY);
    ck_assert_ptr_nonnull(strstr(err.text, "GiB more would fit"));
}
END_TEST

/* What no card has is the host's; a card that lacks more than the home gets no layers, but experts. */
START_TEST(cards_that_lack_an_operation)
{
    const uint64_t memory[] = {80 * GIB, 80 * GIB};
    cards(2, memory, 120 * GIB);
    devices[0].supports[HEARTH_OP_ROUTER] = devices[1].supports[HEARTH_OP_ROUTER] = false;
    struct plan *plan = placement_make();
    check_ranges(plan);
    ck_assert_uint_eq(plan_layer_device(plan, shape.n_layers - 1), 1);
    ck_assert_uint_eq(plan_op_device(plan, 0, HEARTH_OP_ROUTER), 2);
    ck_assert_uint_eq(plan_op_device(plan, shape.n_layers - 1, HEARTH_OP_ROUTER), 2);
    plan_free(plan);

    devices[1].supports[HEARTH_OP_LINEAR] = false;
    plan = placement_make();
    check_ranges(plan);
    ck_assert_uint_eq(plan_layer_device(plan, shape.n_layers - 1), 0);
    ck_assert_uint_eq(plan_bytes(plan, 1, PLAN_STATE) + plan_bytes(plan, 1, PLAN_SHARED), 0);
    ck_assert_uint_gt(plan_bytes(plan, 1, PLAN_EXPERTS), 0);
    ck_assert(!plan_is_short(plan));
    plan_free(plan);
}
END_TEST

START_TEST(the_report_has_the_ranges)
{
    const uint64_t memory[] = {80 * GIB, 80 * GIB};
    struct json_object *report = NULL, *list = NULL, *value = NULL;
    cards(2, memory, 0);
    struct plan *plan = placement_make();
    uint32_t next = 0;
    ck_assert_int_eq(plan_report(plan, &report, NULL), HEARTH_OK);
    ck_assert(json_object_object_get_ex(report, "devices", &list));
    for (uint32_t i = 0; i < 2; i++) {
        struct json_object *device = json_object_array_get_idx(list, i);
        ck_assert(json_object_object_get_ex(device, "first_layer", &value));
        ck_assert_int_eq(json_object_get_int64(value), next);
        ck_assert(json_object_object_get_ex(device, "last_layer", &value));
        next = (uint32_t)json_object_get_int64(value) + 1;
        ck_assert_uint_eq(plan_layer_device(plan, next - 1), i);
    }
    ck_assert_uint_eq(next, shape.n_layers);
    json_object_put(report);
    plan_free(plan);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("ranges");
    TCase *all = tcase_create("ranges");
    tcase_add_checked_fixture(all, placement_set_up, placement_tear_down);
    tcase_add_test(all, cards_share_the_layers);
    tcase_add_test(all, cards_share_a_long_context);
    tcase_add_test(all, cards_that_fit_to_the_byte);
    tcase_add_test(all, cards_too_small_and_the_host);
    tcase_add_test(all, cards_that_lack_an_operation);
    tcase_add_test(all, the_report_has_the_ranges);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
