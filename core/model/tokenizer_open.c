/* tokenizer_open.c - tokenizer.json to struct tokenizer.
 *
 * Every id from 0 to the highest has exactly one token, and every byte has one, so that any text can be encoded. Fields
 * that only matter for other kinds of tokenizer (unk_token, byte_fallback, fuse_unk) or that act after the tokens are
 * found (post_processor, truncation, padding) are not read. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/tokenizer_internal.h"
#include "core/model/utf8.h"

#define EXCERPT_BYTES 60
#define MAX_FILE_BYTES (UINT64_C(256) << 20)

/* What is being read; its parts live as long as root. */
struct source {
    const char *name; /* of the file */
    struct json_object *model, *vocab, *merges, *added;
};

/* For %.*s: as much of text as an error line has room for; whole characters, and none that would break the line */
static int
excerpt(const char *text)
{
    size_t length = 0;
    const size_t whole = strlen(text);
    for (int size; length < whole && length < EXCERPT_BYTES; length += (size_t)size) {
        size = utf8_scan((const unsigned char *)text + length, whole - length);
        if (size <= 0 || (unsigned char)text[length] < 0x20) {
            break;
        }
    }
    return (int)length;
}

static const char *
json_text(struct json_object *value)
{
    const char *text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    return text ? text : "?";
}

static int
unsupported(const struct source *source, const char *field, const char *wanted, struct json_object *found,
            struct hearth_error *err)
{
    const char *text = json_text(found);
    return error_set(err, HEARTH_EUNSUPPORTED, "%s: field %s: %s wanted, %.*s found", source->name, field, wanted,
                     excerpt(text), text);
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

/* "a" is: absent, null, false, 0, "" or an empty list */
static bool
is_nothing(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        return true;
    case json_type_string:
        return json_object_get_string_len(value) == 0;
    case json_type_array:
        return json_object_array_length(value) == 0;
    default:
        return json_object_get_double(value) == 0.0;
    }
}

static bool
has_type(struct json_object *object, const char *type)
{
    struct json_object *value = member(object, "type");
    return json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), type) == 0;
}

/* Refuses what would make other tokens than we do. */
static int
kind_check(struct source *source, struct json_object *root, struct hearth_error *err)
{
    static const char *const unset[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
    struct json_object *normalizer = member(root, "normalizer"), *decoder = member(root, "decoder");
    if (normalizer && !(has_type(normalizer, "Sequence") && is_nothing(member(normalizer, "normalizers")))) {
        return unsupported(source, "normalizer", "none or an empty Sequence", normalizer, err);
    }
    if (!has_type(decoder, "ByteLevel")) {
        return unsupported(source, "decoder", "ByteLevel", decoder, err);
    }
    int status = json_get(source->name, root, "model", json_type_object, &source->model, err);
    if (status < 0) {
        return status;
    }
    if (!has_type(source->model, "BPE")) {
        return unsupported(source, "model.type", "BPE", member(source->model, "type"), err);
    }
    for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) {
        struct json_object *value = member(source->model, unset[i]);
        if (!is_nothing(value)) {
            char field[64];
            snprintf(field, sizeof field, "model.%s", unset[i]);
            return unsupported(source, field, "nothing", value, err);
        }
    }
    struct json_object *ignore = member(source->model, "ignore_merges");
    if (ignore && !json_object_is_type(ignore, json_type_boolean)) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field model.ignore_merges: true or false wanted, another value found", source->name);
    }
    return HEARTH_OK;
}

/* The three lists, and how many ids they can fill. */
static int
lists_find(struct source *source, struct json_object *root, uint32_t *ret_max_tokens, struct hearth_error *err)
{
    char name[256];
    snprintf(name, sizeof name, "%s: model", source->name);
    int status = json_get(name, source->model, "vocab", json_type_object, &source->vocab, err);
    if (status == HEARTH_OK) {
        status = json_get(name, source->model, "merges", json_type_array, &source->merges, err);
    }
    source->added = member(root, "added_tokens");
    if (status == HEARTH_OK && source->added) {
        status = json_get(source->name, root, "added_tokens", json_type_array, &source->added, err);
    }
    if (status < 0) {
        return status;
    }
    const size_t n_vocab = (size_t)json_object_object_length(source->vocab);
    const size_t n_added = source->added ? json_object_array_length(source->added) : 0;
    const size_t n_merges = json_object_array_length(source->merges);
    if (n_vocab > TOKENIZER_MAX_TOKENS || n_added > TOKENIZER_MAX_TOKENS - n_vocab || n_merges > TOKENIZER_MAX_TOKENS) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: fields model and added_tokens: at most %" PRIu32 " tokens and as many "
                         "merges wanted, %zu + %zu and %zu found",
                         source->name, TOKENIZER_MAX_TOKENS, n_vocab, n_added, n_merges);
    }
    *ret_max_tokens = (uint32_t)(n_vocab + n_added);
    return HEARTH_OK;
}

