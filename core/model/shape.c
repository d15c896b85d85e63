/* shape.c - config.json -> struct model_shape.  Keys of the published checkpoints; those that newer HF transformers
 * writes in their place (rope_parameters, layer_types, mlp_layer_types, partial_rotary_factor) are understood too. */
#include "core/model/shape.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"

#define MAX_WIDTH 0x20000u /* no matrix side of one factor exceeds it, vocab_size apart */

struct count_field {
    const char *key;
    size_t offset;
    uint32_t min, max;
};

struct real_field {
    const char *key;
    size_t offset;
    double min, max;
};

#define COUNT(key, member, min, max) {key, offsetof(struct model_shape, member), min, max}

static const struct count_field count_fields[] = {
    COUNT("num_hidden_layers", n_layers, 1, SHAPE_MAX_LAYERS),
    COUNT("hidden_size", dim, 2, MAX_WIDTH),
    COUNT("vocab_size", vocab_size, 1, 1u << 24),
    COUNT("num_attention_heads", n_heads, 1, 4096),
    COUNT("head_dim", head_dim, 3, 4096),
    COUNT("q_lora_rank", q_lora_rank, 1, MAX_WIDTH),
    COUNT("o_groups", o_groups, 1, 4096),
    COUNT("o_lora_rank", o_lora_rank, 1, MAX_WIDTH),
    COUNT("moe_intermediate_size", expert_inner, 2, MAX_WIDTH),
    COUNT("n_routed_experts", n_experts, 1, 4096),
    COUNT("n_shared_experts", n_shared_experts, 0, 4096),
    COUNT("num_experts_per_tok", experts_per_token, 1, SHAPE_MAX_TOPK),
    COUNT("sliding_window", window, 1, MAX_WIDTH),
    COUNT("hc_mult", n_streams, 1, SHAPE_MAX_STREAMS),
    COUNT("hc_sinkhorn_iters", n_sinkhorn, 1, 1000),
    COUNT("max_position_embeddings", max_positions, 1, 1u << 30),
};

static const struct count_field index_fields[] = {
    COUNT("index_n_heads", index_n_heads, 1, 4096),
    COUNT("index_head_dim", index_head_dim, 2, 4096),
    COUNT("index_topk", index_topk, 1, 1u << 20),
};

#define REAL(key, member, min, max) {key, offsetof(struct model_shape, member), min, max}

static const struct real_field float_fields[] = {
    REAL("routed_scaling_factor", route_scale, 1e-6, 1e6),
    REAL("swiglu_limit", swiglu_limit, 1e-6, 1e30),
    REAL("rms_norm_eps", norm_eps, 1e-30, 1),
    REAL("hc_eps", hc_eps, 1e-30, 1),
};

#define N_FIELDS(fields) (sizeof(fields) / sizeof(fields)[0])

/* The value of a known key that hearth computes only one way. */
struct fixed_text {
    const char *key, *wanted;
    bool required;
};

static const struct fixed_text fixed_texts[] = {
    {"model_type", "deepseek_v4", true},
    {"scoring_func", "sqrtsoftplus", true},
    {"topk_method", "noaux_tc", false},
    {"hidden_act", "silu", false},
};

struct fixed_flag {
    const char *key;
    bool wanted;
};

static const struct fixed_flag fixed_flags[] = {
    {"norm_topk_prob", true}, {"tie_word_embeddings", false}, {"attention_bias", false}, {"mlp_bias", false}};

static struct json_object *
member(struct json_object *object, const char *key)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, key, &value);
    return value;
}

static int
unsupported(struct hearth_error *err, const char *name, const char *key, const char *wanted, struct json_object *found)
{
    return error_set(err, HEARTH_EUNSUPPORTED, "%s: field %s: %s wanted, %.80s found", name, key, wanted,
                     found ? json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN) : "nothing");
}

