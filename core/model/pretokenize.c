/* pretokenize.c - cutting text into pieces with the patterns of tokenizer.json; the one door to PCRE2.
 *
 * Known kind: a Sequence of Split (Regex, Isolated, not inverted) and a last ByteLevel that neither adds a space nor
 * splits. Each split cuts every piece of the one before; matches and the gaps between them are both pieces.  A piece is
 * matched alone: look-ahead sees its end as the end of the text, as in HF tokenizers. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/tokenizer_internal.h"
#include "core/model/utf8.h"

#define MAX_SPLITS 16
#define MAX_PATTERN_BYTES 4096
/* Steps one match may take.  V4's patterns need about one for each byte of a run of white space; an honest pattern
 * stays far below, an exponential one is stopped. */
#define MATCH_STEPS_BASE UINT64_C(1000000)
#define MATCH_STEPS_PER_BYTE 100
#define MATCH_HEAP_KIB (256 * 1024)

struct pretokenizer {
    pcre2_code *patterns[MAX_SPLITS];
    size_t n_patterns;
    char *name; /* of the file, for error lines */
};

struct splitter {
    const struct pretokenizer *pretokenizer;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    unsigned char *shadow; /* copy of a text with stand-ins */
    size_t shadow_capacity;
    splitter_piece_fn take;
    void *context;
    struct hearth_error *err;
};

/* ---- reading the definition ------------------------------------------------------------------------------------- */

static int
pattern_compile(const char *name, size_t index, const char *pattern, size_t length, pcre2_code **ret_code,
                struct hearth_error *err)
{
    const char *problem = pretokenize_dialect_problem(pattern, length);
    if (problem) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: pre_tokenizer.pretokenizers[%zu].pattern.Regex: a pattern in "
                         "the part common to Oniguruma and PCRE2 wanted, %s found",
                         name, index, problem);
    }
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) {
        return error_no_memory(err, "a pattern of the tokenizer");
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_set_max_pattern_length(context, MAX_PATTERN_BYTES);
    int code;
    PCRE2_SIZE offset;
    /* Ruby's ^ and $ always mean lines */
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, length, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (!compiled) {
        PCRE2_UCHAR text[160] = "";
        pcre2_get_error_message(code, text, sizeof text);
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: pre_tokenizer.pretokenizers[%zu].pattern.Regex: a pattern that "
                         "PCRE2 can compile wanted, found at byte %zu: %s",
                         name, index, (size_t)offset, (char *)text);
    }
    /* Without the compiler (another machine, hardened kernel) pcre2_match interprets. */
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    *ret_code = compiled;
    return HEARTH_OK;
}

static struct json_object *
member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    if (json_object_is_type(object, json_type_object)) {
        json_object_object_get_ex(object, key, &value);
    }
    return value;
}

static bool
member_is(struct json_object *object, const char *key, const char *wanted)
{
    struct json_object *value = member(object, key);
    return json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), wanted) == 0;
}

/* absent counts as fallback */
static bool
member_is_false(struct json_object *object, const char *key, bool fallback)
{
    struct json_object *value = member(object, key);
    return value ? json_object_is_type(value, json_type_boolean) && !json_object_get_boolean(value) : !fallback;
}

static int
split_read(struct pretokenizer *pretokenizer, size_t index, struct json_object *split, struct hearth_error *err)
{
    struct json_object *regex = member(member(split, "pattern"), "Regex");
    if (!member_is(split, "behavior", "Isolated") || !member_is_false(split, "invert", false) ||
        !json_object_is_type(regex, json_type_string)) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: pre_tokenizer.pretokenizers[%zu]: a Split with pattern.Regex, "
                         "behavior Isolated and invert false wanted, another found",
                         pretokenizer->name, index);
    }
    if (pretokenizer->n_patterns == MAX_SPLITS) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: pre_tokenizer.pretokenizers[%zu]: at most %d splits wanted, more "
                         "found",
                         pretokenizer->name, index, MAX_SPLITS);
    }
    const int status = pattern_compile(pretokenizer->name, index, json_object_get_string(regex),
                                       (size_t)json_object_get_string_len(regex),
                                       &pretokenizer->patterns[pretokenizer->n_patterns], err);
    pretokenizer->n_patterns += status == HEARTH_OK;
    return status;
}

