/* bench_report.c - see bench_report.h. */
#include "core/front/bench_report.h"

#include <stdio.h>

#include "core/front/human.h"
#include "core/front/svg.h"

static double
row_achieved(const struct bench_report *report, const struct bench_row *row)
{
    return row->decode_median * (double)report->facts.active_bytes;
}

static double
row_ratio(const struct bench_report *report, const struct bench_row *row)
{
    return report->bytes_per_second > 0 ? row_achieved(report, row) / report->bytes_per_second : 0;
}

/* Tokens per second if reading the active weights were all there is to do. */
static double
report_roof(const struct bench_report *report)
{
    return report->facts.active_bytes
               ? report->bytes_per_second / (double)report->facts.active_bytes
               : 0;
}

/* What became of the weights. */
static const char *
load_kind(const struct hearth_load *load)
{
    return load->packed_bytes > 0 ? "packed and kept" : load->mapped_bytes > 0 ? "mapped" : "packed or copied";
}

static double
load_rate(const struct hearth_load *load)
{
    return load->seconds > 0 ? (double)load->bytes / load->seconds : 0;
}

void
bench_load_text(const struct hearth_load *load, struct text *text)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES];
    text_printf(text, "load             %s in %.2f s, %s, weights %s\n", human_bytes((double)load->bytes, a),
                load->seconds, human_bandwidth(load_rate(load), b), load_kind(load));
}

struct json_object *
bench_load_json(const struct hearth_load *load)
{
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "seconds", json_object_new_double(load->seconds));
    json_object_object_add(object, "bytes", json_object_new_uint64(load->bytes));
    json_object_object_add(object, "bytes_per_second", json_object_new_double(load_rate(load)));
    json_object_object_add(object, "mapped_bytes", json_object_new_uint64(load->mapped_bytes));
    json_object_object_add(object, "packed_bytes", json_object_new_uint64(load->packed_bytes));
    return object;
}

void
bench_report_text(const struct bench_report *report, struct text *text)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES];
    text_printf(text, "model            %s, %s of weights\n", report->facts.name,
                human_bytes((double)report->facts.weight_bytes, a));
    bench_load_text(&report->load, text);
    text_printf(text, "bytes per token  %s\n", human_bytes((double)report->facts.active_bytes, b));
    text_printf(text, "read bandwidth   %s measured, a roof of %.1f tokens/s\n",
                human_bandwidth(report->bytes_per_second, c), report_roof(report));
    text_printf(text, "medians of       %llu repeats, %llu tokens decoded\n\n",
                (unsigned long long)report->n_repeats, (unsigned long long)report->n_tokens);
    text_add(text, " context   prefill/s    decode/s        read       of roof\n");
    for (size_t i = 0; i < report->n_rows; i++) {
        const struct bench_row *row = &report->rows[i];
        text_printf(text, "%8llu  %10.1f  %10.1f  %10s  %8.1f %%\n",
                    (unsigned long long)row->context, row->prefill_median, row->decode_median,
                    human_bandwidth(row_achieved(report, row), a), 100 * row_ratio(report, row));
    }
}

void
bench_report_csv(const struct bench_report *report, struct text *text)
{
    text_add(text,
             "model,context,prefill_tokens_per_second,decode_tokens_per_second,bytes_per_token,"
             "achieved_bytes_per_second,measured_bytes_per_second,ratio\n");
    for (size_t i = 0; i < report->n_rows; i++) {
        const struct bench_row *row = &report->rows[i];
        text_printf(text, "%s,%llu,%.3f,%.3f,%llu,%.0f,%.0f,%.5f\n", report->facts.name,
                    (unsigned long long)row->context, row->prefill_median, row->decode_median,
                    (unsigned long long)report->facts.active_bytes, row_achieved(report, row),
                    report->bytes_per_second, row_ratio(report, row));
    }
}

void
bench_report_plot(const struct bench_report *report, struct text *text)
{
    double x[ARGS_MAX_LIST], decode[ARGS_MAX_LIST], prefill[ARGS_MAX_LIST], roof[ARGS_MAX_LIST];
    char title[128];
    for (size_t i = 0; i < report->n_rows; i++) {
        x[i] = (double)report->rows[i].context;
        decode[i] = report->rows[i].decode_median;
        prefill[i] = report->rows[i].prefill_median;
        roof[i] = report_roof(report);
    }
    const struct svg_series series[] = {
        {.name = "decode", .x = x, .y = decode, .n = report->n_rows},
        {.name = "prefill", .x = x, .y = prefill, .n = report->n_rows},
        {.name = "roof of decode", .x = x, .y = roof, .n = report->n_rows, .dashed = true},
    };
    snprintf(title, sizeof title, "hearth bench: %s", report->facts.name);
    svg_chart(text, title, "tokens of context", "tokens/s", series,
              sizeof series / sizeof series[0]);
}

static struct json_object *
json_values(const double *values, uint64_t n)
{
    struct json_object *list = json_object_new_array();
    for (uint64_t i = 0; i < n; i++) {
        json_object_array_add(list, json_object_new_double(values[i]));
    }
    return list;
}

struct json_object *
bench_report_json(const struct bench_report *report)
{
    struct json_object *object = json_object_new_object(), *rows = json_object_new_array();
    json_object_object_add(object, "model", json_object_new_string(report->facts.name));
    json_object_object_add(object, "weight_bytes",
                           json_object_new_uint64(report->facts.weight_bytes));
    json_object_object_add(object, "bytes_per_token",
                           json_object_new_uint64(report->facts.active_bytes));
    json_object_object_add(object, "load", bench_load_json(&report->load));
    json_object_object_add(object, "host_read_bytes_per_second",
                           json_object_new_double(report->host_bytes_per_second));
    json_object_object_add(object, "read_bytes_per_second",
                           json_object_new_double(report->bytes_per_second));
    json_object_object_add(object, "roof_tokens_per_second",
                           json_object_new_double(report_roof(report)));
    json_object_object_add(object, "decoded_tokens", json_object_new_uint64(report->n_tokens));
    json_object_object_add(object, "repeats", json_object_new_uint64(report->n_repeats));
    for (size_t i = 0; i < report->n_rows; i++) {
        const struct bench_row *row = &report->rows[i];
        struct json_object *item = json_object_new_object();
        json_object_object_add(item, "context", json_object_new_uint64(row->context));
        json_object_object_add(item, "prefill_tokens_per_second",
                               json_object_new_double(row->prefill_median));
        json_object_object_add(item, "decode_tokens_per_second",
                               json_object_new_double(row->decode_median));
        json_object_object_add(item, "achieved_bytes_per_second",
                               json_object_new_double(row_achieved(report, row)));
        json_object_object_add(item, "ratio", json_object_new_double(row_ratio(report, row)));
        json_object_object_add(item, "prefill_repeats",
                               json_values(row->prefill, report->n_repeats));
        json_object_object_add(item, "decode_repeats", json_values(row->decode, report->n_repeats));
        json_object_array_add(rows, item);
    }
    json_object_object_add(object, "contexts", rows);
    return object;
}
