/* open.c - a folder becomes a struct model: config.json, shards, roles, values, text files, in this order. */
#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/chat.h"
#include "core/model/model_internal.h"
#include "core/model/tokenizer.h"
#include "core/model/values.h"

#define MAX_CONFIG_BYTES (16u << 20)

static void
digest_update(void *context, const void *bytes, size_t size)
{
    SHA256Update(context, bytes, size);
}

static int
read_config(struct model *model, SHA2_CTX *digest, struct hearth_error *err)
{
    struct mapped_file file = {0};
    struct json_object *config = NULL;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/config.json", model->path) >= (int)sizeof path) {
        return error_set(err, HEARTH_EIO, "%s: a shorter path wanted", model->path);
    }
    int status = file_map(path, &file, err);
    if (status < 0) {
        return status;
    }
    if (file.size > MAX_CONFIG_BYTES) {
        status = error_set(err, HEARTH_EFORMAT, "%s: at most %u bytes wanted, %llu found", path, MAX_CONFIG_BYTES,
                           (unsigned long long)file.size);
        goto done;
    }
    SHA256Update(digest, file.bytes, (size_t)file.size);
    status = json_parse(path, file.size ? (const char *)file.bytes : "", (size_t)file.size, &config, err);
    status = status < 0 ? status : shape_read(path, config, &model->shape, err);

done:
    json_object_put(config);
    file_unmap(&file);
    return status;
}

static int
read_texts(struct model *model, struct hearth_error *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tokenizer.json", model->path);
    if (access(path, F_OK) == 0) {
        const int status = tokenizer_open(path, &model->tokenizer, err);
        if (status < 0) {
            return status;
        }
    }
    snprintf(path, sizeof path, "%s/generation_config.json", model->path);
    const int status = generation_read(path, &model->generation, err);
    return status < 0 ? status : chat_passages_load(model->path, &model->passages, err);
}

static void
make_source(struct model *model)
{
    SHA2_CTX digest;
    SHA256Init(&digest);
    SHA256Update(&digest, model->identity, sizeof model->identity);
    for (size_t i = 0; i < model->shards.n_shards; i++) {
        unsigned char written[8];
        write_le64(written, (uint64_t)model->shards.shards[i].written_ns);
        SHA256Update(&digest, written, sizeof written);
    }
    SHA256Final(model->source, &digest);
}

int
model_open(const char *path, unsigned flags, struct model **ret_model, struct hearth_error *err)
{
    const bool headers_only = flags & MODEL_HEADERS_ONLY;
    SHA2_CTX digest;
    struct model *model = calloc(1, sizeof *model);
    if (!model) {
        return error_no_memory(err, "a model");
    }
    int status;
    model->path = realpath(path, NULL);
    if (!model->path) {
        status = errno == ENOMEM ? error_no_memory(err, "a path") : error_set_errno(err, HEARTH_EIO, "%s", path);
        goto fail;
    }
    const char *slash = strrchr(model->path, '/');
    model->name = slash && slash[1] ? slash + 1 : model->path;
    SHA256Init(&digest);
    status = read_config(model, &digest, err);
    status = status < 0 ? status : shards_open(model->path, !headers_only, digest_update, &digest, &model->shards, err);
    status = status < 0 ? status : roles_bind(&model->shards.tensors, &model->shape, &model->roles, err);
    if (status == HEARTH_OK && !headers_only) {
        status = values_check_open(&model->shards.tensors, &model->shape, err);
        status = status < 0 ? status : read_texts(model, err);
    }
    if (status < 0) {
        goto fail;
    }
    SHA256Final(model->identity, &digest);
    make_source(model);
    sizes_of_tensors(&model->shape, model->shards.tensors.tensors, model->shards.tensors.n_tensors, &model->sizes);
    *ret_model = model;
    return HEARTH_OK;

fail:
    model_close(model);
    return status;
}

void
model_close(struct model *model)
{
    if (!model) {
        return;
    }
    chat_passages_free(model->passages);
    tokenizer_free(model->tokenizer);
    roles_free(&model->roles);
    synthetic_pools_free(&model->pools);
    shards_close(&model->shards);
    free(model->path);
    free(model);
}

const char *
model_name(const struct model *model)
{
    return model->name;
}

const char *
model_path(const struct model *model)
{
    return model->path;
}

const struct model_shape *
model_shape(const struct model *model)
{
    return &model->shape;
}

const struct model_roles *
model_roles(const struct model *model)
{
    return &model->roles;
}

const struct model_generation *
model_generation(const struct model *model)
{
    return &model->generation;
}

const struct tensor *
model_tensors(const struct model *model, size_t *ret_n)
{
    *ret_n = model->shards.tensors.n_tensors;
    return model->shards.tensors.tensors;
}

const unsigned char *
model_identity(const struct model *model)
{
    return model->identity;
}

const unsigned char *
model_source(const struct model *model)
{
    return model->shards.n_shards > 0 ? model->source : NULL;
}

const struct tokenizer *
model_tokenizer(const struct model *model)
{
    return model->tokenizer;
}

const struct chat_passages *
model_passages(const struct model *model)
{
    return model->passages;
}

int
model_check_matrix(const struct model *model, const struct hearth_matrix *matrix, struct hearth_error *err)
{
    return values_check_matrix(&model->shards.tensors, matrix, err);
}

void
model_expect(const struct model *model, const struct hearth_matrix *matrix)
{
    if (model->shards.n_shards > 0) {
        file_expect(matrix->data, matrix->data_bytes);
        file_expect(matrix->scales, matrix->scales_bytes);
    }
}

void
model_release(const struct model *model, const struct hearth_matrix *matrix)
{
    if (model->shards.n_shards > 0) {
        file_release(matrix->data, matrix->data_bytes);
        file_release(matrix->scales, matrix->scales_bytes);
    }
}

uint64_t
model_weight_bytes(const struct model *model)
{
    return model->sizes.total.bytes - model->sizes.by_kind[TENSOR_NEXTN].bytes;
}

uint64_t
model_active_bytes(const struct model *model)
{
    return model->sizes.total.active_bytes;
}
