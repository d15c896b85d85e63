/* takeover_test.c - a device that fails at any moment, in any way: the host does its work from then on, and every logit
 * is the one that a run without a fault gives, bit for bit.  Takes: partial.c. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/plugins/takeover_case.h"

/* Two by turns, at different places. */
static void
converse_twice(struct hearth_engine *engine, const char *what)
{
    struct talk talks[2];
    talk_begin(&talks[0], engine, 0);
    talk_begin(&talks[1], engine, 1);
    talk_feed(&talks[0], 5);
    talk_feed(&talks[1], N_PROMPT);
    while (talks[0].done < N_PROMPT) {
        talk_feed(&talks[0], 1);
        talk_feed(&talks[1], talks[1].done < N_TOKENS);
    }
    talk_end(&talks[1], 1, what);
    talk_feed(&talks[0], 1);
    talk_end(&talks[0], 0, what);
}

/* One run with a fault. */
static void
endure(const char *lacks, const char *memory, const char *fault, bool reached,
       void (*talk)(struct hearth_engine *engine, const char *what))
{
    struct hearth_config *config = configure(lacks, memory, fault);
    struct hearth_engine *engine = golden_engine(config);
    talk(engine, fault ? fault : "no fault");
    check_line(engine, reached, fault ? fault : "no fault");
    hearth_engine_close(engine);
    hearth_config_free(config);
}

/* Every call of that name in turn, or every step-th, ends so.  at_least: calls, lest the loop be empty. */
static void
endure_all(const char *lacks, const char *memory, const char *call, const char *end, unsigned long step,
           unsigned long at_least, void (*talk)(struct hearth_engine *engine, const char *what))
{
    char fault[64];
    endure(lacks, memory, NULL, false, talk);
    const unsigned long n = count_calls(call);
    ck_assert_msg(n >= at_least, "%lu calls of %s", n, call);
    for (unsigned long i = 1; i <= n; i += step) {
        snprintf(fault, sizeof fault, "%s:%lu:%s", call, i, end);
        endure(lacks, memory, fault, true, talk);
    }
    snprintf(fault, sizeof fault, "%s:%lu:%s", call, n + 1, end);
    endure(lacks, memory, fault, false, talk);
}

static const char *const end_names[] = {"lost", "hang", "breaks", "memory"};

START_TEST(any_submission)
{
    endure_all(NULL, NULL, "submit", end_names[_i], 1, 20, converse);
}
END_TEST

START_TEST(any_wait)
{
    endure_all(NULL, NULL, "wait", end_names[_i], 1, 20, converse);
}
END_TEST

START_TEST(any_copy)
{
    endure_all(NULL, NULL, "write", end_names[_i], 1, 10, converse);
    endure_all(NULL, NULL, "read", end_names[_i], 1, 10, converse);
}
END_TEST

START_TEST(any_allocation)
{
    endure_all(NULL, NULL, "alloc", "memory", 1, 30, converse);
    endure_all(NULL, NULL, "alloc", "shortage", 7, 30, converse);
}
END_TEST

START_TEST(opening_and_loading)
{
    endure_all(NULL, NULL, "open", "breaks", 1, 1, converse);
    endure_all(NULL, NULL, "weight", "memory", 37, 100, converse);
    endure_all(NULL, NULL, "weight", "lost", 53, 100, converse);
}
END_TEST

/* The device does a part; what lies on the host beside it may stay. */
START_TEST(a_device_with_gaps)
{
    static const char *const gaps[] = {"expert_ffn", "attention", "index_topk|mhc_post", "all-but:linear|shared_ffn"};
    endure_all(gaps[_i], NULL, "submit", "lost", 11, 40, converse);
    endure_all(gaps[_i], NULL, "submit", "hang", 17, 40, converse);
    endure_all(gaps[_i], NULL, "read", "lost", 13, 40, converse);
}
END_TEST

/* Conversations whose state never was on the device are not computed again. */
START_TEST(only_experts_are_lost)
{
    static const char lacks[] = "all-but:expert_ffn";
    char fault[32];
    endure_all(lacks, NULL, "read", "hang", 7, 40, converse);
    endure_all(lacks, NULL, "submit", "lost", 1, 40, converse);
    const unsigned long n = count_calls("submit");
    for (unsigned long i = 1; i <= n; i += 9) {
        struct talk talk;
        snprintf(fault, sizeof fault, "submit:%lu:lost", i);
        struct hearth_config *config = configure(lacks, NULL, fault);
        struct hearth_engine *engine = golden_engine(config);
        talk_begin(&talk, engine, 0);
        talk_feed(&talk, N_PROMPT);
        while (talk.done < N_TOKENS) {
            talk_feed(&talk, 1);
        }
        talk_end(&talk, 0, fault);
        check_line(engine, true, fault);
        ck_assert_msg(!strstr(said, "again"), "%s: %s", fault, said);
        hearth_engine_close(engine);
        hearth_config_free(config);
    }
}
END_TEST

/* Bytes that hold all but the experts, and some of those. */
START_TEST(experts_on_both)
{
    endure_all(NULL, "649000", "submit", "lost", 5, 40, converse);
    endure_all(NULL, "649000", "wait", "hang", 7, 40, converse);
}
END_TEST

/* Bytes for all but the experts, and for their loans: whole chunks borrow them, the rest is computed by the host. */
START_TEST(experts_on_loan)
{
    borrow_tokens = CHUNK;
    endure_all(NULL, "650000", "refill", end_names[_i], 1, 7, converse);
    endure_all(NULL, "650000", "submit", end_names[_i], 3, 30, converse);
    endure_all(NULL, "650000", "wait", end_names[_i], 3, 30, converse);
    borrow_tokens = "0";
}
END_TEST

START_TEST(two_conversations)
{
    endure_all(NULL, NULL, "submit", "lost", 1, 40, converse_twice);
    endure_all(NULL, NULL, "submit", "hang", 5, 40, converse_twice);
    endure_all("all-but:expert_ffn", NULL, "submit", "lost", 7, 40, converse_twice);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("takeover");
    TCase *all = tcase_create("takeover");
    tcase_set_timeout(all, 900);
    tcase_add_checked_fixture(all, takeover_set_up, takeover_tear_down);
    tcase_add_loop_test(all, any_submission, 0, 4);
    tcase_add_loop_test(all, any_wait, 0, 4);
    tcase_add_loop_test(all, any_copy, 0, 4);
    tcase_add_test(all, any_allocation);
    tcase_add_test(all, opening_and_loading);
    tcase_add_loop_test(all, a_device_with_gaps, 0, 4);
    tcase_add_test(all, only_experts_are_lost);
    tcase_add_test(all, experts_on_both);
    tcase_add_loop_test(all, experts_on_loan, 0, 4);
    tcase_add_test(all, two_conversations);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
