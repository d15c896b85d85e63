/* pretend_test.c - engines of random weights, and sessions that pretend: whole engines, on every backend that is built.
 */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/golden/golden_case.h"

#define VOCAB_SIZE 1024u /* of the preset tiny */

static const char *const backends[] = {
    "ref",
#ifdef TEST_CPU
    "cpu",
#endif
};

#define N_BACKENDS (int)(sizeof backends / sizeof backends[0])

static float logits[VOCAB_SIZE];

static struct hearth_config *
configure(const char *backend, const char *numerics)
{
    return golden_config("unused", (const char *const[]){"plugins.load", backend, "model.numerics", numerics,
                                                         "context.length", "40000", "cpu.threads", "1", NULL});
}

static struct hearth_engine *
make_engine(const struct hearth_config *config, const uint32_t *ratios, size_t n_ratios, uint64_t seed)
{
    const struct hearth_synthetic model = {.preset = "tiny", .ratios = ratios, .n_ratios = n_ratios, .seed = seed};
    struct hearth_engine *engine;
    struct hearth_error err = {0};
    ck_assert_msg(hearth_engine_open_synthetic(config, &model, NULL, &engine, &err) == HEARTH_OK, "%s", err.text);
    return engine;
}

static struct hearth_session *
make_session(struct hearth_engine *engine)
{
    struct hearth_session *session;
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_new(engine, 0, &session, &err) == HEARTH_OK, "%s", err.text);
    return session;
}

