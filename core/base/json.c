/* json.c - see json.h. */
#include "core/base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

#define JSON_MAX_DEPTH 64

int
json_parse(const char *name, const char *bytes, size_t length, struct json_object **ret_value, struct hearth_error *err)
{
    if (length > INT_MAX) {
        return error_set(err, HEARTH_EFORMAT, "%s: at most %d bytes of JSON wanted, %zu found", name, INT_MAX, length);
    }
    struct json_tokener *tokener = json_tokener_new_ex(JSON_MAX_DEPTH);
    if (!tokener) {
        return error_no_memory(err, "a JSON parser");
    }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    struct json_object *value = json_tokener_parse_ex(tokener, bytes, (int)length);
    enum json_tokener_error problem = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    if (problem == json_tokener_continue && length > 0) {
        /* a number at the very end is complete only once something follows it */
        value = json_tokener_parse_ex(tokener, "", -1);
        problem = json_tokener_get_error(tokener);
        end = length;
    }
    int status = HEARTH_OK;
    if (problem != json_tokener_success) {
        status = error_set(err, HEARTH_EFORMAT, "%s: byte %zu: valid JSON wanted, found: %s", name, end,
                           problem == json_tokener_continue ? "the end of the text" : json_tokener_error_desc(problem));
    } else {
        while (end < length && strchr(" \t\r\n", bytes[end]) && bytes[end]) {
            end++;
        }
        if (end < length) {
            status = error_set(err, HEARTH_EFORMAT, "%s: byte %zu: end of text wanted after the JSON value, more found",
                               name, end);
        }
    }
    json_tokener_free(tokener);
    if (status < 0) {
        json_object_put(value);
        return status;
    }
    *ret_value = value;
    return HEARTH_OK;
}

static int
file_read(const char *path, uint64_t max_bytes, char **ret_bytes, size_t *ret_length, struct hearth_error *err)
{
    int status = HEARTH_OK;
    char *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (!file) {
        return error_set_errno(err, HEARTH_EIO, "%s", path);
    }
    if (fseek(file, 0, SEEK_END) != 0) {
        status = error_set_errno(err, HEARTH_EIO, "%s", path);
        goto fail_size;
    }
    const long size = ftell(file);
    if (size < 0 || (uint64_t)size > max_bytes) {
        status = error_set(err, HEARTH_EFORMAT, "%s: a file of at most %" PRIu64 " bytes wanted, %ld found", path,
                           max_bytes, size);
        goto fail_size;
    }
    rewind(file);
    bytes = malloc((size_t)size + 1);
    if (!bytes) {
        status = error_no_memory(err, path);
        goto fail_size;
    }
    if (fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        status = error_set_errno(err, HEARTH_EIO, "%s: %ld bytes wanted", path, size);
        goto fail_read;
    }
    bytes[size] = '\0';
    fclose(file);
    *ret_bytes = bytes;
    *ret_length = (size_t)size;
    return HEARTH_OK;

fail_read:
    free(bytes);
fail_size:
    fclose(file);
    return status;
}

int
json_parse_file(const char *path, uint64_t max_bytes, struct json_object **ret_value, struct hearth_error *err)
{
    char *bytes = NULL;
    size_t length = 0;
    int status = file_read(path, max_bytes, &bytes, &length, err);
    if (status < 0) {
        return status;
    }
    status = json_parse(path, bytes, length, ret_value, err);
    free(bytes);
    return status;
}

/* found: the offending value, shortened, for an error line */
static const char *
json_excerpt(struct json_object *value, char excerpt[48])
{
    const char *text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
    snprintf(excerpt, 48, "%.40s%s", text ? text : "?", text && strlen(text) > 40 ? "..." : "");
    return excerpt;
}

static struct json_object *
json_member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

int
json_get(const char *name, struct json_object *object, const char *key, enum json_type type,
         struct json_object **ret_value, struct hearth_error *err)
{
    char excerpt[48];
    struct json_object *value = json_member(object, key);
    if (!json_object_is_type(value, type)) {
        return error_set(err, HEARTH_EFORMAT, "%s: field %s: %s wanted, %s found", name, key, json_type_to_name(type),
                         value ? json_excerpt(value, excerpt) : "nothing");
    }
    *ret_value = value;
    return HEARTH_OK;
}

int
json_get_string(const char *name, struct json_object *object, const char *key, const char **ret_value,
                struct hearth_error *err)
{
    struct json_object *value;
    const int status = json_get(name, object, key, json_type_string, &value, err);
    if (status < 0) {
        return status;
    }
    *ret_value = json_object_get_string(value);
    return HEARTH_OK;
}

int
json_get_u64(const char *name, struct json_object *object, const char *key, uint64_t min, uint64_t max,
             uint64_t *ret_value, struct hearth_error *err)
{
    char excerpt[48];
    struct json_object *value = json_member(object, key);
    const bool is_int = json_object_is_type(value, json_type_int);
    const bool is_negative = is_int && json_object_get_int64(value) < 0;
    const uint64_t number = is_int && !is_negative ? json_object_get_uint64(value) : 0;
    if (!is_int || is_negative || number < min || number > max) {
        return error_set(err, HEARTH_EFORMAT, "%s: field %s: an integer in [%" PRIu64 ", %" PRIu64 "] wanted, %s found",
                         name, key, min, max, value ? json_excerpt(value, excerpt) : "nothing");
    }
    *ret_value = number;
    return HEARTH_OK;
}

int
json_get_u64_or(const char *name, struct json_object *object, const char *key, uint64_t min, uint64_t max,
                uint64_t fallback, uint64_t *ret_value, struct hearth_error *err)
{
    if (!json_member(object, key)) {
        *ret_value = fallback;
        return HEARTH_OK;
    }
    return json_get_u64(name, object, key, min, max, ret_value, err);
}

int
json_get_double(const char *name, struct json_object *object, const char *key, double min, double max,
                double *ret_value, struct hearth_error *err)
{
    char excerpt[48];
    struct json_object *value = json_member(object, key);
    const bool is_number = json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int);
    const double number = is_number ? json_object_get_double(value) : 0;
    if (!is_number || !(number >= min && number <= max)) {
        return error_set(err, HEARTH_EFORMAT, "%s: field %s: a number in [%g, %g] wanted, %s found", name, key, min,
                         max, value ? json_excerpt(value, excerpt) : "nothing");
    }
    *ret_value = number;
    return HEARTH_OK;
}

int
json_get_double_or(const char *name, struct json_object *object, const char *key, double min, double max,
                   double fallback, double *ret_value, struct hearth_error *err)
{
    if (!json_member(object, key)) {
        *ret_value = fallback;
        return HEARTH_OK;
    }
    return json_get_double(name, object, key, min, max, ret_value, err);
}
