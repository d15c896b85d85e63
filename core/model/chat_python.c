/* chat_python.c - the string constants of a Python source file, without running it.
 *
 * Takes: the checkpoint's encoding file.  Gives: constants to chat_passages.c.
 * A lexer, no parser: strings with their escapes, comments, brackets and the name a statement assigns to are all it
 * knows. f-strings and byte strings are passed over, for they are no constant texts. */
#include "core/model/chat_internal.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/text.h"

struct scanner {
    const char *name;
    const char *bytes;
    size_t length, at;
    int depth; /* of brackets: inside them a line's end ends nothing */
    bool statement_begins;
    struct chat_text first_name; /* the name the statement opened with, which '=' makes the target */
    struct chat_text target;
    struct text key, value;  /* the constant before ':', the constant at hand */
    bool has_value, spoiled; /* spoiled: a literal of it is no constant text */
    const struct chat_constant_sink *sink;
    struct hearth_error *err;
};

static char
scan_peek(const struct scanner *scanner, size_t ahead)
{
    return scanner->length - scanner->at > ahead ? scanner->bytes[scanner->at + ahead] : '\0';
}

static bool
is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* The constant at hand is complete. */
static int
scan_emit(struct scanner *scanner)
{
    int status = HEARTH_OK;
    if (scanner->has_value && !scanner->spoiled) {
        text_add(&scanner->value, "");
        if (scanner->value.failed || scanner->key.failed) {
            return error_no_memory(scanner->err, "the constants of the encoding file");
        }
        const struct chat_constant constant = {.target = scanner->target,
                                               .key = {scanner->key.bytes, scanner->key.length},
                                               .value = {scanner->value.bytes, scanner->value.length}};
        status = scanner->sink->constant(scanner->sink->context, &constant, scanner->err);
    }
    scanner->has_value = scanner->spoiled = false;
    text_clear(&scanner->value);
    return status;
}

/* \ooo, \xhh, \uhhhh, \Uhhhhhhhh: at most `most` digits of the base; false unless at least `least` are there. */
static bool
scan_code(struct scanner *scanner, unsigned base, int least, int most)
{
    uint32_t code = 0;
    int n = 0;
    while (n < most) {
        const char c = scan_peek(scanner, 0);
        const unsigned digit = c >= '0' && c <= '9'                 ? (unsigned)(c - '0')
                               : (c | 32) >= 'a' && (c | 32) <= 'f' ? (unsigned)((c | 32) - 'a' + 10)
                                                                    : base;
        if (digit >= base) {
            break;
        }
        code = code * base + digit;
        scanner->at++;
        n++;
    }
    if (n < least || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        return false;
    }
    char bytes[4];
    text_append(&scanner->value, bytes, chat_utf8_put(code, bytes));
    return true;
}

/* An escape, its backslash already read. */
static void
scan_escape(struct scanner *scanner)
{
    static const char names[] = "\\'\"abfnrtv", meant[] = "\\'\"\a\b\f\n\r\t\v";
    const char c = scan_peek(scanner, 0);
    const char *found = c ? strchr(names, c) : NULL;
    if (found) {
        scanner->at++;
        text_append(&scanner->value, &meant[found - names], 1);
    } else if (c == '\n' || (c == '\r' && scan_peek(scanner, 1) == '\n')) {
        scanner->at += c == '\n' ? 1 : 2;
    } else if (c >= '0' && c <= '7') {
        scanner->spoiled |= !scan_code(scanner, 8, 1, 3);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        const int digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        scanner->at++;
        scanner->spoiled |= !scan_code(scanner, 16, digits, digits);
    } else {
        scanner->spoiled |= c == 'N'; /* a character by its Unicode name: no table of those here */
        text_add(&scanner->value, "\\");
    }
}

/* A literal whose prefix was read; at stands on its opening quote. */
static int
scan_string(struct scanner *scanner, bool raw)
{
    const char quote = scanner->bytes[scanner->at];
    const size_t n_quotes = scan_peek(scanner, 1) == quote && scan_peek(scanner, 2) == quote ? 3 : 1;
    const size_t start = scanner->at;
    const char closing[3] = {quote, quote, quote};
    scanner->at += n_quotes;
    scanner->has_value = true;
    while (scanner->at < scanner->length) {
        const char c = scanner->bytes[scanner->at];
        if (c == quote && scanner->length - scanner->at >= n_quotes &&
            memcmp(scanner->bytes + scanner->at, closing, n_quotes) == 0) {
            scanner->at += n_quotes;
            return HEARTH_OK;
        }
        if (c == '\n' && n_quotes == 1) {
            break;
        }
        scanner->at++;
        if (c == '\r' && scan_peek(scanner, 0) == '\n') {
            continue;
        }
        if (c == '\\' && !raw) {
            scan_escape(scanner);
            continue;
        }
        text_append(&scanner->value, &c, 1);
        if (c == '\\' && scanner->at < scanner->length) { /* raw: the backslash stays and still guards a quote */
            text_append(&scanner->value, &scanner->bytes[scanner->at++], 1);
        }
    }
    return error_set(scanner->err, HEARTH_EFORMAT, "%s: byte %zu: the end of a Python string wanted, none found",
                     scanner->name, start);
}

