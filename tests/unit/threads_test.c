/* threads_test.c - one engine, several threads with a session each: the promise of engine.h, and the traffic that a
 * thread checker needs to see. */
#include <config.h>

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/golden/golden_case.h"

#define N_THREADS 3u
#define N_TOKENS 40u
#define FORK_AT 19u

static struct golden_case golden;
static struct hearth_engine *engine;

/* What one thread does and finds.  No assertions there: Check wants them from the test's own thread. */
struct talk {
    pthread_t thread;
    char path[64];
    float *logits; /* [N_TOKENS][vocab_size] */
    int status;
    struct hearth_error err;
};

/* Reads the first tokens, saves, loads, and goes on in a fork of what came back, a token at a time. */
static void *
talk_run(void *argument)
{
    struct talk *talk = argument;
    const int32_t *ids = golden.prompts[1].ids;
    struct hearth_session *first = NULL, *loaded = NULL, *fork = NULL;
    int status = hearth_session_new(engine, 64, &first, &talk->err);
    if (status == HEARTH_OK) {
        status = hearth_session_feed(first, ids, FORK_AT, talk->logits, FORK_AT, NULL, &talk->err);
    }
    if (status == HEARTH_OK) {
        status = hearth_session_save(first, talk->path, &talk->err);
    }
    if (status == HEARTH_OK) {
        status = hearth_session_load(engine, talk->path, 64, &loaded, &talk->err);
    }
    if (status == HEARTH_OK) {
        status = hearth_session_fork(loaded, &fork, &talk->err);
    }
    for (uint32_t i = FORK_AT; i < N_TOKENS && status == HEARTH_OK; i++) {
        status = hearth_session_feed(fork, ids + i, 1, talk->logits + i * golden.vocab_size, 1, NULL, &talk->err);
    }
    hearth_session_free(fork);
    hearth_session_free(loaded);
    hearth_session_free(first);
    talk->status = status;
    return NULL;
}

START_TEST(threads_do_not_meet)
{
    static const char *const options[] = {"context.prefill_chunk", "7", "cpu.threads", "2", NULL};
    char folder[] = "threads-test-XXXXXX";
    struct talk talks[N_THREADS] = {0};
    golden_open("flash", &golden);
    const size_t n_bytes = N_TOKENS * golden.vocab_size * sizeof(float);
    struct hearth_config *config = golden_config(golden.folder, options);
    engine = golden_engine(config);
    float *alone = malloc(n_bytes);
    ck_assert_ptr_nonnull(alone);
    hearth_session_free(golden_feed(engine, golden.prompts[1].ids, N_TOKENS, N_TOKENS, alone, golden.vocab_size));
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (uint32_t i = 0; i < N_THREADS; i++) {
        snprintf(talks[i].path, sizeof talks[i].path, "%s/%u", folder, i);
        talks[i].logits = malloc(n_bytes);
        ck_assert_ptr_nonnull(talks[i].logits);
        ck_assert_int_eq(pthread_create(&talks[i].thread, NULL, talk_run, &talks[i]), 0);
    }
    for (uint32_t i = 0; i < N_THREADS; i++) {
        ck_assert_int_eq(pthread_join(talks[i].thread, NULL), 0);
        unlink(talks[i].path);
    }
    rmdir(folder);
    for (uint32_t i = 0; i < N_THREADS; i++) {
        ck_assert_msg(talks[i].status == HEARTH_OK, "thread %u: %s", i, talks[i].err.text);
        ck_assert_msg(memcmp(talks[i].logits, alone, n_bytes) == 0, "thread %u: other logits than alone", i);
        free(talks[i].logits);
    }
    free(alone);
    hearth_engine_close(engine);
    hearth_config_free(config);
    golden_close(&golden);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("threads");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_test(all, threads_do_not_meet);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