static int
check_fixed(const char *name, struct json_object *config, struct hearth_error *err)
{
    for (size_t i = 0; i < N_FIELDS(fixed_texts); i++) {
        const struct fixed_text *fixed = &fixed_texts[i];
        struct json_object *found = member(config, fixed->key);
        if (!found && !fixed->required) {
            continue;
        }
        if (!json_object_is_type(found, json_type_string) ||
            strcmp(json_object_get_string(found), fixed->wanted) != 0) {
            return unsupported(err, name, fixed->key, fixed->wanted, found);
        }
    }
    for (size_t i = 0; i < N_FIELDS(fixed_flags); i++) {
        struct json_object *found = member(config, fixed_flags[i].key);
        if (found && (!json_object_is_type(found, json_type_boolean)
                      || json_object_get_boolean(found) != fixed_flags[i].wanted)) {
            return unsupported(err, name, fixed_flags[i].key, fixed_flags[i].wanted ? "true" : "false", found);
        }
    }
    uint64_t n_kv_heads;
    return json_get_u64_or(name, config, "num_key_value_heads", 1, 1, 1, &n_kv_heads, err);
}

/* The storage formats of quantization_config; the tensors themselves are checked against them later. */
static int
check_quantization(const char *name, struct json_object *config, struct hearth_error *err)
{
    static const struct fixed_text texts[] = {{"quant_method", "fp8", false}, {"scale_fmt", "ue8m0", false}};
    struct json_object *quantization = member(config, "quantization_config");
    if (!quantization) {
        return HEARTH_OK;
    }
    int status = json_get(name, config, "quantization_config", json_type_object, &quantization, err);
    if (status < 0) {
        return status;
    }
    for (size_t i = 0; i < N_FIELDS(texts); i++) {
        struct json_object *found = member(quantization, texts[i].key);
        if (found && (!json_object_is_type(found, json_type_string)
                      || strcmp(json_object_get_string(found), texts[i].wanted) != 0)) {
            return unsupported(err, name, texts[i].key, texts[i].wanted, found);
        }
    }
    struct json_object *block = member(quantization, "weight_block_size");
    if (block) {
        bool square = json_object_is_type(block, json_type_array) && json_object_array_length(block) == 2;
        for (size_t i = 0; square && i < 2; i++) {
            struct json_object *side = json_object_array_get_idx(block, i);
            square = json_object_is_type(side, json_type_int) && json_object_get_int64(side) == 128;
        }
        if (!square) {
            return unsupported(err, name, "weight_block_size", "[128,128]", block);
        }
    }
    return HEARTH_OK;
}

static int
read_counts(const char *name, struct json_object *config, const struct count_field *fields, size_t n_fields,
            struct model_shape *shape, struct hearth_error *err)
{
    for (size_t i = 0; i < n_fields; i++) {
        uint64_t value;
        const int status = json_get_u64(name, config, fields[i].key, fields[i].min, fields[i].max, &value, err);
        if (status < 0) {
            return status;
        }
        *(uint32_t *)((char *)shape + fields[i].offset) = (uint32_t)value;
    }
    return HEARTH_OK;
}

static int
read_reals(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    for (size_t i = 0; i < N_FIELDS(float_fields); i++) {
        const struct real_field *field = &float_fields[i];
        double value;
        const int status = json_get_double(name, config, field->key, field->min, field->max, &value, err);
        if (status < 0) {
            return status;
        }
        *(float *)((char *)shape + field->offset) = (float)value;
    }
    return HEARTH_OK;
}

/* A token id, the first of a list of them, or null. */
static int
read_token_id(const char *name, struct json_object *config, const char *key, uint32_t vocab_size, int32_t *ret_id,
              struct hearth_error *err)
{
    struct json_object *found = member(config, key);
    if (json_object_is_type(found, json_type_array) && json_object_array_length(found) > 0) {
        found = json_object_array_get_idx(found, 0);
    }
    if (!found) {
        *ret_id = -1;
        return HEARTH_OK;
    }
    const int64_t id = json_object_is_type(found, json_type_int) ? json_object_get_int64(found) : -1;
    if (id < 0 || id >= vocab_size) {
        return error_set(err, HEARTH_EFORMAT, "%s: field %s: a token below vocab_size %u wanted, %.40s found", name,
                         key, vocab_size, json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN));
    }
    *ret_id = (int32_t)id;
    return HEARTH_OK;
}

