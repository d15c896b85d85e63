/* shape_test.c - config.json: every field's wrong values get one line that names it, and the frequencies of 4.6. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "core/base/json.h"
#include "published.h"

static struct hearth_error err;

/* Reads the tiny config with members of patch (a JSON object) put over it; those that are "absent" are taken away. */
static int
read_patched(const char *patch, struct model_shape *ret_shape)
{
    const struct model_shape shape = checkpoint_tiny_shape();
    const struct checkpoint checkpoint = {.shape = shape, .extra_config = ""};
    struct json_object *config, *changes;
    char *text = checkpoint_config(&checkpoint);
    ck_assert_int_eq(json_parse("c", text, strlen(text), &config, NULL), HEARTH_OK);
    ck_assert_int_eq(json_parse("patch", patch, strlen(patch), &changes, NULL), HEARTH_OK);
    json_object_object_foreach(changes, key, value)
    {
        if (json_object_is_type(value, json_type_string) && strcmp(json_object_get_string(value), "absent") == 0) {
            json_object_object_del(config, key);
        } else {
            json_object_object_add(config, key, json_object_get(value));
        }
    }
    err = (struct hearth_error){0};
    const int status = shape_read("c", config, ret_shape, &err);
    json_object_put(changes);
    json_object_put(config);
    free(text);
    return status;
}

START_TEST(a_valid_config_is_read_whole)
{
    const struct model_shape wanted = checkpoint_tiny_shape();
    struct model_shape shape;
    ck_assert_int_eq(read_patched("{}", &shape), HEARTH_OK);
    ck_assert_mem_eq(&shape, &wanted, sizeof shape);
    const struct model_shape pro = published_shape(PUBLISHED_PRO);
    ck_assert_uint_eq(shape_count_layers(&pro, LAYER_CSA), 30);
    ck_assert_uint_eq(shape_count_layers(&pro, LAYER_HCA), 31);
    ck_assert_uint_eq(pro.index_topk, 1024);
}
END_TEST

START_TEST(newer_spellings_mean_the_same)
{
    const struct model_shape wanted = checkpoint_tiny_shape();
    struct model_shape shape;
    ck_assert_int_eq(
        read_patched(
            "{\"compress_ratios\": \"absent\", \"layer_types\": [\"sliding_attention\", "
            "\"compressed_sparse_attention\", \"heavily_compressed_attention\", \"compressed_sparse_attention\", "
            "\"heavily_compressed_attention\"], \"num_hash_layers\": \"absent\", \"mlp_layer_types\": [\"hash_moe\", "
            "\"moe\", \"moe\", \"moe\", \"moe\"], \"qk_rope_head_dim\": \"absent\", \"partial_rotary_factor\": 0.2, "
            "\"rope_theta\": \"absent\", \"compress_rope_theta\": \"absent\", \"rope_scaling\": \"absent\", "
            "\"rope_parameters\": {\"main\": {\"rope_type\": \"default\", \"rope_theta\": 10000}, \"compress\": "
            "{\"rope_type\": \"yarn\", \"rope_theta\": 160000, \"factor\": 16, \"beta_fast\": 32, \"beta_slow\": 1, "
            "\"original_max_position_embeddings\": 256, \"attention_factor\": 1.0}}}",
            &shape),
        HEARTH_OK);
    ck_assert_mem_eq(&shape, &wanted, sizeof shape);
}
END_TEST

START_TEST(optional_fields)
{
    struct model_shape shape;
    ck_assert_int_eq(read_patched("{\"rope_scaling\": null, \"bos_token_id\": null, \"eos_token_id\": [7, 8]}", &shape),
                     HEARTH_OK);
    ck_assert_uint_eq(shape.yarn_original_positions, 0);
    ck_assert_int_eq(shape.bos_id, -1);
    ck_assert_int_eq(shape.eos_id, 7);
    ck_assert_int_eq(read_patched("{\"compress_ratios\": [0, 128, 0, 0, 128, 0], \"index_n_heads\": \"absent\", "
                                  "\"index_head_dim\": \"absent\", \"index_topk\": \"absent\"}", &shape), HEARTH_OK);
    ck_assert_uint_eq(shape.index_n_heads, 0);
    ck_assert_uint_eq(shape.n_nextn, 1);
}
END_TEST

