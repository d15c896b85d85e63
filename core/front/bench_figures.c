/* bench_figures.c - see bench_figures.h. */
#include "core/front/bench_figures.h"

#include <stdio.h>

#include "core/front/bench_report.h"
#include "core/front/human.h"
#include "core/front/svg.h"

double
figures_read_share(const struct figures_row *row)
{
    const double most = row->limits.read_bytes_per_second;
    return most > 0 ? row->costs.total.bytes * row->median / most : 0;
}

double
figures_operation_share(const struct figures_row *row, double tokens)
{
    const struct hearth_limits *limits = &row->limits;
    if (!(limits->operations_per_second > 0) || !(limits->exact_operations_per_second > 0)) {
        return 0;
    }
    const double seconds = row->costs.total.quantised_operations / limits->operations_per_second +
                           row->costs.total.exact_operations / limits->exact_operations_per_second;
    return seconds / tokens * row->median;
}

double
figures_launch_share(const struct figures_row *row)
{
    return row->launches * row->launch_seconds * row->median;
}

/* "93.1 %", or "unknown" */
static const char *
share_text(double share, char text[HUMAN_BYTES])
{
    snprintf(text, HUMAN_BYTES, share > 0 ? "%.1f %%" : "unknown", 100 * share);
    return text;
}

/* "512.0 G/s", or "unknown" */
static const char *
rate_text(double rate, char text[HUMAN_BYTES])
{
    char count[HUMAN_BYTES];
    snprintf(text, HUMAN_BYTES, rate > 0 ? "%.32s/s" : "unknown", human_count(rate, count));
    return text;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static void
text_decode(const struct figures *figures, struct text *text)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES], d[HUMAN_BYTES], e[HUMAN_BYTES], f[HUMAN_BYTES];
    text_printf(text, "\n%9s %11s %11s %11s %9s %12s %12s %11s\n", "context", "decode/s", "bytes/token", "memory",
                "of it", "quantised", "exact", "of both");
    for (size_t i = 0; i < figures->n_decode; i++) {
        const struct figures_row *row = &figures->decode[i];
        text_printf(text, "%9llu %11.2f %11s %11s %9s %12s %12s %11s\n", (unsigned long long)row->n, row->median,
                    human_bytes(row->costs.total.bytes, a), human_bandwidth(row->limits.read_bytes_per_second, b),
                    share_text(figures_read_share(row), c), rate_text(row->limits.operations_per_second, d),
                    rate_text(row->limits.exact_operations_per_second, e),
                    share_text(figures_operation_share(row, 1), f));
    }
    for (size_t i = 0; i < figures->n_decode; i++) {
        const struct figures_row *row = &figures->decode[i];
        if (row->launches > 0) {
            text_printf(text, "%s%llu: %.1f launches a token, %.2f us each with nothing to do: %s of the time\n",
                        i == 0 ? "\n" : "", (unsigned long long)row->n, row->launches, 1e6 * row->launch_seconds,
                        share_text(figures_launch_share(row), a));
        }
    }
}

static void
text_prefill(const struct figures *figures, struct text *text)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES], d[HUMAN_BYTES];
    if (figures->n_prefill == 0) {
        return;
    }
    text_printf(text, "\n%9s %11s %16s %12s %12s %11s\n", "prompt", "prefill/s", "operations/token", "quantised",
                "exact", "of both");
    for (size_t i = 0; i < figures->n_prefill; i++) {
        const struct figures_row *row = &figures->prefill[i];
        const double operations = row->costs.total.quantised_operations + row->costs.total.exact_operations;
        text_printf(text, "%9llu %11.2f %16s %12s %12s %11s\n", (unsigned long long)row->n, row->median,
                    human_count(operations / (double)row->n, a), rate_text(row->limits.operations_per_second, b),
                    rate_text(row->limits.exact_operations_per_second, c),
                    share_text(figures_operation_share(row, (double)row->n), d));
    }
}

