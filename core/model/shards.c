/* shards.c - see shards.h. */
#include <config.h>

#include "core/model/shards.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/json.h"

#define INDEX_FILE "model.safetensors.index.json"
#define SINGLE_FILE "model.safetensors"
#define MAX_INDEX_BYTES (256u << 20)

static char *
path_join(const char *folder, const char *file)
{
    char *path = malloc(strlen(folder) + strlen(file) + 2);
    if (path) {
        sprintf(path, "%s/%s", folder, file);
    }
    return path;
}

static int
compare_shards(const void *a, const void *b)
{
    const struct shard *x = a, *y = b;
    return strcmp(x->file, y->file);
}

static int
add_shard(struct shard_set *set, size_t *capacity, const char *file, struct hearth_error *err)
{
    if (set->n_shards == *capacity) {
        const size_t larger = *capacity ? *capacity * 2 : 16;
        struct shard *shards = realloc(set->shards, larger * sizeof *shards);
        if (!shards) {
            return error_no_memory(err, "the list of shards");
        }
        set->shards = shards;
        *capacity = larger;
    }
    struct shard shard = {.file = strdup(file)};
    if (!shard.file) {
        return error_no_memory(err, "the list of shards");
    }
    set->shards[set->n_shards++] = shard;
    return HEARTH_OK;
}

/* Entries of one shard mostly follow each other, so a repeated name is found fast; sorting drops the rest. */
static int
list_shards(const char *index_path, struct json_object *weight_map, struct shard_set *set, struct hearth_error *err)
{
    size_t capacity = 0;
    struct json_object_iterator at = json_object_iter_begin(weight_map), end = json_object_iter_end(weight_map);
    for (; !json_object_iter_equal(&at, &end); json_object_iter_next(&at)) {
        struct json_object *value = json_object_iter_peek_value(&at);
        const char *file = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
        if (file[0] == '\0' || file[0] == '.' || strchr(file, '/') || strlen(file) > 255) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: weight_map: tensor %.160s: the name of a file beside it wanted, %.80s found",
                             index_path, json_object_iter_peek_name(&at), json_object_to_json_string(value));
        }
        bool known = false;
        for (size_t i = set->n_shards; i > 0 && !known; i--) {
            known = strcmp(set->shards[i - 1].file, file) == 0;
        }
        if (!known) {
            const int status = add_shard(set, &capacity, file, err);
            if (status < 0) {
                return status;
            }
        }
        if (set->n_shards > 4096) {
            return error_set(err, HEARTH_EFORMAT, "%s: weight_map: at most 4096 shards wanted, more found", index_path);
        }
    }
    if (set->n_shards == 0) {
        return error_set(err, HEARTH_EFORMAT, "%s: weight_map: at least one tensor wanted, none found", index_path);
    }
    qsort(set->shards, set->n_shards, sizeof *set->shards, compare_shards);
    return HEARTH_OK;
}

static int
open_shard(const char *folder, struct shard *shard, bool keep_map,
           void (*digest)(void *context, const void *bytes, size_t size), void *context, struct hearth_error *err)
{
    char *path = path_join(folder, shard->file);
    if (!path) {
        return error_no_memory(err, "a path");
    }
    int status = file_map(path, &shard->map, err);
    if (status < 0) {
        goto done;
    }
    shard->size_bytes = shard->map.size;
    shard->written_ns = shard->map.written_ns;
    status = safetensors_read(path, shard->file, shard->map.bytes, shard->map.size, &shard->header, err);
    if (status < 0) {
        goto done;
    }
    unsigned char size_text[8];
    write_le64(size_text, shard->size_bytes);
    digest(context, size_text, sizeof size_text);
    digest(context, shard->map.bytes, (size_t)shard->header.header_bytes);
    if (!keep_map) {
        for (size_t i = 0; i < shard->header.n_tensors; i++) {
            shard->header.tensors[i].data = NULL;
        }
        file_unmap(&shard->map);
    }

done:
    free(path);
    return status;
}

/* One list of all tensors, and the pointers to it that will be sorted by name. */
static int
join_tensors(const char *folder, struct shard_set *set, struct hearth_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n_shards; i++) {
        n += set->shards[i].header.n_tensors;
    }
    struct tensor *tensors = calloc(n + 1, sizeof *tensors);
    struct tensor **by_name = calloc(n + 1, sizeof *by_name);
    set->tensors = (struct tensor_set){.path = folder, .tensors = tensors, .n_tensors = n, .by_name = by_name};
    if (!tensors || !by_name) {
        return error_no_memory(err, "the list of tensors");
    }
    n = 0;
    for (size_t i = 0; i < set->n_shards; i++) {
        struct safetensors *header = &set->shards[i].header;
        if (header->n_tensors > 0) {
            memcpy(&tensors[n], header->tensors, header->n_tensors * sizeof *tensors);
        }
        n += header->n_tensors;
        free(header->tensors);
        header->tensors = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        by_name[i] = &tensors[i];
    }
    return tensor_set_sort(&set->tensors, err);
}

