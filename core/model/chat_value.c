/* chat_value.c - values of chat_json.h once read: memory, questions, and printing them as Python does. */
#include "core/model/chat_json.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/model/utf8.h"

#define ARENA_CHUNK_BYTES ((size_t)64 * 1024)
#define ARENA_ALIGN 16

struct chat_chunk {
    struct chat_chunk *next;
    size_t used, size;
    _Alignas(ARENA_ALIGN) unsigned char bytes[];
};

void *
chat_arena_alloc(struct chat_arena *arena, size_t size)
{
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size = (size + ARENA_ALIGN) / ARENA_ALIGN * ARENA_ALIGN; /* never zero bytes: every piece has its own address */
    struct chat_chunk *chunk = arena->chunks;
    if (!chunk || chunk->size - chunk->used < size) {
        const size_t bytes = size > ARENA_CHUNK_BYTES ? size : ARENA_CHUNK_BYTES;
        chunk = calloc(1, sizeof *chunk + bytes);
        if (!chunk) {
            return NULL;
        }
        chunk->size = bytes;
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    void *piece = chunk->bytes + chunk->used;
    chunk->used += size;
    return piece;
}

void
chat_arena_free(struct chat_arena *arena)
{
    while (arena->chunks) {
        struct chat_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
}

size_t
chat_utf8_put(uint32_t code, char *out)
{
    const int size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    utf8_encode(code, size, (unsigned char *)out);
    return (size_t)size;
}

bool
chat_text_equal(struct chat_text a, struct chat_text b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

bool
chat_text_is(struct chat_text text, const char *string)
{
    return chat_text_equal(text, (struct chat_text){string, strlen(string)});
}

const struct chat_value *
chat_json_member(const struct chat_value *object, const char *key)
{
    if (!object || object->kind != CHAT_OBJECT) {
        return NULL;
    }
    for (const struct chat_value *member = object->first; member; member = member->next) {
        if (chat_text_is(member->key, key)) {
            return member;
        }
    }
    return NULL;
}

bool
chat_json_truth(const struct chat_value *value)
{
    if (!value) {
        return false;
    }
    switch (value->kind) {
    case CHAT_NULL:
    case CHAT_FALSE:
        return false;
    case CHAT_TRUE:
        return true;
    case CHAT_INTEGER:
        return !chat_text_is(value->text, "0");
    case CHAT_FLOAT:
        return value->number != 0;
    case CHAT_STRING:
        return value->text.length > 0;
    case CHAT_ARRAY:
    case CHAT_OBJECT:
        break;
    }
    return value->n > 0;
}

const char *
chat_json_kind(const struct chat_value *value)
{
    static const char *const names[] = {
        [CHAT_NULL] = "null",      [CHAT_FALSE] = "false",     [CHAT_TRUE] = "true",      [CHAT_INTEGER] = "a number",
        [CHAT_FLOAT] = "a number", [CHAT_STRING] = "a string", [CHAT_ARRAY] = "an array", [CHAT_OBJECT] = "an object"};
    return value ? names[value->kind] : "nothing";
}

/* ---- numbers: digits without a decimal point, so that no locale's point matters -------------- */

double
chat_json_read_float(const char *bytes, size_t length, char *scratch)
{
    const long max_exponent = 100000000; /* far beyond any double, far below overflow of long */
    size_t n = 0, at = 0;
    long exponent = 0, fraction = 0;
    bool behind_point = false;
    for (; at < length && (bytes[at] | 32) != 'e'; at++) {
        if (bytes[at] == '.') {
            behind_point = true;
            continue;
        }
        scratch[n++] = bytes[at];
        fraction += behind_point;
    }
    if (at < length) {
        at++;
        const bool negative = bytes[at] == '-';
        at += negative || bytes[at] == '+';
        for (; at < length; at++) {
            exponent = exponent < max_exponent ? exponent * 10 + (bytes[at] - '0') : max_exponent;
        }
        exponent = negative ? -exponent : exponent;
    }
    snprintf(scratch + n, 32, "e%ld", exponent - fraction);
    return strtod(scratch, NULL);
}

static double
digits_read(const char *digits, int n, int exponent)
{
    char number[48];
    snprintf(number, sizeof number, "%.*se%d", n, digits, exponent - (n - 1));
    return strtod(number, NULL);
}

/* The digits of value (positive, finite) rounded to n, and the decimal exponent of the first. */
static void
digits_round(double value, int n, char *digits, int *ret_exponent)
{
    char number[48];
    snprintf(number, sizeof number, "%.*e", n - 1, value);
    int found = 0;
    const char *c = number;
    for (; *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9' && found < n) {
            digits[found++] = *c;
        }
    }
    *ret_exponent = (int)strtol(c + 1, NULL, 10);
}

/* One more in the last place; false if that makes another digit. */
static bool
digits_increment(char *digits, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        if (digits[i] != '9') {
            digits[i]++;
            return true;
        }
        digits[i] = '0';
    }
    return false;
}

/* The fewest digits that read back as value, the nearest to it among those. */
static int
digits_shortest(double value, char digits[17], int *ret_exponent)
{
    for (int n = 1; n < 17; n++) {
        digits_round(value, n, digits, ret_exponent);
        if (digits_read(digits, n, *ret_exponent) == value) {
            return n;
        }
        /* above a power of two the doubles are twice as far apart as below it: the nearest may miss, the next hit */
        if (digits_increment(digits, n) && digits_read(digits, n, *ret_exponent) == value) {
            return n;
        }
    }
    digits_round(value, 17, digits, ret_exponent);
    return 17;
}

static void
float_print_fixed(struct text *out, const char *digits, int n, int exponent)
{
    const char zeros[] = "0000000000000000";
    if (exponent < 0) {
        text_add(out, "0.");
        text_append(out, zeros, (size_t)(-exponent - 1));
        text_append(out, digits, (size_t)n);
        return;
    }
    const int whole = exponent + 1;
    text_append(out, digits, (size_t)(whole < n ? whole : n));
    text_append(out, zeros, (size_t)(whole > n ? whole - n : 0));
    text_add(out, ".");
    text_append(out, whole < n ? digits + whole : zeros, (size_t)(whole < n ? n - whole : 1));
}

void
chat_json_print_float(struct text *out, double number)
{
    if (isnan(number)) {
        text_add(out, "NaN");
        return;
    }
    if (signbit(number)) {
        text_add(out, "-");
        number = -number;
    }
    if (isinf(number) || number == 0) {
        text_add(out, isinf(number) ? "Infinity" : "0.0");
        return;
    }
    char digits[17];
    int exponent;
    const int n = digits_shortest(number, digits, &exponent);
    if (exponent >= -4 && exponent < 16) {
        float_print_fixed(out, digits, n, exponent);
        return;
    }
    text_append(out, digits, 1);
    if (n > 1) {
        text_add(out, ".");
        text_append(out, digits + 1, (size_t)(n - 1));
    }
    text_printf(out, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

/* ---- printing -------------------------------------------------------------------------------- */

void
chat_json_print_escaped(struct text *out, const char *bytes, size_t length)
{
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    size_t plain = 0;
    if (length == 0) { /* bytes may then be NULL */
        return;
    }
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)bytes[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') {
            continue;
        }
        text_append(out, bytes + plain, i - plain);
        plain = i + 1;
        const char *name = byte ? strchr(names, byte) : NULL;
        if (name) {
            const char escape[2] = {'\\', letters[name - names]};
            text_append(out, escape, 2);
        } else {
            text_printf(out, "\\u%04x", byte);
        }
    }
    text_append(out, bytes + plain, length - plain);
}

void
chat_json_print_string(struct text *out, struct chat_text string)
{
    text_add(out, "\"");
    chat_json_print_escaped(out, string.bytes, string.length);
    text_add(out, "\"");
}

static void
value_print_children(struct text *out, const struct chat_value *parent)
{
    const bool is_object = parent->kind == CHAT_OBJECT;
    text_add(out, is_object ? "{" : "[");
    for (const struct chat_value *child = parent->first; child; child = child->next) {
        if (is_object) {
            chat_json_print_string(out, child->key);
            text_add(out, ": ");
        }
        chat_json_print(out, child);
        if (child->next) {
            text_add(out, ", ");
        }
    }
    text_add(out, is_object ? "}" : "]");
}

void
chat_json_print(struct text *out, const struct chat_value *value)
{
    switch (value->kind) {
    case CHAT_NULL:
    case CHAT_FALSE:
    case CHAT_TRUE:
        text_add(out, chat_json_kind(value));
        break;
    case CHAT_INTEGER:
        text_append(out, value->text.bytes, value->text.length);
        break;
    case CHAT_FLOAT:
        chat_json_print_float(out, value->number);
        break;
    case CHAT_STRING:
        chat_json_print_string(out, value->text);
        break;
    case CHAT_ARRAY:
    case CHAT_OBJECT:
        value_print_children(out, value);
        break;
    }
}
