/* generation.c - reads generation_config.json. */
#include <config.h>

#include "core/model/generation.h"

#include <unistd.h>

#include "core/base/error.h"
#include "core/base/json.h"

#define MAX_GENERATION_BYTES (1u << 20)

/* An absent or null key leaves *has false. */
static int
read_number(const char *path, struct json_object *object, const char *key, double min, double max, bool *has,
            double *ret_number, struct hearth_error *err)
{
    struct json_object *value = NULL;
    *has = json_object_object_get_ex(object, key, &value) && value != NULL;
    return *has ? json_get_double(path, object, key, min, max, ret_number, err) : HEARTH_OK;
}

static int
read_fields(const char *path, struct json_object *object, struct model_generation *generation, struct hearth_error *err)
{
    double temperature = 1, top_p = 1, top_k = 0;
    struct json_object *do_sample = NULL;
    int status = read_number(path, object, "temperature", 0, 100, &generation->has_temperature, &temperature, err);
    status = status < 0 ? status : read_number(path, object, "top_p", 1e-6, 1, &generation->has_top_p, &top_p, err);
    status = status < 0 ? status : read_number(path, object, "top_k", 0, UINT32_MAX, &generation->has_top_k,
                                            &top_k, err);
    if (status < 0) {
        return status;
    }
    generation->temperature = (float)temperature;
    generation->top_p = (float)top_p;
    generation->top_k = (uint32_t)top_k;
    if (json_object_object_get_ex(object, "do_sample", &do_sample) && do_sample) {
        if (!json_object_is_type(do_sample, json_type_boolean)) {
            return error_set(err, HEARTH_EFORMAT, "%s: field do_sample: true or false wanted", path);
        }
        if (!json_object_get_boolean(do_sample)) {
            generation->has_temperature = true;
            generation->temperature = 0;
        }
    }
    return HEARTH_OK;
}

int
generation_read(const char *path, struct model_generation *ret_generation, struct hearth_error *err)
{
    struct model_generation generation = {0};
    struct json_object *object = NULL;
    int status = HEARTH_OK;
    if (access(path, F_OK) == 0) {
        status = json_parse_file(path, MAX_GENERATION_BYTES, &object, err);
        if (status == HEARTH_OK && !json_object_is_type(object, json_type_object)) {
            status = error_set(err, HEARTH_EFORMAT, "%s: an object wanted", path);
        }
        status = status < 0 ? status : read_fields(path, object, &generation, err);
        json_object_put(object);
    }
    if (status == HEARTH_OK) {
        *ret_generation = generation;
    }
    return status;
}
