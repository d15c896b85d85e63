/* takeover_calls_test.c - what callers see of a device that fails: sessions nobody used meanwhile, copies and files,
 * too little memory, nobody to take over, interrupts, threads.  Takes: partial.c. */
#include <config.h>

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/plugins/takeover_case.h"

/* Engine and conversation, with a fault that comes after the prompt. */
static struct hearth_engine *
open_failing(const char *const *more, struct hearth_config **ret_config, struct talk *talk)
{
    struct hearth_error err = {0};
    *ret_config = configure(NULL, NULL, "submit:7:lost");
    for (size_t i = 0; more && more[i]; i += 2) {
        ck_assert_msg(hearth_config_set(*ret_config, more[i], more[i + 1], "test", &err) == HEARTH_OK, "%s", err.text);
    }
    struct hearth_engine *engine = golden_engine(*ret_config);
    talk_begin(talk, engine, 0);
    talk_feed(talk, N_PROMPT);
    return engine;
}

static void
close_failing(struct hearth_engine *engine, struct hearth_config *config, struct talk *talk, const char *what)
{
    talk_end(talk, 0, what);
    hearth_engine_close(engine);
    hearth_config_free(config);
}

START_TEST(copies_and_files_of_lost_state)
{
    struct talk talk, other, copy, loaded;
    struct hearth_config *config;
    struct hearth_error err = {0};
    char path[] = "takeover-test-XXXXXX";
    const int file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    close(file);
    struct hearth_engine *engine = open_failing(NULL, &config, &talk);
    talk_begin(&other, engine, 1);
    while (!hearth_engine_takeover(engine, 0)) {
        talk_feed(&other, 1);
    }
    char tokens[64];
    snprintf(tokens, sizeof tokens, "; %zu tokens are computed again", N_PROMPT + other.done - 1);
    ck_assert_msg(strstr(said, tokens), "%s in: %s", tokens, said);
    /* nobody has used talk since */
    copy = talk;
    copy.logits = calloc(N_TOKENS * golden.vocab_size, sizeof(float));
    ck_assert_ptr_nonnull(copy.logits);
    memcpy(copy.logits, talk.logits, talk.done * golden.vocab_size * sizeof(float));
    loaded = copy;
    loaded.logits = calloc(N_TOKENS * golden.vocab_size, sizeof(float));
    ck_assert_ptr_nonnull(loaded.logits);
    memcpy(loaded.logits, talk.logits, talk.done * golden.vocab_size * sizeof(float));
    ck_assert_msg(hearth_session_save(talk.session, path, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(hearth_session_fork(talk.session, &copy.session, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(hearth_session_load(engine, path, 0, &loaded.session, &err) == HEARTH_OK, "%s", err.text);
    while (talk.done < N_TOKENS) {
        talk_feed(&talk, 1);
        talk_feed(&copy, 1);
        talk_feed(&loaded, 1);
    }
    talk_end(&copy, 0, "a copy");
    talk_end(&loaded, 0, "a file");
    talk_end(&other, 1, "another");
    check_line(engine, true, "copies and files");
    close_failing(engine, config, &talk, "copies and files");
    unlink(path);
}
END_TEST

/* A second session that does not fit is refused; the first is what the plan promised, and moves. */
START_TEST(too_little_memory)
{
    char fault[32];
    unsigned n_refused = 0, n_moved = 0;
    bool reached = true;
    for (int i = 1; reached; i++) {
        struct talk first, second;
        struct hearth_session *session = NULL;
        struct hearth_error err = {0};
        snprintf(fault, sizeof fault, "alloc:%d:shortage", i);
        struct hearth_config *config = configure(NULL, NULL, fault);
        struct hearth_engine *engine = golden_engine(config);
        talk_begin(&first, engine, 0);
        talk_feed(&first, N_PROMPT);
        const bool moved = hearth_engine_takeover(engine, 0) != NULL;
        const int status = hearth_session_new(engine, 64, &session, &err);
        ck_assert(status == HEARTH_OK || (status == HEARTH_EMEMORY && !moved && !session));
        hearth_session_free(session);
        if (status < 0) { /* now there is room */
            talk_begin(&second, engine, 1);
            talk_feed(&second, N_PROMPT);
            talk_end(&second, 1, fault);
        }
        talk_feed(&first, 1);
        n_refused += status < 0;
        n_moved += moved;
        reached = moved || status < 0;
        check_line(engine, moved, fault);
        close_failing(engine, config, &first, fault);
    }
    ck_assert_uint_gt(n_refused, 5);
    ck_assert_uint_gt(n_moved, 20);
}
END_TEST

START_TEST(nobody_to_take_over)
{
    static const char *const alone[] = {"plugins.load", "[partial]", NULL};
    static const char *const forbidden[] = {"device.takeover", "false", NULL};
    struct talk talk;
    struct hearth_config *config;
    struct hearth_error err = {0};
    float *logits = calloc(golden.vocab_size, sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    struct hearth_engine *engine = open_failing(_i ? forbidden : alone, &config, &talk);
    for (int i = 0; i < 2; i++) { /* and again */
        ck_assert_int_eq(hearth_session_feed(talk.session, talk.ids + talk.done, 1, logits, 1, NULL, &err),
                         HEARTH_ELOST);
        ck_assert_str_eq(err.text, "device partial device: fell off the bus");
        ck_assert_uint_eq(hearth_session_length(talk.session), talk.done);
    }
    ck_assert_int_eq(hearth_session_save(talk.session, "never-written", &err), HEARTH_ELOST);
    ck_assert_ptr_null(hearth_engine_takeover(engine, 0));
    close_failing(engine, config, &talk, "no takeover");
    free(logits);
}
END_TEST

START_TEST(no_room_on_the_host)
{
    static const char *const little[] = {"memory.limit", "100000", NULL};
    struct talk talk;
    struct hearth_config *config;
    struct hearth_error err = {0};
    struct hearth_session *other = NULL;
    struct hearth_engine *engine = open_failing(little, &config, &talk);
    ck_assert_int_eq(hearth_session_feed(talk.session, talk.ids + talk.done, 1, NULL, 0, NULL, &err), HEARTH_EMEMORY);
    ck_assert_msg(strstr(err.text, "device partial device: fell off the bus; device ") &&
                      strstr(err.text, "GiB wanted"),
                  "%s", err.text);
    ck_assert_int_eq(hearth_session_new(engine, 0, &other, &err), HEARTH_EMEMORY);
    ck_assert_int_eq(hearth_session_save(talk.session, "never-written", &err), HEARTH_EMEMORY);
    ck_assert_uint_eq(hearth_session_length(talk.session), talk.done);
    close_failing(engine, config, &talk, "no room");
}
END_TEST

/* A third device does the work when the second fails too. */
START_TEST(one_after_the_other)
{
    char fault[32];
    for (int i = 1; i < 20; i++) {
        struct hearth_config *config = configure(NULL, NULL, "submit:9:lost");
        const char *const more[] = {"plugins.load",
                                    "[partial, partial-newer, ref]",
                                    "plugins.options.partial-newer.host",
                                    "yes",
                                    "plugins.options.partial-newer.fault",
                                    fault,
                                    NULL};
        struct hearth_error err = {0};
        snprintf(fault, sizeof fault, i == 1 ? "open:1:breaks" : i < 8 ? "submit:%d:lost" : "weight:%d:breaks", i);
        for (size_t j = 0; more[j]; j += 2) {
            ck_assert_msg(hearth_config_set(config, more[j], more[j + 1], "test", &err) == HEARTH_OK, "%s", err.text);
        }
        struct hearth_engine *engine = golden_engine(config);
        converse(engine, fault);
        ck_assert_uint_eq(count_lines(said), 2);
        ck_assert_ptr_nonnull(hearth_engine_takeover(engine, 1));
        ck_assert_ptr_null(hearth_engine_takeover(engine, 2));
        hearth_engine_close(engine);
        hearth_config_free(config);
    }
}
END_TEST

/* Says no at the countdown's end. */
static bool
stop_soon(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
    int *left = context;
    (void)phase;
    (void)unit;
    ck_assert_uint_le(done, total);
    return (*left)-- != 0;
}

/* Ctrl-C while weights are loaded and tokens computed again; then somebody goes on. */
START_TEST(interrupted_and_resumed)
{
    bool interrupted = true;
    int n = 0;
    for (; interrupted; n++) {
        struct talk talk;
        struct hearth_config *config;
        struct hearth_error err = {0};
        int left = n;
        const struct hearth_progress progress = {.step = stop_soon, .context = &left};
        struct hearth_engine *engine = open_failing(NULL, &config, &talk);
        const int status = hearth_session_feed(talk.session, talk.ids + talk.done, 1,
                                               talk.logits + talk.done * golden.vocab_size, 1, &progress, &err);
        interrupted = status == HEARTH_EINTERRUPTED;
        ck_assert_msg(interrupted || status == HEARTH_OK, "%s", err.text);
        talk.done += !interrupted;
        ck_assert_uint_eq(hearth_session_length(talk.session), talk.done);
        talk_feed(&talk, 1);
        check_line(engine, true, "interrupts");
        close_failing(engine, config, &talk, "interrupts");
    }
    ck_assert_int_gt(n, 4);
}
END_TEST

START_TEST(a_pretended_session_cannot_follow)
{
    struct talk talk;
    struct hearth_config *config;
    struct hearth_error err = {0};
    struct hearth_session *pretended = NULL;
    struct hearth_engine *engine = open_failing(NULL, &config, &talk);
    ck_assert_int_eq(hearth_session_new(engine, 64, &pretended, &err), HEARTH_OK);
    ck_assert_msg(hearth_session_pretend(pretended, 40, &err) == HEARTH_OK, "%s", err.text);
    talk_feed(&talk, 1);
    ck_assert_int_eq(hearth_session_feed(pretended, talk.ids, 1, NULL, 0, NULL, &err), HEARTH_EUNSUPPORTED);
    hearth_session_free(pretended);
    close_failing(engine, config, &talk, "pretence");
}
END_TEST

/* ---- threads ------------------------------------------------------------------------------------------------------
 */

#define N_THREADS 3

struct worker {
    pthread_t thread;
    struct hearth_engine *engine;
    size_t prompt;
    float *logits;
    int status;
    struct hearth_error err;
};

static void *
work(void *argument)
{
    struct worker *worker = argument;
    const int32_t *ids = golden.prompts[worker->prompt].ids;
    struct hearth_session *session = NULL;
    worker->status = hearth_session_new(worker->engine, 64, &session, &worker->err);
    for (size_t t = 0; t < N_TOKENS && worker->status == HEARTH_OK; t += t < 12 ? 4 : 1) {
        worker->status = hearth_session_feed(session, ids + t, t < 12 ? 4 : 1, worker->logits + t * golden.vocab_size,
                                             t < 12 ? 4 : 1, NULL, &worker->err);
        if (worker->status == HEARTH_OK && hearth_session_ids(session)[t] != ids[t]) {
            worker->status = HEARTH_EINTERNAL;
        }
    }
    hearth_session_free(session);
    return NULL;
}

START_TEST(threads_see_nothing)
{
    for (int at = 1; at < 90; at += 8) {
        struct worker workers[N_THREADS] = {0};
        char fault[32];
        snprintf(fault, sizeof fault, "submit:%d:lost", at);
        struct hearth_config *config = configure(NULL, NULL, fault);
        struct hearth_engine *engine = golden_engine(config);
        for (size_t i = 0; i < N_THREADS; i++) {
            workers[i].engine = engine;
            workers[i].prompt = i % 2;
            workers[i].logits = calloc(N_TOKENS * golden.vocab_size, sizeof(float));
            ck_assert_ptr_nonnull(workers[i].logits);
            ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        }
        for (size_t i = 0; i < N_THREADS; i++) {
            ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
            ck_assert_msg(workers[i].status == HEARTH_OK, "%s: %s", fault, workers[i].err.text);
            ck_assert_msg(memcmp(workers[i].logits, wanted[i % 2], N_TOKENS * golden.vocab_size * sizeof(float)) == 0,
                          "%s: other logits", fault);
            free(workers[i].logits);
        }
        check_line(engine, true, fault);
        hearth_engine_close(engine);
        hearth_config_free(config);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("takeover calls");
    TCase *all = tcase_create("takeover calls");
    tcase_set_timeout(all, 900);
    tcase_add_checked_fixture(all, takeover_set_up, takeover_tear_down);
    tcase_add_test(all, copies_and_files_of_lost_state);
    tcase_add_test(all, too_little_memory);
    tcase_add_loop_test(all, nobody_to_take_over, 0, 2);
    tcase_add_test(all, no_room_on_the_host);
    tcase_add_test(all, one_after_the_other);
    tcase_add_test(all, interrupted_and_resumed);
    tcase_add_test(all, a_pretended_session_cannot_follow);
    tcase_add_test(all, threads_see_nothing);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