static int
sequence_read(struct pretokenizer *pretokenizer, struct json_object *definition, struct hearth_error *err)
{
    struct json_object *list = member(definition, "pretokenizers");
    if (!member_is(definition, "type", "Sequence") || !json_object_is_type(list, json_type_array)) {
        return error_set(err, HEARTH_EUNSUPPORTED, "%s: field pre_tokenizer: a Sequence wanted, another kind found",
                         pretokenizer->name);
    }
    const size_t n = json_object_array_length(list);
    for (size_t i = 0; i + 1 < n; i++) {
        struct json_object *split = json_object_array_get_idx(list, i);
        if (!member_is(split, "type", "Split")) {
            return error_set(err, HEARTH_EUNSUPPORTED,
                             "%s: pre_tokenizer.pretokenizers[%zu].type: Split wanted, another "
                             "kind found",
                             pretokenizer->name, i);
        }
        const int status = split_read(pretokenizer, i, split, err);
        if (status < 0) {
            return status;
        }
    }
    struct json_object *last = n ? json_object_array_get_idx(list, n - 1) : NULL;
    if (!member_is(last, "type", "ByteLevel") || !member_is_false(last, "use_regex", true) ||
        !member_is_false(last, "add_prefix_space", true)) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: pre_tokenizer.pretokenizers: a last ByteLevel with use_regex and "
                         "add_prefix_space false wanted, another found",
                         pretokenizer->name);
    }
    return HEARTH_OK;
}

int
pretokenizer_new(const char *name, struct json_object *definition, struct pretokenizer **ret_pretokenizer,
                 struct hearth_error *err)
{
    struct text copy = {0};
    struct pretokenizer *pretokenizer = calloc(1, sizeof *pretokenizer);
    if (!pretokenizer) {
        return error_no_memory(err, "the pre-tokeniser");
    }
    text_add(&copy, name);
    pretokenizer->name = text_take(&copy);
    int status = pretokenizer->name ? HEARTH_OK : error_no_memory(err, "the pre-tokeniser");
    if (status < 0) {
        goto fail;
    }
    status = sequence_read(pretokenizer, definition, err);
    if (status < 0) {
        goto fail;
    }
    *ret_pretokenizer = pretokenizer;
    return HEARTH_OK;

fail:
    pretokenizer_free(pretokenizer);
    return status;
}

void
pretokenizer_free(struct pretokenizer *pretokenizer)
{
    if (!pretokenizer) {
        return;
    }
    for (size_t i = 0; i < pretokenizer->n_patterns; i++) {
        pcre2_code_free(pretokenizer->patterns[i]);
    }
    free(pretokenizer->name);
    free(pretokenizer);
}

/* ---- splitting -------------------------------------------------------------------------------------------------- */