static int
read_rope_dim(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    uint64_t dim = 0;
    if (!member(config, "qk_rope_head_dim") && member(config, "partial_rotary_factor")) {
        double fraction;
        const int status = json_get_double(name, config, "partial_rotary_factor", 0, 1, &fraction, err);
        if (status < 0) {
            return status;
        }
        dim = (uint64_t)lround(fraction * shape->head_dim);
    } else {
        const int status = json_get_u64(name, config, "qk_rope_head_dim", 2, 4096, &dim, err);
        if (status < 0) {
            return status;
        }
    }
    if (dim == 0 || dim % 2 != 0 || dim >= shape->head_dim) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field qk_rope_head_dim: an even number in [2, head_dim %u) wanted, %u found", name,
                         shape->head_dim, (unsigned)dim);
    }
    shape->rope_dim = (uint32_t)dim;
    return HEARTH_OK;
}

/* rope_scaling, or rope_parameters (flat, or its part "compress"): only YaRN without an attention factor. */
static int
read_yarn(const char *name, struct json_object *scaling, struct model_shape *shape, struct hearth_error *err)
{
    struct json_object *type = member(scaling, "rope_type");
    type = type ? type : member(scaling, "type");
    const char *text = json_object_is_type(type, json_type_string) ? json_object_get_string(type) : "";
    if (strcmp(text, "default") == 0) {
        return HEARTH_OK;
    }
    if (strcmp(text, "yarn") != 0) {
        return unsupported(err, name, "rope_scaling.type", "yarn", type);
    }
    uint64_t positions;
    double attention;
    int status = json_get_u64(name, scaling, "original_max_position_embeddings", 1, 1u << 30, &positions, err);
    status = status < 0 ? status : json_get_double(name, scaling, "factor", 1, 1e6, &shape->yarn_factor, err);
    status = status < 0 ? status
                        : json_get_double_or(name, scaling, "beta_fast", 1e-3, 1e6, 32, &shape->yarn_beta_fast, err);
    status =
        status < 0 ? status : json_get_double_or(name, scaling, "beta_slow", 1e-3, 1e6, 1, &shape->yarn_beta_slow, err);
    status = status < 0 ? status : json_get_double_or(name, scaling, "attention_factor", 1, 1, 1, &attention, err);
    if (status < 0) {
        return status;
    }
    if (shape->yarn_beta_fast < shape->yarn_beta_slow) {
        return error_set(err, HEARTH_EFORMAT, "%s: field beta_fast: at least beta_slow %g wanted, %g found", name,
                         shape->yarn_beta_slow, shape->yarn_beta_fast);
    }
    shape->yarn_original_positions = (uint32_t)positions;
    return HEARTH_OK;
}

static int
read_rope(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    struct json_object *parameters = member(config, "rope_parameters");
    struct json_object *main_part = member(parameters, "main");
    struct json_object *compress_part = member(parameters, "compress");
    const bool nested = main_part && compress_part;
    const char *compress_key = nested ? "rope_theta" : "compress_rope_theta";
    int status = json_get_double(name, nested ? main_part : config, "rope_theta", 1.001, 1e12, &shape->rope_theta, err);
    status = status < 0 ? status
                        : json_get_double(name, nested ? compress_part : config, compress_key, 1.001, 1e12,
                                          &shape->compress_rope_theta, err);
    if (status < 0) {
        return status;
    }
    shape->yarn_factor = 1;
    shape->yarn_beta_fast = 32;
    shape->yarn_beta_slow = 1;
    struct json_object *scaling = member(config, "rope_scaling");
    scaling = nested ? compress_part : scaling ? scaling : parameters;
    return scaling ? read_yarn(name, scaling, shape, err) : HEARTH_OK;
}

static int
read_ratio(const char *name, size_t layer, struct json_object *found, uint32_t *ret_ratio, struct hearth_error *err)
{
    const int64_t ratio = json_object_is_type(found, json_type_int) ? json_object_get_int64(found) : -1;
    if (ratio != 0 && ratio != 4 && ratio != 128) {
        return error_set(err, HEARTH_EUNSUPPORTED, "%s: field compress_ratios[%zu]: 0, 4 or 128 wanted, %.40s found",
                         name, layer, json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN));
    }
    *ret_ratio = (uint32_t)ratio;
    return HEARTH_OK;
}

