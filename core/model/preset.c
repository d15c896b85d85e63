/* preset.c - see preset.h.  Source: config.json of DeepSeek-V4-Flash and -Pro. */
#include "core/model/preset.h"

#include <string.h>

#include "core/base/error.h"

struct preset {
    const char *name;
    struct model_shape shape;
    uint32_t first_ratio; /* of layers 0 and 1; behind them 4 and 128 in turn, 4 first */
};

/* What all published models have in common. */
#define V4                                                                                                             \
    .vocab_size = 129280, .head_dim = 512, .rope_dim = 64, .o_lora_rank = 1024, .n_shared_experts = 1,                 \
    .experts_per_token = 6, .n_hash_layers = 3, .index_n_heads = 64, .index_head_dim = 128, .window = 128,             \
    .n_streams = 4, .n_sinkhorn = 20, .max_positions = 1048576, .bos_id = 0, .eos_id = 1, .swiglu_limit = 10.0f,       \
    .norm_eps = 1e-6f, .hc_eps = 1e-6f, .yarn_original_positions = 65536, .rope_theta = 10000,                         \
    .compress_rope_theta = 160000, .yarn_factor = 16, .yarn_beta_fast = 32, .yarn_beta_slow = 1

static const struct preset presets[] = {
    {"v4-flash",
     {V4, .n_layers = 43, .dim = 4096, .n_heads = 64, .q_lora_rank = 1024, .o_groups = 8, .expert_inner = 2048,
      .n_experts = 256, .index_topk = 512, .route_scale = 1.5f},
     0},
    {"v4-pro",
     {V4, .n_layers = 61, .dim = 7168, .n_heads = 128, .q_lora_rank = 1536, .o_groups = 16, .expert_inner = 3072,
      .n_experts = 384, .index_topk = 1024, .route_scale = 2.5f},
     128},
    {"tiny",
     {.n_layers = 4, .dim = 256, .vocab_size = 1024, .n_heads = 4, .head_dim = 128, .rope_dim = 32, .q_lora_rank = 128,
      .o_groups = 2, .o_lora_rank = 64, .expert_inner = 128, .n_experts = 16, .n_shared_experts = 1,
      .experts_per_token = 4, .n_hash_layers = 1, .index_n_heads = 4, .index_head_dim = 64, .index_topk = 32,
      .window = 32, .n_streams = 4, .n_sinkhorn = 20, .max_positions = 1048576, .bos_id = 0, .eos_id = 1,
      .route_scale = 1.5f, .swiglu_limit = 10.0f, .norm_eps = 1e-6f, .hc_eps = 1e-6f, .yarn_original_positions = 65536,
      .rope_theta = 10000, .compress_rope_theta = 160000, .yarn_factor = 16, .yarn_beta_fast = 32,
      .yarn_beta_slow = 1},
     0},
};

static const struct preset *
find(const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof presets[0]; i++) {
        if (strcmp(presets[i].name, name) == 0) {
            return &presets[i];
        }
    }
    return NULL;
}

static int
take_ratios(struct model_shape *shape, uint32_t n_layers, const uint32_t *ratios, size_t n_ratios,
            struct hearth_error *err)
{
    for (size_t i = 0; i < n_ratios; i++) {
        if (ratios[i] != 0 && ratios[i] != 4 && ratios[i] != 128) {
            return error_set(err, HEARTH_EUSAGE, "ratio %zu: 0, 4 or 128 wanted, %u found", i, ratios[i]);
        }
    }
    shape->n_layers = n_layers > 0 ? n_layers : (uint32_t)n_ratios;
    shape->n_hash_layers = 0;
    for (uint32_t layer = 0; layer < shape->n_layers; layer++) {
        shape->compress_ratios[layer] = ratios[layer % n_ratios];
    }
    return HEARTH_OK;
}

int
preset_shape(const char *name, uint32_t n_layers, const uint32_t *ratios, size_t n_ratios,
             struct model_shape *ret_shape, struct hearth_error *err)
{
    const struct preset *preset = find(name);
    if (!preset) {
        return error_set(err, HEARTH_EUSAGE, "preset: v4-flash, v4-pro or tiny wanted, \"%s\" found", name);
    }
    struct model_shape shape = preset->shape;
    const uint32_t most = n_ratios > 0 ? SHAPE_MAX_LAYERS : shape.n_layers;
    if (n_layers > most || n_ratios > SHAPE_MAX_LAYERS) {
        return error_set(err, HEARTH_EUSAGE, "layers: at most %u of %s wanted, %u found", most, name, n_layers);
    }
    if (n_ratios > 0) {
        const int status = take_ratios(&shape, n_layers, ratios, n_ratios, err);
        if (status < 0) {
            return status;
        }
    } else {
        shape.n_layers = n_layers > 0 ? n_layers : shape.n_layers;
        for (uint32_t layer = 0; layer < shape.n_layers; layer++) {
            shape.compress_ratios[layer] = layer < 2 ? preset->first_ratio : layer % 2 ? 128 : 4;
        }
    }
    if (shape.n_hash_layers > shape.n_layers) {
        shape.n_hash_layers = shape.n_layers;
    }
    *ret_shape = shape;
    return HEARTH_OK;
}