int
splitter_new(const struct pretokenizer *pretokenizer, size_t n_bytes, struct splitter **ret_splitter,
             struct hearth_error *err)
{
    struct splitter *splitter = calloc(1, sizeof *splitter);
    if (!splitter) {
        return error_no_memory(err, "the pre-tokeniser");
    }
    splitter->pretokenizer = pretokenizer;
    splitter->match = pcre2_match_data_create(1, NULL);
    splitter->limits = pcre2_match_context_create(NULL);
    if (!splitter->match || !splitter->limits) {
        splitter_free(splitter);
        return error_no_memory(err, "the pre-tokeniser");
    }
    const uint64_t steps = MATCH_STEPS_BASE + (uint64_t)n_bytes * MATCH_STEPS_PER_BYTE;
    pcre2_set_match_limit(splitter->limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(splitter->limits, MATCH_HEAP_KIB);
    *ret_splitter = splitter;
    return HEARTH_OK;
}

void
splitter_free(struct splitter *splitter)
{
    if (!splitter) {
        return;
    }
    pcre2_match_data_free(splitter->match);
    pcre2_match_context_free(splitter->limits);
    free(splitter->shadow);
    free(splitter);
}

/* The next match at or after start.  1: found, 0: none, negative: status. */
static int
pattern_search(struct splitter *splitter, size_t level, const unsigned char *subject, size_t length, size_t start,
               size_t *ret_start, size_t *ret_end)
{
    const pcre2_code *pattern = splitter->pretokenizer->patterns[level];
    int code = pcre2_match(pattern, subject, length, start, PCRE2_NO_UTF_CHECK, splitter->match, splitter->limits);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) {
        code = pcre2_match(pattern, subject, length, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, splitter->match,
                           splitter->limits);
    }
    if (code == PCRE2_ERROR_NOMATCH) {
        return 0;
    }
    if (code == PCRE2_ERROR_NOMEMORY) {
        return error_no_memory(splitter->err, "matching a pattern of the tokenizer");
    }
    if (code < 0) {
        PCRE2_UCHAR text[120] = "";
        pcre2_get_error_message(code, text, sizeof text);
        return error_set(splitter->err, HEARTH_EUNSUPPORTED,
                         "%s: pre_tokenizer, pattern %zu: a match within its limits "
                         "wanted, found: %s",
                         splitter->pretokenizer->name, level + 1, (char *)text);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(splitter->match);
    *ret_start = ends[0];
    *ret_end = ends[1];
    return 1;
}

/* text and subject: the same place in the text and in what the patterns see of it */
static int
split_level(struct splitter *splitter, size_t level, const char *text, const unsigned char *subject, size_t length)
{
    if (length == 0) {
        return HEARTH_OK;
    }
    if (level == splitter->pretokenizer->n_patterns) {
        return splitter->take(splitter->context, text, length, splitter->err);
    }
    size_t done = 0, from = 0, start = 0, end = 0;
    bool matched = false; /* then done is also the end of the last match */
    while (from <= length) {
        int status = pattern_search(splitter, level, subject, length, from, &start, &end);
        if (status < 0) {
            return status;
        }
        if (status == 0) {
            break;
        }
        if (start == end && matched && end == done) {
            /* an empty match right after the last one does not count; go on behind the next character */
            const int size = from < length ? utf8_scan(subject + from, length - from) : 1;
            from += size > 0 ? (size_t)size : 1;
            continue;
        }
        status = split_level(splitter, level + 1, text + done, subject + done, start - done);
        if (status == HEARTH_OK) {
            status = split_level(splitter, level + 1, text + start, subject + start, end - start);
        }
        if (status < 0) {
            return status;
        }
        from = done = end;
        matched = true;
    }
    return split_level(splitter, level + 1, text + done, subject + done, length - done);
}

/* What the patterns see of text: itself, or a copy with stand-ins. */
static int
shadow_make(struct splitter *splitter, const char *text, size_t length, const unsigned char **ret_subject)
{
    const unsigned char *bytes = (const unsigned char *)text;
    bool copied = false;
    for (size_t i = 0; i < length;) {
        if (bytes[i] < 0xE0) {
            i += bytes[i] < 0x80 ? 1 : 2;
            continue;
        }
        const int size = bytes[i] < 0xF0 ? 3 : 4;
        const uint32_t point = utf8_decode(bytes + i, size), standin = unicode_standin(point);
        if (standin != point && !copied) {
            if (length > splitter->shadow_capacity) {
                free(splitter->shadow);
                splitter->shadow_capacity = 0;
                splitter->shadow = malloc(length);
                if (!splitter->shadow) {
                    return error_no_memory(splitter->err, "a copy of the text for the pre-tokeniser");
                }
                splitter->shadow_capacity = length;
            }
            memcpy(splitter->shadow, bytes, length);
            copied = true;
        }
        if (standin != point) {
            utf8_encode(standin, size, splitter->shadow + i);
        }
        i += (size_t)size;
    }
    *ret_subject = copied ? splitter->shadow : bytes;
    return HEARTH_OK;
}

int
splitter_split(struct splitter *splitter, const char *text, size_t length, splitter_piece_fn take, void *context,
               struct hearth_error *err)
{
    const unsigned char *subject = NULL;
    splitter->take = take;
    splitter->context = context;
    splitter->err = err;
    const int status = shadow_make(splitter, text, length, &subject);
    return status < 0 ? status : split_level(splitter, 0, text, subject, length);
}
