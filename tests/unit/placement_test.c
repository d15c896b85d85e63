/* placement_test.c - plans for the published models over one device and what stands behind it. */
#include <config.h>

#include <check.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/placement_case.h"
#include "tests/unit/published.h"

/* Specification 12.3: entries and keys of 2^20 tokens, the windows, the unfinished groups. */
START_TEST(state_of_a_million_tokens)
{
    request.context_length = UINT64_C(1) << 20;
    struct plan *plan = placement_make();
    ck_assert_uint_eq(plan_state_bytes(plan), UINT64_C(3684958208) + 3214336 + 12206080);
    plan_free(plan);

    placement_tear_down();
    shape = published_shape(PUBLISHED_PRO);
    placement_make_roles();
    request.format.ring_slots = shape.window;
    plan = placement_make();
    ck_assert_uint_eq(plan_state_bytes(plan), UINT64_C(5275844608) + 4559872 + 18710528);
    plan_free(plan);
}
END_TEST

START_TEST(one_device_does_it_all)
{
    struct plan *plan = placement_make();
    for (uint32_t row = 0; row <= shape.n_layers; row++) {
        for (int op = 0; op < HEARTH_N_OPS; op++) {
            ck_assert_uint_eq(plan_op_device(plan, row, (enum hearth_op)op), 0);
        }
    }
    const struct layer_roles *layer = &roles.layers[0];
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_EXPERTS),
                      matrix_bytes(layer->experts[0].w, 3) * shape.n_experts * shape.n_layers);
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_SHARED), matrix_bytes(layer->shared.w, 3) * shape.n_layers);
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_EMBEDDING), 2 * matrix_bytes(&roles.embed, 1));
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_ACTIVATIONS), request.activation_bytes);
    plan_free(plan);
}
END_TEST

START_TEST(what_touches_state_moves_together)
{
    static const enum hearth_op state_ops[] = {HEARTH_OP_KV_APPEND, HEARTH_OP_COMPRESS, HEARTH_OP_INDEX_TOPK,
                                               HEARTH_OP_ATTENTION};
    request.n_devices = 2;
    for (size_t i = 0; i < 4; i++) {
        devices[0].supports[state_ops[i]] = false;
        struct plan *plan = placement_make();
        for (uint32_t layer = 0; layer < shape.n_layers; layer++) {
            const enum layer_kind kind = shape_layer_kind(&shape, layer);
            const bool is_used = (state_ops[i] != HEARTH_OP_COMPRESS || kind != LAYER_SWA) &&
                                 (state_ops[i] != HEARTH_OP_INDEX_TOPK || kind == LAYER_CSA);
            const uint32_t wanted = is_used ? 1 : 0;
            ck_assert_uint_eq(plan_state_device(plan, layer), wanted);
            ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_ATTENTION), wanted);
            ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_KV_APPEND), wanted);
            if (kind != LAYER_SWA) {
                ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_COMPRESS), wanted);
            }
            if (kind == LAYER_CSA) {
                ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_INDEX_TOPK), wanted);
            }
            ck_assert_uint_eq(plan_op_device(plan, layer, HEARTH_OP_LINEAR), 0);
        }
        plan_free(plan);
        devices[0].supports[state_ops[i]] = true;
    }
}
END_TEST

START_TEST(a_device_with_nothing_but_experts)
{
    request.n_devices = 2;
    memset(devices[0].supports, false, sizeof devices[0].supports);
    devices[0].supports[HEARTH_OP_EXPERT_FFN] = true;
    struct plan *plan = placement_make();
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_STATE), 0);
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_ATTENTION), 0);
    ck_assert_uint_eq(plan_bytes(plan, 1, PLAN_EXPERTS), 0);
    ck_assert_uint_eq(plan_expert_devices(plan, 5), 1);
    ck_assert_uint_eq(plan_op_device(plan, 5, HEARTH_OP_ROUTER), 1);
    plan_free(plan);
}
END_TEST

/* Without room for the activations and an expert of each layer it is left out, and nothing is refused. */
START_TEST(a_device_too_small_for_experts)
{
    request.n_devices = 2;
    memset(devices[0].supports, false, sizeof devices[0].supports);
    devices[0].supports[HEARTH_OP_EXPERT_FFN] = true;
    devices[0].memory_bytes = request.activation_bytes / 2;
    for (int i = 0; i < 2; i++) {
        struct plan *plan = placement_make();
        ck_assert(!plan_uses_device(plan, 0));
        ck_assert_uint_eq(placement_total(plan, 0), 0);
        ck_assert_uint_eq(plan_expert_devices(plan, 5), 2);
        plan_free(plan);
        devices[0].memory_bytes = request.activation_bytes + matrix_bytes(roles.layers[0].experts[0].w, 3);
    }
}
END_TEST

