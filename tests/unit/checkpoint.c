/* checkpoint.c - see checkpoint.h. */
#include <config.h>

#include "checkpoint.h"

#include <check.h>
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/text.h"

struct model_shape
checkpoint_tiny_shape(void)
{
    static const uint32_t ratios[] = {0, 4, 128, 4, 128};
    struct model_shape shape = {
        .n_layers = 5, .dim = 64, .vocab_size = 96, .n_heads = 4, .head_dim = 80, .rope_dim = 16, .q_lora_rank = 32,
        .o_groups = 2, .o_lora_rank = 24, .expert_inner = 32, .n_experts = 6, .n_shared_experts = 1,
        .experts_per_token = 2, .n_hash_layers = 1, .index_n_heads = 4, .index_head_dim = 32, .index_topk = 8,
        .window = 16, .n_streams = 4, .n_sinkhorn = 20, .max_positions = 4096, .bos_id = 0, .eos_id = 1,
        .route_scale = 1.5f, .swiglu_limit = 10, .norm_eps = 1e-6f, .hc_eps = 1e-6f, .rope_theta = 10000,
        .compress_rope_theta = 160000, .yarn_factor = 16, .yarn_beta_fast = 32, .yarn_beta_slow = 1,
        .yarn_original_positions = 256};
    memcpy(shape.compress_ratios, ratios, sizeof ratios);
    return shape;
}

