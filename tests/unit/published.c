/* published.c - see published.h.  Source: config.json of DeepSeek-V4-Flash, -Flash-0731 and -Pro. */
#include "published.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "core/base/json.h"

struct published {
    uint32_t n_layers, dim, n_heads, q_lora_rank, o_groups, inner, n_experts, index_topk;
    const char *route_scale;
    uint32_t first_ratio; /* of layers 0 and 1; then 4 and 128 in turn, from 4 to 4 */
    uint32_t n_stages;
    const char *more;
};

static const struct published published_models[] = {
    [PUBLISHED_FLASH] = {43, 4096, 64, 1024, 8, 2048, 256, 512, "1.5", 0, 1, ""},
    [PUBLISHED_FLASH_0731] = {43, 4096, 64, 1024, 8, 2048, 256, 512, "1.5", 0, 3,
                              ",\"dspark_block_size\":5,\"dspark_markov_rank\":256,\"dspark_noise_token_id\":128799,"
                              "\"dspark_target_layer_ids\":[40,41,42]"},
    [PUBLISHED_PRO] = {61, 7168, 128, 1536, 16, 3072, 384, 1024, "2.5", 128, 1, ""}};

static const char format[] =
    "{\"architectures\":[\"DeepseekV4ForCausalLM\"],\"attention_bias\":false,\"bos_token_id\":0,\"eos_token_id\":1,"
    "\"hc_eps\":1e-06,\"hc_mult\":4,\"hc_sinkhorn_iters\":20,\"head_dim\":512,\"hidden_act\":\"silu\",\"hidden_size\":%"
    "u,"
    "\"index_head_dim\":128,\"index_n_heads\":64,\"index_topk\":%u,\"max_position_embeddings\":1048576,"
    "\"model_type\":\"deepseek_v4\",\"moe_intermediate_size\":%u,\"n_routed_experts\":%u,\"n_shared_experts\":1,"
    "\"norm_topk_prob\":true,\"num_attention_heads\":%u,\"num_experts_per_tok\":6,\"num_hidden_layers\":%u,"
    "\"num_hash_layers\":3,\"num_key_value_heads\":1,\"num_nextn_predict_layers\":1,\"o_groups\":%u,\"o_lora_rank\":"
    "1024,"
    "\"q_lora_rank\":%u,\"qk_rope_head_dim\":64,\"quantization_config\":{\"activation_scheme\":\"dynamic\",\"fmt\":"
    "\"e4m3\","
    "\"quant_method\":\"fp8\",\"scale_fmt\":\"ue8m0\",\"weight_block_size\":[128,128]},\"rms_norm_eps\":1e-06,"
    "\"rope_scaling\":{\"beta_fast\":32,\"beta_slow\":1,\"factor\":16,\"original_max_position_embeddings\":65536,"
    "\"type\":\"yarn\"},\"rope_theta\":10000,\"routed_scaling_factor\":%s,\"scoring_func\":\"sqrtsoftplus\","
    "\"sliding_window\":128,\"swiglu_limit\":10.0,\"tie_word_embeddings\":false,\"topk_method\":\"noaux_tc\","
    "\"vocab_size\":129280,\"compress_rope_theta\":160000%s,\"compress_ratios\":[";

struct model_shape
published_shape(enum published_model which)
{
    const struct published *m = &published_models[which];
    char config[4096];
    struct json_object *parsed;
    struct model_shape shape;
    struct hearth_error err = {0};
    int used = snprintf(config, sizeof config, format, m->dim, m->index_topk, m->inner, m->n_experts, m->n_heads,
                        m->n_layers, m->o_groups, m->q_lora_rank, m->route_scale, m->more);
    for (uint32_t layer = 0; layer < m->n_layers + m->n_stages; layer++) {
        const uint32_t ratio = layer < 2 ? m->first_ratio : layer >= m->n_layers ? 0 : layer % 2 ? 128 : 4;
        used += snprintf(config + used, sizeof config - (size_t)used, "%s%u", layer ? "," : "", ratio);
    }
    snprintf(config + used, sizeof config - (size_t)used, "]}");
    ck_assert_msg(json_parse("config.json", config, strlen(config), &parsed, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(shape_read("config.json", parsed, &shape, &err) == HEARTH_OK, "%s", err.text);
    json_object_put(parsed);
    shape.n_nextn = m->n_stages;
    return shape;
}