static int
read_layer_type(const char *name, size_t layer, struct json_object *found, uint32_t *ret_ratio,
                struct hearth_error *err)
{
    static const struct {
        const char *text;
        uint32_t ratio;
    } types[] = {
        {"sliding_attention", 0}, {"compressed_sparse_attention", 4}, {"heavily_compressed_attention", 128}};
    const char *text = json_object_is_type(found, json_type_string) ? json_object_get_string(found) : "";
    for (size_t i = 0; i < N_FIELDS(types); i++) {
        if (strcmp(types[i].text, text) == 0) {
            *ret_ratio = types[i].ratio;
            return HEARTH_OK;
        }
    }
    return error_set(err, HEARTH_EUNSUPPORTED,
                     "%s: field layer_types[%zu]: an attention kind of DeepSeek-V4 wanted, %.40s found", name, layer,
                     json_object_to_json_string_ext(found, JSON_C_TO_STRING_PLAIN));
}

/* One entry a layer; entries after the backbone's are the drafter's stages and must be 0. */
static int
read_layers(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    const bool by_ratio = member(config, "compress_ratios") || !member(config, "layer_types");
    const char *key = by_ratio ? "compress_ratios" : "layer_types";
    struct json_object *list;
    int status = json_get(name, config, key, json_type_array, &list, err);
    if (status < 0) {
        return status;
    }
    const size_t n = json_object_array_length(list);
    if (n < shape->n_layers || n > shape->n_layers + SHAPE_MAX_STAGES) {
        return error_set(err, HEARTH_EFORMAT, "%s: field %s: num_hidden_layers %u to %u entries wanted, %zu found",
                         name, key, shape->n_layers, shape->n_layers + SHAPE_MAX_STAGES, n);
    }
    for (size_t i = 0; i < n; i++) {
        struct json_object *found = json_object_array_get_idx(list, i);
        uint32_t ratio = 0;
        status = by_ratio ? read_ratio(name, i, found, &ratio, err) : read_layer_type(name, i, found, &ratio, err);
        if (status < 0) {
            return status;
        }
        if (i < shape->n_layers) {
            shape->compress_ratios[i] = ratio;
        } else if (ratio != 0) {
            return error_set(err, HEARTH_EUNSUPPORTED, "%s: field %s[%zu]: 0 wanted after the %u layers, %u found",
                             name, key, i, shape->n_layers, ratio);
        }
    }
    shape->n_nextn = (uint32_t)(n - shape->n_layers);
    return HEARTH_OK;
}

static int
read_hash_layers(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    uint64_t n_hash = 0;
    struct json_object *types = member(config, "mlp_layer_types");
    if (member(config, "num_hash_layers") || !types) {
        const int status = json_get_u64(name, config, "num_hash_layers", 0, shape->n_layers, &n_hash, err);
        if (status < 0) {
            return status;
        }
        shape->n_hash_layers = (uint32_t)n_hash;
        return HEARTH_OK;
    }
    const size_t n = json_object_is_type(types, json_type_array) ? json_object_array_length(types) : 0;
    for (size_t i = 0; i < n; i++) {
        struct json_object *found = json_object_array_get_idx(types, i);
        const char *text = json_object_is_type(found, json_type_string) ? json_object_get_string(found) : "";
        const bool hash = strcmp(text, "hash_moe") == 0;
        if ((!hash && strcmp(text, "moe") != 0) || (hash && n_hash != i)) {
            return unsupported(err, name, "mlp_layer_types", "hash_moe layers, then moe layers", types);
        }
        n_hash += hash;
    }
    if (n != shape->n_layers) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field mlp_layer_types: num_hidden_layers %u entries wanted, %zu found", name,
                         shape->n_layers, n);
    }
    shape->n_hash_layers = (uint32_t)n_hash;
    return HEARTH_OK;
}

static int
read_indexer(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    if (shape_count_layers(shape, LAYER_CSA) == 0) {
        return HEARTH_OK;
    }
    const int status = read_counts(name, config, index_fields, N_FIELDS(index_fields), shape, err);
    if (status < 0) {
        return status;
    }
    const uint32_t width = shape->index_head_dim;
    if ((width & (width - 1)) != 0 || width < shape->rope_dim) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field index_head_dim: a power of two of at least qk_rope_head_dim %u wanted, %u found",
                         name, shape->rope_dim, width);
    }
    return HEARTH_OK;
}