START_TEST(an_operation_nobody_has)
{
    struct plan *plan = NULL;
    struct hearth_error err = {0};
    devices[0].supports[HEARTH_OP_ROUTER] = false;
    ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EPLUGIN);
    ck_assert_ptr_null(plan);
    ck_assert_ptr_nonnull(strstr(err.text, "operation router in native numerics"));
    ck_assert_ptr_nonnull(strstr(err.text, "card"));
}
END_TEST

/* The whole of V4-Flash over one accelerator of 140 GB and a host of 125 GB. */
START_TEST(flash_over_card_and_host)
{
    request.n_devices = 2;
    request.context_length = UINT64_C(1) << 20;
    devices[0].memory_bytes = UINT64_C(140) * 1000 * 1000 * 1000;
    devices[1].memory_bytes = UINT64_C(125) * 1000 * 1000 * 1000;
    struct plan *plan = placement_make();
    uint32_t n_home = 0;
    for (uint32_t layer = 0; layer < shape.n_layers; layer++) {
        uint32_t n = 0;
        for (uint32_t expert = 0; expert < shape.n_experts; expert++) {
            n += plan_expert_device(plan, layer, expert) == 0;
        }
        n_home = layer == 0 ? n : n_home;
        ck_assert_uint_eq(n, n_home); /* a token visits every layer */
    }
    ck_assert_uint_gt(n_home, 0);
    ck_assert_uint_lt(n_home, shape.n_experts);
    ck_assert_uint_le(placement_total(plan, 0), devices[0].memory_bytes);
    ck_assert_uint_le(placement_total(plan, 1), devices[1].memory_bytes);
    /* and not one expert of every layer more */
    const uint64_t step = matrix_bytes(roles.layers[0].experts[0].w, 3) * shape.n_layers;
    ck_assert_uint_gt(placement_total(plan, 0) + step, devices[0].memory_bytes);
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_EXPERTS) + plan_bytes(plan, 1, PLAN_EXPERTS), step * shape.n_experts);
    plan_free(plan);
}
END_TEST

/* Room for loans is taken from a card that lacks experts and from no other; the host that lends has what is left. */
START_TEST(loans_have_room)
{
    const uint64_t one = matrix_bytes(roles.layers[0].experts[0].w, 3);
    request.n_devices = 2;
    request.n_loans = 32;
    devices[0].memory_bytes = 80 * GIB;
    devices[0].borrows_experts = true;
    struct plan *without = placement_make(); /* nobody lends */
    ck_assert_uint_eq(plan_loans(without, 0), 0);
    devices[1].lends_experts = true;
    struct plan *plan = placement_make();
    ck_assert_uint_eq(plan_loans(plan, 0), 32);
    ck_assert_uint_eq(plan_loans(plan, 1), 0);
    ck_assert_uint_eq(plan_bytes(plan, 0, PLAN_LOANS), 32 * one);
    ck_assert_uint_le(placement_total(plan, 0), devices[0].memory_bytes);
    ck_assert_uint_le(plan_bytes(plan, 0, PLAN_EXPERTS), plan_bytes(without, 0, PLAN_EXPERTS));
    ck_assert_uint_gt(placement_total(plan, 0) + one * shape.n_layers, devices[0].memory_bytes);
    plan_free(without);
    plan_free(plan);

    /* an expert that is unlike the others could not take their places */
    roles.layers[2].experts[1].w[1].dtype = HEARTH_E4M3;
    plan = placement_make();
    ck_assert(!plan_borrows(plan));
    plan_free(plan);
    roles.layers[2].experts[1].w[1].dtype = HEARTH_E2M1X2;

    devices[0].memory_bytes = 400 * GIB;
    plan = placement_make();
    ck_assert_uint_eq(plan_loans(plan, 0), 0);
    ck_assert_uint_eq(plan_expert_devices(plan, 7), 1);
    plan_free(plan);
}
END_TEST

/* A second card has room for experts of the first one's layers, but a host lends them, which serves prompts better. */
START_TEST(lenders_come_first)
{
    request.n_loans = 32;
    request.n_devices = 3;
    devices[2] = devices[1]; /* the host stands last */
    devices[1] = devices[0];
    devices[0].memory_bytes = 20 * GIB;
    devices[1].memory_bytes = 90 * GIB;
    devices[1].supports[HEARTH_OP_ROUTER] = false; /* no layers for it */
    struct plan *plan = placement_make();
    ck_assert_uint_eq(plan_expert_devices(plan, 3), 7);
    plan_free(plan);
    devices[0].borrows_experts = true;
    devices[2].lends_experts = true;
    plan = placement_make();
    ck_assert_uint_eq(plan_expert_devices(plan, 3), 5);
    ck_assert(!plan_uses_device(plan, 1));
    plan_free(plan);
}
END_TEST

