/* render.c - see render.h. */
#include "core/front/render.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/front/human.h"
#include "core/front/render_grid.h"

#define RENDER_MAX_DEPTH 5
#define RENDER_SIDE_BY_SIDE 4u /* at most so many alike objects stand as columns; more, as rows */
#define RENDER_WIDE 7u         /* a few objects of more fields than this stand as columns */

enum unit { UNIT_NONE, UNIT_BYTES, UNIT_BANDWIDTH, UNIT_SECONDS, UNIT_COUNT, UNIT_PERCENT };

/* What a key says of its number; if nothing, what the object around it says. */
static enum unit
unit_of(const char *key, enum unit outer)
{
    static const struct {
        const char *part;
        enum unit unit;
    } parts[] = {
        {"bytes_per_second", UNIT_BANDWIDTH}, {"tokens_per_second", UNIT_NONE},
        {"percent", UNIT_PERCENT},            {"bytes", UNIT_BYTES},
        {"seconds", UNIT_SECONDS},            {"flops", UNIT_COUNT},
        {"hyper_parameters", UNIT_NONE},      {"parameters", UNIT_COUNT},
        {"tensors", UNIT_NONE},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strstr(key, parts[i].part)) {
            return parts[i].unit;
        }
    }
    return outer;
}

static bool
is_list_of_objects(struct json_object *value)
{
    return json_object_is_type(value, json_type_array) && json_object_array_length(value) > 0
           && json_object_is_type(json_object_array_get_idx(value, 0), json_type_object);
}

static bool
is_number(struct json_object *value)
{
    const enum json_type type = json_object_get_type(value);
    return type == json_type_int || type == json_type_double || type == json_type_null;
}

/* "context_length" as "context length", "v3_2" as "v3.2". */
static void
add_label(struct text *text, const char *key)
{
    for (const char *at = key; *at; at++) {
        const bool version = *at == '_' && at > key && isdigit((unsigned char)at[-1])
                             && isdigit((unsigned char)at[1]);
        text_append(text, version ? "." : *at == '_' ? " " : at, 1);
    }
}

static void
add_number(enum unit unit, struct json_object *value, struct text *text)
{
    char human[HUMAN_BYTES];
    const double number = json_object_get_double(value);
    switch (unit) {
    case UNIT_BYTES:
        text_add(text, human_bytes(number, human));
        return;
    case UNIT_BANDWIDTH:
        text_add(text, number > 0 ? human_bandwidth(number, human) : "-");
        return;
    case UNIT_SECONDS:
        text_add(text, human_duration(number, human));
        return;
    case UNIT_COUNT:
        text_add(text, human_count(number, human));
        return;
    case UNIT_PERCENT:
        text_printf(text, "%.3g %%", number);
        return;
    case UNIT_NONE:
        break;
    }
    if (json_object_is_type(value, json_type_int)) {
        text_printf(text, "%" PRId64, json_object_get_int64(value));
    } else {
        text_printf(text, number >= 1000 ? "%.0f" : "%.4g", number);
    }
}

static void add_value(enum unit unit, struct json_object *value, struct text *text);

/* "0, 0, 4 x20, 128": many equal neighbours once, with their number. */
static void
add_list(enum unit unit, struct json_object *list, struct text *text)
{
    const size_t n = json_object_array_length(list);
    if (n == 0) {
        text_add(text, "-");
    }
    for (size_t i = 0; i < n;) {
        struct json_object *item = json_object_array_get_idx(list, i);
        size_t run = 1;
        while (i + run < n && json_object_equal(item, json_object_array_get_idx(list, i + run))) {
            run++;
        }
        text_add(text, i ? ", " : "");
        add_value(unit, item, text);
        if (run > 3) {
            text_printf(text, " x%zu", run);
        } else {
            run = 1;
        }
        i += run;
    }
}

