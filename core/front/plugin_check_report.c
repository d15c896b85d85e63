/* plugin_check_report.c - see plugin_check_report.h. */
#include "core/front/plugin_check_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/front/human.h"

static struct json_object *
member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

static const char *
text_of(struct json_object *object, const char *key)
{
    struct json_object *value = member(object, key);
    return value ? json_object_get_string(value) : "";
}

static uint64_t
count_of(struct json_object *object, const char *key)
{
    return json_object_get_uint64(member(object, key));
}

static double
number_of(struct json_object *object, const char *key)
{
    return json_object_get_double(member(object, key));
}

static bool
is_set(struct json_object *object, const char *key)
{
    return json_object_get_boolean(member(object, key));
}

/* "same bits", "41 % of the tolerance", "WRONG: 2 of 16"; and how many trials' types or shapes were refused. */
static void
add_verdict(struct json_object *line, char verdict[64])
{
    const uint64_t n_refused = count_of(line, "refused");
    int used;
    if (count_of(line, "wrong") > 0) {
        used = snprintf(verdict, 64, "WRONG: %" PRIu64 " of %" PRIu64, count_of(line, "wrong"),
                        count_of(line, "trials"));
    } else if (n_refused == count_of(line, "trials")) {
        used = snprintf(verdict, 64, "WRONG: all");
    } else if (is_set(line, "same_bits")) {
        used = snprintf(verdict, 64, "same bits");
    } else {
        used = snprintf(verdict, 64, "%.0f %% of the tolerance", 100 * number_of(line, "tolerance_used"));
    }
    if (n_refused > 0 && used > 0 && used < 64) {
        snprintf(verdict + used, 64 - (size_t)used, ", %" PRIu64 " refused", n_refused);
    }
}

static const char *
add_time(double seconds, char time[24])
{
    snprintf(time, 24, seconds < 1e-3 ? "%.1f us" : "%.3f ms", seconds < 1e-3 ? 1e6 * seconds : 1e3 * seconds);
    return time;
}

static void
add_line(struct json_object *line, const char *op, struct text *text)
{
    char verdict[64], speed[HUMAN_BYTES], time[24], roof[24] = "";
    text_printf(text, "%-14s  %-8s  ", op, text_of(line, "numerics"));
    add_verdict(line, verdict);
    text_printf(text, "%6" PRIu64 "  %-*s", count_of(line, "trials"), member(line, "seconds") ? 34 : 0, verdict);
    if (member(line, "share_of_roof")) {
        const double share = number_of(line, "share_of_roof");
        snprintf(roof, sizeof roof, share > 1 ? "cache" : "%.1f %%", 100 * share);
    }
    if (member(line, "seconds")) {
        text_printf(text, "  %10s  %12s  %8s", add_time(number_of(line, "seconds"), time),
                    human_bandwidth(number_of(line, "bytes_per_second"), speed), roof);
    }
    text_add(text, "\n");
}

/* One paragraph: "Not supported, left to other devices: embed, kv_append (exact)." */
static void
add_unsupported(struct json_object *lines, struct text *text)
{
    const char *comma = "\nNot supported, left to other devices: ";
    const size_t n = json_object_array_length(lines);
    size_t column = 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *line = json_object_array_get_idx(lines, i);
        struct json_object *next = i + 1 < n ? json_object_array_get_idx(lines, i + 1) : NULL;
        const char *op = text_of(line, "operation");
        if (is_set(line, "supported")) {
            continue;
        }
        const bool both = next && strcmp(text_of(next, "operation"), op) == 0 && !is_set(next, "supported");
        const size_t before = text->length;
        text_add(text, column > 60 ? ",\n    " : comma);
        text_printf(text, both ? "%s" : "%s (%s)", op, text_of(line, "numerics"));
        column = column > 60 ? 0 : column + text->length - before;
        comma = ", ";
        i += both;
    }
    text_add(text, comma[0] == ',' ? ".\n" : "");
}

static void
add_head(struct json_object *report, struct text *text)
{
    char roof[HUMAN_BYTES];
    text_printf(text, "plugin   %s %s, ABI %s, %s\n", text_of(report, "plugin"), text_of(report, "version"),
                text_of(report, "abi"), text_of(report, "file"));
    text_printf(text, "device   %s\n", text_of(report, "device"));
    if (member(report, "roof_bytes_per_second")) {
        text_printf(text, "roof     %s (%s)\n", human_bandwidth(number_of(report, "roof_bytes_per_second"), roof),
                    text_of(report, "roof_source"));
    }
    text_printf(text, "seed     %" PRIu64 "\n\n", count_of(report, "seed"));
}

void
plugin_check_report(struct json_object *report, struct text *text)
{
    struct json_object *lines = member(report, "operations");
    const size_t n = json_object_array_length(lines);
    const char *before = "";
    bool speed = false;
    add_head(report, text);
    for (size_t i = 0; i < n; i++) {
        speed = speed || member(json_object_array_get_idx(lines, i), "seconds");
    }
    text_printf(text, "%-14s  %-8s  %6s  %-*s", "operation", "numerics", "trials", speed ? 34 : 0, "right");
    text_printf(text, speed ? "  %10s  %12s  %8s\n" : "\n", "one token", "bytes needed", "of roof");
    for (size_t i = 0; i < n; i++) {
        struct json_object *line = json_object_array_get_idx(lines, i);
        const char *op = text_of(line, "operation");
        if (is_set(line, "supported")) {
            add_line(line, strcmp(op, before) == 0 ? "" : op, text);
            before = op;
        }
    }
    add_unsupported(lines, text);
    for (size_t i = 0; i < n; i++) {
        struct json_object *wrong = member(json_object_array_get_idx(lines, i), "first_wrong");
        if (wrong) {
            text_printf(text, "\n%s:\n    %s\n", text_of(wrong, "trial"), text_of(wrong, "reason"));
        }
    }
    text_add(text, is_set(report, "right") ? "\nEverything it supports is right.\n" : "\nThis plugin is wrong.\n");
}
