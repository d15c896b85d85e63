/* pretokenize_dialect.c - which patterns mean the same to Oniguruma and to PCRE2.
 *
 * HF tokenizers runs the patterns of tokenizer.json through Oniguruma (Ruby syntax).  Most of what such files hold
 * means the same to PCRE2; what does not would cut text elsewhere without a word.  So a pattern is refused unless it
 * keeps to the common part: literals, general categories, \s \d, classes, groups, look-around, alternatives and plain
 * repeats. */
#include "core/model/tokenizer_internal.h"

#include <string.h>

struct scan {
    const char *at, *end;
    bool in_class;
};

static char
scan_peek(const struct scan *scan, size_t ahead)
{
    return (size_t)(scan->end - scan->at) > ahead ? scan->at[ahead] : '\0';
}

static bool
is_ascii_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* After \p or \P: {L}, {Lu}, {^Lu}.  Scripts are not in common: PCRE2 takes \p{Han} for the script extensions. */
static const char *
scan_property(struct scan *scan)
{
    const char *problem = "a property that is not a general category";
    if (scan_peek(scan, 0) != '{') {
        return problem;
    }
    scan->at++;
    if (scan_peek(scan, 0) == '^') {
        scan->at++;
    }
    const char major = scan_peek(scan, 0);
    if (!major || !strchr("CLMNPSZ", major)) {
        return problem;
    }
    scan->at++;
    if (scan_peek(scan, 0) >= 'a' && scan_peek(scan, 0) <= 'z') {
        scan->at++;
    }
    if (scan_peek(scan, 0) != '}') {
        return problem;
    }
    scan->at++;
    return NULL;
}

static const char *
scan_escape(struct scan *scan)
{
    const char escape = scan_peek(scan, 1);
    scan->at += escape ? 2 : 1;
    if (escape == 'p' || escape == 'P') {
        return scan_property(scan);
    }
    if (!escape) {
        return "a backslash at the end";
    }
    if (is_ascii_letter_or_digit(escape) && !strchr("sSdDrntf", escape)) {
        return "an escape other than \\p \\P \\s \\S \\d \\D \\r \\n \\t \\f";
    }
    return NULL;
}

/* After an opening parenthesis */
static const char *
scan_group(struct scan *scan)
{
    if (scan_peek(scan, 0) == '*') {
        return "a group that opens with (*";
    }
    if (scan_peek(scan, 0) != '?') {
        return NULL;
    }
    const char kind = scan_peek(scan, 1), more = scan_peek(scan, 2);
    const bool common = (kind && strchr(":=!>", kind)) || (kind == '<' && (more == '=' || more == '!')) ||
                        (kind == 'i' && (more == ':' || more == ')'));
    if (!common) {
        return "a group other than (?: (?= (?! (?<= (?<! (?> (?i: (?i)";
    }
    scan->at += 2;
    return NULL;
}

/* At an opening brace outside of a class */
static const char *
scan_interval(struct scan *scan)
{
    if (scan_peek(scan, 1) == ',') {
        return "a repeat without a lower bound";
    }
    const char *close = memchr(scan->at, '}', (size_t)(scan->end - scan->at));
    if (close && close + 1 < scan->end && (close[1] == '+' || close[1] == '?')) {
        return "a + or ? after a counted repeat";
    }
    scan->at++;
    return NULL;
}

static const char *
scan_class_member(struct scan *scan)
{
    const char c = *scan->at;
    if (c == '[') {
        return "a class inside a class";
    }
    if (c == '&' && scan_peek(scan, 1) == '&') {
        return "an intersection of classes";
    }
    scan->in_class = c != ']';
    scan->at++;
    return NULL;
}

static const char *
scan_class_open(struct scan *scan)
{
    scan->at += scan_peek(scan, 1) == '^' ? 2 : 1;
    scan->in_class = true;
    return scan_peek(scan, 0) == ']' ? "a class that begins with ]" : NULL;
}

const char *
pretokenize_dialect_problem(const char *pattern, size_t length)
{
    struct scan scan = {.at = pattern, .end = pattern + length};
    const char *problem = NULL;
    while (!problem && scan.at < scan.end) {
        const char c = *scan.at;
        if (c == '\0') {
            problem = "a NUL";
        } else if (c == '\\') {
            problem = scan_escape(&scan);
        } else if (scan.in_class) {
            problem = scan_class_member(&scan);
        } else if (c == '[') {
            problem = scan_class_open(&scan);
        } else if (c == '{') {
            problem = scan_interval(&scan);
        } else {
            scan.at++;
            problem = c == '(' ? scan_group(&scan) : NULL;
        }
    }
    return problem;
}
