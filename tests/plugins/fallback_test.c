/* fallback_test.c - a device with gaps and the host behind it: the text is the same, bit for bit,
 * whatever the device lacks, wherever an expert lives, and whichever minor of the ABI it was built
 * for; and what neither has is refused with a sentence.  Takes: partial.c. */
#include <config.h>

#include <check.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/golden/golden_case.h"

#define BOTH "[" PARTIAL_FOLDER ", " PLUGIN_FOLDER "]"

static struct golden_case golden;

static void
set_up(void)
{
    golden_open("flash", &golden); /* every layer kind, hash layers, four streams */
}

static void
tear_down(void)
{
    golden_close(&golden);
}

/* Logits of all positions, native. */
static float *
run(const struct hearth_config *config)
{
    const struct golden_prompt *prompt = &golden.prompts[0];
    float *logits = calloc(prompt->n * golden.vocab_size, sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    struct hearth_engine *engine = golden_engine(config);
    struct hearth_session *session = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_new(engine, 0, &session, &err) == HEARTH_OK, "%s", err.text);
    /* a prompt, of which only the tail's logits are wanted, then single tokens: heads begin at odd places */
    const size_t n_prompt = prompt->n - 9;
    const size_t n_tail = n_prompt - 5;
    ck_assert_msg(hearth_session_feed(session, prompt->ids, n_prompt, logits + (n_prompt - n_tail) * golden.vocab_size,
                                      n_tail, NULL, &err) == HEARTH_OK, "%s", err.text);
    for (size_t t = n_prompt; t < prompt->n; t++) {
        ck_assert_msg(hearth_session_feed(session, prompt->ids + t, 1, logits + t * golden.vocab_size, 1, NULL, &err) ==
                          HEARTH_OK, "%s", err.text);
    }
    hearth_session_free(session);
    hearth_engine_close(engine);
    return logits;
}

static void
compare(const float *a, const float *b, const char *what)
{
    ck_assert_msg(memcmp(a, b, golden.prompts[0].n * golden.vocab_size * sizeof *a) == 0, "other bits with %s", what);
}

static float *
run_ref(void)
{
    struct hearth_config *config = golden_config(golden.folder, NULL);
    float *logits = run(config);
    hearth_config_free(config);
    return logits;
}

START_TEST(whatever_the_device_lacks)
{
    static const char *const gaps[] = {
        "none", "expert_ffn", "all-but:expert_ffn", "attention", "index_topk", "compress", "kv_append", "linear",
        "mhc_pre", "mhc_post|rmsnorm|router", "all-but:linear|shared_ffn|expert_ffn", "embed|mhc_head", "moe_sum",
        "query_rope|index_query|output_groups|shared_ffn"};
    float *wanted = run_ref();
    for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
        const char *const options[] = {"plugins.path", BOTH, "plugins.load", "[partial, ref]",
                                       "plugins.options.partial.lacks", gaps[i], NULL};
        struct hearth_config *config = golden_config(golden.folder, options);
        float *logits = run(config);
        compare(logits, wanted, gaps[i]);
        free(logits);
        hearth_config_free(config);
    }
    free(wanted);
}
END_TEST

/* What the plan's first device holds, in bytes; how many experts of layer 0 it and the second one have. */
struct plan_facts {
    uint64_t experts, loans, total;
    int64_t counts[2];
    size_t n_layers;
};

static struct plan_facts
read_plan(const struct hearth_config *config)
{
    struct plan_facts facts;
    char *json = NULL;
    struct hearth_error err = {0};
    struct json_object *value = NULL;
    ck_assert_msg(hearth_plan(config, &json, &err) == HEARTH_OK, "%s", err.text);
    struct json_object *plan = json_tokener_parse(json);
    ck_assert_ptr_nonnull(plan);
    struct json_object *bytes = NULL;
    json_object_object_get_ex(plan, "devices", &value);
    json_object_object_get_ex(json_object_array_get_idx(value, 0), "bytes", &bytes);
    json_object_object_get_ex(bytes, "experts", &value);
    facts.experts = json_object_get_uint64(value);
    json_object_object_get_ex(bytes, "experts_on_loan", &value);
    facts.loans = json_object_get_uint64(value);
    json_object_object_get_ex(bytes, "total", &value);
    facts.total = json_object_get_uint64(value);
    json_object_object_get_ex(plan, "layers", &value);
    facts.n_layers = json_object_array_length(value);
    json_object_object_get_ex(json_object_array_get_idx(value, 0), "experts_per_device", &value);
    for (size_t i = 0; i < 2; i++) {
        struct json_object *count = json_object_array_get_idx(value, i);
        facts.counts[i] = count ? json_object_get_int64(count) : 0;
    }
    json_object_put(plan);
    free(json);
    return facts;
}

/* With every number of experts kept by the device, whose slots are views or not, and who sums them. */
static const struct {
    const char *align, *lacks;
} homes[] = {{"1024", "none"}, {"64", "none"}, {"1024", "moe_sum"}, {"64", "moe_sum"}};

