/* core/front/bench_report.h - the figures of hearth bench and their forms. */
#ifndef CORE_FRONT_BENCH_REPORT_H
#define CORE_FRONT_BENCH_REPORT_H

#include "core/front/bench.h"
#include "core/front/report.h"

struct bench_row {
    uint64_t context;
    double prefill[BENCH_MAX_REPEATS],
        decode[BENCH_MAX_REPEATS]; /* tokens per second of each repeat */
    double prefill_median, decode_median;
};

struct bench_report {
    struct hearth_model_facts facts;
    struct hearth_load load;
    uint64_t n_repeats, n_tokens;
    double host_bytes_per_second; /* measured; 0: unknown */
    double bytes_per_second;      /* of the memory that the weights are read from */
    struct bench_row rows[ARGS_MAX_LIST];
    size_t n_rows;
};

/* How the weights were loaded, as both halves of bench tell it. */
void bench_load_text(const struct hearth_load *load, struct text *text);
struct json_object *bench_load_json(const struct hearth_load *load);

void bench_report_text(const struct bench_report *report, struct text *text);
void bench_report_csv(const struct bench_report *report, struct text *text);
void bench_report_plot(const struct bench_report *report, struct text *text);
struct json_object *bench_report_json(const struct bench_report *report);

#endif