/* weight_map and the shards must name the same tensors in the same files.  Matched entries leave weight_map. */
static int
check_index(const char *index_path, struct json_object *weight_map, const struct tensor_set *set,
            struct hearth_error *err)
{
    for (size_t i = 0; i < set->n_tensors; i++) {
        const struct tensor *tensor = &set->tensors[i];
        struct json_object *file = NULL;
        if (!json_object_object_get_ex(weight_map, tensor->name, &file)) {
            return error_set(err, HEARTH_EFORMAT, "%s: weight_map: tensor %.160s wanted, as %.80s holds it", index_path,
                             tensor->name, tensor->file);
        }
        if (strcmp(json_object_get_string(file), tensor->file) != 0) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: weight_map: tensor %.160s: %.80s wanted, which holds it, %.80s found", index_path,
                             tensor->name, tensor->file, json_object_get_string(file));
        }
        json_object_object_del(weight_map, tensor->name);
    }
    if (json_object_object_length(weight_map) > 0) {
        struct json_object_iterator first = json_object_iter_begin(weight_map);
        return error_set(err, HEARTH_EFORMAT, "%s/%.80s: tensor %.160s wanted by %s, none found", set->path,
                         json_object_get_string(json_object_iter_peek_value(&first)),
                         json_object_iter_peek_name(&first), INDEX_FILE);
    }
    return HEARTH_OK;
}

static int
rename_tensors(struct tensor_set *set, struct hearth_error *err)
{
    bool changed = false;
    for (size_t i = 0; i < set->n_tensors; i++) {
        /* the names are this set's own memory, const only to its readers */
        changed = roles_rename((char *)(uintptr_t)set->tensors[i].name) || changed;
    }
    return changed ? tensor_set_sort(set, err) : HEARTH_OK;
}

/* The index's weight_map, or NULL where there is only the single file.  Owner of ret_index: the caller. */
static int
read_index(const char *folder, const char *index_path, struct shard_set *set, struct json_object **ret_index,
           struct json_object **ret_weight_map, struct hearth_error *err)
{
    size_t capacity = 0;
    if (access(index_path, F_OK) != 0) {
        char *single = path_join(folder, SINGLE_FILE);
        const bool found = single && access(single, F_OK) == 0;
        free(single);
        return found
                   ? add_shard(set, &capacity, SINGLE_FILE, err)
                   : error_set(err, HEARTH_EIO, "%s: %s or %s wanted, neither found", folder, INDEX_FILE, SINGLE_FILE);
    }
    int status = json_parse_file(index_path, MAX_INDEX_BYTES, ret_index, err);
    status =
        status < 0 ? status : json_get(index_path, *ret_index, "weight_map", json_type_object, ret_weight_map, err);
    return status < 0 ? status : list_shards(index_path, *ret_weight_map, set, err);
}

int
shards_open(const char *folder, bool keep_maps, void (*digest)(void *context, const void *bytes, size_t size),
            void *context, struct shard_set *ret_set, struct hearth_error *err)
{
    struct shard_set set = {0};
    struct json_object *index = NULL, *weight_map = NULL;
    char *index_path = path_join(folder, INDEX_FILE);
    if (!index_path) {
        return error_no_memory(err, "a path");
    }
    int status = read_index(folder, index_path, &set, &index, &weight_map, err);
    for (size_t i = 0; i < set.n_shards && status == HEARTH_OK; i++) {
        status = open_shard(folder, &set.shards[i], keep_maps, digest, context, err);
    }
    status = status < 0 ? status : join_tensors(folder, &set, err);
    if (status == HEARTH_OK && weight_map) {
        status = check_index(index_path, weight_map, &set.tensors, err);
    }
    status = status < 0 ? status : rename_tensors(&set.tensors, err);
    json_object_put(index);
    free(index_path);
    if (status < 0) {
        shards_close(&set);
        return status;
    }
    *ret_set = set;
    return HEARTH_OK;
}

void
shards_close(struct shard_set *set)
{
    for (size_t i = 0; i < set->n_shards; i++) {
        safetensors_free(&set->shards[i].header);
        file_unmap(&set->shards[i].map);
        free(set->shards[i].file);
    }
    free(set->shards);
    free(set->tensors.tensors);
    free(set->tensors.by_name);
    *set = (struct shard_set){0};
}
