/* bench.c - hearth bench: tokens per second beside the roof that memory sets, both measured in the
 * same run. */
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/front/bench.h"
#include "core/front/bench_report.h"
#include "core/front/eval.h"
#include "core/front/human.h"
#include "core/front/interrupt.h"
#include "core/front/out.h"

#define BENCH(field) offsetof(struct bench_values, field)
#define LIMIT_SECONDS 0.3

static const struct args_option bench_options[] = {
    {.name = "context", .letter = 'C', .kind = ARGS_LIST, .value = "N[,N]...",
     .offset = BENCH(contexts), .min = 1,
     .max = UINT64_C(1) << 30, .fallback = "128,1024",
     .help = "tokens in the context when decoding begins; feeding them is the measured prefill"},
    {.name = "tokens", .letter = 'n', .kind = ARGS_U64, .value = "N", .offset = BENCH(tokens),
     .min = 1, .max = 1000000,
     .fallback = "32", .help = "tokens decoded at each context"},
    {.name = "repeats", .letter = 'r', .kind = ARGS_U64, .value = "N", .offset = BENCH(repeats),
     .min = 1,
     .max = BENCH_MAX_REPEATS, .fallback = "5",
     .help = "times each figure is measured; the median is printed"},
    {.name = "csv", .kind = ARGS_TEXT, .value = "FILE", .offset = BENCH(csv),
     .help = "also write the table to FILE"},
    {.name = "plot", .kind = ARGS_TEXT, .value = "FILE", .offset = BENCH(plot),
     .help = "also draw it as an SVG file"},
    {.name = "synthetic", .kind = ARGS_TEXT, .value = "PRESET", .offset = BENCH(synthetic),
     .help = "measure random weights of this shape instead of a checkpoint: v4-flash, v4-pro or tiny"},
    {.name = "layers", .kind = ARGS_U64, .value = "N", .offset = BENCH(layers), .min = 1, .max = 1024,
     .help = "the synthetic model has only this many layers"},
    {.name = "ratios", .kind = ARGS_LIST, .value = "R[,R]...", .offset = BENCH(ratios), .max = 128,
     .help = "compress ratios of its layers, 0, 4 or 128, repeated as needed; they then route by score"},
    {.name = "prefill", .letter = 'p', .kind = ARGS_LIST, .value = "N[,N]...", .offset = BENCH(prefill), .min = 1,
     .max = UINT64_C(1) << 20,
     .help = "also measure the reading of prompts of this many tokens by the synthetic model"},
    {.name = "sweep", .kind = ARGS_FLAG, .offset = BENCH(sweep),
     .help = "contexts of 1k, 2k, 4k ... 1M for the synthetic model, whatever --context says"},
};

struct bench {
    struct front *front;
    const struct bench_values *wanted;
    struct hearth_engine *engine;
    struct bench_report report;
    int32_t *ids;  /* pseudo-random tokens: real text would not load the experts worse */
    float *logits; /* [vocab_size] */
    uint64_t n_fed;
};

/* The bandwidth that the device says it has, or the host's: of the chosen plugin, or the first; 0: it does not say. */
static int
bench_device_bandwidth(struct bench *bench, struct json_object *devices, struct hearth_error *err)
{
    const char *chosen = hearth_config_get(bench->front->config, "device.plugin");
    const size_t n = json_object_is_type(devices, json_type_array) ? json_object_array_length(devices)
                                                                   : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *device = json_object_array_get_idx(devices, i), *plugin = NULL;
        json_object_object_get_ex(device, "plugin", &plugin);
        const char *name = plugin ? json_object_get_string(plugin) : "";
        if (!chosen || !*chosen || strcmp(name, chosen) == 0) {
            return json_get_double_or("the devices", device, "read_bytes_per_second", 0, 1e18, 0,
                                      &bench->report.bytes_per_second, err);
        }
    }
    return HEARTH_OK;
}