/* A name, or the prefix of a string. */
static int
scan_name(struct scanner *scanner)
{
    const size_t start = scanner->at;
    while (is_name_byte(scan_peek(scanner, 0))) {
        scanner->at++;
    }
    const struct chat_text name = {scanner->bytes + start, scanner->at - start};
    const char next = scan_peek(scanner, 0);
    bool prefix = name.length <= 2 && (next == '"' || next == '\'');
    bool raw = false, constant = true;
    for (size_t i = 0; i < name.length && prefix; i++) {
        const char c = name.bytes[i] | 32;
        prefix = strchr("rbuf", c) != NULL;
        raw |= c == 'r';
        constant &= c == 'r' || c == 'u';
    }
    if (prefix) {
        scanner->spoiled |= !constant;
        return scan_string(scanner, raw);
    }
    const int status = scan_emit(scanner);
    if (scanner->statement_begins) {
        scanner->first_name = name;
    }
    return status;
}

static int
scan_line_end(struct scanner *scanner)
{
    if (scanner->depth > 0) {
        return HEARTH_OK;
    }
    const int status = scan_emit(scanner);
    scanner->statement_begins = true;
    scanner->first_name = scanner->target = (struct chat_text){0};
    text_clear(&scanner->key);
    return status;
}

static int
scan_operator(struct scanner *scanner, char c)
{
    if (c == ':' && scanner->depth > 0 && scanner->has_value && !scanner->spoiled) {
        text_clear(&scanner->key);
        text_append(&scanner->key, scanner->value.bytes ? scanner->value.bytes : "", scanner->value.length);
        text_clear(&scanner->value);
        scanner->has_value = false;
        return HEARTH_OK;
    }
    if (c == '(' && !scanner->has_value) { /* around a value: its key stays */
        scanner->depth++;
        return HEARTH_OK;
    }
    const int status = scan_emit(scanner);
    scanner->depth += (c == '[' || c == '{' || c == '(') - (c == ']' || c == '}' || c == ')');
    if (scanner->depth < 0) {
        scanner->depth = 0;
    }
    if (c == ',' || c == '{' || c == '}') {
        text_clear(&scanner->key);
    }
    if (c == '=' && scanner->depth == 0) {
        scanner->target = scan_peek(scanner, 0) == '=' ? (struct chat_text){0} : scanner->first_name;
    }
    return status;
}

static int
scan_token(struct scanner *scanner)
{
    const char c = scanner->bytes[scanner->at];
    if (c == '\n') {
        scanner->at++;
        return scan_line_end(scanner);
    }
    if (c == ' ' || c == '\t' || c == '\r' || c == '\f') {
        scanner->at++;
        return HEARTH_OK;
    }
    if (c == '#') {
        while (scanner->at < scanner->length && scanner->bytes[scanner->at] != '\n') {
            scanner->at++;
        }
        return HEARTH_OK;
    }
    if (c == '\\') { /* a joined line */
        scanner->at += 1 + (scan_peek(scanner, 1) == '\r');
        scanner->at += scan_peek(scanner, 0) == '\n';
        return HEARTH_OK;
    }
    int status;
    if (c == '"' || c == '\'') {
        status = scan_string(scanner, false);
    } else if (is_name_byte(c)) {
        status = scan_name(scanner);
    } else {
        scanner->at++;
        status = scan_operator(scanner, c);
    }
    scanner->statement_begins = false;
    return status;
}

int
chat_python_scan(const char *name, struct chat_text source, const struct chat_constant_sink *sink,
                 struct hearth_error *err)
{
    struct scanner scanner = {.name = name,
                              .bytes = source.bytes,
                              .length = source.length,
                              .statement_begins = true,
                              .sink = sink,
                              .err = err};
    int status = HEARTH_OK;
    while (status == HEARTH_OK && scanner.at < scanner.length) {
        status = scan_token(&scanner);
    }
    if (status == HEARTH_OK) {
        status = scan_emit(&scanner);
    }
    text_free(&scanner.key);
    text_free(&scanner.value);
    return status;
}