static void
pretend(struct hearth_session *session, uint64_t length)
{
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_pretend(session, length, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_uint_eq(hearth_session_length(session), length);
}

/* Feeds n tokens one by one; the last one's logits are in `logits`, and all of them were finite and not all alike. */
static void
feed(struct hearth_session *session, uint32_t n)
{
    struct hearth_error err = {0};
    for (uint32_t i = 0; i < n; i++) {
        const int32_t id = (int32_t)(i * 37 % VOCAB_SIZE);
        ck_assert_msg(hearth_session_feed(session, &id, 1, logits, 1, NULL, &err) == HEARTH_OK, "%s", err.text);
        for (uint32_t j = 0; j < VOCAB_SIZE; j++) {
            ck_assert_msg(isfinite(logits[j]), "logit %u of token %u is %g", j, i, (double)logits[j]);
        }
        ck_assert_msg(logits[0] != logits[1] || logits[1] != logits[2], "logits all alike");
    }
}

/* Every kind of layer alone and all together, at lengths around the edges of window and groups. */
START_TEST(any_length_any_layer)
{
    static const uint32_t ratios[] = {0, 4, 128};
    static const uint64_t lengths[] = {1, 3, 4, 31, 33, 127, 128, 4099, 33000};
    const char *backend = backends[_i / 2], *numerics = _i % 2 ? "exact" : "native";
    struct hearth_config *config = configure(backend, numerics);
    for (size_t i = 0; i < 4; i++) {
        struct hearth_engine *engine = make_engine(config, i < 3 ? &ratios[i] : NULL, i < 3 ? 1 : 0, 1);
        struct hearth_session *session = make_session(engine);
        for (size_t j = 0; j < sizeof lengths / sizeof lengths[0]; j++) {
            pretend(session, lengths[j]);
            feed(session, 5);
            pretend(session, lengths[j]); /* and back */
        }
        hearth_session_free(session);
        hearth_engine_close(engine);
    }
    hearth_config_free(config);
}
END_TEST

START_TEST(the_same_seed_the_same_logits)
{
    struct hearth_config *config = configure(backends[_i], "native");
    float first[VOCAB_SIZE];
    for (uint64_t run = 0; run < 3; run++) {
        struct hearth_engine *engine = make_engine(config, NULL, 0, run < 2 ? 7 : 8);
        struct hearth_session *session = make_session(engine);
        pretend(session, 1000);
        feed(session, 3);
        if (run == 0) {
            memcpy(first, logits, sizeof first);
        } else if (run == 1) {
            ck_assert_mem_eq(logits, first, sizeof first);
        } else {
            ck_assert_mem_ne(logits, first, sizeof first);
        }
        hearth_session_free(session);
        hearth_engine_close(engine);
    }
    hearth_config_free(config);
}
END_TEST

/* A pretended context is used: the state behind a length decides what comes out. */
START_TEST(what_is_pretended_is_read)
{
    static const uint32_t ratios[] = {4};
    struct hearth_config *config = configure(backends[_i], "native");
    struct hearth_engine *engine = make_engine(config, ratios, 1, 1);
    struct hearth_session *fed = make_session(engine), *pretended = make_session(engine);
    int32_t ids[200];
    float other[VOCAB_SIZE];
    pretend(pretended, 200);
    memcpy(ids, hearth_session_ids(pretended), sizeof ids);
    ck_assert_int_eq(hearth_session_feed(fed, ids, 200, NULL, 0, NULL, NULL), HEARTH_OK);
    feed(fed, 1);
    memcpy(other, logits, sizeof other);
    feed(pretended, 1);
    ck_assert_mem_ne(logits, other, sizeof other);
    hearth_session_free(fed);
    hearth_session_free(pretended);
    hearth_engine_close(engine);
    hearth_config_free(config);
}
END_TEST

/* A session that pretends is a session: saved, loaded and forked it goes on as it would have. */
START_TEST(saved_and_forked)
{
    struct hearth_config *config = configure(backends[_i], "native");
    struct hearth_engine *engine = make_engine(config, NULL, 0, 1);
    struct hearth_session *session = make_session(engine), *fork = NULL, *loaded = NULL;
    float expected[VOCAB_SIZE];
    char path[] = "pretend-test-XXXXXX";
    struct hearth_error err = {0};
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    pretend(session, 3001);
    ck_assert_int_eq(hearth_session_fork(session, &fork, &err), HEARTH_OK);
    ck_assert_int_eq(hearth_session_save(session, path, &err), HEARTH_OK);
    ck_assert_msg(hearth_session_load(engine, path, 0, &loaded, &err) == HEARTH_OK, "%s", err.text);
    unlink(path);
    feed(session, 6);
    memcpy(expected, logits, sizeof expected);
    feed(fork, 6);
    ck_assert_mem_eq(logits, expected, sizeof expected);
    feed(loaded, 6);
    ck_assert_mem_eq(logits, expected, sizeof expected);
    hearth_session_free(session);
    hearth_session_free(fork);
    hearth_session_free(loaded);
    hearth_engine_close(engine);
    hearth_config_free(config);
}
END_TEST

START_TEST(what_is_refused)
{
    struct hearth_config *config = configure(backends[_i], "native");
    struct hearth_engine *engine = make_engine(config, NULL, 0, 1), *none = NULL;
    struct hearth_session *session = make_session(engine);
    const struct hearth_synthetic unknown = {.preset = "huge"};
    struct hearth_error err = {0};
    pretend(session, 100);
    ck_assert_int_eq(hearth_session_pretend(session, 40001, &err), HEARTH_ECONTEXT);
    ck_assert_ptr_nonnull(strstr(err.text, "40001"));
    ck_assert_uint_eq(hearth_session_length(session), 100);
    pretend(session, 40000);
    ck_assert_int_eq(hearth_session_feed(session, (const int32_t[]){1}, 1, NULL, 0, NULL, &err), HEARTH_ECONTEXT);
    hearth_session_free(session);
    hearth_engine_close(engine);
    ck_assert_int_eq(hearth_engine_open_synthetic(config, &unknown, NULL, &none, &err), HEARTH_EUSAGE);
    ck_assert_ptr_null(none);
    hearth_config_free(config);
}
END_TEST

/* Bytes of the output head that a token is said to need. */
static double
head_cost(const struct hearth_config *config)
{
    struct hearth_engine *engine = make_engine(config, NULL, 0, 1);
    struct hearth_costs costs;
    double bytes = 0;
    hearth_engine_costs(engine, 0, 1, &costs);
    for (size_t i = 0; i < costs.n_items; i++) {
        bytes = strcmp(costs.items[i].kind, "head") == 0 ? costs.items[i].bytes : bytes;
    }
    hearth_engine_close(engine);
    return bytes;
}

START_TEST(costs_and_limits)
{
    struct hearth_config *config = configure(backends[_i], "native");
    struct hearth_engine *engine = make_engine(config, NULL, 0, 1);
    struct hearth_model_facts facts;
    struct hearth_costs near, far;
    struct hearth_limits limits = {0};
    struct hearth_error err = {0};
    hearth_engine_facts(engine, &facts);
    hearth_engine_costs(engine, 0, 1, &near);
    hearth_engine_costs(engine, 9999, 1, &far);
    ck_assert_double_gt(near.total.bytes, (double)facts.active_bytes);
    ck_assert_double_lt(near.total.bytes, 1.1 * (double)facts.active_bytes);
    ck_assert_double_gt(far.total.bytes, near.total.bytes);
    ck_assert_double_eq_tol(head_cost(config), (double)facts.vocab_size * facts.dim * 2, 0.5);
    ck_assert_msg(hearth_engine_limits(engine, 0.05, &limits, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_double_gt(limits.read_bytes_per_second, 1e6);
    ck_assert(limits.operations_per_second == 0 || limits.operations_per_second > 1e6);
    ck_assert(limits.is_measured_by_device || limits.operation[0] == '\0');
    hearth_engine_close(engine); /* the plugin stops, and can start with another option */
    ck_assert_int_eq(hearth_config_set(config, "plugins.options.cpu.head", "e4m3", "test", &err), HEARTH_OK);
    if (strcmp(backends[_i], "cpu") == 0) { /* it keeps a code an element, and scales */
        ck_assert_double_lt(head_cost(config), 0.6 * (double)facts.vocab_size * facts.dim * 2);
    }
    hearth_config_free(config);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("pretend");
    TCase *all = tcase_create("pretend");
    tcase_set_timeout(all, 900);
    tcase_add_loop_test(all, any_length_any_layer, 0, 2 * N_BACKENDS);
    tcase_add_loop_test(all, the_same_seed_the_same_logits, 0, N_BACKENDS);
    tcase_add_loop_test(all, what_is_pretended_is_read, 0, N_BACKENDS);
    tcase_add_loop_test(all, saved_and_forked, 0, N_BACKENDS);
    tcase_add_loop_test(all, what_is_refused, 0, N_BACKENDS);
    tcase_add_loop_test(all, costs_and_limits, 0, N_BACKENDS);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