static const struct bad_field {
    const char *patch;
    int status;
    const char *named; /* must stand in the line */
} bad_fields[] = {
    {"{\"model_type\": \"deepseek_v41\"}", HEARTH_EUNSUPPORTED,
     "model_type: deepseek_v4 wanted, \"deepseek_v41\" found"},
    {"{\"model_type\": \"absent\"}", HEARTH_EUNSUPPORTED, "model_type"},
    {"{\"scoring_func\": \"softmax\"}", HEARTH_EUNSUPPORTED, "scoring_func"},
    {"{\"topk_method\": \"greedy\"}", HEARTH_EUNSUPPORTED, "topk_method"},
    {"{\"hidden_act\": \"gelu\"}", HEARTH_EUNSUPPORTED, "hidden_act"},
    {"{\"norm_topk_prob\": false}", HEARTH_EUNSUPPORTED, "norm_topk_prob"},
    {"{\"tie_word_embeddings\": true}", HEARTH_EUNSUPPORTED, "tie_word_embeddings"},
    {"{\"attention_bias\": true}", HEARTH_EUNSUPPORTED, "attention_bias"},
    {"{\"num_key_value_heads\": 2}", HEARTH_EFORMAT, "num_key_value_heads"},
    {"{\"quantization_config\": {\"quant_method\": \"awq\"}}", HEARTH_EUNSUPPORTED, "quant_method"},
    {"{\"quantization_config\": {\"scale_fmt\": \"float\"}}", HEARTH_EUNSUPPORTED, "scale_fmt"},
    {"{\"quantization_config\": {\"weight_block_size\": [32, 32]}}", HEARTH_EUNSUPPORTED, "weight_block_size"},
    {"{\"quantization_config\": 1}", HEARTH_EFORMAT, "quantization_config"},
    {"{\"compress_ratios\": [0, 4, 128, 2, 0]}", HEARTH_EUNSUPPORTED,
     "compress_ratios[3]: 0, 4 or 128 wanted, 2 found"},
    {"{\"compress_ratios\": [0, 4, 128, \"4\", 0]}", HEARTH_EUNSUPPORTED, "compress_ratios[3]"},
    {"{\"compress_ratios\": [0, 4]}", HEARTH_EFORMAT, "compress_ratios"},
    {"{\"compress_ratios\": [0, 4, 4, 4, 4, 4]}", HEARTH_EUNSUPPORTED, "compress_ratios[5]"},
    {"{\"compress_ratios\": [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]}", HEARTH_EFORMAT, "compress_ratios"},
    {"{\"compress_ratios\": \"absent\"}", HEARTH_EFORMAT, "compress_ratios"},
    {"{\"compress_ratios\": {\"0\": 4}}", HEARTH_EFORMAT, "compress_ratios"},
    {"{\"n_shared_experts\": 2}", HEARTH_EUNSUPPORTED, "n_shared_experts"},
    {"{\"num_hash_layers\": 6}", HEARTH_EFORMAT, "num_hash_layers"},
    {"{\"num_hidden_layers\": 1025}", HEARTH_EFORMAT, "num_hidden_layers"},
    {"{\"num_hidden_layers\": 0}", HEARTH_EFORMAT, "num_hidden_layers"},
    {"{\"hidden_size\": -64}", HEARTH_EFORMAT, "hidden_size"},
    {"{\"hidden_size\": 18446744073709551615}", HEARTH_EFORMAT, "hidden_size"},
    {"{\"hidden_size\": 1e9}", HEARTH_EFORMAT, "hidden_size"},
    {"{\"hidden_size\": 65}", HEARTH_EUNSUPPORTED, "hidden_size"},
    {"{\"vocab_size\": 4294967295}", HEARTH_EFORMAT, "vocab_size"},
    {"{\"vocab_size\": \"96\"}", HEARTH_EFORMAT, "vocab_size"},
    {"{\"num_attention_heads\": 4097}", HEARTH_EFORMAT, "num_attention_heads"},
    {"{\"head_dim\": 16}", HEARTH_EFORMAT, "head_dim"},
    {"{\"qk_rope_head_dim\": 15}", HEARTH_EFORMAT, "qk_rope_head_dim"},
    {"{\"qk_rope_head_dim\": 80}", HEARTH_EFORMAT, "qk_rope_head_dim"},
    {"{\"o_groups\": 3}", HEARTH_EFORMAT, "o_groups"},
    {"{\"num_experts_per_tok\": 7}", HEARTH_EFORMAT, "num_experts_per_tok"},
    {"{\"num_experts_per_tok\": 65, \"n_routed_experts\": 128}", HEARTH_EFORMAT, "num_experts_per_tok"},
    {"{\"index_head_dim\": 48}", HEARTH_EFORMAT, "index_head_dim"},
    {"{\"index_head_dim\": 8}", HEARTH_EFORMAT, "index_head_dim"},
    {"{\"index_topk\": \"absent\"}", HEARTH_EFORMAT, "index_topk"},
    {"{\"hc_mult\": 9}", HEARTH_EFORMAT, "hc_mult"},
    {"{\"hc_eps\": 0}", HEARTH_EFORMAT, "hc_eps"},
    {"{\"rms_norm_eps\": \"tiny\"}", HEARTH_EFORMAT, "rms_norm_eps"},
    {"{\"swiglu_limit\": 0}", HEARTH_EFORMAT, "swiglu_limit"},
    {"{\"rope_theta\": 1}", HEARTH_EFORMAT, "rope_theta"},
    {"{\"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}", HEARTH_EUNSUPPORTED, "rope_scaling.type"},
    {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4}}", HEARTH_EFORMAT, "original_max_position_embeddings"},
    {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64, \"beta_fast\": "
     "0.5}}",
     HEARTH_EFORMAT, "beta_fast"},
    {"{\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64, "
     "\"attention_factor\": 1.2}}",
     HEARTH_EFORMAT, "attention_factor"},
    {"{\"eos_token_id\": 96}", HEARTH_EFORMAT, "eos_token_id"},
    {"{\"bos_token_id\": -3}", HEARTH_EFORMAT, "bos_token_id"},
    {"{\"dspark_markov_rank\": 8}", HEARTH_EFORMAT, "dspark_target_layer_ids"},
};

