/* chat_grammar.c - see chat_grammar.h.  The official parser reads both with regular expressions; what those accept
 * beyond the plain form (Unicode space before name=, one newline more at the end) is accepted here. */
#include "core/model/chat_grammar.h"

#include <string.h>

#define NAME "name=\""
#define NAME_END "\">\n"

/* The bytes of the white space character at the start of text by Python's str.isspace, 0 if it is none. */
static size_t
space_length(struct chat_text text)
{
    static const char *const wide[] = {"\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\xA8",
                                       "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};
    if (text.length == 0) {
        return 0;
    }
    const unsigned char *c = (const unsigned char *)text.bytes;
    if (c[0] == ' ' || (c[0] >= 0x09 && c[0] <= 0x0D) || (c[0] >= 0x1C && c[0] <= 0x1F)) {
        return 1;
    }
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        const size_t n = strlen(wide[i]);
        if (text.length >= n && memcmp(text.bytes, wide[i], n) == 0) {
            return n;
        }
    }
    /* U+2000 to U+200A */
    return text.length >= 3 && c[0] == 0xE2 && c[1] == 0x80 && c[2] >= 0x80 && c[2] <= 0x8A ? 3 : 0;
}

static bool
begins(struct chat_text text, const char *string)
{
    return text.length >= strlen(string) && memcmp(text.bytes, string, strlen(string)) == 0;
}

static bool
ends(struct chat_text text, const char *string)
{
    const size_t n = strlen(string);
    return text.length >= n && memcmp(text.bytes + text.length - n, string, n) == 0;
}

static void
skip(struct chat_text *text, size_t n)
{
    text->bytes += n;
    text->length -= n;
}

/* In a regular expression '$' also stands before one newline at the very end. */
static bool
cut_end(struct chat_text *text, const char *string)
{
    if (!ends(*text, string) && text->length && text->bytes[text->length - 1] == '\n') {
        text->length--;
    }
    if (!ends(*text, string)) {
        return false;
    }
    text->length -= strlen(string);
    return true;
}

bool
chat_grammar_name(struct chat_text header, struct chat_text *ret_name)
{
    for (size_t n = space_length(header); n; n = space_length(header)) {
        skip(&header, n);
    }
    if (!begins(header, NAME)) {
        return false;
    }
    skip(&header, strlen(NAME));
    if (!cut_end(&header, NAME_END)) {
        return false;
    }
    *ret_name = header;
    return true;
}

bool
chat_grammar_key(struct chat_text header, struct chat_text *ret_key, bool *ret_is_string, size_t *ret_length)
{
    static const char yes[] = "\" string=\"true\">", no[] = "\" string=\"false\">";
    struct chat_text rest = header;
    if (!begins(rest, " " NAME)) {
        return false;
    }
    skip(&rest, strlen(" " NAME));
    const char *key = rest.bytes;
    while (rest.length && !begins(rest, yes) && !begins(rest, no)) {
        skip(&rest, 1);
    }
    if (rest.length == 0) {
        return false;
    }
    *ret_is_string = begins(rest, yes);
    *ret_key = (struct chat_text){key, (size_t)(rest.bytes - key)};
    *ret_length = header.length - rest.length + strlen(*ret_is_string ? yes : no);
    return true;
}

bool
chat_grammar_parameter(struct chat_text text, struct chat_text *ret_key, bool *ret_is_string,
                       struct chat_text *ret_value)
{
    size_t head;
    if (!chat_grammar_key(text, ret_key, ret_is_string, &head)) {
        return false;
    }
    skip(&text, head);
    if (!cut_end(&text, "<")) {
        return false;
    }
    *ret_value = text;
    return true;
}
