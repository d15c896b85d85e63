/* render.c - see render.h. */
#include "core/front/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/front/human.h"

#define RENDER_MAX_COLUMNS 24u
#define RENDER_MAX_DEPTH 4

static bool
key_ends(const char *key, const char *end)
{
    const size_t n = strlen(key), m = strlen(end);
    return n >= m && strcmp(key + n - m, end) == 0;
}

static bool
is_plain(struct json_object *value)
{
    const enum json_type type = json_object_get_type(value);
    return type != json_type_object && type != json_type_array;
}

static bool
is_list_of_objects(struct json_object *value)
{
    return json_object_is_type(value, json_type_array) && json_object_array_length(value) > 0
           && json_object_is_type(json_object_array_get_idx(value, 0), json_type_object);
}

/* Code points, as good as columns for the names met here. */
static size_t
text_width(const char *string)
{
    size_t width = 0;
    for (; *string; string++) {
        width += ((unsigned char)*string & 0xC0) != 0x80;
    }
    return width;
}

static void
add_padded(struct text *text, const char *string, size_t width, bool right)
{
    const size_t own = text_width(string);
    const int fill = own < width ? (int)(width - own) : 0;
    if (right) {
        text_printf(text, "%*s%s", fill, "", string);
    } else {
        text_printf(text, "%s%*s", string, fill, "");
    }
}

static void
add_number(const char *key, struct json_object *value, struct text *text)
{
    char human[HUMAN_BYTES];
    const double number = json_object_get_double(value);
    if (key_ends(key, "bytes_per_second")) {
        text_add(text, human_bandwidth(number, human));
    } else if (key_ends(key, "bytes") || strncmp(key, "bytes", 5) == 0) {
        text_add(text, human_bytes(number, human));
    } else if (key_ends(key, "seconds")) {
        text_add(text, human_duration(number, human));
    } else if (key_ends(key, "flops") || key_ends(key, "parameters")
               || key_ends(key, "flops_per_token")) {
        text_add(text, human_count(number, human));
    } else if (json_object_is_type(value, json_type_int)) {
        text_printf(text, "%" PRId64, json_object_get_int64(value));
    } else {
        text_printf(text, "%.4g", number);
    }
}

/* "0 x2, 4, 128": equal neighbours once, with their number. */
static void
add_list(const char *key, struct json_object *list, struct text *text)
{
    const size_t n = json_object_array_length(list);
    if (n == 0) {
        text_add(text, "none");
    }
    for (size_t i = 0; i < n;) {
        struct json_object *item = json_object_array_get_idx(list, i);
        size_t run = 1;
        while (i + run < n && json_object_equal(item, json_object_array_get_idx(list, i + run))) {
            run++;
        }
        text_add(text, i ? ", " : "");
        render_value(key, item, text);
        if (run > 1) {
            text_printf(text, " x%zu", run);
        }
        i += run;
    }
}

void
render_value(const char *key, struct json_object *value, struct text *text)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        text_add(text, "-");
        return;
    case json_type_boolean:
        text_add(text, json_object_get_boolean(value) ? "yes" : "no");
        return;
    case json_type_string:
        text_add(text, json_object_get_string(value));
        return;
    case json_type_array:
        add_list(key, value, text);
        return;
    case json_type_object: {
        bool first = true;
        json_object_object_foreach (value, name, item) {
            text_printf(text, "%s%s ", first ? "" : ", ", name);
            render_value(name, item, text);
            first = false;
        }
        return;
    }
    default:
        add_number(key, value, text);
    }
}

static void
add_label(struct text *text, const char *key)
{
    for (; *key; key++) {
        text_append(text, *key == '_' ? " " : key, 1);
    }
}

/* The cells of one column, one after the other, each ended by NUL. */
struct column {
    const char *key;
    struct text cells;
    size_t width;
    bool right;
};

