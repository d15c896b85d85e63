/* accelerators_test.c - a model whose layers several accelerators share: every logit is the one that a single device
 * gives, whatever they lack, when the host helps, when one of them fails, and for sessions from files.  Takes:
 * partial.c. */
#include <config.h>

#include <check.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/plugins/takeover_case.h"

#define BOTH "[" PARTIAL_FOLDER ", " PLUGIN_FOLDER "]"
#define WHOLE 1e9 /* bytes that hold all of it */

/* n accelerators that lack operations ("none": none), with so much memory each; victim, fault: or NULL. */
static struct hearth_config *
accelerators(const char *n, const char *lacks, double memory_bytes, const char *victim, const char *fault)
{
    char memory[32];
    snprintf(memory, sizeof memory, "%.0f", memory_bytes);
    const char *const options[] = {"plugins.path",
                                   BOTH,
                                   "plugins.load",
                                   "[partial, ref]",
                                   "context.prefill_chunk",
                                   CHUNK,
                                   "context.length",
                                   "64",
                                   "plugins.options.partial.devices",
                                   n,
                                   "plugins.options.partial.lacks",
                                   lacks,
                                   "plugins.options.partial.memory_bytes",
                                   memory,
                                   victim ? "plugins.options.partial.victim" : NULL,
                                   victim,
                                   "plugins.options.partial.fault",
                                   fault,
                                   NULL};
    said[0] = '\0';
    return golden_config(golden.folder, options);
}

/* What the plan says: bytes on each device, and how many of them have layers. */
struct shares {
    size_t n_devices, n_with_layers;
    double bytes[8];
};

static struct shares
look(const struct hearth_config *config)
{
    char *text = NULL;
    struct hearth_error err = {0};
    struct shares shares = {0};
    struct json_object *devices, *bytes, *value;
    ck_assert_msg(hearth_plan(config, &text, &err) == HEARTH_OK, "%s", err.text);
    struct json_object *plan = json_tokener_parse(text);
    ck_assert(json_object_object_get_ex(plan, "devices", &devices));
    shares.n_devices = json_object_array_length(devices);
    ck_assert_uint_le(shares.n_devices, 8);
    for (size_t i = 0; i < shares.n_devices; i++) {
        struct json_object *device = json_object_array_get_idx(devices, i);
        ck_assert(json_object_object_get_ex(device, "bytes", &bytes));
        ck_assert(json_object_object_get_ex(bytes, "total", &value));
        shares.bytes[i] = json_object_get_double(value);
        ck_assert(json_object_object_get_ex(device, "first_layer", &value));
        shares.n_with_layers += value != NULL;
    }
    json_object_put(plan);
    free(text);
    return shares;
}

/* Bytes of one accelerator that does it all. */
static double
bytes_of_one(const char *lacks)
{
    struct hearth_config *config = accelerators("1", lacks, WHOLE, NULL, NULL);
    const struct shares shares = look(config);
    hearth_config_free(config);
    return shares.bytes[0];
}

/* A conversation on as many accelerators as the share of their bytes asks for. */
static void
share(const char *n, const char *lacks, double part, size_t n_with_layers, size_t n_hosts)
{
    struct hearth_config *config = accelerators(n, lacks, part * bytes_of_one(lacks), NULL, NULL);
    const struct shares shares = look(config);
    ck_assert_msg(shares.n_with_layers == n_with_layers && shares.n_devices == n_with_layers + n_hosts,
                  "%s lack %s: %zu devices, %zu with layers", n, lacks, shares.n_devices, shares.n_with_layers);
    struct hearth_engine *engine = golden_engine(config);
    converse(engine, lacks);
    check_line(engine, false, lacks);
    hearth_engine_close(engine);
    hearth_config_free(config);
}

START_TEST(no_more_than_are_needed)
{
    share("4", "none", 1.0, 1, 0);
    share("4", "none", 0.75, 2, 0);
    share("2", "none", 0.56, 2, 0); /* experts of one of them on the other */
    share("3", "none", 0.5, 3, 0);
    share("4", "none", 0.42, 4, 0);
}
END_TEST

START_TEST(whatever_they_lack)
{
    static const char *const gaps[] = {"expert_ffn", "attention", "router", "embed|mhc_head", "linear",
                                       "mhc_pre|moe_sum", "index_topk|query_rope"};
    share("2", gaps[_i], 0.8, 2, 1);
}
END_TEST

START_TEST(the_chosen_one_alone)
{
    struct hearth_config *config = accelerators("2", "none", 0.96 * bytes_of_one("none"), NULL, NULL);
    ck_assert_int_eq(hearth_config_set(config, "device.accelerators", "1", "test", NULL), HEARTH_OK);
    const struct shares shares = look(config);
    ck_assert_uint_eq(shares.n_with_layers, 1);
    ck_assert_uint_eq(shares.n_devices, 2);
    hearth_config_free(config);
}
END_TEST

