/* bench_synthetic.c - hearth bench --synthetic: random weights of real shapes, sessions that pretend their context, and
 * the limits of the device measured before and after each figure. */
#include <stdlib.h>

#include "core/base/error.h"
#include "core/front/bench.h"
#include "core/front/bench_figures.h"
#include "core/front/eval.h"
#include "core/front/human.h"
#include "core/front/interrupt.h"

#define LIMIT_SECONDS 0.3
#define SYNTHETIC_SEED 1u
#define SWEEP_FIRST UINT64_C(1024)
#define SWEEP_CONTEXTS 11u /* 1024 to 1048576 */

struct synthetic_bench {
    struct front *front;
    const struct bench_values *wanted;
    struct args_list contexts;
    uint64_t longest; /* tokens that a session must hold */
    struct hearth_engine *engine;
    struct hearth_session *session; /* of all contexts */
    struct hearth_limits limits;    /* the last measured */
    uint64_t n_launches;            /* up to then */
    struct figures *figures;
    int32_t *ids;  /* [longest], random */
    float *logits; /* [vocab_size] */
    uint64_t n_fed;
};

static int
check_contexts(struct synthetic_bench *bench, struct hearth_error *err)
{
    const struct bench_values *wanted = bench->wanted;
    bench->contexts = wanted->contexts;
    if (wanted->sweep) {
        bench->contexts.n = SWEEP_CONTEXTS;
        for (size_t i = 0; i < SWEEP_CONTEXTS; i++) {
            bench->contexts.values[i] = SWEEP_FIRST << i;
        }
    }
    for (size_t i = 0; i < bench->contexts.n; i++) {
        const uint64_t context = bench->contexts.values[i];
        if (context <= wanted->tokens) {
            return error_set(err, HEARTH_EUSAGE,
                             "--context: with --synthetic more than the %llu tokens decoded wanted, %llu found",
                             (unsigned long long)wanted->tokens, (unsigned long long)context);
        }
        bench->longest = context > bench->longest ? context : bench->longest;
    }
    for (size_t i = 0; i < wanted->prefill.n; i++) {
        const uint64_t n = wanted->prefill.values[i];
        bench->longest = n > bench->longest ? n : bench->longest;
    }
    return HEARTH_OK;
}

static int
prepare(struct synthetic_bench *bench, struct hearth_error *err)
{
    struct front *front = bench->front;
    uint32_t ratios[ARGS_MAX_LIST];
    for (size_t i = 0; i < bench->wanted->ratios.n; i++) {
        ratios[i] = (uint32_t)bench->wanted->ratios.values[i];
    }
    const struct hearth_synthetic model = {
        .preset = bench->wanted->synthetic, .ratios = ratios, .n_ratios = bench->wanted->ratios.n,
        .n_layers = (uint32_t)bench->wanted->layers, .seed = SYNTHETIC_SEED};
    int status = hearth_engine_open_synthetic(front->config, &model, &front->progress.callback, &bench->engine, err);
    progress_clear(&front->progress);
    if (status < 0) {
        return status;
    }
    hearth_engine_facts(bench->engine, &bench->figures->facts);
    hearth_engine_load(bench->engine, &bench->figures->load);
    const uint32_t vocab_size = bench->figures->facts.vocab_size;
    bench->ids = calloc((size_t)bench->longest, sizeof bench->ids[0]);
    bench->logits = calloc(vocab_size, sizeof bench->logits[0]);
    if (!bench->ids || !bench->logits) {
        return error_no_memory(err, "the benchmark");
    }
    uint32_t state = 1;
    for (uint64_t i = 0; i < bench->longest; i++) {
        state = state * 1664525u + 1013904223u;
        bench->ids[i] = (int32_t)((uint64_t)state * vocab_size >> 32);
    }
    return hearth_session_new(bench->engine, bench->longest, &bench->session, err);
}

static int
interrupted(struct hearth_error *err)
{
    return interrupt_seen() ? error_set(err, HEARTH_EINTERRUPTED, "interrupted") : HEARTH_OK;
}

/* Measures the limits anew; the row, for which n_tokens were fed, gets the mean of those before it and these. */
static int
take_limits(struct synthetic_bench *bench, struct figures_row *row, uint64_t n_tokens, struct hearth_error *err)
{
    struct hearth_limits after;
    uint64_t n_launches;
    double launch_seconds;
    int status = interrupted(err);
    status = status < 0 ? status : hearth_engine_limits(bench->engine, LIMIT_SECONDS, &after, err);
    if (status < 0) {
        return status;
    }
    hearth_engine_launches(bench->engine, &n_launches, &launch_seconds);
    if (row) {
        const struct hearth_limits *before = &bench->limits;
        row->limits = after;
        row->limits.read_bytes_per_second = (before->read_bytes_per_second + after.read_bytes_per_second) / 2;
        row->limits.operations_per_second = (before->operations_per_second + after.operations_per_second) / 2;
        row->limits.exact_operations_per_second =
            (before->exact_operations_per_second + after.exact_operations_per_second) / 2;
        row->launches =
            n_launches > bench->n_launches ? (double)(n_launches - bench->n_launches) / (double)n_tokens : 0;
        row->launch_seconds = launch_seconds;
    }
    bench->n_launches = n_launches;
    bench->limits = after;
    return HEARTH_OK;
}

/* Feeds n tokens one by one. */
static int
decode(struct synthetic_bench *bench, uint64_t n, struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (uint64_t i = 0; i < n && status == HEARTH_OK; i++) {
        status = interrupted(err);
        if (status == HEARTH_OK) {
            status = hearth_session_feed(bench->session, &bench->ids[i], 1, bench->logits, 1, NULL, err);
        }
    }
    return status;
}

