/* golden_test.c - whole models against logits of independent implementations.
 *
 * exact: HF transformers in float32 on the dequantised weights.  native: the official semantics in
 * float64.  The distance of two rows of logits is the larger of |a - b| / |b| in the Euclidean norm
 * and in the maximum norm, over the vocabulary. README.md says how the cases were made and what
 * each of them covers. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/golden/golden_case.h"

/* The bound of the exact contract: docs/numerics.md. */
#define EXACT_LIMIT 1e-4

static char *names[GOLDEN_MAX_CASES];
static size_t n_names;

static double
distance(const float *a, const float *b, size_t n)
{
    double difference2 = 0, norm2 = 0, difference_max = 0, norm_max = 0;
    for (size_t i = 0; i < n; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        const double value = fabs((double)b[i]);
        difference2 += difference * difference;
        norm2 += value * value;
        difference_max = difference > difference_max ? difference : difference_max;
        norm_max = value > norm_max ? value : norm_max;
        if (!(difference < INFINITY)) { /* NaN, too */
            return INFINITY;
        }
    }
    const double euclid = sqrt(difference2 / norm2);
    const double maximum = difference_max / norm_max;
    return euclid > maximum ? euclid : maximum;
}

static size_t
top(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

/* Feeds a prompt in pieces and compares every position with the exact logits. */
static void
compare_exact(struct hearth_engine *engine, const struct golden_case *golden, size_t prompt_id, size_t piece)
{
    const struct golden_prompt *prompt = &golden->prompts[prompt_id];
    const size_t width = golden->vocab_size;
    float *logits = calloc(prompt->n * width, sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    struct hearth_session *session = golden_feed(engine, prompt->ids, prompt->n, piece, logits, width);
    double worst = 0;
    size_t worst_at = 0;
    for (size_t t = 0; t < prompt->n; t++) {
        const double now = distance(logits + t * width, prompt->exact + t * width, width);
        if (now > worst) {
            worst = now;
            worst_at = t;
        }
    }
    printf("exact  %s.%zu pieces of %zu: worst %.2e at position %zu of %zu\n", golden->folder + sizeof GOLDEN_DATA,
           prompt_id, piece, worst, worst_at, prompt->n);
    ck_assert_msg(worst <= EXACT_LIMIT, "%s.%zu, pieces of %zu, position %zu: %.3e, at most %.0e wanted",
                  golden->folder, prompt_id, piece, worst_at, worst, EXACT_LIMIT);
    hearth_session_free(session);
    free(logits);
}

START_TEST(exact_agrees)
{
    static const char *const options[] = {"model.numerics", "exact", "context.prefill_chunk", "1024", NULL};
    static const size_t pieces[] = {1024, 64, 7, 3, 1};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    struct hearth_config *config = golden_config(golden.folder, options);
    struct hearth_engine *engine = golden_engine(config);
    for (size_t i = 0; i < golden.n_prompts; i++) {
        for (size_t j = 0; j < sizeof pieces / sizeof pieces[0]; j++) {
            compare_exact(engine, &golden, i, pieces[j]);
        }
    }
    hearth_engine_close(engine);
    hearth_config_free(config);
    golden_close(&golden);
}
END_TEST

START_TEST(native_chooses_the_same_token)
{
    static const char *const options[] = {"context.prefill_chunk", "1024", NULL};
    struct golden_case golden;
    golden_open(names[_i], &golden);
    struct hearth_config *config = golden_config(golden.folder, options);
    struct hearth_engine *engine = golden_engine(config);
    const size_t width = golden.vocab_size;
    for (size_t i = 0; i < golden.n_prompts; i++) {
        const struct golden_prompt *prompt = &golden.prompts[i];
        float *logits = calloc(prompt->n * width, sizeof *logits);
        ck_assert_ptr_nonnull(logits);
        struct hearth_session *session = golden_feed(engine, prompt->ids, prompt->n, prompt->n, logits, width);
        double worst = 0, sum = 0;
        size_t n_other = 0;
        for (size_t t = 0; t < prompt->n; t++) {
            const double now = distance(logits + t * width, prompt->native + t * width, width);
            worst = now > worst ? now : worst;
            sum += now;
            n_other += top(logits + t * width, width) != top(prompt->native + t * width, width);
        }
        printf("native %s.%zu: worst %.2e, mean %.2e, another top-1 at %zu of %zu positions\n",
               golden.folder + sizeof GOLDEN_DATA, i, worst, sum / (double)prompt->n, n_other, prompt->n);
        ck_assert_uint_eq(n_other, 0);
        hearth_session_free(session);
        free(logits);
    }
    hearth_engine_close(engine);
    hearth_config_free(config);
    golden_close(&golden);
}
END_TEST

int
main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* a failing test is a process that ends without flushing */
    n_names = golden_list(names);
    if (n_names < 6) {
        fprintf(stderr, "%s: at least 6 golden cases wanted, %zu found\n", GOLDEN_DATA, n_names);
        return 1;
    }
    Suite *suite = suite_create("golden");
    TCase *exact = tcase_create("exact");
    TCase *native = tcase_create("native");
    tcase_set_timeout(exact, 900);
    tcase_set_timeout(native, 900);
    tcase_add_loop_test(exact, exact_agrees, 0, (int)n_names);
    tcase_add_loop_test(native, native_chooses_the_same_token, 0, (int)n_names);
    suite_add_tcase(suite, exact);
    suite_add_tcase(suite, native);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