/* Every step-th call of one of two ends so; NULL: none. */
static void
endure(const char *victim, const char *call, const char *end, unsigned long step)
{
    const double memory = 0.75 * bytes_of_one("none");
    unsigned long n = 0;
    for (unsigned long i = 0; i == 0 || i <= n; i += i == 0 ? 1 : step) {
        char fault[64];
        snprintf(fault, sizeof fault, "%s:%lu:%s", call, i, end);
        struct hearth_config *config = accelerators("2", "none", memory, victim, fault);
        struct hearth_engine *engine = golden_engine(config);
        converse(engine, fault);
        check_line(engine, i > 0, fault);
        hearth_engine_close(engine);
        hearth_config_free(config);
        n = i == 0 ? count_calls(call) : n;
        ck_assert_msg(n >= 5, "%lu calls of %s", n, call);
    }
}

START_TEST(one_of_them_fails)
{
    static const char *const victims[] = {"0", "1"};
    endure(victims[_i], "submit", "lost", 1);
    endure(victims[_i], "wait", "hang", 1);
    endure(victims[_i], "read", "breaks", 3);
    endure(victims[_i], "write", "lost", 3);
    endure(victims[_i], "alloc", "memory", 7);
    endure(victims[_i], "weight", "memory", 37);
}
END_TEST

static void
load(struct talk *talk, const struct talk *from, struct hearth_engine *engine, const char *path)
{
    struct hearth_error err = {0};
    *talk = *from;
    talk->logits = calloc(N_TOKENS * golden.vocab_size, sizeof(float));
    ck_assert_ptr_nonnull(talk->logits);
    memcpy(talk->logits, from->logits, from->done * golden.vocab_size * sizeof(float));
    ck_assert_msg(hearth_session_load(engine, path, 0, &talk->session, &err) == HEARTH_OK, "%s", err.text);
}

/* From several devices to one and back; and a copy. */
START_TEST(files_and_copies)
{
    struct talk talk, copy, loaded;
    struct hearth_error err = {0};
    char path[] = "accelerators-test-XXXXXX";
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    for (int several_first = 0; several_first < 2; several_first++) {
        const double memory = bytes_of_one("none");
        struct hearth_config *config = accelerators("3", "none", memory * (several_first ? 0.5 : 1), NULL, NULL);
        struct hearth_engine *engine = golden_engine(config);
        talk_begin(&talk, engine, 0);
        talk_feed(&talk, N_PROMPT);
        copy = talk;
        copy.logits = calloc(N_TOKENS * golden.vocab_size, sizeof(float));
        ck_assert_ptr_nonnull(copy.logits);
        memcpy(copy.logits, talk.logits, talk.done * golden.vocab_size * sizeof(float));
        ck_assert_msg(hearth_session_fork(talk.session, &copy.session, &err) == HEARTH_OK, "%s", err.text);
        talk_feed(&copy, N_TOKENS - N_PROMPT);
        talk_end(&copy, 0, "a copy");
        ck_assert_msg(hearth_session_save(talk.session, path, &err) == HEARTH_OK, "%s", err.text);
        hearth_session_free(talk.session);
        hearth_engine_close(engine);
        hearth_config_free(config);

        config = accelerators("3", "none", memory * (several_first ? 1 : 0.5), NULL, NULL);
        engine = golden_engine(config);
        load(&loaded, &talk, engine, path);
        free(talk.logits);
        talk_feed(&loaded, N_TOKENS - N_PROMPT);
        talk_end(&loaded, 0, "a file");
        hearth_engine_close(engine);
        hearth_config_free(config);
    }
    unlink(path);
}
END_TEST

/* What is pretended is the same wherever it lies. */
START_TEST(pretended_sessions)
{
    float *logits[2];
    for (size_t i = 0; i < 2; i++) {
        struct hearth_session *session = NULL;
        struct hearth_error err = {0};
        logits[i] = calloc(golden.vocab_size, sizeof(float));
        ck_assert_ptr_nonnull(logits[i]);
        const double memory = i == 0 ? WHOLE : 0.75 * bytes_of_one("none");
        struct hearth_config *config = accelerators("2", "none", memory, NULL, NULL);
        struct hearth_engine *engine = golden_engine(config);
        ck_assert_msg(hearth_session_new(engine, 64, &session, &err) == HEARTH_OK, "%s", err.text);
        ck_assert_msg(hearth_session_pretend(session, 40, &err) == HEARTH_OK, "%s", err.text);
        ck_assert_int_eq(hearth_session_feed(session, golden.prompts[0].ids, 3, logits[i], 1, NULL, &err), HEARTH_OK);
        hearth_session_free(session);
        hearth_engine_close(engine);
        hearth_config_free(config);
    }
    ck_assert_mem_eq(logits[0], logits[1], golden.vocab_size * sizeof(float));
    free(logits[0]);
    free(logits[1]);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("accelerators");
    TCase *all = tcase_create("accelerators");
    tcase_set_timeout(all, 900);
    tcase_add_checked_fixture(all, takeover_set_up, takeover_tear_down);
    tcase_add_test(all, no_more_than_are_needed);
    tcase_add_loop_test(all, whatever_they_lack, 0, 7);
    tcase_add_test(all, the_chosen_one_alone);
    tcase_add_loop_test(all, one_of_them_fails, 0, 2);
    tcase_add_test(all, files_and_copies);
    tcase_add_test(all, pretended_sessions);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