START_TEST(each_wrong_field_is_named)
{
    const struct bad_field *bad = &bad_fields[_i];
    struct model_shape shape, untouched;
    memset(&shape, 0x55, sizeof shape);
    untouched = shape;
    ck_assert_msg(read_patched(bad->patch, &shape) == bad->status, "%s: %d %s", bad->patch, err.status, err.text);
    ck_assert_msg(strstr(err.text, bad->named) != NULL, "%s: %s", bad->patch, err.text);
    ck_assert_msg(strncmp(err.text, "c: field", 8) == 0, "%s", err.text);
    ck_assert_mem_eq(&shape, &untouched, sizeof shape);
}
END_TEST

/* fp32, by an independent program, for base 160000, factor 16, 65536 original positions */
static const float yarn_frequencies[32] = {1,
                                           0.68765604f,
                                           0.47287080f,
                                           0.32517245f,
                                           0.22360680f,
                                           0.15376456f,
                                           0.10573712f,
                                           0.072710775f,
                                           0.05f,
                                           0.034382802f,
                                           0.023643540f,
                                           0.016258623f,
                                           0.011180340f,
                                           7.6882280e-3f,
                                           5.2868566e-3f,
                                           3.6355385e-3f,
                                           2.2656249e-3f,
                                           1.3968013e-3f,
                                           8.4968971e-4f,
                                           5.0808198e-4f,
                                           2.9697779e-4f,
                                           1.6817998e-4f,
                                           9.0867841e-5f,
                                           4.5444231e-5f,
                                           1.9531253e-5f,
                                           5.3723124e-6f,
                                           3.6943034e-6f,
                                           2.5404097e-6f,
                                           1.7469282e-6f,
                                           1.2012856e-6f,
                                           8.2607130e-7f,
                                           5.6805294e-7f};

START_TEST(frequencies_of_both_layer_kinds)
{
    const struct model_shape shape = published_shape(PUBLISHED_FLASH);
    float compressed[32], plain[32];
    shape_inv_freq(&shape, true, compressed);
    shape_inv_freq(&shape, false, plain);
    for (int i = 0; i < 32; i++) {
        /* the table has eight digits, and powf of its program may differ by an ulp */
        ck_assert_double_eq_tol((double)compressed[i] / (double)yarn_frequencies[i], 1, 1.3e-7);
        ck_assert_double_eq_tol((double)plain[i] * pow(10000, i / 32.0), 1, 1.3e-7);
    }
    ck_assert(compressed[0] == 1.0f && plain[0] == 1.0f);
}
END_TEST

START_TEST(frequencies_without_yarn_or_ramp)
{
    struct model_shape shape = published_shape(PUBLISHED_FLASH);
    float frequencies[32];
    shape.yarn_original_positions = 0;
    shape_inv_freq(&shape, true, frequencies);
    ck_assert_double_eq_tol((double)frequencies[31] * pow(160000, 31 / 32.0), 1, 1.3e-7);
    /* the ramp begins and ends at dimension 0: every later frequency is divided */
    shape.yarn_original_positions = 6;
    shape_inv_freq(&shape, true, frequencies);
    ck_assert(frequencies[0] == 1.0f);
    ck_assert_double_eq_tol((double)frequencies[1] * 16 * pow(160000, 1 / 32.0), 1, 2e-7);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("shape");
    TCase *cases = tcase_create("shape");
    tcase_add_test(cases, a_valid_config_is_read_whole);
    tcase_add_test(cases, newer_spellings_mean_the_same);
    tcase_add_test(cases, optional_fields);
    tcase_add_loop_test(cases, each_wrong_field_is_named, 0, (int)(sizeof bad_fields / sizeof bad_fields[0]));
    tcase_add_test(cases, frequencies_of_both_layer_kinds);
    tcase_add_test(cases, frequencies_without_yarn_or_ramp);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