/* What a token decoded at the last context is made of. */
static void
text_costs(const struct figures_row *row, struct text *text)
{
    char a[HUMAN_BYTES], b[HUMAN_BYTES], c[HUMAN_BYTES];
    text_printf(text, "\n%-20s %12s %8s %12s %12s\n", "a token needs", "bytes", "", "quantised", "exact");
    for (size_t i = 0; i <= row->costs.n_items; i++) {
        const struct hearth_cost *cost = i < row->costs.n_items ? &row->costs.items[i] : &row->costs.total;
        text_printf(text, "%-20s %12s %6.1f %% %12s %12s\n", cost->kind, human_bytes(cost->bytes, a),
                    100 * cost->bytes / row->costs.total.bytes, human_count(cost->quantised_operations, b),
                    human_count(cost->exact_operations, c));
    }
    text_printf(text, "(decoded at a context of %llu; operations, a multiply-add being two)\n",
                (unsigned long long)row->n);
}

void
figures_text(const struct figures *figures, struct text *text)
{
    char a[HUMAN_BYTES];
    const struct figures_row *last = &figures->decode[figures->n_decode - 1];
    text_printf(text, "model            %s, %s of weights\n", figures->facts.name,
                human_bytes((double)figures->facts.weight_bytes, a));
    bench_load_text(&figures->load, text);
    text_printf(text, "medians of       %llu repeats, %llu tokens decoded\n",
                (unsigned long long)figures->wanted->repeats, (unsigned long long)figures->wanted->tokens);
    text_printf(text, "limits           measured before and after each figure, by %s%s%s\n",
                last->limits.is_measured_by_device ? "the device" : "a plain read of memory",
                last->limits.operation[0] ? "; quantised products with " : "", last->limits.operation);
    text_prefill(figures, text);
    text_decode(figures, text);
    text_costs(last, text);
}

/* ---- CSV ----------------------------------------------------------------------------------------- */

/* An unknown value is an empty cell. */
static void
csv_known(int digits, double value, struct text *text)
{
    text_add(text, ",");
    if (value > 0) {
        text_printf(text, "%.*f", digits, value);
    }
}

static void
csv_row(const char *phase, const struct figures_row *row, double tokens, struct text *text)
{
    text_printf(text, "%s,%llu,%.3f,%.0f,%.0f,%.0f", phase, (unsigned long long)row->n, row->median,
                row->costs.total.bytes / tokens, row->costs.total.quantised_operations / tokens,
                row->costs.total.exact_operations / tokens);
    csv_known(0, row->limits.read_bytes_per_second, text);
    csv_known(0, row->limits.operations_per_second, text);
    csv_known(0, row->limits.exact_operations_per_second, text);
    csv_known(5, tokens > 1 ? 0 : figures_read_share(row), text);
    csv_known(5, figures_operation_share(row, tokens), text);
    csv_known(2, row->launches, text);
    csv_known(9, row->launch_seconds, text);
    text_add(text, "\n");
}

void
figures_csv(const struct figures *figures, struct text *text)
{
    text_add(text, "phase,tokens,tokens_per_second,bytes_per_token,quantised_operations_per_token,"
                   "exact_operations_per_token,read_bytes_per_second,operations_per_second,"
                   "exact_operations_per_second,read_share,operation_share,launches_per_token,launch_seconds\n");
    for (size_t i = 0; i < figures->n_prefill; i++) {
        csv_row("prefill", &figures->prefill[i], (double)figures->prefill[i].n, text);
    }
    for (size_t i = 0; i < figures->n_decode; i++) {
        csv_row("decode", &figures->decode[i], 1, text);
    }
}

/* ---- SVG ----------------------------------------------------------------------------------------- */