static int
bench_bandwidth(struct bench *bench, struct hearth_error *err)
{
    char *json = NULL;
    struct json_object *report = NULL, *host = NULL, *devices = NULL;
    int status = hearth_devices(bench->front->config, true, &json, err);
    if (status == HEARTH_OK) {
        status = report_parse("the list of devices", json, &report, err);
    }
    if (status < 0) {
        return status;
    }
    if (json_object_object_get_ex(report, "topology", &host)) {
        status = json_get_double_or("the topology", host, "read_bytes_per_second", 0, 1e18, 0,
                                    &bench->report.host_bytes_per_second, err);
    }
    json_object_object_get_ex(report, "devices", &devices);
    if (status == HEARTH_OK) {
        status = bench_device_bandwidth(bench, devices, err);
    }
    json_object_put(report);
    return status;
}

/* That of all devices in use, measured by themselves; else the host's. */
static void
bench_measured_bandwidth(struct bench *bench)
{
    struct hearth_limits limits;
    const bool is_measured = hearth_engine_limits(bench->engine, LIMIT_SECONDS, &limits, NULL) == HEARTH_OK;
    bench->report.bytes_per_second =
        is_measured ? limits.read_bytes_per_second : bench->report.host_bytes_per_second;
}

/* One measurement: feed n tokens, then decode. */
static int
bench_once(struct bench *bench, struct bench_row *row, size_t repeat, struct hearth_error *err)
{
    struct progress *progress = &bench->front->progress;
    struct hearth_session *session;
    const size_t n = (size_t)row->context, n_tokens = (size_t)bench->wanted->tokens;
    int status = hearth_session_new(bench->engine, n + n_tokens, &session, err);
    if (status < 0) {
        return status;
    }
    progress_part(progress, bench->n_fed, n);
    const double start = clock_seconds();
    status =
        hearth_session_feed(session, bench->ids, n, bench->logits, 1, &progress->callback, err);
    const double fed = clock_seconds();
    for (size_t i = 0; i < n_tokens && status == HEARTH_OK; i++) {
        status = interrupt_seen() ? error_set(err, HEARTH_EINTERRUPTED, "interrupted")
                                  : hearth_session_feed(session, &bench->ids[n + i], 1,
                                                        bench->logits, 1, NULL, err);
    }
    const double done = clock_seconds();
    if (status == HEARTH_OK) {
        row->prefill[repeat] = (double)n / (fed - start);
        row->decode[repeat] = (double)n_tokens / (done - fed);
        bench->n_fed += n + n_tokens;
        status = progress_at(progress, bench->n_fed)
                     ? HEARTH_OK
                     : error_set(err, HEARTH_EINTERRUPTED, "interrupted");
    }
    hearth_session_free(session);
    return status;
}

static int
bench_measure(struct bench *bench, struct hearth_error *err)
{
    const struct bench_values *wanted = bench->wanted;
    struct bench_report *report = &bench->report;
    uint64_t total = 0;
    int status = HEARTH_OK;
    for (size_t i = 0; i < wanted->contexts.n; i++) {
        total += (wanted->contexts.values[i] + wanted->tokens) * wanted->repeats;
    }
    progress_task(&bench->front->progress, "bench", total, "tokens");
    for (size_t i = 0; i < wanted->contexts.n && status == HEARTH_OK; i++) {
        struct bench_row *row = &report->rows[report->n_rows];
        row->context = wanted->contexts.values[i];
        for (size_t repeat = 0; repeat < wanted->repeats && status == HEARTH_OK; repeat++) {
            status = bench_once(bench, row, repeat, err);
        }
        if (status == HEARTH_OK) {
            row->prefill_median = median(row->prefill, (size_t)wanted->repeats);
            row->decode_median = median(row->decode, (size_t)wanted->repeats);
            report->n_rows++;
        }
    }
    progress_task_end(&bench->front->progress);
    return status;
}