/* xorshift32: the same weights on every machine */
static uint32_t
draw(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* in [-1, 1) */
static float
draw_unit(uint32_t *state)
{
    return (float)(int32_t)draw(state) * 0x1p-31f;
}

static void
fill_floats(struct checkpoint_tensor *tensor, enum hearth_dtype dtype, bool is_vector, uint64_t cols, uint32_t *state)
{
    const bool is_norm = strstr(tensor->name, "norm") != NULL;
    const float gain = is_vector ? 0.3f : sqrtf(3.0f / (float)cols);
    const uint64_t n = tensor->size_bytes / (dtype == HEARTH_BF16 ? 2 : 4);
    for (uint64_t i = 0; i < n; i++) {
        const float value = gain * draw_unit(state) + (is_norm ? 1.0f : 0.0f);
        const uint16_t half = hearth_bf16_from_f32(value);
        if (dtype == HEARTH_BF16) {
            memcpy(tensor->bytes + 2 * i, &half, 2);
        } else {
            memcpy(tensor->bytes + 4 * i, &value, 4);
        }
    }
}

/* Elements of magnitude about 1 (E4M3) or 3 (E2M1X2); the scales make rows of unit gain of them. */
static void
fill_codes(struct checkpoint_tensor *tensor, enum hearth_dtype dtype, uint64_t cols, float magnitude, uint32_t *state)
{
    const int exponent = (int)lrintf(-log2f(magnitude * sqrtf((float)cols)));
    for (uint64_t i = 0; i < tensor->size_bytes; i++) {
        const uint32_t bits = draw(state) >> 8;
        if (dtype == HEARTH_E4M3) {
            tensor->bytes[i] = (unsigned char)((bits & 0x80u) | (5 + bits % 3) << 3 | (bits >> 8 & 7u));
        } else if (dtype == HEARTH_E2M1X2) {
            tensor->bytes[i] = (unsigned char)bits;
        } else {
            tensor->bytes[i] = (unsigned char)(127 + exponent - (int)(bits % 2));
        }
    }
}

static void
fill_table(struct checkpoint_tensor *tensor, uint32_t n_experts, uint32_t per_token)
{
    for (uint64_t i = 0; i < tensor->size_bytes / 8; i++) { /* the experts of a token differ */
        write_le64(tensor->bytes + 8 * i, (i / per_token + i % per_token) % n_experts);
    }
}

struct builder {
    struct checkpoint *checkpoint;
    enum hearth_dtype expert_dtype;
    size_t capacity;
    uint32_t state;
    bool holes;
};

static struct checkpoint_tensor *
add_tensor(struct builder *builder, const char *name, const struct layout_tensor *stored)
{
    struct checkpoint *checkpoint = builder->checkpoint;
    if (checkpoint->n_tensors == builder->capacity) {
        builder->capacity = builder->capacity ? 2 * builder->capacity : 256;
        checkpoint->tensors = realloc(checkpoint->tensors, builder->capacity * sizeof *checkpoint->tensors);
        ck_assert_ptr_nonnull(checkpoint->tensors);
    }
    struct checkpoint_tensor *tensor = &checkpoint->tensors[checkpoint->n_tensors++];
    *tensor = (struct checkpoint_tensor){.dtype = tensor_dtype_text(stored->dtype), .n_dims = stored->n_dims,
                                         .dims = {stored->dims[0], stored->dims[1]}, .size_bytes = stored->size_bytes};
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    if (!builder->holes) {
        tensor->bytes = malloc(stored->size_bytes);
        ck_assert_ptr_nonnull(tensor->bytes);
    }
    return tensor;
}

static int
add_matrix(void *context, const struct layout_matrix *matrix, struct hearth_error *err)
{
    struct builder *builder = context;
    const struct model_shape *shape = &builder->checkpoint->shape;
    const enum hearth_dtype dtype = matrix->dtype == HEARTH_DTYPE_NONE ? builder->expert_dtype : matrix->dtype;
    const struct layout_tensor weight = layout_weight(matrix, dtype);
    struct layout_tensor scale;
    (void)err;
    struct checkpoint_tensor *tensor = add_tensor(builder, matrix->name, &weight);
    const float magnitude = dtype == HEARTH_E4M3 ? 0.7f : 2.9f;
    if (builder->holes) {
        /* nothing to fill */
    } else if (dtype == HEARTH_I64) {
        fill_table(tensor, shape->n_experts, shape->experts_per_token);
    } else if (dtype == HEARTH_E4M3 || dtype == HEARTH_E2M1X2) {
        fill_codes(tensor, dtype, matrix->cols, magnitude, &builder->state);
    } else {
        fill_floats(tensor, dtype, matrix->is_vector, matrix->cols, &builder->state);
    }
    if (layout_scale(matrix, dtype, &scale)) {
        char name[LAYOUT_NAME_BYTES];
        layout_scale_name(matrix->name, name);
        tensor = add_tensor(builder, name, &scale);
        if (!builder->holes) {
            fill_codes(tensor, HEARTH_E8M0, matrix->cols, magnitude, &builder->state);
        }
    }
    return HEARTH_OK;
}

struct checkpoint *
checkpoint_new(const struct model_shape *shape, enum hearth_dtype expert_dtype, uint32_t n_shards, uint32_t seed,
               bool holes)
{
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    ck_assert_ptr_nonnull(checkpoint);
    *checkpoint = (struct checkpoint){.shape = *shape, .extra_config = "", .n_shards = n_shards};
    struct builder builder = {.checkpoint = checkpoint, .expert_dtype = expert_dtype, .state = seed * 2654435761u + 1,
                              .holes = holes};
    ck_assert_int_eq(layout_walk(shape, add_matrix, &builder, NULL), HEARTH_OK);
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        checkpoint->tensors[i].shard = (uint32_t)(i * n_shards / checkpoint->n_tensors);
    }
    return checkpoint;
}

void
checkpoint_free(struct checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        free(checkpoint->tensors[i].bytes);
    }
    free(checkpoint->tensors);
    free(checkpoint);
}

struct checkpoint_tensor *
checkpoint_find(struct checkpoint *checkpoint, const char *name)
{
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        if (strcmp(checkpoint->tensors[i].name, name) == 0) {
            return &checkpoint->tensors[i];
        }
    }
    ck_abort_msg("no tensor %s", name);
    return NULL;
}

void
checkpoint_remove(struct checkpoint *checkpoint, const char *name)
{
    struct checkpoint_tensor *tensor = checkpoint_find(checkpoint, name);
    free(tensor->bytes);
    *tensor = checkpoint->tensors[--checkpoint->n_tensors];
}

