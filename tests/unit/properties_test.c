/* properties_test.c - what the text must not depend on: the size of steps, the number of threads, a
 * pause in a file, a fork, an interruption.  All in native numerics, bit for bit, on the golden
 * checkpoints. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/golden/golden_case.h"

static char *names[GOLDEN_MAX_CASES];
static size_t n_names;

/* The longest prompt of a case. */
static const struct golden_prompt *
longest(const struct golden_case *golden)
{
    const struct golden_prompt *prompt = &golden->prompts[0];
    for (size_t i = 1; i < golden->n_prompts; i++) {
        prompt = golden->prompts[i].n > prompt->n ? &golden->prompts[i] : prompt;
    }
    return prompt;
}

static float *
logits_alloc(const struct golden_case *golden)
{
    float *logits = calloc(longest(golden)->n * golden->vocab_size, sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    return logits;
}

/* Logits of every position from an engine with that step size and that many threads, all tokens fed
 * in one call. */
static float *
run(const struct golden_case *golden, const char *chunk, const char *threads)
{
    const struct golden_prompt *prompt = longest(golden);
    const char *const options[] = {"context.prefill_chunk", chunk, "plugins.options.ref.threads", threads, NULL};
    struct hearth_config *config = golden_config(golden->folder, options);
    struct hearth_engine *engine = golden_engine(config);
    float *logits = logits_alloc(golden);
    struct hearth_session *session =
        golden_feed(engine, prompt->ids, prompt->n, prompt->n, logits, golden->vocab_size);
    ck_assert_mem_eq(hearth_session_ids(session), prompt->ids, prompt->n * sizeof *prompt->ids);
    hearth_session_free(session);
    hearth_engine_close(engine);
    hearth_config_free(config);
    return logits;
}

static void
compare(const struct golden_case *golden, const float *a, const float *b, size_t first, const char *what)
{
    const size_t width = golden->vocab_size;
    for (size_t t = first; t < longest(golden)->n; t++) {
        ck_assert_msg(memcmp(a + t * width, b + t * width, width * sizeof *a) == 0,
                      "%s, %s: other bits at position %zu", golden->folder, what, t);
    }
}

START_TEST(steps_of_any_size)
{
    static const char *const chunks[] = {"1", "3", "7", "64", "127"};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    float *whole = run(&golden, "4096", "1");
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        float *other = run(&golden, chunks[i], "1");
        compare(&golden, other, whole, 0, chunks[i]);
        free(other);
    }
    free(whole);
    golden_close(&golden);
}
END_TEST

START_TEST(any_number_of_threads)
{
    static const char *const threads[] = {"2", "3"};
    static const char *const chunks[] = {"1", "50", "4096"};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    float *one = run(&golden, "4096", "1");
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        for (size_t j = 0; j < sizeof chunks / sizeof chunks[0]; j++) {
            float *other = run(&golden, chunks[j], threads[i]);
            compare(&golden, other, one, 0, threads[i]);
            free(other);
        }
    }
    free(one);
    golden_close(&golden);
}
END_TEST

static void
feed(struct hearth_session *session, const struct golden_case *golden, size_t from, size_t to, float *logits)
{
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_feed(session, longest(golden)->ids + from, to - from,
                                      logits + from * golden->vocab_size, to - from, NULL, &err) == HEARTH_OK,
                  "%s", err.text);
}

/* Cuts before, at and behind the ends of groups and windows, as far as the prompt reaches. */
static const size_t cuts[] = {0, 1, 3, 4, 5, 31, 33, 127, 128, 129, 200, 300};
#define N_CUTS (sizeof cuts / sizeof cuts[0])

START_TEST(saved_and_restored)
{
    char path[] = "properties-XXXXXX";
    struct hearth_error err = {0};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    float *straight = run(&golden, "64", "1");
    float *logits = logits_alloc(&golden);
    ck_assert_int_ge(mkstemp(path), 0);
    for (size_t i = 0; i < N_CUTS && cuts[i] < longest(&golden)->n; i++) {
        /* the engine that restores takes steps, and so has rings, of another size */
        static const char *const options[2][3] = {{"context.prefill_chunk", "64", NULL},
                                                  {"context.prefill_chunk", "5", NULL}};
        for (int part = 0; part < 2; part++) {
            struct hearth_config *config = golden_config(golden.folder, options[part]);
            struct hearth_engine *engine = golden_engine(config);
            struct hearth_session *session = NULL;
            if (part == 0) {
                ck_assert_msg(hearth_session_new(engine, 0, &session, &err) == HEARTH_OK, "%s", err.text);
                feed(session, &golden, 0, cuts[i], logits);
                ck_assert_msg(hearth_session_save(session, path, &err) == HEARTH_OK, "%s", err.text);
            } else {
                ck_assert_msg(hearth_session_load(engine, path, 0, &session, &err) == HEARTH_OK, "%s", err.text);
                ck_assert_uint_eq(hearth_session_length(session), cuts[i]);
                ck_assert_mem_eq(hearth_session_ids(session), longest(&golden)->ids, cuts[i] * sizeof(int32_t));
                feed(session, &golden, cuts[i], longest(&golden)->n, logits);
            }
            hearth_session_free(session);
            hearth_engine_close(engine);
            hearth_config_free(config);
        }
        compare(&golden, logits, straight, 0, "restored");
    }
    unlink(path);
    free(logits);
    free(straight);
    golden_close(&golden);
}
END_TEST

