/* core/base/json.h - the one door to json-c: parsing foreign JSON with a name in every error, and typed reads of its
 * fields.
 *
 * Values are struct json_object of json-c; release with json_object_put.  Objects keep the order of their keys. */
#ifndef CORE_BASE_JSON_H
#define CORE_BASE_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include <hearth/status.h>

/* Parses exactly one JSON value of length bytes, strictly, UTF-8 checked, at most 64 levels deep.  name
 * ("DIR/config.json") opens every error line.  Errors: EFORMAT with the byte offset, EMEMORY. */
int json_parse(const char *name, const char *bytes, size_t length, struct json_object **ret_value,
               struct hearth_error *err);
/* Reads and parses a whole file of at most max_bytes.  Errors: EIO, EFORMAT, EMEMORY. */
int json_parse_file(const char *path, uint64_t max_bytes, struct json_object **ret_value, struct hearth_error *err);

/* Typed fields of an object.  name is the file, for the error line: "NAME: field KEY: an integer in [1, 64] wanted, "x"
 * found".  The _or forms give fallback when the key is absent or null. */
int json_get_u64(const char *name, struct json_object *object, const char *key, uint64_t min, uint64_t max,
                 uint64_t *ret_value, struct hearth_error *err);
int json_get_u64_or(const char *name, struct json_object *object, const char *key, uint64_t min, uint64_t max,
                    uint64_t fallback, uint64_t *ret_value, struct hearth_error *err);
int json_get_double(const char *name, struct json_object *object, const char *key, double min, double max,
                    double *ret_value, struct hearth_error *err);
int json_get_double_or(const char *name, struct json_object *object, const char *key, double min, double max,
                       double fallback, double *ret_value, struct hearth_error *err);
int json_get_string(const char *name, struct json_object *object, const char *key, const char **ret_value,
                    struct hearth_error *err);
/* The member of the wanted type (json_type_object, json_type_array ...). */
int json_get(const char *name, struct json_object *object, const char *key, enum json_type type,
             struct json_object **ret_value, struct hearth_error *err);

#endif