void
figures_plot(const struct figures *figures, struct text *text)
{
    double x[ARGS_MAX_LIST], rate[ARGS_MAX_LIST], roof[ARGS_MAX_LIST], read[ARGS_MAX_LIST], work[ARGS_MAX_LIST];
    struct text charts[2] = {{0}};
    char title[160];
    const size_t n = figures->n_decode;
    bool has_work = true;
    for (size_t i = 0; i < n; i++) {
        const struct figures_row *row = &figures->decode[i];
        x[i] = (double)row->n;
        rate[i] = row->median;
        roof[i] = row->limits.read_bytes_per_second / row->costs.total.bytes;
        read[i] = 100 * figures_read_share(row);
        work[i] = 100 * figures_operation_share(row, 1);
        has_work = has_work && work[i] > 0;
    }
    const struct svg_series rates[] = {
        {.name = "decode", .x = x, .y = rate, .n = n},
        {.name = "roof: bytes over bandwidth", .x = x, .y = roof, .n = n, .dashed = true},
    };
    const struct svg_series shares[] = {
        {.name = "of the read bandwidth", .x = x, .y = read, .n = n},
        {.name = "of the rate of operations", .x = x, .y = work, .n = n},
    };
    snprintf(title, sizeof title, "hearth bench: %s", figures->facts.name);
    svg_chart(&charts[0], title, "tokens of context", "tokens/s", rates, 2);
    svg_chart(&charts[1], "share of what was measured before and after", "tokens of context", "%", shares,
              has_work ? 2 : 1);
    svg_stack(text, charts, 2);
    text_free(&charts[0]);
    text_free(&charts[1]);
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

static void
put_number(struct json_object *object, const char *key, double value)
{
    json_object_object_add(object, key, json_object_new_double(value));
}

/* What is unknown is left out. */
static void
put_known(struct json_object *object, const char *key, double value)
{
    if (value > 0) {
        put_number(object, key, value);
    }
}

static struct json_object *
json_cost(const struct hearth_cost *cost, double tokens)
{
    struct json_object *object = json_object_new_object();
    put_number(object, "bytes", cost->bytes / tokens);
    put_number(object, "quantised_operations", cost->quantised_operations / tokens);
    put_number(object, "exact_operations", cost->exact_operations / tokens);
    return object;
}

static struct json_object *
json_row(const struct figures *figures, const struct figures_row *row, const char *n_key, double tokens)
{
    struct json_object *object = json_object_new_object(), *rates = json_object_new_array(),
                       *costs = json_object_new_object();
    json_object_object_add(object, n_key, json_object_new_uint64(row->n));
    put_number(object, "tokens_per_second", row->median);
    for (uint64_t i = 0; i < figures->wanted->repeats; i++) {
        json_object_array_add(rates, json_object_new_double(row->rates[i]));
    }
    json_object_object_add(object, "repeats", rates);
    for (size_t i = 0; i < row->costs.n_items; i++) {
        json_object_object_add(costs, row->costs.items[i].kind, json_cost(&row->costs.items[i], tokens));
    }
    json_object_object_add(costs, row->costs.total.kind, json_cost(&row->costs.total, tokens));
    json_object_object_add(object, "costs_per_token", costs);
    put_known(object, "read_bytes_per_second", row->limits.read_bytes_per_second);
    put_known(object, "operations_per_second", row->limits.operations_per_second);
    put_known(object, "exact_operations_per_second", row->limits.exact_operations_per_second);
    if (tokens <= 1) { /* a prompt's bytes are read once for many tokens: no roof of it */
        put_known(object, "read_share", figures_read_share(row));
    }
    put_known(object, "operation_share", figures_operation_share(row, tokens));
    put_known(object, "launches_per_token", row->launches);
    put_known(object, "launch_seconds", row->launch_seconds);
    put_known(object, "launch_share", figures_launch_share(row));
    return object;
}

struct json_object *
figures_json(const struct figures *figures)
{
    struct json_object *object = json_object_new_object(), *prefill = json_object_new_array(),
                       *decode = json_object_new_array();
    const struct hearth_limits *limits = &figures->decode[figures->n_decode - 1].limits;
    json_object_object_add(object, "model", json_object_new_string(figures->facts.name));
    json_object_object_add(object, "weight_bytes", json_object_new_uint64(figures->facts.weight_bytes));
    json_object_object_add(object, "load", bench_load_json(&figures->load));
    json_object_object_add(object, "decoded_tokens", json_object_new_uint64(figures->wanted->tokens));
    json_object_object_add(object, "operation", json_object_new_string(limits->operation));
    json_object_object_add(object, "measured_by_device", json_object_new_boolean(limits->is_measured_by_device));
    for (size_t i = 0; i < figures->n_prefill; i++) {
        const struct figures_row *row = &figures->prefill[i];
        json_object_array_add(prefill, json_row(figures, row, "prompt", (double)row->n));
    }
    for (size_t i = 0; i < figures->n_decode; i++) {
        json_object_array_add(decode, json_row(figures, &figures->decode[i], "context", 1));
    }
    json_object_object_add(object, "prefill", prefill);
    json_object_object_add(object, "decode", decode);
    return object;
}