/* An id that the table can hold.  As no id may be missing, none can be as high as the number of tokens. */
static int
id_read(const struct source *source, const char *field, const char *token, struct json_object *value,
        uint32_t max_tokens, uint32_t *ret_id, struct hearth_error *err)
{
    const int64_t id = json_object_get_int64(value);
    if (!json_object_is_type(value, json_type_int) || id < 0 || id >= max_tokens) {
        const char *text = json_text(value);
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field %s: token \"%.*s\": an id from 0 to %" PRIu32 " (one less than "
                         "there are tokens) wanted, %.*s found",
                         source->name, field, excerpt(token), token, max_tokens - 1, excerpt(text), text);
    }
    *ret_id = (uint32_t)id;
    return HEARTH_OK;
}

static int
vocab_read(struct tokenizer *tokenizer, const struct source *source, struct hearth_error *err)
{
    struct token_table *table = &tokenizer->table;
    struct json_object_iterator at = json_object_iter_begin(source->vocab);
    const struct json_object_iterator end = json_object_iter_end(source->vocab);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        const char *token = json_object_iter_peek_name(&at);
        const size_t length = strlen(token);
        uint32_t id = 0;
        int status = id_read(source, "model.vocab", token, json_object_iter_peek_value(&at), table->n_tokens, &id, err);
        if (status == HEARTH_OK &&
            (table->tokens[id].name != TOKEN_ABSENT || token_table_find(table, token, length) >= 0)) {
            status = error_set(err, HEARTH_EFORMAT,
                               "%s: field model.vocab: one id for one token wanted, token \"%.*s\" or "
                               "id %" PRIu32 " found twice",
                               source->name, excerpt(token), token, id);
        }
        if (status == HEARTH_OK) {
            status = token_table_add(table, id, token, length, false, err);
        }
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* left and right of the merge at index, borrowed: ["a", "b"] or "a b" */
static bool
merge_names(struct json_object *merge, const char *names[2], size_t lengths[2])
{
    if (json_object_is_type(merge, json_type_array) && json_object_array_length(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            struct json_object *part = json_object_array_get_idx(merge, i);
            if (!json_object_is_type(part, json_type_string)) {
                return false;
            }
            names[i] = json_object_get_string(part);
            lengths[i] = (size_t)json_object_get_string_len(part);
        }
        return true;
    }
    if (!json_object_is_type(merge, json_type_string)) {
        return false;
    }
    names[0] = json_object_get_string(merge);
    const size_t length = (size_t)json_object_get_string_len(merge);
    const char *space = memchr(names[0], ' ', length);
    if (!space) {
        return false;
    }
    names[1] = space + 1;
    lengths[0] = (size_t)(space - names[0]);
    lengths[1] = length - lengths[0] - 1;
    return !memchr(names[1], ' ', lengths[1]);
}

static int
merges_read(struct tokenizer *tokenizer, const struct source *source, struct hearth_error *err)
{
    const struct token_table *table = &tokenizer->table;
    struct text joined = {0};
    const size_t n_merges = json_object_array_length(source->merges);
    int status = merge_table_init(&tokenizer->merges, (uint32_t)n_merges, err);
    for (size_t i = 0; i < n_merges && status == HEARTH_OK; i++) {
        struct json_object *merge = json_object_array_get_idx(source->merges, i);
        const char *names[2], *problem = NULL;
        size_t lengths[2];
        int32_t left = -1, right = -1, whole = -1;
        if (!merge_names(merge, names, lengths)) {
            problem = "two tokens";
        } else {
            text_clear(&joined);
            text_append(&joined, names[0], lengths[0]);
            text_append(&joined, names[1], lengths[1]);
            if (joined.failed) {
                status = error_no_memory(err, "a merge");
                break;
            }
            left = token_table_find(table, names[0], lengths[0]);
            right = token_table_find(table, names[1], lengths[1]);
            whole = token_table_find(table, joined.bytes, joined.length);
            problem = left < 0 || right < 0 ? "two tokens of model.vocab"
                      : whole < 0           ? "a result in model.vocab"
                                            : NULL;
        }
        if (!problem && !merge_table_add(&tokenizer->merges, (uint32_t)left, (uint32_t)right, whole)) {
            problem = "a pair that no earlier merge has";
        }
        if (problem) {
            const char *text = json_text(merge);
            status = error_set(err, HEARTH_EFORMAT, "%s: field model.merges[%zu]: %s wanted, %.*s found", source->name,
                               i, problem, excerpt(text), text);
        }
    }
    text_free(&joined);
    return status;
}

/* Checks one entry of added_tokens and puts its token into the table unless the vocabulary has it. */
static int
added_token_read(struct tokenizer *tokenizer, const struct source *source, size_t index, uint32_t *ret_id,
                 bool *ret_normalized, struct hearth_error *err)
{
    static const char *const unset[] = {"single_word", "lstrip", "rstrip"};
    struct token_table *table = &tokenizer->table;
    struct json_object *entry = json_object_array_get_idx(source->added, index);
    struct json_object *content = member(entry, "content"), *normalized = member(entry, "normalized");
    const size_t length =
        json_object_is_type(content, json_type_string) ? (size_t)json_object_get_string_len(content) : 0;
    if (length == 0 || length > ADDED_TOKEN_MAX_BYTES ||
        (normalized && !json_object_is_type(normalized, json_type_boolean))) {
        const char *text = json_text(entry);
        return error_set(err, HEARTH_EFORMAT,
                         "%s: added_tokens[%zu]: content of 1 to %d bytes and normalized true or "
                         "false wanted, %.*s found",
                         source->name, index, ADDED_TOKEN_MAX_BYTES, excerpt(text), text);
    }
    for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) {
        if (!is_nothing(member(entry, unset[i]))) {
            return error_set(err, HEARTH_EUNSUPPORTED, "%s: added_tokens[%zu].%s: false wanted, true found",
                             source->name, index, unset[i]);
        }
    }
    const char *name = json_object_get_string(content);
    uint32_t id = 0;
    const int status = id_read(source, "added_tokens", name, member(entry, "id"), table->n_tokens, &id, err);
    if (status < 0) {
        return status;
    }
    const int32_t known = token_table_find(table, name, length);
    if (known >= 0 ? (uint32_t)known != id : table->tokens[id].name != TOKEN_ABSENT) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: added_tokens[%zu]: token \"%.*s\": its id in model.vocab or one that no "
                         "other token has wanted, %" PRIu32 " found",
                         source->name, index, excerpt(name), name, id);
    }
    *ret_id = id;
    *ret_normalized = !normalized || json_object_get_boolean(normalized);
    return known >= 0 ? HEARTH_OK : token_table_add(table, id, name, length, true, err);
}