static void
add_value(enum unit unit, struct json_object *value, struct text *text)
{
    bool first = true;
    switch (json_object_get_type(value)) {
    case json_type_null:
        text_add(text, "-");
        return;
    case json_type_boolean:
        text_add(text, json_object_get_boolean(value) ? "yes" : "no");
        return;
    case json_type_string:
        text_add(text, json_object_get_string_len(value) ? json_object_get_string(value) : "-");
        return;
    case json_type_array:
        add_list(unit, value, text);
        return;
    case json_type_object: {
        json_object_object_foreach(value, name, item)
        {
            text_add(text, first ? "" : ", ");
            add_label(text, name);
            text_add(text, " ");
            add_value(unit_of(name, unit), item, text);
            first = false;
        }
        text_add(text, first ? "-" : "");
        return;
    }
    default:
        add_number(unit, value, text);
    }
}

/* ---- objects in a table ------------------------------------------------------------- */

#define LEAVES_MAX (GRID_MAX_COLUMNS - 1) /* the first column is the name */

/* One figure that every one of the objects has: FIELD, or FIELD of PART. */
struct leaf {
    const char *part, *field; /* part NULL: in the object itself */
    enum unit unit;
};

static size_t
leaves_of(struct json_object *object, enum unit outer, struct leaf leaves[LEAVES_MAX])
{
    size_t n = 0;
    json_object_object_foreach(object, key, value)
    {
        const enum unit unit = unit_of(key, outer);
        const bool plain = !json_object_is_type(value, json_type_object);
        if (plain || json_object_object_length(value) == 0) {
            if (n < LEAVES_MAX) {
                leaves[n++] = (struct leaf){NULL, key, unit};
            }
            continue;
        }
        json_object_object_foreach(value, field, inner)
        {
            (void)inner;
            if (n < LEAVES_MAX) {
                leaves[n++] = (struct leaf){key, field, unit_of(field, unit)};
            }
        }
    }
    return n;
}

static void
add_leaf(const struct leaf *leaf, struct json_object *object, struct grid *grid)
{
    struct json_object *value = NULL;
    if (leaf->part) {
        json_object_object_get_ex(object, leaf->part, &object);
    }
    json_object_object_get_ex(object, leaf->field, &value);
    add_value(leaf->unit, value, &grid->cells);
    grid_next(grid, is_number(value));
}

static void
add_leaf_label(const struct leaf *leaf, struct grid *grid)
{
    if (leaf->part) {
        add_label(&grid->cells, leaf->part);
        text_add(&grid->cells, " ");
    }
    add_label(&grid->cells, leaf->field);
}

/* How many objects are in this one, if all of them have equally many members; else 0. */
static size_t
count_alike(struct json_object *object)
{
    size_t n = 0;
    int n_members = 0;
    json_object_object_foreach(object, key, value)
    {
        (void)key;
        if (!json_object_is_type(value, json_type_object)) {
            continue;
        }
        const int own = json_object_object_length(value);
        if (own == 0 || (n && own != n_members)) {
            return 0;
        }
        n_members = own;
        n++;
    }
    return n;
}

/* n objects as columns, each begun with its name unless names is NULL; a row for each leaf. */
static void
add_columns(const char *const *names, struct json_object *const *items, size_t n,
            const struct leaf *leaves, size_t n_leaves, const char *indent, struct text *text)
{
    struct grid grid = {.n_columns = 1 + n};
    if (names) {
        grid_next(&grid, false);
    }
    for (size_t i = 0; names && i < n; i++) {
        add_label(&grid.cells, names[i]);
        grid_next(&grid, true);
    }
    for (size_t row = 0; row < n_leaves; row++) {
        add_leaf_label(&leaves[row], &grid);
        grid_next(&grid, false);
        for (size_t i = 0; i < n; i++) {
            add_leaf(&leaves[row], items[i], &grid);
        }
    }
    grid_print(&grid, indent, text);
}