char *
checkpoint_config(const struct checkpoint *checkpoint)
{
    const struct model_shape *s = &checkpoint->shape;
    struct text text = {0};
    text_printf(&text,
                "{\"model_type\": \"deepseek_v4\", \"scoring_func\": \"sqrtsoftplus\", \"num_hidden_layers\": %u, "
                "\"hidden_size\": %u, \"vocab_size\": %u, \"num_attention_heads\": %u, \"head_dim\": %u, "
                "\"qk_rope_head_dim\": %u, \"q_lora_rank\": %u, \"o_groups\": %u, \"o_lora_rank\": %u, "
                "\"moe_intermediate_size\": %u, \"n_routed_experts\": %u, \"n_shared_experts\": %u, "
                "\"num_experts_per_tok\": %u, \"num_hash_layers\": %u, \"index_n_heads\": %u, \"index_head_dim\": %u, "
                "\"index_topk\": %u, \"sliding_window\": %u, \"hc_mult\": %u, \"hc_sinkhorn_iters\": %u, ",
                s->n_layers, s->dim, s->vocab_size, s->n_heads, s->head_dim, s->rope_dim, s->q_lora_rank, s->o_groups,
                s->o_lora_rank, s->expert_inner, s->n_experts, s->n_shared_experts, s->experts_per_token,
                s->n_hash_layers, s->index_n_heads, s->index_head_dim, s->index_topk, s->window, s->n_streams,
                s->n_sinkhorn);
    text_printf(&text, "\"max_position_embeddings\": %u, \"bos_token_id\": %d, \"eos_token_id\": %d, "
                "\"routed_scaling_factor\": %.9g, \"swiglu_limit\": %.9g, \"rms_norm_eps\": %.9g, \"hc_eps\": %.9g, "
                "\"rope_theta\": %.17g, \"compress_rope_theta\": %.17g, ",
                s->max_positions, s->bos_id, s->eos_id, (double)s->route_scale, (double)s->swiglu_limit,
                (double)s->norm_eps, (double)s->hc_eps, s->rope_theta, s->compress_rope_theta);
    text_printf(&text,
                "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": %.17g, \"beta_fast\": %.17g, \"beta_slow\": %.17g, "
                "\"original_max_position_embeddings\": %u}, \"compress_ratios\": [",
                s->yarn_factor, s->yarn_beta_fast, s->yarn_beta_slow, s->yarn_original_positions);
    for (uint32_t layer = 0; layer < s->n_layers + s->n_nextn; layer++) {
        text_printf(&text, "%s%u", layer ? ", " : "", layer < s->n_layers ? s->compress_ratios[layer] : 0);
    }
    text_add(&text, "]");
    if (s->dspark_rank > 0) {
        text_printf(&text, ", \"dspark_markov_rank\": %u, \"dspark_target_layer_ids\": [", s->dspark_rank);
        for (uint32_t i = 0; i < s->dspark_n_taps; i++) {
            text_printf(&text, "%s%u", i ? ", " : "", i);
        }
        text_add(&text, "]");
    }
    text_printf(&text, "%s}\n", checkpoint->extra_config);
    char *config = text_take(&text);
    ck_assert_ptr_nonnull(config);
    return config;
}

static FILE *
open_file(const char *folder, const char *file)
{
    char path[CHECKPOINT_PATH_BYTES + 64];
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/%s", folder, file), (int)sizeof path);
    FILE *stream = fopen(path, "wb");
    ck_assert_msg(stream != NULL, "%s cannot be written", path);
    return stream;
}

void
checkpoint_write_file(const char *folder, const char *file, const void *bytes, size_t size)
{
    FILE *stream = open_file(folder, file);
    ck_assert_uint_eq(fwrite(bytes, 1, size, stream), size);
    ck_assert_int_eq(fclose(stream), 0);
}

void
checkpoint_shard_name(const struct checkpoint *checkpoint, uint32_t shard, char name[64])
{
    if (checkpoint->n_shards == 1) {
        snprintf(name, 64, "model.safetensors");
    } else {
        snprintf(name, 64, "model-%05u-of-%05u.safetensors", shard + 1, checkpoint->n_shards);
    }
}

/* Large elements first, as the format's own writer has it: every tensor is aligned then. */
static unsigned
element_bytes(const struct checkpoint_tensor *tensor)
{
    return strstr(tensor->dtype, "64") ? 8 : strstr(tensor->dtype, "32") ? 4 : strstr(tensor->dtype, "16") ? 2 : 1;
}