START_TEST(forked)
{
    struct hearth_error err = {0};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    const size_t n = longest(&golden)->n;
    float *straight = run(&golden, "64", "1");
    float *logits = logits_alloc(&golden);
    struct hearth_config *config = golden_config(golden.folder, NULL);
    struct hearth_engine *engine = golden_engine(config);
    for (size_t i = 0; i < N_CUTS && cuts[i] < n; i++) {
        struct hearth_session *session = NULL;
        struct hearth_session *fork = NULL;
        ck_assert_msg(hearth_session_new(engine, 0, &session, &err) == HEARTH_OK, "%s", err.text);
        feed(session, &golden, 0, cuts[i], logits);
        ck_assert_msg(hearth_session_fork(session, &fork, &err) == HEARTH_OK, "%s", err.text);
        /* the original goes another way, then the fork goes on as if nothing had happened */
        for (size_t t = cuts[i]; t < n; t++) {
            const int32_t other = (longest(&golden)->ids[t] + 1) % (int32_t)golden.vocab_size;
            ck_assert_int_eq(hearth_session_feed(session, &other, 1, NULL, 0, NULL, &err), HEARTH_OK);
        }
        feed(fork, &golden, cuts[i], n, logits);
        compare(&golden, logits, straight, 0, "forked");
        hearth_session_free(session);
        hearth_session_free(fork);
    }
    hearth_engine_close(engine);
    hearth_config_free(config);
    free(logits);
    free(straight);
    golden_close(&golden);
}
END_TEST

static bool
stop_at(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
    (void)phase;
    (void)total;
    ck_assert_str_eq(unit, "tokens");
    return done < *(uint64_t *)context;
}

START_TEST(interrupted_and_continued)
{
    static const char *const options[] = {"context.prefill_chunk", "16", NULL};
    struct hearth_error err = {0};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    const size_t n = longest(&golden)->n;
    float *straight = run(&golden, "64", "1");
    float *logits = logits_alloc(&golden);
    struct hearth_config *config = golden_config(golden.folder, options);
    struct hearth_engine *engine = golden_engine(config);
    struct hearth_session *session = NULL;
    uint64_t limit = 32;
    const struct hearth_progress progress = {stop_at, &limit};
    ck_assert_msg(hearth_session_new(engine, 0, &session, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_int_eq(hearth_session_feed(session, longest(&golden)->ids, n, logits, n, &progress, &err),
                     HEARTH_EINTERRUPTED);
    ck_assert_uint_eq(hearth_session_length(session), limit);
    feed(session, &golden, limit, n, logits);
    compare(&golden, logits, straight, 0, "interrupted");
    hearth_session_free(session);
    hearth_engine_close(engine);
    hearth_config_free(config);
    free(logits);
    free(straight);
    golden_close(&golden);
}
END_TEST

/* For sanitizers, which slow everything down: the cases that together have every kind of layer. */
static void
keep_few(void)
{
    size_t n = 0;
    for (size_t i = 0; i < n_names; i++) {
        if (strcmp(names[i], "flash") == 0 || strcmp(names[i], "mtp") == 0 || strcmp(names[i], "wide") == 0) {
            names[n++] = names[i];
        } else {
            free(names[i]);
        }
    }
    n_names = n;
}

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    n_names = golden_list(names);
    if (getenv("HEARTH_TEST_BRIEF")) {
        keep_few();
    }
    if (n_names == 0) {
        fprintf(stderr, "golden cases wanted, none found\n");
        return 1;
    }
    Suite *suite = suite_create("properties");
    TCase *bits = tcase_create("bits");
    tcase_set_timeout(bits, 900);
    tcase_add_loop_test(bits, steps_of_any_size, 0, (int)n_names);
    tcase_add_loop_test(bits, any_number_of_threads, 0, (int)n_names);
    tcase_add_loop_test(bits, saved_and_restored, 0, (int)n_names);
    tcase_add_loop_test(bits, forked, 0, (int)n_names);
    tcase_add_loop_test(bits, interrupted_and_continued, 0, (int)n_names);
    suite_add_tcase(suite, bits);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
