/* sampler_test.c - the sampler against the definition of its order, and against a sorted reading of it. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/engine.h>

#include "core/base/random.h"

static struct hearth_sampler *
make(float temperature, uint32_t top_k, float top_p, float min_p, uint64_t seed)
{
    const struct hearth_sampling sampling = {
        .temperature = temperature, .top_k = top_k, .top_p = top_p, .min_p = min_p, .seed = seed};
    struct hearth_sampler *sampler = NULL;
    ck_assert_int_eq(hearth_sampler_new(&sampling, &sampler, NULL), HEARTH_OK);
    return sampler;
}

static int32_t
pick(struct hearth_sampler *sampler, const float *logits, size_t n)
{
    struct hearth_error err = {0};
    int32_t id = -1;
    ck_assert_msg(hearth_sampler_pick(sampler, logits, n, &id, &err) == HEARTH_OK, "%s", err.text);
    return id;
}

START_TEST(zero_temperature_takes_the_lowest_of_equals)
{
    const float logits[] = {-1.0f, 3.0f, 2.0f, 3.0f, -INFINITY};
    struct hearth_sampler *sampler = make(0.0f, 0, 1.0f, 0.0f, 7);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(pick(sampler, logits, 5), 1);
    }
    hearth_sampler_free(sampler);
}
END_TEST

/* Published outputs of xoshiro256** for the state 1, 2, 3, 4. */
START_TEST(the_generator_is_xoshiro)
{
    const uint64_t wanted[] = {11520u, 0u, 1509978240u, 1215971899390074240u};
    struct random random = {{1, 2, 3, 4}};
    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(random_next(&random), wanted[i]);
    }
}
END_TEST

START_TEST(a_seed_gives_the_same_text_again)
{
    float logits[64];
    for (int i = 0; i < 64; i++) {
        logits[i] = (float)(i * 37 % 64) / 16.0f;
    }
    struct hearth_sampler *a = make(0.8f, 20, 0.9f, 0.01f, 123);
    struct hearth_sampler *b = make(0.8f, 20, 0.9f, 0.01f, 123);
    struct hearth_sampler *c = make(0.8f, 20, 0.9f, 0.01f, 124);
    int n_other = 0;
    for (int i = 0; i < 200; i++) {
        const int32_t id = pick(a, logits, 64);
        ck_assert_int_eq(id, pick(b, logits, 64));
        n_other += id != pick(c, logits, 64);
    }
    ck_assert_int_gt(n_other, 100);
    hearth_sampler_free(a);
    hearth_sampler_free(b);
    hearth_sampler_free(c);
}
END_TEST

#define N_DRAWS 200000

/* Counts against probabilities: every difference within five standard deviations. */
static void
check_frequencies(struct hearth_sampler *sampler, const float *logits, const double *wanted, size_t n)
{
    unsigned counts[16] = {0};
    for (int i = 0; i < N_DRAWS; i++) {
        counts[pick(sampler, logits, n)]++;
    }
    for (size_t i = 0; i < n; i++) {
        const double deviation = sqrt(N_DRAWS * wanted[i] * (1 - wanted[i]));
        ck_assert_msg(fabs(counts[i] - N_DRAWS * wanted[i]) <= 5 * deviation, "id %zu: %u draws, %.0f wanted", i,
                      counts[i], N_DRAWS * wanted[i]);
    }
    hearth_sampler_free(sampler);
}

/* Probabilities 0.1, 0.4, 0.2, 0.3 at temperature 1. */
static const float quarters[4] = {-2.3025851f, -0.91629073f, -1.6094379f, -1.2039728f};

START_TEST(frequencies_follow_the_softmax)
{
    check_frequencies(make(1.0f, 0, 1.0f, 0.0f, 1), quarters, (const double[]){0.1, 0.4, 0.2, 0.3}, 4);
    /* temperature 1/2 squares the odds: 1, 16, 4, 9 of 30 */
    check_frequencies(make(0.5f, 0, 1.0f, 0.0f, 2), quarters,
                      (const double[]){1 / 30.0, 16 / 30.0, 4 / 30.0, 9 / 30.0}, 4);
}
END_TEST

START_TEST(cuts_keep_the_likeliest)
{
    check_frequencies(make(1.0f, 2, 1.0f, 0.0f, 3), quarters, (const double[]){0, 4 / 7.0, 0, 3 / 7.0}, 4);
    /* 0.4 + 0.3 reaches 0.65; 0.2 is not needed */
    check_frequencies(make(1.0f, 0, 0.65f, 0.0f, 4), quarters, (const double[]){0, 4 / 7.0, 0, 3 / 7.0}, 4);
    check_frequencies(make(1.0f, 0, 0.75f, 0.0f, 5), quarters, (const double[]){0, 4 / 9.0, 2 / 9.0, 3 / 9.0}, 4);
    /* at least 0.4 of 0.4 */
    check_frequencies(make(1.0f, 0, 1.0f, 0.4f, 6), quarters, (const double[]){0, 4 / 9.0, 2 / 9.0, 3 / 9.0}, 4);
    /* top_k first: of 4/7 and 3/7 the first alone reaches 0.5 */
    check_frequencies(make(1.0f, 2, 0.5f, 0.0f, 7), quarters, (const double[]){0, 1, 0, 0}, 4);
    /* a top_p that one token reaches is greedy */
    check_frequencies(make(1.0f, 0, 0.01f, 0.0f, 8), quarters, (const double[]){0, 1, 0, 0}, 4);
}
END_TEST

