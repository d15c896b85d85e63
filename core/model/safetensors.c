/* safetensors.c - see safetensors.h.
 *
 * The header is parsed here and not by json-c: its grammar is a small part of JSON, a checkpoint has up to 150,000
 * entries, and an error should name the byte. */
#include "core/model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/error.h"

/* All types of the format whose elements are whole bytes. */
static const struct stored_type {
    const char *text;
    unsigned bytes;
    enum hearth_dtype dtype;
} stored_types[] = {
#define STORED_TYPE(name, bits, text) {text, (bits) / 8, HEARTH_##name},
    HEARTH_DTYPE_MAP(STORED_TYPE)
#undef STORED_TYPE
    {"BOOL", 1, HEARTH_DTYPE_NONE}, {"U8", 1, HEARTH_DTYPE_NONE},   {"F8_E5M2", 1, HEARTH_DTYPE_NONE},
    {"I16", 2, HEARTH_DTYPE_NONE},  {"U16", 2, HEARTH_DTYPE_NONE},  {"F16", 2, HEARTH_DTYPE_NONE},
    {"U32", 4, HEARTH_DTYPE_NONE},  {"F64", 8, HEARTH_DTYPE_NONE},  {"U64", 8, HEARTH_DTYPE_NONE}};

struct cursor {
    const char *path;
    const unsigned char *begin, *at, *end;
    struct hearth_error *err;
};

struct span {
    const char *bytes;
    size_t length;
};

static int
cursor_fail(const struct cursor *cursor, const char *wanted)
{
    return error_set(cursor->err, HEARTH_EFORMAT, "%s: header byte %td: %s wanted", cursor->path,
                     cursor->at - cursor->begin, wanted);
}

static void
skip_space(struct cursor *cursor)
{
    while (cursor->at < cursor->end &&
           (*cursor->at == ' ' || *cursor->at == '\n' || *cursor->at == '\r' || *cursor->at == '\t')) {
        cursor->at++;
    }
}

/* Whether c comes next; if so, it is passed. */
static bool
accept(struct cursor *cursor, char c)
{
    skip_space(cursor);
    if (cursor->at < cursor->end && *cursor->at == (unsigned char)c) {
        cursor->at++;
        return true;
    }
    return false;
}

static int
expect(struct cursor *cursor, char c)
{
    const char wanted[] = {'\'', c, '\'', '\0'};
    return accept(cursor, c) ? HEARTH_OK : cursor_fail(cursor, wanted);
}

/* A string as it stands in the text.  Names and types have no escapes; free texts of __metadata__ may. */
static int
read_string(struct cursor *cursor, bool may_escape, struct span *ret_text)
{
    const int status = expect(cursor, '"');
    if (status < 0) {
        return status;
    }
    const unsigned char *start = cursor->at;
    while (cursor->at < cursor->end && *cursor->at != '"') {
        if (*cursor->at < 0x20 || (*cursor->at == '\\' && !may_escape)) {
            return cursor_fail(cursor, "a printable character without escape");
        }
        cursor->at += *cursor->at == '\\' && cursor->end - cursor->at > 1 ? 2 : 1;
    }
    *ret_text = (struct span){(const char *)start, (size_t)(cursor->at - start)};
    return expect(cursor, '"');
}

static int
read_number(struct cursor *cursor, uint64_t *ret_value)
{
    skip_space(cursor);
    const unsigned char *start = cursor->at;
    uint64_t value = 0;
    while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9') {
        if (!mul_size(value, 10, &value) || !add_size(value, (uint64_t)(*cursor->at - '0'), &value)) {
            return cursor_fail(cursor, "an integer below 2^64");
        }
        cursor->at++;
    }
    if (cursor->at == start) {
        return cursor_fail(cursor, "an integer that is not negative");
    }
    *ret_value = value;
    return HEARTH_OK;
}

/* [n, n, ...], at most max_n of them */
static int
read_numbers(struct cursor *cursor, size_t max_n, uint64_t *ret_values, uint32_t *ret_n)
{
    uint32_t n = 0;
    int status = expect(cursor, '[');
    if (status < 0 || accept(cursor, ']')) {
        *ret_n = 0;
        return status;
    }
    do {
        if (n == max_n) {
            return cursor_fail(cursor, "the end of a shorter list");
        }
        status = read_number(cursor, &ret_values[n]);
        n++;
    } while (status == HEARTH_OK && accept(cursor, ','));
    *ret_n = n;
    return status < 0 ? status : expect(cursor, ']');
}

static bool
span_is(struct span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.bytes, text, span.length) == 0;
}