static int
bench_prepare(struct bench *bench, uint64_t longest, struct hearth_error *err)
{
    int status = front_engine_open(bench->front, &bench->engine, &bench->report.facts, err);
    if (status < 0) {
        return status;
    }
    hearth_engine_load(bench->engine, &bench->report.load);
    if (bench->report.bytes_per_second <= 0) {
        bench_measured_bandwidth(bench);
    }
    const uint32_t vocab_size = bench->report.facts.vocab_size;
    bench->ids = calloc((size_t)longest, sizeof bench->ids[0]);
    bench->logits = calloc(vocab_size, sizeof bench->logits[0]);
    if (!bench->ids || !bench->logits) {
        return error_no_memory(err, "the benchmark");
    }
    uint32_t state = 1;
    for (uint64_t i = 0; i < longest; i++) {
        state = state * 1664525u + 1013904223u;
        bench->ids[i] = (int32_t)((uint64_t)state * vocab_size >> 32);
    }
    return HEARTH_OK;
}

static int
bench_write(struct bench *bench, struct hearth_error *err)
{
    struct text text = {0};
    const struct bench_values *wanted = bench->wanted;
    int status = HEARTH_OK;
    if (wanted->csv) {
        bench_report_csv(&bench->report, &text);
        status = text.failed ? error_no_memory(err, wanted->csv)
                             : file_write(wanted->csv, text.bytes, text.length, err);
    }
    text_free(&text);
    if (status == HEARTH_OK && wanted->plot) {
        bench_report_plot(&bench->report, &text);
        status = text.failed ? error_no_memory(err, wanted->plot)
                             : file_write(wanted->plot, text.bytes, text.length, err);
    }
    text_free(&text);
    if (status < 0) {
        return status;
    }
    if (bench->front->json) {
        return out_json(bench_report_json(&bench->report), err);
    }
    bench_report_text(&bench->report, &text);
    return out_text(&text, err);
}

static int
bench_checkpoint(struct front *front, const struct bench_values *wanted, struct hearth_error *err)
{
    struct bench bench = {.front = front, .wanted = wanted};
    uint64_t longest = 0;
    for (size_t i = 0; i < bench.wanted->contexts.n; i++) {
        const uint64_t context = bench.wanted->contexts.values[i];
        longest = context > longest ? context : longest;
    }
    longest += bench.wanted->tokens;
    bench.report.n_repeats = bench.wanted->repeats;
    bench.report.n_tokens = bench.wanted->tokens;
    int status = eval_set_context(front, longest, err);
    if (status == HEARTH_OK) {
        status = bench_bandwidth(&bench, err); /* before the engine: a plugin is started once at a time */
    }
    if (status == HEARTH_OK) {
        status = bench_prepare(&bench, longest, err);
    }
    if (status == HEARTH_OK) {
        status = bench_measure(&bench, err);
    }
    if (status == HEARTH_OK) {
        status = bench_write(&bench, err);
    }
    free(bench.ids);
    free(bench.logits);
    hearth_engine_close(bench.engine);
    return status;
}

static int
bench_run(struct front *front, const void *values, const struct args_operands *operands,
          struct hearth_error *err)
{
    (void)operands;
    const struct bench_values *wanted = values;
    /* figures of the host would stand under the device's name */
    const int status = hearth_config_set(front->config, "device.takeover", "false", "bench", err);
    if (status < 0) {
        return status;
    }
    if (wanted->synthetic) {
        return bench_synthetic(front, wanted, err);
    }
    const char *stray = wanted->layers > 0      ? "layers"
                        : wanted->ratios.n > 0  ? "ratios"
                        : wanted->prefill.n > 0 ? "prefill"
                        : wanted->sweep         ? "sweep"
                                                : NULL;
    if (stray) {
        return error_set(err, HEARTH_EUSAGE, "--%s: --synthetic with the name of a shape wanted", stray);
    }
    return bench_checkpoint(front, wanted, err);
}

const struct command command_bench = {
    .name = "bench",
    .summary = "Measure tokens per second, bytes moved per token and the memory's read bandwidth.",
    .notes = "Decoding reads every active weight once per token, so the bandwidth sets a roof; the "
             "last column says how much of "
             "it is reached.\n\n"
             "With --synthetic no checkpoint is needed: random weights fill memory as the model's own "
             "would, and sessions only pretend their context, of which the decoded tokens are the end.",
    .options = bench_options,
    .n_options = sizeof bench_options / sizeof bench_options[0],
    .values_size = sizeof(struct bench_values),
    .run = bench_run,
};