static int
read_drafter(const char *name, struct json_object *config, struct model_shape *shape, struct hearth_error *err)
{
    uint64_t n_stages, rank;
    int status = json_get_u64_or(name, config, "num_nextn_predict_layers", 0, SHAPE_MAX_STAGES, 0, &n_stages, err);
    status = status < 0 ? status : json_get_u64_or(name, config, "dspark_markov_rank", 1, MAX_WIDTH, 0, &rank, err);
    if (status < 0) {
        return status;
    }
    if (n_stages > shape->n_nextn) {
        shape->n_nextn = (uint32_t)n_stages;
    }
    struct json_object *taps = member(config, "dspark_target_layer_ids");
    const size_t n_taps = json_object_is_type(taps, json_type_array) ? json_object_array_length(taps) : 0;
    if (rank > 0 && (n_taps < 1 || n_taps > shape->n_layers)) {
        return error_set(err, HEARTH_EFORMAT, "%s: field dspark_target_layer_ids: 1 to %u layers wanted, %zu found",
                         name, shape->n_layers, n_taps);
    }
    shape->nextn_kind = rank > 0 ? NEXTN_DSPARK : NEXTN_MTP;
    shape->dspark_rank = (uint32_t)rank;
    shape->dspark_n_taps = rank > 0 ? (uint32_t)n_taps : 0;
    return HEARTH_OK;
}

static int
check_relations(const char *name, const struct model_shape *shape, struct hearth_error *err)
{
    if (shape->n_shared_experts != 1) {
        return error_set(err, HEARTH_EUNSUPPORTED, "%s: field n_shared_experts: 1 wanted, %u found", name,
                         shape->n_shared_experts);
    }
    if (shape->n_heads % shape->o_groups != 0) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field o_groups: a divisor of num_attention_heads %u wanted, %u found", name,
                         shape->n_heads, shape->o_groups);
    }
    if (shape->experts_per_token > shape->n_experts) {
        return error_set(err, HEARTH_EFORMAT,
                         "%s: field num_experts_per_tok: at most n_routed_experts %u wanted, %u found", name,
                         shape->n_experts, shape->experts_per_token);
    }
    if (shape->dim % 2 != 0 || shape->expert_inner % 2 != 0) {
        return error_set(err, HEARTH_EUNSUPPORTED,
                         "%s: fields hidden_size, moe_intermediate_size: even numbers wanted, %u and %u found", name,
                         shape->dim, shape->expert_inner);
    }
    return HEARTH_OK;
}

int
shape_read(const char *name, struct json_object *config, struct model_shape *ret_shape, struct hearth_error *err)
{
    struct model_shape shape = {0};
    if (!json_object_is_type(config, json_type_object)) {
        return error_set(err, HEARTH_EFORMAT, "%s: a JSON object wanted", name);
    }
    int status = check_fixed(name, config, err);
    status = status < 0 ? status : check_quantization(name, config, err);
    status = status < 0 ? status : read_counts(name, config, count_fields, N_FIELDS(count_fields), &shape, err);
    status = status < 0 ? status : read_reals(name, config, &shape, err);
    status = status < 0 ? status : read_rope_dim(name, config, &shape, err);
    status = status < 0 ? status : read_rope(name, config, &shape, err);
    status = status < 0 ? status : read_layers(name, config, &shape, err);
    status = status < 0 ? status : read_hash_layers(name, config, &shape, err);
    status = status < 0 ? status : read_indexer(name, config, &shape, err);
    status = status < 0 ? status : read_drafter(name, config, &shape, err);
    status = status < 0 ? status : read_token_id(name, config, "bos_token_id", shape.vocab_size, &shape.bos_id, err);
    status = status < 0 ? status : read_token_id(name, config, "eos_token_id", shape.vocab_size, &shape.eos_id, err);
    status = status < 0 ? status : check_relations(name, &shape, err);
    if (status < 0) {
        return status;
    }
    *ret_shape = shape;
    return HEARTH_OK;
}