static void
column_fill(struct column *column, struct json_object *rows)
{
    struct text cell = {0};
    add_label(&cell, column->key);
    column->width = cell.bytes ? text_width(cell.bytes) : 0;
    text_append(&column->cells, cell.bytes ? cell.bytes : "", cell.length + 1);
    column->right = true;
    for (size_t i = 0; i < json_object_array_length(rows); i++) {
        struct json_object *value = NULL;
        json_object_object_get_ex(json_object_array_get_idx(rows, i), column->key, &value);
        text_clear(&cell);
        render_value(column->key, value, &cell);
        const char *bytes = cell.bytes ? cell.bytes : "";
        const size_t width = text_width(bytes);
        column->width = width > column->width ? width : column->width;
        const enum json_type type = json_object_get_type(value);
        column->right =
            column->right
            && (type == json_type_int || type == json_type_double || type == json_type_null);
        text_append(&column->cells, bytes, cell.length + 1);
    }
    text_free(&cell);
}

void
render_table(struct json_object *rows, const char *indent, struct text *text)
{
    struct column columns[RENDER_MAX_COLUMNS] = {0};
    const char *next[RENDER_MAX_COLUMNS];
    size_t n = 0;
    bool failed = false;
    json_object_object_foreach (json_object_array_get_idx(rows, 0), key, first_value) {
        (void)first_value;
        if (n < RENDER_MAX_COLUMNS) {
            columns[n].key = key;
            column_fill(&columns[n], rows);
            failed = failed || columns[n].cells.failed;
            next[n] = columns[n].cells.bytes;
            n++;
        }
    }
    text->failed = text->failed || failed;
    for (size_t row = 0; !text->failed && row < json_object_array_length(rows) + 1; row++) {
        text_add(text, indent);
        for (size_t i = 0; i < n; i++) {
            const bool last = i + 1 == n;
            add_padded(text, next[i], last && !columns[i].right ? 0 : columns[i].width,
                       columns[i].right);
            text_add(text, last ? "\n" : "  ");
            next[i] += strlen(next[i]) + 1;
        }
    }
    for (size_t i = 0; i < n; i++) {
        text_free(&columns[i].cells);
    }
}

static bool
is_hidden(const char *key, const char *const *hidden)
{
    for (; hidden && *hidden; hidden++) {
        if (strcmp(key, *hidden) == 0) {
            return true;
        }
    }
    return false;
}

static void
add_fields(struct json_object *object, const char *const *hidden, const char *indent,
           struct text *text)
{
    size_t width = 0;
    json_object_object_foreach (object, any_key, any_value) {
        const bool here =
            (is_plain(any_value) || !is_list_of_objects(any_value)) && !is_hidden(any_key, hidden);
        width = here && strlen(any_key) > width ? strlen(any_key) : width;
    }
    json_object_object_foreach (object, key, value) {
        if (is_hidden(key, hidden) || is_list_of_objects(value)
            || json_object_is_type(value, json_type_object)) {
            continue;
        }
        struct text label = {0};
        add_label(&label, key);
        text_add(text, indent);
        add_padded(text, label.bytes ? label.bytes : key, width + 2, false);
        render_value(key, value, text);
        text_add(text, "\n");
        text_free(&label);
    }
}

static void
add_object(struct json_object *object, const char *const *hidden, int depth, struct text *text)
{
    char indent[2 * RENDER_MAX_DEPTH + 1];
    snprintf(indent, sizeof indent, "%*s", 2 * depth, "");
    add_fields(object, hidden, indent, text);
    json_object_object_foreach (object, key, value) {
        const bool list = is_list_of_objects(value);
        if (is_hidden(key, hidden) || (!list && !json_object_is_type(value, json_type_object))) {
            continue;
        }
        text_printf(text, "%s%s", depth == 0 && text->length ? "\n" : "", indent);
        add_label(text, key);
        text_add(text, "\n");
        if (list) {
            render_table(value, depth == 0 ? "  " : "    ", text);
        } else if (depth + 1 < RENDER_MAX_DEPTH) {
            add_object(value, NULL, depth + 1, text);
        }
    }
}

void
render_report(struct json_object *report, const char *const *hidden, struct text *text)
{
    if (json_object_is_type(report, json_type_object)) {
        add_object(report, hidden, 0, text);
    }
}
