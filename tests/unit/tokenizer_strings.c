/* tokenizer_strings.c - see tokenizer_strings.h.  Any change must be made in make_cases.py too. */
#include "tests/unit/tokenizer_strings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/utf8.h"

enum section { SECTION_NONE, SECTION_FRAGMENTS, SECTION_RUNS, SECTION_RANGES };

#define MAX_ITEMS 512
#define STRING_SEED_STEP UINT64_C(0xD1342543DE82EF95)

struct string_parts {
    struct text fragments[MAX_ITEMS], runs[MAX_ITEMS];
    uint32_t ranges[MAX_ITEMS][2];
    size_t n_fragments, n_runs, n_ranges;
};

uint64_t
random_next(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ value >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ value >> 27) * UINT64_C(0x94D049BB133111EB);
    return value ^ value >> 31;
}

uint64_t
random_below(uint64_t *state, uint64_t n)
{
    return random_next(state) % n;
}

static void
point_append(struct text *text, uint32_t point)
{
    unsigned char bytes[4];
    const int size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    utf8_encode(point, size, bytes);
    text_append(text, (const char *)bytes, (size_t)size);
}

void
string_unescape(const char *line, struct text *text)
{
    for (const char *at = line; *at; at++) {
        if (*at != '\\') {
            text_append(text, at, 1);
            continue;
        }
        at++;
        if (*at == 'u') {
            char *end;
            point_append(text, (uint32_t)strtoul(at + 2, &end, 16));
            at = end; /* the closing brace */
        } else {
            text_append(text, *at == 'n' ? "\n" : *at == 'r' ? "\r" : *at == 't' ? "\t" : "\\", 1);
        }
    }
}

static int
line_take(struct string_parts *parts, enum section section, const char *line)
{
    if (section == SECTION_FRAGMENTS && parts->n_fragments < MAX_ITEMS) {
        string_unescape(line, &parts->fragments[parts->n_fragments++]);
    } else if (section == SECTION_RUNS && parts->n_runs < MAX_ITEMS) {
        string_unescape(line, &parts->runs[parts->n_runs++]);
    } else if (section == SECTION_RANGES && parts->n_ranges < MAX_ITEMS) {
        uint32_t *range = parts->ranges[parts->n_ranges++];
        char *end;
        range[0] = (uint32_t)strtoul(line, &end, 16);
        range[1] = (uint32_t)strtoul(end, NULL, 16);
    } else {
        return -1;
    }
    return 0;
}

struct string_parts *
string_parts_read(const char *path)
{
    char line[1024];
    enum section section = SECTION_NONE;
    int status = 0;
    FILE *file = fopen(path, "rb");
    struct string_parts *parts = calloc(1, sizeof *parts);
    while (file && parts && status == 0 && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "= fragments") == 0 || strcmp(line, "= runs") == 0 || strcmp(line, "= ranges") == 0) {
            section++;
        } else if (section != SECTION_NONE) {
            status = line_take(parts, section, line);
        }
    }
    if (file) {
        fclose(file);
    }
    if (parts && (status != 0 || parts->n_ranges == 0)) {
        string_parts_free(parts);
        parts = NULL;
    }
    return parts;
}

void
string_parts_free(struct string_parts *parts)
{
    if (!parts) {
        return;
    }
    for (size_t i = 0; i < MAX_ITEMS; i++) {
        text_free(&parts->fragments[i]);
        text_free(&parts->runs[i]);
    }
    free(parts);
}

/* Appends count characters of fragment from character start on. */
static void
slice_append(struct text *string, const struct text *fragment, uint64_t start, uint64_t count)
{
    for (size_t i = 0; i < fragment->length && start + count > 0;) {
        const unsigned char *at = (const unsigned char *)fragment->bytes + i;
        const size_t size = (size_t)utf8_scan(at, fragment->length - i);
        if (start > 0) {
            start--;
        } else if (count > 0) {
            text_append(string, (const char *)at, size);
            count--;
        }
        i += size;
    }
}

static uint64_t
characters(const struct text *text)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text->length; i++) {
        n += ((unsigned char)text->bytes[i] & 0xC0) != 0x80;
    }
    return n;
}

static void
part_slice(const struct string_parts *parts, uint64_t *state, struct text *string)
{
    const struct text *fragment = &parts->fragments[random_below(state, parts->n_fragments)];
    const uint64_t n = characters(fragment);
    const uint64_t start = random_below(state, n);
    slice_append(string, fragment, start, 1 + random_below(state, n - start));
}

static void
part_run(const struct string_parts *parts, uint64_t *state, struct text *string)
{
    const struct text *run = &parts->runs[random_below(state, parts->n_runs)];
    uint64_t n = 1 + random_below(state, 24);
    if (random_below(state, 64) == 0) {
        n *= 40;
    }
    while (n-- > 0) {
        text_append(string, run->bytes, run->length);
    }
}

static void
part_range(const struct string_parts *parts, uint64_t *state, struct text *string)
{
    const uint32_t *range = parts->ranges[random_below(state, parts->n_ranges)];
    for (uint64_t n = 1 + random_below(state, 6); n > 0; n--) {
        point_append(string, range[0] + (uint32_t)random_below(state, range[1] - range[0] + 1));
    }
}

static void
part_any(uint64_t *state, struct text *string)
{
    for (uint64_t n = 1 + random_below(state, 4); n > 0; n--) {
        const uint32_t point = (uint32_t)random_below(state, 0x110000 - 0x800);
        point_append(string, point < 0xD800 ? point : point + 0x800);
    }
}

static void
part_ascii(uint64_t *state, struct text *string)
{
    for (uint64_t n = 1 + random_below(state, 12); n > 0; n--) {
        point_append(string, 0x20 + (uint32_t)random_below(state, 95));
    }
}

void
string_make(const struct string_parts *parts, uint64_t seed, uint64_t index, struct text *string)
{
    uint64_t state = seed ^ index * STRING_SEED_STEP;
    text_clear(string);
    for (uint64_t n = 1 + random_below(&state, 8); n > 0; n--) {
        const uint64_t kind = random_below(&state, 10);
        if (kind < 4) {
            const struct text *fragment = &parts->fragments[random_below(&state, parts->n_fragments)];
            text_append(string, fragment->bytes, fragment->length);
        } else if (kind == 4) {
            part_slice(parts, &state, string);
        } else if (kind == 5) {
            part_run(parts, &state, string);
        } else if (kind == 6 || kind == 7) {
            part_range(parts, &state, string);
        } else if (kind == 8) {
            part_ascii(&state, string);
        } else {
            part_any(&state, string);
        }
    }
}