static int
skip_metadata(struct cursor *cursor)
{
    struct span text;
    int status = expect(cursor, '{');
    if (status < 0 || accept(cursor, '}')) {
        return status;
    }
    do {
        status = read_string(cursor, true, &text);
        status = status < 0 ? status : expect(cursor, ':');
        status = status < 0 ? status : read_string(cursor, true, &text);
    } while (status == HEARTH_OK && accept(cursor, ','));
    return status < 0 ? status : expect(cursor, '}');
}

struct entry {
    struct span dtype;
    uint64_t dims[TENSOR_MAX_DIMS];
    uint32_t n_dims;
    uint64_t offsets[2];
};

/* {"dtype": T, "shape": [...], "data_offsets": [begin, end]}, each once, in any order */
static int
read_entry(struct cursor *cursor, struct entry *ret_entry)
{
    unsigned seen = 0;
    int status = expect(cursor, '{');
    while (status == HEARTH_OK && seen != 7) {
        struct span key;
        status = seen ? expect(cursor, ',') : HEARTH_OK;
        status = status < 0 ? status : read_string(cursor, false, &key);
        status = status < 0 ? status : expect(cursor, ':');
        if (status < 0) {
            return status;
        }
        if (span_is(key, "dtype") && !(seen & 1)) {
            seen |= 1;
            status = read_string(cursor, false, &ret_entry->dtype);
        } else if (span_is(key, "shape") && !(seen & 2)) {
            seen |= 2;
            status = read_numbers(cursor, TENSOR_MAX_DIMS, ret_entry->dims, &ret_entry->n_dims);
        } else if (span_is(key, "data_offsets") && !(seen & 4)) {
            uint32_t n = 0;
            seen |= 4;
            status = read_numbers(cursor, 2, ret_entry->offsets, &n);
            status = status == HEARTH_OK && n != 2 ? cursor_fail(cursor, "two data_offsets") : status;
        } else {
            return cursor_fail(cursor, "one each of dtype, shape and data_offsets");
        }
    }
    return status < 0 ? status : expect(cursor, '}');
}

static const struct stored_type *
find_type(struct span text)
{
    for (size_t i = 0; i < sizeof stored_types / sizeof stored_types[0]; i++) {
        if (span_is(text, stored_types[i].text)) {
            return &stored_types[i];
        }
    }
    return NULL;
}

/* Checks an entry against the file and fills the tensor but its name. */
static int
place_tensor(const struct cursor *cursor, struct span name, const struct entry *entry, uint64_t header_bytes,
             uint64_t file_size, struct tensor *ret_tensor)
{
    const uint64_t data_bytes = file_size - header_bytes;
    const int name_length = (int)(name.length < 200 ? name.length : 200);
    const struct stored_type *type = find_type(entry->dtype);
    uint64_t n_elements = 1, size_bytes = 0;
    if (!type) {
        return error_set(cursor->err, HEARTH_EFORMAT, "%s: tensor %.*s: a safetensors dtype wanted, %.*s found",
                         cursor->path, name_length, name.bytes,
                         (int)(entry->dtype.length < 20 ? entry->dtype.length : 20), entry->dtype.bytes);
    }
    bool fits = true;
    for (uint32_t i = 0; i < entry->n_dims; i++) {
        fits = fits && mul_size(n_elements, entry->dims[i], &n_elements);
    }
    fits = fits && mul_size(n_elements, type->bytes, &size_bytes);
    const uint64_t begin = entry->offsets[0], end = entry->offsets[1];
    if (!fits || begin > end || end - begin != size_bytes) {
        char text[TENSOR_DIMS_BYTES];
        return error_set(cursor->err, HEARTH_EFORMAT,
                         "%s: tensor %.*s: data_offsets as far apart as %s %s takes wanted, [%" PRIu64 ", %" PRIu64
                         "] found",
                         cursor->path, name_length, name.bytes, type->text,
                         tensor_dims_text(entry->n_dims, entry->dims, text), begin, end);
    }
    if (end > data_bytes) {
        return error_set(cursor->err, HEARTH_EFORMAT,
                         "%s: tensor %.*s: data up to byte %" PRIu64 " wanted, but the file holds %" PRIu64,
                         cursor->path, name_length, name.bytes, end, data_bytes);
    }
    if ((header_bytes + begin) % type->bytes != 0) {
        return error_set(cursor->err, HEARTH_EFORMAT,
                         "%s: tensor %.*s: data at a multiple of %u bytes wanted, byte %" PRIu64 " found", cursor->path,
                         name_length, name.bytes, type->bytes, header_bytes + begin);
    }
    *ret_tensor = (struct tensor){.dtype_text = type->text, .dtype = type->dtype, .layer = TENSOR_NO_LAYER,
                                  .n_dims = entry->n_dims, .n_elements = n_elements, .offset = header_bytes + begin,
                                  .size_bytes = size_bytes};
    memcpy(ret_tensor->dims, entry->dims, sizeof ret_tensor->dims);
    return HEARTH_OK;
}