/* The objects inside object, each as a row that begins with its name, or side by side. */
static void
add_alike(struct json_object *object, enum unit unit, const char *indent, struct text *text)
{
    struct leaf leaves[LEAVES_MAX];
    const char *names[RENDER_SIDE_BY_SIDE];
    struct json_object *items[RENDER_SIDE_BY_SIDE];
    size_t n_leaves = 0, n = 0;
    const bool side_by_side = count_alike(object) <= RENDER_SIDE_BY_SIDE;
    struct grid grid = {0};
    json_object_object_foreach(object, key, value)
    {
        if (!json_object_is_type(value, json_type_object)) {
            continue;
        }
        if (n == 0) {
            n_leaves = leaves_of(value, unit_of(key, unit), leaves);
            grid.n_columns = 1 + n_leaves;
        }
        if (side_by_side) {
            names[n] = key;
            items[n] = value;
        } else if (n == 0) {
            grid_next(&grid, false);
            for (size_t i = 0; i < n_leaves; i++) {
                add_leaf_label(&leaves[i], &grid);
                grid_next(&grid, true);
            }
        }
        n++;
        if (!side_by_side) {
            add_label(&grid.cells, key);
            grid_next(&grid, false);
        }
        for (size_t i = 0; i < n_leaves && !side_by_side; i++) {
            add_leaf(&leaves[i], value, &grid);
        }
    }
    if (side_by_side) {
        add_columns(names, items, n, leaves, n_leaves, indent, text);
    } else {
        grid_print(&grid, indent, text);
    }
}

void
render_table(struct json_object *rows, const char *indent, struct text *text)
{
    struct leaf leaves[LEAVES_MAX];
    struct json_object *items[RENDER_SIDE_BY_SIDE];
    const size_t n = json_object_array_length(rows);
    const size_t n_leaves = leaves_of(json_object_array_get_idx(rows, 0), UNIT_NONE, leaves);
    if (n <= RENDER_SIDE_BY_SIDE && n_leaves > RENDER_WIDE) {
        for (size_t i = 0; i < n; i++) {
            items[i] = json_object_array_get_idx(rows, i);
        }
        add_columns(NULL, items, n, leaves, n_leaves, indent, text);
        return;
    }
    struct grid grid = {.n_columns = n_leaves};
    for (size_t i = 0; i < n_leaves; i++) {
        add_leaf_label(&leaves[i], &grid);
        grid_next(&grid, true);
    }
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < n_leaves; i++) {
            add_leaf(&leaves[i], json_object_array_get_idx(rows, row), &grid);
        }
    }
    grid_print(&grid, indent, text);
}

/* ---- sections ------------------------------------------------------------------------------- */

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

static bool
is_section(struct json_object *value)
{
    return is_list_of_objects(value) || json_object_is_type(value, json_type_object);
}

static void
add_fields(struct json_object *object, const char *const *hidden, enum unit unit,
           const char *indent, struct text *text)
{
    struct grid grid = {.n_columns = 2};
    json_object_object_foreach(object, key, value)
    {
        if (!is_hidden(key, hidden) && !is_section(value)) {
            add_label(&grid.cells, key);
            grid_next(&grid, false);
            add_value(unit_of(key, unit), value, &grid.cells);
            grid_next(&grid, false);
        }
    }
    grid_print(&grid, indent, text);
}

static void
add_object(struct json_object *object, const char *const *hidden, enum unit unit, int depth,
           struct text *text)
{
    char indent[2 * RENDER_MAX_DEPTH + 1], inner[2 * RENDER_MAX_DEPTH + 3];
    snprintf(indent, sizeof indent, "%*s", 2 * depth, "");
    snprintf(inner, sizeof inner, "%s  ", indent);
    const bool alike = depth > 0 && count_alike(object) > 1;
    add_fields(object, hidden, unit, indent, text);
    if (alike) {
        add_alike(object, unit, indent, text);
    }
    json_object_object_foreach(object, key, value)
    {
        const bool done = alike && json_object_is_type(value, json_type_object);
        if (is_hidden(key, hidden) || !is_section(value) || done) {
            continue;
        }
        text_printf(text, "%s%s", depth == 0 && text->length ? "\n" : "", indent);
        add_label(text, key);
        text_add(text, "\n");
        if (is_list_of_objects(value)) {
            render_table(value, inner, text);
        } else if (depth + 1 < RENDER_MAX_DEPTH) {
            add_object(value, NULL, unit_of(key, unit), depth + 1, text);
        }
    }
}

void
render_report(struct json_object *report, const char *const *hidden, struct text *text)
{
    if (json_object_is_type(report, json_type_object)) {
        add_object(report, hidden, UNIT_NONE, 0, text);
    }
}