/* A token of the vocabulary that is an added token too stands for its name; both would be wrong if the byte alphabet
 * reads it otherwise. */
static int
added_token_check(const struct tokenizer *tokenizer, const struct source *source, size_t index, uint32_t id,
                  struct hearth_error *err)
{
    size_t n_name, n_bytes;
    const char *name = token_table_name(&tokenizer->table, id, &n_name);
    const char *bytes = tokenizer_token(tokenizer, (int32_t)id, &n_bytes);
    if (n_name != n_bytes || memcmp(name, bytes, n_name) != 0) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: added_tokens[%zu]: a token that stands for the same bytes in model.vocab wanted, "
                         "others found",
                         source->name, index);
    }
    return HEARTH_OK;
}

static int
added_read(struct tokenizer *tokenizer, const struct source *source, struct hearth_error *err)
{
    const size_t n_added = source->added ? json_object_array_length(source->added) : 0;
    bool *seen = calloc((size_t)tokenizer->table.n_tokens + 1, sizeof *seen);
    int status = HEARTH_OK;
    for (int i = 0; i < 2; i++) {
        tokenizer->added[i].ids = malloc((n_added + 1) * sizeof *tokenizer->added[i].ids);
    }
    if (!seen || !tokenizer->added[0].ids || !tokenizer->added[1].ids) {
        status = error_no_memory(err, "the added tokens");
    }
    for (size_t i = 0; i < n_added && status == HEARTH_OK; i++) {
        uint32_t id = 0;
        bool normalized = false;
        status = added_token_read(tokenizer, source, i, &id, &normalized, err);
        if (status == HEARTH_OK) {
            status = added_token_check(tokenizer, source, i, id, err);
        }
        if (status == HEARTH_OK && seen[id]) {
            status =
                error_set(err, HEARTH_EFORMAT,
                          "%s: added_tokens[%zu]: a token that no earlier entry has wanted, id %" PRIu32 " found again",
                          source->name, i, id);
        }
        if (status == HEARTH_OK) {
            struct added_set *set = &tokenizer->added[normalized];
            set->ids[set->n_ids++] = id;
            seen[id] = true;
        }
    }
    free(seen);
    if (status == HEARTH_OK) {
        added_set_index(&tokenizer->added[0], &tokenizer->table);
        added_set_index(&tokenizer->added[1], &tokenizer->table);
    }
    return status;
}

/* No id without a token, no byte without one.  The table has room for all entries; a token in both lists leaves one
 * free at the end, never inside. */