static int
advance(struct synthetic_bench *bench, uint64_t n, struct hearth_error *err)
{
    bench->n_fed += n;
    return progress_at(&bench->front->progress, bench->n_fed) ? HEARTH_OK
                                                              : error_set(err, HEARTH_EINTERRUPTED, "interrupted");
}

static int
measure_decode(struct synthetic_bench *bench, uint64_t context, struct hearth_error *err)
{
    const uint64_t n = bench->wanted->tokens, n_repeats = bench->wanted->repeats;
    struct figures_row *row = &bench->figures->decode[bench->figures->n_decode];
    row->n = context;
    hearth_engine_costs(bench->engine, context - (n + 1) / 2, 1, &row->costs);
    int status = hearth_session_pretend(bench->session, context - n, err);
    status = status < 0 ? status : decode(bench, 1, err); /* what only the first step does is not measured */
    for (uint64_t repeat = 0; repeat < n_repeats && status == HEARTH_OK; repeat++) {
        status = hearth_session_pretend(bench->session, context - n, err);
        const double start = clock_seconds();
        status = status < 0 ? status : decode(bench, n, err);
        row->rates[repeat] = (double)n / (clock_seconds() - start);
        status = status < 0 ? status : advance(bench, n, err);
    }
    status = status < 0 ? status : take_limits(bench, row, 1 + n * n_repeats, err);
    if (status == HEARTH_OK) {
        row->median = median(row->rates, (size_t)n_repeats);
        bench->figures->n_decode++;
    }
    return status;
}

static int
prefill_once(struct synthetic_bench *bench, uint64_t n, double *ret_rate, struct hearth_error *err)
{
    struct progress *progress = &bench->front->progress;
    struct hearth_session *session;
    int status = hearth_session_new(bench->engine, n, &session, err);
    if (status < 0) {
        return status;
    }
    progress_part(progress, bench->n_fed, n);
    const double start = clock_seconds();
    status = hearth_session_feed(session, bench->ids, (size_t)n, bench->logits, 1, &progress->callback, err);
    *ret_rate = (double)n / (clock_seconds() - start);
    hearth_session_free(session);
    return status < 0 ? status : advance(bench, n, err);
}

static int
measure_prefill(struct synthetic_bench *bench, uint64_t n, struct hearth_error *err)
{
    struct figures_row *row = &bench->figures->prefill[bench->figures->n_prefill];
    int status = HEARTH_OK;
    row->n = n;
    hearth_engine_costs(bench->engine, 0, n, &row->costs);
    for (uint64_t repeat = 0; repeat < bench->wanted->repeats && status == HEARTH_OK; repeat++) {
        status = prefill_once(bench, n, &row->rates[repeat], err);
    }
    status = status < 0 ? status : take_limits(bench, row, n * bench->wanted->repeats, err);
    if (status == HEARTH_OK) {
        row->median = median(row->rates, (size_t)bench->wanted->repeats);
        bench->figures->n_prefill++;
    }
    return status;
}

static int
measure(struct synthetic_bench *bench, struct hearth_error *err)
{
    const struct bench_values *wanted = bench->wanted;
    uint64_t total = wanted->tokens * bench->contexts.n * wanted->repeats;
    for (size_t i = 0; i < wanted->prefill.n; i++) {
        total += wanted->prefill.values[i] * wanted->repeats;
    }
    progress_task(&bench->front->progress, "bench", total, "tokens");
    int status = take_limits(bench, NULL, 0, err);
    for (size_t i = 0; i < wanted->prefill.n && status == HEARTH_OK; i++) {
        status = measure_prefill(bench, wanted->prefill.values[i], err);
    }
    for (size_t i = 0; i < bench->contexts.n && status == HEARTH_OK; i++) {
        status = measure_decode(bench, bench->contexts.values[i], err);
    }
    progress_task_end(&bench->front->progress);
    return status;
}

static int
write_file(const char *path, void (*form)(const struct figures *figures, struct text *text),
           const struct figures *figures, struct hearth_error *err)
{
    struct text text = {0};
    if (!path) {
        return HEARTH_OK;
    }
    form(figures, &text);
    const int status =
        text.failed ? error_no_memory(err, path) : file_write(path, text.bytes, text.length, err);
    text_free(&text);
    return status;
}

static int
tell(struct synthetic_bench *bench, struct hearth_error *err)
{
    struct text text = {0};
    int status = write_file(bench->wanted->csv, figures_csv, bench->figures, err);
    status = status < 0 ? status : write_file(bench->wanted->plot, figures_plot, bench->figures, err);
    if (status < 0) {
        return status;
    }
    if (bench->front->json) {
        return out_json(figures_json(bench->figures), err);
    }
    figures_text(bench->figures, &text);
    return out_text(&text, err);
}

int
bench_synthetic(struct front *front, const struct bench_values *wanted, struct hearth_error *err)
{
    struct synthetic_bench bench = {.front = front, .wanted = wanted};
    int status = check_contexts(&bench, err);
    if (status < 0) {
        return status;
    }
    bench.figures = calloc(1, sizeof *bench.figures);
    if (!bench.figures) {
        return error_no_memory(err, "the figures");
    }
    bench.figures->wanted = wanted;
    status = eval_set_context(front, bench.longest, err);
    status = status < 0 ? status : prepare(&bench, err);
    status = status < 0 ? status : measure(&bench, err);
    status = status < 0 ? status : tell(&bench, err);
    hearth_session_free(bench.session);
    hearth_engine_close(bench.engine);
    free(bench.ids);
    free(bench.logits);
    free(bench.figures);
    return status;
}