static void
save_header(const struct checkpoint *checkpoint, uint32_t shard, FILE *stream, uint64_t *ret_data_bytes)
{
    struct text header = {0};
    uint64_t offset = 0;
    text_add(&header, "{\"__metadata__\": {\"format\": \"pt\"}");
    for (unsigned width = 8; width >= 1; width /= 2) {
        for (size_t i = 0; i < checkpoint->n_tensors; i++) {
            const struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
            if (tensor->shard != shard || element_bytes(tensor) != width) {
                continue;
            }
            text_printf(&header, ", \"%s\": {\"dtype\": \"%s\", \"shape\": [", tensor->name, tensor->dtype);
            for (uint32_t j = 0; j < tensor->n_dims; j++) {
                text_printf(&header, "%s%" PRIu64, j ? ", " : "", tensor->dims[j]);
            }
            text_printf(&header, "], \"data_offsets\": [%" PRIu64 ", %" PRIu64 "]}", offset,
                        offset + tensor->size_bytes);
            offset += tensor->size_bytes;
        }
    }
    text_add(&header, "}");
    while (header.length % 8 != 0) {
        text_add(&header, " ");
    }
    ck_assert(!header.failed);
    unsigned char length[8];
    write_le64(length, header.length);
    ck_assert_uint_eq(fwrite(length, 1, 8, stream), 8);
    ck_assert_uint_eq(fwrite(header.bytes, 1, header.length, stream), header.length);
    *ret_data_bytes = offset;
    text_free(&header);
}

static void
save_shard(const struct checkpoint *checkpoint, const char *folder, uint32_t shard)
{
    char name[64];
    uint64_t data_bytes;
    bool holes = false;
    checkpoint_shard_name(checkpoint, shard, name);
    FILE *stream = open_file(folder, name);
    save_header(checkpoint, shard, stream, &data_bytes);
    for (unsigned width = 8; width >= 1; width /= 2) {
        for (size_t i = 0; i < checkpoint->n_tensors; i++) {
            const struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
            if (tensor->shard == shard && element_bytes(tensor) == width) {
                holes = holes || !tensor->bytes;
                ck_assert(holes || fwrite(tensor->bytes, 1, tensor->size_bytes, stream) == tensor->size_bytes);
            }
        }
    }
    ck_assert_int_eq(fflush(stream), 0);
    if (holes) {
        ck_assert_int_eq(ftruncate(fileno(stream), ftello(stream) + (off_t)data_bytes), 0);
    }
    ck_assert_int_eq(fclose(stream), 0);
}

void
checkpoint_save(const struct checkpoint *checkpoint, const char *folder)
{
    char *config = checkpoint_config(checkpoint);
    checkpoint_write_file(folder, "config.json", config, strlen(config));
    free(config);
    struct text index = {0};
    text_add(&index, "{\"metadata\": {}, \"weight_map\": {");
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        char name[64];
        checkpoint_shard_name(checkpoint, checkpoint->tensors[i].shard, name);
        text_printf(&index, "%s\n\"%s\": \"%s\"", i ? "," : "", checkpoint->tensors[i].name, name);
    }
    text_add(&index, "}}\n");
    ck_assert(!index.failed);
    if (checkpoint->n_shards > 1) {
        checkpoint_write_file(folder, "model.safetensors.index.json", index.bytes, index.length);
    }
    text_free(&index);
    for (uint32_t shard = 0; shard < checkpoint->n_shards; shard++) {
        save_shard(checkpoint, folder, shard);
    }
}

void
checkpoint_make_folder(char folder[CHECKPOINT_PATH_BYTES])
{
    const char *parent = getenv("TMPDIR");
    snprintf(folder, CHECKPOINT_PATH_BYTES, "%s/hearth-test-XX" "XX" "XX", parent ? parent : P_tmpdir);
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

void
checkpoint_remove_folder(const char *folder)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    while (directory && (entry = readdir(directory))) {
        char path[CHECKPOINT_PATH_BYTES + 256];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path); /* of "." and ".." this fails, as it should */
    }
    if (directory) {
        closedir(directory);
    }
    rmdir(folder);
}
