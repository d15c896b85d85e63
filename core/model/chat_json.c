/* chat_json.c - the reader of chat_json.h.  Its grammar is that of json.loads in its default, strict form. */
#include "core/model/chat_json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/utf8.h"

#define JSON_MAX_DEPTH 900           /* about where Python's own recursion limit refuses */
#define JSON_MAX_INTEGER_DIGITS 4300 /* sys.int_info.default_max_str_digits */

struct parser {
    const char *name;
    const char *bytes;
    size_t length, at;
    int depth;
    bool unpaired;
    struct chat_arena *arena;
    struct hearth_error *err;
};

static int parse_value(struct parser *parser, struct chat_value *value);

static int
parse_refuse(struct parser *parser, size_t at, const char *wanted)
{
    if (at >= parser->length) {
        return error_set(parser->err, HEARTH_EFORMAT, "%s: byte %zu: %s wanted, the end found", parser->name, at,
                         wanted);
    }
    const unsigned char byte = (unsigned char)parser->bytes[at];
    if (byte >= 0x20 && byte < 0x7F) {
        return error_set(parser->err, HEARTH_EFORMAT, "%s: byte %zu: %s wanted, '%c' found", parser->name, at, wanted,
                         byte);
    }
    return error_set(parser->err, HEARTH_EFORMAT, "%s: byte %zu: %s wanted, byte 0x%02X found", parser->name, at,
                     wanted, byte);
}

static int
parse_no_memory(struct parser *parser)
{
    return error_no_memory(parser->err, "the chat messages");
}

static void
parse_space(struct parser *parser)
{
    while (parser->at < parser->length && strchr(" \t\n\r", parser->bytes[parser->at]) && parser->bytes[parser->at]) {
        parser->at++;
    }
}

/* True, and consumed, if the next byte is this one. */
static bool
parse_byte(struct parser *parser, char byte)
{
    if (parser->at < parser->length && parser->bytes[parser->at] == byte) {
        parser->at++;
        return true;
    }
    return false;
}

/* Checks the string whose opening quote was just read and finds its end. */
static int
string_measure(struct parser *parser, size_t *ret_end, bool *ret_escaped)
{
    size_t at = parser->at;
    bool escaped = false;
    while (at < parser->length && parser->bytes[at] != '"') {
        const unsigned char byte = (unsigned char)parser->bytes[at];
        if (byte < 0x20) {
            return parse_refuse(parser, at, "an escape instead of a control character");
        }
        if (byte == '\\') {
            escaped = true;
            at++;
            if (at >= parser->length) {
                break;
            }
        }
        const int n = utf8_scan((const unsigned char *)parser->bytes + at, parser->length - at);
        if (n <= 0) {
            return parse_refuse(parser, at, "valid UTF-8");
        }
        at += (size_t)n;
    }
    if (at >= parser->length) {
        return parse_refuse(parser, at, "the closing quote of a string");
    }
    *ret_end = at;
    *ret_escaped = escaped;
    return HEARTH_OK;
}

/* Four hexadecimal digits at `at`, or -1. */
static int32_t
string_hex(const struct parser *parser, size_t at, size_t end)
{
    int32_t code = 0;
    if (at > end || end - at < 4) {
        return -1;
    }
    for (size_t i = 0; i < 4; i++) {
        const char c = parser->bytes[at + i];
        const int digit = c >= '0' && c <= '9'                 ? c - '0'
                          : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                               : -1;
        if (digit < 0) {
            return -1;
        }
        code = code * 16 + digit;
    }
    return code;
}

/* The escape at *at (behind the backslash); moves *at behind it. */
static int
string_escape(struct parser *parser, size_t *at, size_t end, char **out)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *found = strchr(names, parser->bytes[*at]);
    if (found && *found) {
        *(*out)++ = meant[found - names];
        *at += 1;
        return HEARTH_OK;
    }
    int32_t code = parser->bytes[*at] == 'u' ? string_hex(parser, *at + 1, end) : -1;
    if (code < 0) {
        return parse_refuse(parser, *at, "a valid escape");
    }
    *at += 5;
    if (code >= 0xD800 && code < 0xDC00 && end - *at >= 6 && parser->bytes[*at] == '\\' &&
        parser->bytes[*at + 1] == 'u') {
        const int32_t low = string_hex(parser, *at + 2, end);
        if (low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            *at += 6;
        }
    }
    parser->unpaired |= code >= 0xD800 && code < 0xE000;
    *out += chat_utf8_put((uint32_t)code, *out); /* half a pair in the obvious three bytes */
    return HEARTH_OK;
}