static int
append_tensor(struct safetensors *header, size_t *capacity, const struct tensor *tensor)
{
    if (header->n_tensors == *capacity) {
        const size_t larger = *capacity ? *capacity * 2 : 64;
        struct tensor *tensors = realloc(header->tensors, larger * sizeof *tensors);
        if (!tensors) {
            return HEARTH_EMEMORY;
        }
        header->tensors = tensors;
        *capacity = larger;
    }
    header->tensors[header->n_tensors++] = *tensor;
    return HEARTH_OK;
}

/* header->names has room for every byte of the JSON, hence for all names and their ends. */
static int
read_tensors(struct cursor *cursor, const char *file, const unsigned char *bytes, uint64_t size,
             struct safetensors *header)
{
    char *names = header->names;
    size_t capacity = 0;
    int status = expect(cursor, '{');
    if (status == HEARTH_OK && accept(cursor, '}')) {
        return HEARTH_OK;
    }
    while (status == HEARTH_OK) {
        struct span name;
        struct entry entry = {0};
        struct tensor tensor;
        status = read_string(cursor, false, &name);
        status = status < 0 ? status : expect(cursor, ':');
        if (status < 0) {
            return status;
        }
        if (span_is(name, "__metadata__")) {
            status = skip_metadata(cursor);
        } else {
            status = read_entry(cursor, &entry);
            status = status < 0 ? status : place_tensor(cursor, name, &entry, header->header_bytes, size, &tensor);
            if (status < 0) {
                return status;
            }
            memcpy(names, name.bytes, name.length);
            names[name.length] = '\0';
            tensor.name = names;
            tensor.file = file;
            tensor.data = bytes + tensor.offset;
            names += name.length + 1;
            if (append_tensor(header, &capacity, &tensor) < 0) {
                return error_no_memory(cursor->err, "the list of tensors");
            }
        }
        if (status == HEARTH_OK && !accept(cursor, ',')) {
            return expect(cursor, '}');
        }
    }
    return status;
}

static int
compare_offsets(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

static int
check_overlap(const char *path, const struct safetensors *header, struct hearth_error *err)
{
    for (size_t i = 1; i < header->n_tensors; i++) {
        const struct tensor *before = &header->tensors[i - 1], *tensor = &header->tensors[i];
        if (tensor->offset < before->offset + before->size_bytes) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: tensor %.160s: data of its own wanted, it overlaps tensor %.160s", path, tensor->name,
                             before->name);
        }
    }
    return HEARTH_OK;
}

int
safetensors_read(const char *path, const char *file, const unsigned char *bytes, uint64_t size,
                 struct safetensors *ret_header, struct hearth_error *err)
{
    if (size < 8) {
        return error_set(err, HEARTH_EFORMAT, "%s: the 8 bytes of a header length wanted, %" PRIu64 " bytes found",
                         path, size);
    }
    const uint64_t length = read_le64(bytes);
    if (length > SAFETENSORS_MAX_HEADER_BYTES || length > size - 8) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: a header length of at most %u and the file's %" PRIu64 " bytes wanted, %" PRIu64 " found",
                         path, SAFETENSORS_MAX_HEADER_BYTES, size, length);
    }
    struct safetensors header = {.header_bytes = 8 + length};
    header.names = malloc((size_t)length + 1);
    if (!header.names) {
        return error_no_memory(err, "tensor names");
    }
    struct cursor cursor = {.path = path, .begin = bytes + 8, .at = bytes + 8, .end = bytes + 8 + length, .err = err};
    int status = read_tensors(&cursor, file, bytes, size, &header);
    if (status < 0) {
        goto fail;
    }
    skip_space(&cursor);
    if (cursor.at < cursor.end) {
        status = cursor_fail(&cursor, "the end of the header");
        goto fail;
    }
    if (header.n_tensors > 0) {
        qsort(header.tensors, header.n_tensors, sizeof *header.tensors, compare_offsets);
    }
    status = check_overlap(path, &header, err);
    if (status < 0) {
        goto fail;
    }
    *ret_header = header;
    return HEARTH_OK;

fail:
    safetensors_free(&header);
    return status;
}

void
safetensors_free(struct safetensors *header)
{
    free(header->tensors);
    free(header->names);
    *header = (struct safetensors){0};
}