static int
tokens_check(struct tokenizer *tokenizer, const struct source *source, struct hearth_error *err)
{
    struct token_table *table = &tokenizer->table;
    while (table->n_tokens > 0 && table->tokens[table->n_tokens - 1].name == TOKEN_ABSENT) {
        table->n_tokens--;
    }
    for (uint32_t id = 0; id < table->n_tokens; id++) {
        if (table->tokens[id].name == TOKEN_ABSENT) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: fields model.vocab and added_tokens: a token for every id up to %" PRIu32
                             " wanted, none found for %" PRIu32,
                             source->name, table->n_tokens - 1, id);
        }
    }
    for (int byte = 0; byte < 256; byte++) {
        char letter[2];
        const size_t length = byte_alphabet_letter((unsigned char)byte, letter);
        tokenizer->byte_ids[byte] = token_table_find(table, letter, length);
        if (tokenizer->byte_ids[byte] < 0) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: field model.vocab: a token for every byte wanted, none found for "
                             "0x%02X (\"%.*s\")",
                             source->name, (unsigned)byte, (int)length, letter);
        }
    }
    return HEARTH_OK;
}

static int
tokenizer_read(struct tokenizer *tokenizer, const char *name, struct json_object *root, struct hearth_error *err)
{
    struct source source = {.name = name};
    uint32_t max_tokens = 0;
    if (!json_object_is_type(root, json_type_object)) {
        return error_set(err, HEARTH_EFORMAT, "%s: an object wanted, another value found", name);
    }
    int status = kind_check(&source, root, err);
    if (status == HEARTH_OK) {
        status = lists_find(&source, root, &max_tokens, err);
    }
    if (status == HEARTH_OK) {
        status = pretokenizer_new(name, member(root, "pre_tokenizer"), &tokenizer->pretokenizer, err);
    }
    if (status == HEARTH_OK) {
        status = token_table_init(&tokenizer->table, max_tokens, err);
    }
    if (status == HEARTH_OK) {
        status = vocab_read(tokenizer, &source, err);
    }
    if (status == HEARTH_OK) {
        status = merges_read(tokenizer, &source, err);
    }
    if (status == HEARTH_OK) {
        status = added_read(tokenizer, &source, err);
    }
    if (status == HEARTH_OK) {
        status = tokens_check(tokenizer, &source, err);
    }
    tokenizer->ignore_merges = json_object_get_boolean(member(source.model, "ignore_merges"));
    return status;
}

static int
tokenizer_from_json(const char *name, struct json_object *root, struct tokenizer **ret_tokenizer,
                    struct hearth_error *err)
{
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    const int status = tokenizer ? tokenizer_read(tokenizer, name, root, err) : error_no_memory(err, "a tokenizer");
    if (status < 0) {
        tokenizer_free(tokenizer);
        return status;
    }
    *ret_tokenizer = tokenizer;
    return HEARTH_OK;
}

int
tokenizer_open(const char *path, struct tokenizer **ret_tokenizer, struct hearth_error *err)
{
    struct json_object *root = NULL;
    int status = json_parse_file(path, MAX_FILE_BYTES, &root, err);
    if (status == HEARTH_OK) {
        status = tokenizer_from_json(path, root, ret_tokenizer, err);
        json_object_put(root);
    }
    return status;
}

int
tokenizer_parse(const char *name, const char *json, size_t length, struct tokenizer **ret_tokenizer,
                struct hearth_error *err)
{
    struct json_object *root = NULL;
    int status = json_parse(name, json, length, &root, err);
    if (status == HEARTH_OK) {
        status = tokenizer_from_json(name, root, ret_tokenizer, err);
        json_object_put(root);
    }
    return status;
}

void
tokenizer_free(struct tokenizer *tokenizer)
{
    if (!tokenizer) {
        return;
    }
    token_table_done(&tokenizer->table);
    merge_table_done(&tokenizer->merges);
    free(tokenizer->added[0].ids);
    free(tokenizer->added[1].ids);
    pretokenizer_free(tokenizer->pretokenizer);
    free(tokenizer);
}

uint32_t
tokenizer_vocab_size(const struct tokenizer *tokenizer)
{
    return tokenizer->table.n_tokens;
}

const char *
tokenizer_token(const struct tokenizer *tokenizer, int32_t id, size_t *ret_length)
{
    if (id < 0 || (uint32_t)id >= tokenizer->table.n_tokens) {
        *ret_length = 0;
        return NULL;
    }
    *ret_length = tokenizer->table.tokens[id].bytes_length;
    return tokenizer->table.arena.bytes + tokenizer->table.tokens[id].bytes;
}

int32_t
tokenizer_find(const struct tokenizer *tokenizer, const char *name)
{
    return token_table_find(&tokenizer->table, name, strlen(name));
}