/* A string, its opening quote already read. */
static int
parse_string(struct parser *parser, struct chat_text *ret_text)
{
    size_t end = 0;
    bool escaped = false;
    int status = string_measure(parser, &end, &escaped);
    if (status < 0) {
        return status;
    }
    size_t at = parser->at;
    parser->at = end + 1;
    if (!escaped) {
        *ret_text = (struct chat_text){parser->bytes + at, end - at};
        return HEARTH_OK;
    }
    char *bytes = chat_arena_alloc(parser->arena, end - at);
    char *out = bytes;
    if (!bytes) {
        return parse_no_memory(parser);
    }
    while (at < end) {
        if (parser->bytes[at] != '\\') {
            *out++ = parser->bytes[at++];
            continue;
        }
        at++;
        status = string_escape(parser, &at, end, &out);
        if (status < 0) {
            return status;
        }
    }
    *ret_text = (struct chat_text){bytes, (size_t)(out - bytes)};
    return HEARTH_OK;
}

static size_t
number_digits(const struct parser *parser, size_t at)
{
    size_t n = 0;
    while (at + n < parser->length && parser->bytes[at + n] >= '0' && parser->bytes[at + n] <= '9') {
        n++;
    }
    return n;
}

/* The end of the number that starts at parser->at; at itself if none does. */
static size_t
number_end(const struct parser *parser, bool *ret_is_float)
{
    const char *bytes = parser->bytes;
    size_t at = parser->at;
    at += at < parser->length && bytes[at] == '-';
    const size_t n = number_digits(parser, at);
    if (n == 0) {
        return parser->at;
    }
    at += bytes[at] == '0' ? 1 : n; /* a leading zero stands alone; what follows it is refused by the caller */
    *ret_is_float = false;
    if (at < parser->length && bytes[at] == '.' && number_digits(parser, at + 1)) {
        at += 1 + number_digits(parser, at + 1);
        *ret_is_float = true;
    }
    if (at < parser->length && (bytes[at] | 32) == 'e') {
        size_t exponent = at + 1;
        exponent += exponent < parser->length && (bytes[exponent] == '+' || bytes[exponent] == '-');
        if (number_digits(parser, exponent)) {
            at = exponent + number_digits(parser, exponent);
            *ret_is_float = true;
        }
    }
    return at;
}

static int
parse_number(struct parser *parser, struct chat_value *value)
{
    bool is_float = false;
    const size_t start = parser->at, end = number_end(parser, &is_float);
    if (end == start) {
        return parse_refuse(parser, start, "a JSON value");
    }
    struct chat_text text = {parser->bytes + start, end - start};
    parser->at = end;
    if (is_float) {
        char *scratch = chat_arena_alloc(parser->arena, text.length + 32);
        if (!scratch) {
            return parse_no_memory(parser);
        }
        value->kind = CHAT_FLOAT;
        value->number = chat_json_read_float(text.bytes, text.length, scratch);
        return HEARTH_OK;
    }
    if (text.length - (text.bytes[0] == '-') > JSON_MAX_INTEGER_DIGITS) {
        return error_set(parser->err, HEARTH_EFORMAT, "%s: byte %zu: an integer of at most %d digits wanted, %zu found",
                         parser->name, start, JSON_MAX_INTEGER_DIGITS, text.length);
    }
    value->kind = CHAT_INTEGER;
    value->text = chat_text_is(text, "-0") ? (struct chat_text){"0", 1} : text;
    return HEARTH_OK;
}

struct word {
    const char *text;
    enum chat_value_kind kind;
    double number;
};

static bool
parse_word(struct parser *parser, struct chat_value *value)
{
    static const struct word words[] = {{"null", CHAT_NULL, 0},
                                        {"true", CHAT_TRUE, 0},
                                        {"false", CHAT_FALSE, 0},
                                        {"NaN", CHAT_FLOAT, __builtin_nan("")},
                                        {"Infinity", CHAT_FLOAT, __builtin_inf()},
                                        {"-Infinity", CHAT_FLOAT, -__builtin_inf()}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const size_t n = strlen(words[i].text);
        if (parser->length - parser->at >= n && memcmp(parser->bytes + parser->at, words[i].text, n) == 0) {
            parser->at += n;
            value->kind = words[i].kind;
            value->number = words[i].number;
            return true;
        }
    }
    return false;
}

struct member_place {
    struct chat_value *member;
    size_t place;
};

static int
member_compare(const void *a, const void *b)
{
    const struct member_place *left = a, *right = b;
    const struct chat_text x = left->member->key, y = right->member->key;
    if (x.length != y.length) {
        return x.length < y.length ? -1 : 1;
    }
    const int order = x.length ? memcmp(x.bytes, y.bytes, x.length) : 0;
    if (order) {
        return order;
    }
    return left->place < right->place ? -1 : 1;
}