START_TEST(equal_logits_are_cut_by_id)
{
    const float logits[6] = {1, 1, 1, 1, 1, 1};
    check_frequencies(make(1.0f, 2, 1.0f, 0.0f, 9), logits, (const double[]){0.5, 0.5, 0, 0, 0, 0}, 6);
    check_frequencies(make(1.0f, 0, 0.45f, 0.0f, 9), logits, (const double[]){1 / 3.0, 1 / 3.0, 1 / 3.0, 0, 0, 0}, 6);
}
END_TEST

struct entry {
    float logit;
    int id;
};

static int
compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id - y->id;
}

/* A whole vocabulary: what is drawn lies among the top_k of a full sort, and each of few is drawn. */
START_TEST(a_large_vocabulary)
{
    enum { N = 129280, K = 5 };
    struct entry *entries = calloc(N, sizeof *entries);
    float *logits = calloc(N, sizeof *logits);
    struct random random;
    ck_assert(entries && logits);
    random_seed(&random, 42);
    for (int i = 0; i < N; i++) {
        logits[i] = (float)(random_next(&random) % 1000) / 100.0f; /* many equals */
        entries[i] = (struct entry){logits[i], i};
    }
    qsort(entries, N, sizeof *entries, compare_entries);
    bool is_seen[K] = {false};
    struct hearth_sampler *sampler = make(1.0f, K, 1.0f, 0.0f, 11);
    for (int draw = 0; draw < 100; draw++) {
        const int32_t id = pick(sampler, logits, N);
        bool is_among = false;
        for (int k = 0; k < K; k++) {
            is_among |= entries[k].id == id;
            is_seen[k] |= entries[k].id == id;
        }
        ck_assert(is_among);
    }
    for (int k = 0; k < K; k++) {
        ck_assert(is_seen[k]);
    }
    hearth_sampler_free(sampler);
    free(entries);
    free(logits);
}
END_TEST

START_TEST(logits_that_are_none)
{
    const float nan_logits[] = {1.0f, NAN, 2.0f};
    const float no_logits[] = {-INFINITY, -INFINITY};
    const float endless[] = {1.0f, INFINITY};
    struct hearth_error err = {0};
    int32_t id = -7;
    struct hearth_sampler *sampler = make(1.0f, 0, 1.0f, 0.0f, 1);
    ck_assert_int_eq(hearth_sampler_pick(sampler, nan_logits, 3, &id, &err), HEARTH_EINTERNAL);
    ck_assert_ptr_nonnull(strstr(err.text, "token 1"));
    ck_assert_int_eq(hearth_sampler_pick(sampler, no_logits, 2, &id, &err), HEARTH_EINTERNAL);
    ck_assert_int_eq(hearth_sampler_pick(sampler, endless, 2, &id, &err), HEARTH_EINTERNAL);
    ck_assert_int_eq(hearth_sampler_pick(sampler, endless, 0, &id, &err), HEARTH_EINTERNAL);
    ck_assert_int_eq(id, -7);
    hearth_sampler_free(sampler);
}
END_TEST

START_TEST(settings_out_of_range)
{
    static const struct hearth_sampling wrong[] = {
        {.temperature = -1, .top_p = 1}, {.temperature = NAN, .top_p = 1}, {.temperature = INFINITY, .top_p = 1},
        {.temperature = 1, .top_p = 0},  {.temperature = 1, .top_p = 1.5f}, {.temperature = 1, .top_p = 1, .min_p = -1},
        {.temperature = 1, .top_p = 1, .min_p = 2}};
    struct hearth_sampler *sampler = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_int_eq(hearth_sampler_new(&wrong[i], &sampler, NULL), HEARTH_EUSAGE);
        ck_assert_ptr_null(sampler);
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("sampler");
    TCase *all = tcase_create("sampler");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, zero_temperature_takes_the_lowest_of_equals);
    tcase_add_test(all, the_generator_is_xoshiro);
    tcase_add_test(all, a_seed_gives_the_same_text_again);
    tcase_add_test(all, frequencies_follow_the_softmax);
    tcase_add_test(all, cuts_keep_the_likeliest);
    tcase_add_test(all, equal_logits_are_cut_by_id);
    tcase_add_test(all, a_large_vocabulary);
    tcase_add_test(all, logits_that_are_none);
    tcase_add_test(all, settings_out_of_range);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