/* A refusal's advice is followed word for word, and fits; one step further does not. */
START_TEST(the_advice_fits)
{
    struct plan *plan = placement_make();
    const uint64_t need = placement_total(plan, 0);
    const uint64_t state = plan_bytes(plan, 0, PLAN_STATE);
    struct hearth_error err = {0};
    plan_free(plan);
    plan = NULL;
    devices[0].memory_bytes = need - state / 2;
    ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EMEMORY);
    ck_assert_ptr_null(plan);
    const char *advice = strstr(err.text, "context.length ");
    ck_assert_msg(advice != NULL, "%s", err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "device card"));
    request.context_length = strtoull(advice + strlen("context.length "), NULL, 10);
    ck_assert_uint_gt(request.context_length, 1024);
    ck_assert_uint_lt(request.context_length, CONTEXT);
    plan_free(placement_make());
    request.context_length += 1024;
    ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EMEMORY);

    devices[0].memory_bytes = need - state - GIB;
    ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EMEMORY);
    ck_assert_ptr_nonnull(strstr(err.text, "GiB more would fit"));
}
END_TEST

/* Two plugins on one host draw on one memory. */
START_TEST(the_host_is_one_pool)
{
    struct hearth_error err = {0};
    struct plan *plan = NULL;
    request.devices = devices + 1;
    request.n_devices = 2;
    devices[1].supports[HEARTH_OP_LINEAR] = false; /* the dense weights go to the second */
    plan = placement_make();
    const uint64_t together = placement_total(plan, 0) + placement_total(plan, 1);
    ck_assert_uint_gt(placement_total(plan, 1), 0);
    plan_free(plan);
    plan = NULL;
    devices[1].memory_bytes = devices[2].memory_bytes = together;
    plan_free(placement_make());
    devices[1].memory_bytes = devices[2].memory_bytes = together - 1;
    ck_assert_int_eq(plan_make(&request, &plan, &err), HEARTH_EMEMORY);
}
END_TEST

START_TEST(rate_is_bytes_over_bandwidth)
{
    devices[0].read_bytes_per_second = 1e12;
    struct plan *plan = placement_make();
    const struct layer_roles *layer = &roles.layers[shape.n_layers - 1];
    const double expert = (double)matrix_bytes(layer->experts[0].w, 3);
    const double least = expert * shape.experts_per_token * shape.n_layers + (double)matrix_bytes(&roles.head, 1);
    const double rate = plan_decode_rate(plan, 1);
    ck_assert_double_gt(rate, 0);
    ck_assert_double_lt(rate, 1e12 / least);
    /* everything read for a token, experts but those chosen left out */
    const double idle = expert * (shape.n_experts - shape.experts_per_token) * shape.n_layers;
    const uint64_t weights = placement_total(plan, 0) - plan_bytes(plan, 0, PLAN_STATE) - request.activation_bytes;
    const double most = (double)weights - idle;
    ck_assert_double_gt(rate, 1e12 / most);
    ck_assert_double_lt(plan_decode_rate(plan, 1u << 20), rate);
    plan_free(plan);
    devices[0].read_bytes_per_second = 0;
    plan = placement_make();
    ck_assert_double_eq(plan_decode_rate(plan, 1), 0);
    plan_free(plan);
}
END_TEST

START_TEST(the_same_request_the_same_plan)
{
    char *texts[2];
    request.n_devices = 2;
    devices[0].memory_bytes = 100 * GIB;
    for (size_t i = 0; i < 2; i++) {
        struct json_object *report = NULL;
        struct plan *plan = placement_make();
        ck_assert_int_eq(plan_report(plan, &report, NULL), HEARTH_OK);
        texts[i] = strdup(json_object_to_json_string(report));
        ck_assert_ptr_nonnull(texts[i]);
        json_object_put(report);
        plan_free(plan);
    }
    ck_assert_str_eq(texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("placement");
    TCase *all = tcase_create("placement");
    tcase_add_checked_fixture(all, placement_set_up, placement_tear_down);
    tcase_add_test(all, state_of_a_million_tokens);
    tcase_add_test(all, one_device_does_it_all);
    tcase_add_test(all, what_touches_state_moves_together);
    tcase_add_test(all, a_device_with_nothing_but_experts);
    tcase_add_test(all, a_device_too_small_for_experts);
    tcase_add_test(all, an_operation_nobody_has);
    tcase_add_test(all, flash_over_card_and_host);
    tcase_add_test(all, loans_have_room);
    tcase_add_test(all, lenders_come_first);
    tcase_add_test(all, the_advice_fits);
    tcase_add_test(all, the_host_is_one_pool);
    tcase_add_test(all, rate_is_bytes_over_bandwidth);
    tcase_add_test(all, the_same_request_the_same_plan);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