/* A key given twice stands where it first stood, with the value given last, as in a dict. */
static int
object_settle(struct parser *parser, struct chat_value *object)
{
    if (object->n < 2) {
        return HEARTH_OK;
    }
    struct member_place *places = chat_arena_alloc(parser->arena, object->n * sizeof *places);
    if (!places) {
        return parse_no_memory(parser);
    }
    size_t n = 0;
    for (struct chat_value *member = object->first; member; member = member->next) {
        places[n] = (struct member_place){member, n};
        n++;
    }
    qsort(places, n, sizeof *places, member_compare);
    struct chat_value *kept = places[0].member;
    for (size_t i = 1; i < n; i++) {
        struct chat_value *member = places[i].member;
        if (!chat_text_equal(kept->key, member->key)) {
            kept = member;
            continue;
        }
        struct chat_value *next = kept->next;
        const struct chat_text key = kept->key;
        *kept = *member;
        kept->key = key;
        kept->next = next;
        member->shadowed = true;
    }
    struct chat_value **link = &object->first;
    while (*link) {
        if ((*link)->shadowed) {
            *link = (*link)->next;
            object->n--;
        } else {
            link = &(*link)->next;
        }
    }
    return HEARTH_OK;
}

static int
object_key(struct parser *parser, struct chat_text *ret_key)
{
    parse_space(parser);
    if (!parse_byte(parser, '"')) {
        return parse_refuse(parser, parser->at, "a key in quotes");
    }
    const int status = parse_string(parser, ret_key);
    if (status < 0) {
        return status;
    }
    parse_space(parser);
    return parse_byte(parser, ':') ? HEARTH_OK : parse_refuse(parser, parser->at, "':'");
}

/* The elements of an array or the members of an object, the opening bracket already read. */
static int
parse_children(struct parser *parser, struct chat_value *parent, char closing)
{
    struct chat_value **link = &parent->first;
    parse_space(parser);
    if (parse_byte(parser, closing)) {
        return HEARTH_OK;
    }
    for (;;) {
        struct chat_value *child = chat_arena_alloc(parser->arena, sizeof *child);
        if (!child) {
            return parse_no_memory(parser);
        }
        int status = parent->kind == CHAT_OBJECT ? object_key(parser, &child->key) : HEARTH_OK;
        if (status == HEARTH_OK) {
            status = parse_value(parser, child);
        }
        if (status < 0) {
            return status;
        }
        *link = child;
        link = &child->next;
        parent->n++;
        parse_space(parser);
        if (parse_byte(parser, closing)) {
            return HEARTH_OK;
        }
        if (!parse_byte(parser, ',')) {
            return parse_refuse(parser, parser->at, closing == ']' ? "',' or ']'" : "',' or '}'");
        }
    }
}

static int
parse_container(struct parser *parser, struct chat_value *value)
{
    if (parser->depth >= JSON_MAX_DEPTH) {
        return error_set(parser->err, HEARTH_EFORMAT, "%s: byte %zu: at most %d levels of JSON wanted, more found",
                         parser->name, parser->at, JSON_MAX_DEPTH);
    }
    const bool is_array = parser->bytes[parser->at] == '[';
    parser->at++;
    value->kind = is_array ? CHAT_ARRAY : CHAT_OBJECT;
    parser->depth++;
    int status = parse_children(parser, value, is_array ? ']' : '}');
    parser->depth--;
    if (status == HEARTH_OK && !is_array) {
        status = object_settle(parser, value);
    }
    return status;
}

static int
parse_value(struct parser *parser, struct chat_value *value)
{
    parse_space(parser);
    if (parser->at < parser->length && (parser->bytes[parser->at] == '{' || parser->bytes[parser->at] == '[')) {
        return parse_container(parser, value);
    }
    if (parse_byte(parser, '"')) {
        value->kind = CHAT_STRING;
        return parse_string(parser, &value->text);
    }
    return parse_word(parser, value) ? HEARTH_OK : parse_number(parser, value);
}

int
chat_json_parse(const char *name, struct chat_text text, struct chat_arena *arena, struct chat_value **ret_value,
                bool *ret_unpaired, struct hearth_error *err)
{
    struct parser parser = {.name = name, .bytes = text.bytes, .length = text.length, .arena = arena, .err = err};
    struct chat_value *value = chat_arena_alloc(arena, sizeof *value);
    if (!value) {
        return parse_no_memory(&parser);
    }
    const int status = parse_value(&parser, value);
    if (status < 0) {
        return status;
    }
    parse_space(&parser);
    if (parser.at < parser.length) {
        return parse_refuse(&parser, parser.at, "the end of the JSON text");
    }
    *ret_value = value;
    *ret_unpaired = parser.unpaired;
    return HEARTH_OK;
}