START_TEST(wherever_an_expert_lives)
{
    float *wanted = run_ref();
    const char *options[] = {"plugins.path", BOTH, "plugins.load", "[partial, ref]",
                             "plugins.options.partial.memory_bytes", "0",
                             "plugins.options.partial.align_bytes", homes[_i].align,
                             "plugins.options.partial.lacks", homes[_i].lacks, "device.borrow_tokens", "0", NULL};
    struct hearth_config *config = golden_config(golden.folder, options);
    struct plan_facts plan = read_plan(config);
    hearth_config_free(config);
    const int64_t n_experts = plan.counts[0];
    ck_assert_int_gt(n_experts, 2);
    ck_assert_int_eq(plan.counts[1], 0);
    const uint64_t rest = plan.total - plan.experts;
    const uint64_t one = plan.experts / (uint64_t)n_experts; /* of every layer */
    for (int64_t kept = 0; kept < n_experts; kept++) {
        char memory[32];
        snprintf(memory, sizeof memory, "%llu", (unsigned long long)(rest + one * (uint64_t)kept));
        options[5] = memory;
        config = golden_config(golden.folder, options);
        plan = read_plan(config);
        ck_assert_int_eq(plan.counts[0], kept);
        ck_assert_int_eq(plan.counts[1], n_experts - kept);
        ck_assert_uint_eq(plan.loans, 0);
        float *logits = run(config);
        compare(logits, wanted, memory);
        free(logits);
        hearth_config_free(config);
    }
    free(wanted);
}
END_TEST

/* Steps of so many tokens borrow the host's experts, and the device has room for few of its own, or for none; the
 * prompt is one step, or several, of which the last is too short. */
static const char *const borrowers[][2] = {{"1", "512"}, {"2", "512"}, {"7", "16"}, {"16", "16"}};

START_TEST(borrowed_experts)
{
    float *wanted = run_ref();
    const char *options[] = {"plugins.path", BOTH, "plugins.load", "[partial, ref]", "device.borrow_tokens",
                             borrowers[_i][0], "context.prefill_chunk", borrowers[_i][1],
                             "plugins.options.partial.memory_bytes", "0", NULL};
    struct hearth_config *config = golden_config(golden.folder, options);
    const struct plan_facts all = read_plan(config);
    hearth_config_free(config);
    ck_assert_uint_eq(all.loans, 0); /* nothing to borrow */
    const uint64_t one = all.experts / (uint64_t)all.counts[0]; /* of every layer */
    const uint64_t loans = 2 * all.experts / all.n_layers; /* two sets, each of which could hold all of a layer */
    int64_t n_lacking = 0;
    for (int64_t kept = 0; kept < all.counts[0]; kept++) {
        char memory[32];
        snprintf(memory, sizeof memory, "%llu",
                 (unsigned long long)(all.total - all.experts + one * (uint64_t)kept + loans));
        options[9] = memory;
        config = golden_config(golden.folder, options);
        const struct plan_facts plan = read_plan(config);
        const bool has_all = loans >= one * (uint64_t)(all.counts[0] - kept);
        ck_assert_int_eq(plan.counts[0], has_all ? all.counts[0] : kept);
        ck_assert_uint_eq(plan.loans, has_all ? 0 : loans);
        n_lacking += plan.counts[1];
        float *logits = run(config);
        compare(logits, wanted, memory);
        free(logits);
        hearth_config_free(config);
    }
    ck_assert_int_gt(n_lacking, 10);
    free(wanted);
}
END_TEST

/* A table that ends earlier, and one that ends later, than the one this build knows; the older plugin would refuse a
 * weight whose role it does not know. */
START_TEST(of_another_minor)
{
    static const char *const names[] = {"[partial-older]", "[partial-newer]"};
    float *wanted = run_ref();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *const options[] = {"plugins.path", PARTIAL_FOLDER, "plugins.load", names[i], NULL};
        struct hearth_config *config = golden_config(golden.folder, options);
        float *logits = run(config);
        compare(logits, wanted, names[i]);
        free(logits);
        hearth_config_free(config);
    }
    free(wanted);
}
END_TEST

/* Opening must fail with that status and a line that holds both words. */
static void
refuse(const char *const *options, int status, const char *word, const char *other)
{
    struct hearth_engine *engine = NULL;
    struct hearth_error err = {0};
    struct hearth_config *config = golden_config(golden.folder, options);
    ck_assert_int_eq(hearth_engine_open(config, NULL, &engine, &err), status);
    ck_assert_ptr_null(engine);
    ck_assert_msg(strstr(err.text, word) && strstr(err.text, other), "%s and %s wanted in: %s", word, other, err.text);
    hearth_config_free(config);
}

START_TEST(nobody_has_the_operation)
{
    const char *const options[] = {"plugins.path", BOTH, "plugins.load", "[partial]",
                                   "plugins.options.partial.lacks", "output_groups", NULL};
    refuse(options, HEARTH_EPLUGIN, "output_groups", "plugins.load");
}
END_TEST

START_TEST(nobody_has_the_memory)
{
    const char *const little[] = {"plugins.path", BOTH, "plugins.load", "[partial]",
                                  "plugins.options.partial.memory_bytes", "4096", NULL};
    const char *const host[] = {"memory.limit", "4096", NULL};
    refuse(little, HEARTH_EMEMORY, "GiB wanted", "more would fit");
    refuse(host, HEARTH_EMEMORY, "GiB wanted", "more would fit");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("fallback");
    TCase *all = tcase_create("fallback");
    tcase_set_timeout(all, 900);
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, whatever_the_device_lacks);
    tcase_add_loop_test(all, wherever_an_expert_lives, 0, (int)(sizeof homes / sizeof homes[0]));
    tcase_add_loop_test(all, borrowed_experts, 0, (int)(sizeof borrowers / sizeof borrowers[0]));
    tcase_add_test(all, of_another_minor);
    tcase_add_test(all, nobody_has_the_operation);
    tcase_add_test(all, nobody_has_the_memory);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
