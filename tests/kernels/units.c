/* units.c - see units.h. */
#include <config.h>

#include <check.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/units.h"

static unsigned char *file_bytes;
static struct json_object *file_header;
static uint64_t file_data; /* offset of the first tensor */
static void *copies[128];
static size_t n_copies;

const void *
unit(const char *name, size_t element_bytes, size_t *ret_n)
{
    struct json_object *entry, *offsets;
    ck_assert_msg(json_object_object_get_ex(file_header, name, &entry), "no tensor %s", name);
    json_object_object_get_ex(entry, "data_offsets", &offsets);
    const uint64_t begin = json_object_get_uint64(json_object_array_get_idx(offsets, 0));
    const uint64_t end = json_object_get_uint64(json_object_array_get_idx(offsets, 1));
    void *copy = malloc(end - begin); /* aligned, as the file's bytes may not be */
    ck_assert_ptr_nonnull(copy);
    ck_assert_uint_lt(n_copies, sizeof copies / sizeof copies[0]);
    copies[n_copies++] = copy;
    memcpy(copy, file_bytes + file_data + begin, end - begin);
    *ret_n = (end - begin) / element_bytes;
    return copy;
}

const float *
unit_f32(const char *name, size_t *ret_n)
{
    return unit(name, sizeof(float), ret_n);
}

void
units_load(void)
{
    FILE *file = fopen(SOURCE_FOLDER "/tests/golden/data/units.safetensors", "rb");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    file_bytes = malloc((size_t)size + 1);
    ck_assert_ptr_nonnull(file_bytes);
    ck_assert_uint_eq(fread(file_bytes, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | file_bytes[i];
    }
    file_data = 8 + length;
    struct json_tokener *tokener = json_tokener_new();
    file_header = json_tokener_parse_ex(tokener, (const char *)file_bytes + 8, (int)length);
    json_tokener_free(tokener);
    ck_assert_ptr_nonnull(file_header);
}

void
units_drop(void)
{
    while (n_copies > 0) {
        free(copies[--n_copies]);
    }
    json_object_put(file_header);
    free(file_bytes);
}

