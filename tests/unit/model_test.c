/* model_test.c - whole checkpoints: a good one is bound to its roles, a bad one gets a line that names the place. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint.h"
#include "core/base/bytes.h"
#include "core/model/model.h"

static char folder[CHECKPOINT_PATH_BYTES];
static struct checkpoint *checkpoint;
static struct hearth_error err;

static void
setup_of(struct model_shape shape, enum hearth_dtype expert_dtype, uint32_t n_shards)
{
    err = (struct hearth_error){0};
    checkpoint_make_folder(folder);
    checkpoint = checkpoint_new(&shape, expert_dtype, n_shards, 1, false);
}

static void
setup(void)
{
    setup_of(checkpoint_tiny_shape(), HEARTH_E2M1X2, 2);
}

static void
teardown(void)
{
    checkpoint_free(checkpoint);
    checkpoint_remove_folder(folder);
}

static void
change_shape(struct model_shape shape, enum hearth_dtype expert_dtype, uint32_t n_shards)
{
    teardown();
    setup_of(shape, expert_dtype, n_shards);
}

static struct model *
open_saved(unsigned flags)
{
    struct model *model = NULL;
    checkpoint_save(checkpoint, folder);
    ck_assert_msg(model_open(folder, flags, &model, &err) == HEARTH_OK, "%s", err.text);
    return model;
}

/* The matrix has the bytes of the tensor, and its scales those of X.scale. */
static void
check_role(const struct hearth_matrix *role, const char *name, uint64_t rows, uint64_t cols, enum hearth_dtype dtype)
{
    char scale_name[LAYOUT_NAME_BYTES];
    const struct checkpoint_tensor *tensor = checkpoint_find(checkpoint, name);
    ck_assert_uint_eq(role->dtype, dtype);
    ck_assert_uint_eq(role->rows, rows);
    ck_assert_uint_eq(role->cols, cols);
    ck_assert_uint_eq(role->data_bytes, tensor->size_bytes);
    ck_assert_mem_eq(role->data, tensor->bytes, tensor->size_bytes);
    if (dtype == HEARTH_E4M3 || dtype == HEARTH_E2M1X2) {
        layout_scale_name(name, scale_name);
        const struct checkpoint_tensor *scale = checkpoint_find(checkpoint, scale_name);
        ck_assert_uint_eq(role->scales_bytes, scale->size_bytes);
        ck_assert_mem_eq(role->scales, scale->bytes, scale->size_bytes);
    } else {
        ck_assert_ptr_null(role->scales);
        ck_assert_uint_eq(role->scales_bytes, 0);
    }
}

START_TEST(roles_point_to_their_tensors)
{
    struct model *model = open_saved(0);
    const struct model_roles *roles = model_roles(model);
    const struct layer_roles *hashed = &roles->layers[0], *csa = &roles->layers[1], *hca = &roles->layers[4];
    check_role(&roles->embed, "embed.weight", 96, 64, HEARTH_BF16);
    check_role(&roles->head, "head.weight", 96, 64, HEARTH_BF16);
    check_role(&roles->norm, "norm.weight", 1, 64, HEARTH_BF16);
    check_role(&roles->hc_head_fn, "hc_head_fn", 4, 256, HEARTH_F32);
    check_role(&csa->hc_ffn_fn, "layers.1.hc_ffn_fn", 24, 256, HEARTH_F32);
    check_role(&csa->hc_attn_scale, "layers.1.hc_attn_scale", 1, 3, HEARTH_F32);
    check_role(&csa->wq_b, "layers.1.attn.wq_b.weight", 320, 32, HEARTH_E4M3);
    check_role(&csa->wo_a, "layers.1.attn.wo_a.weight", 48, 160, HEARTH_E4M3);
    check_role(&csa->attn_sink, "layers.1.attn.attn_sink", 1, 4, HEARTH_F32);
    check_role(&csa->compressor.ape, "layers.1.attn.compressor.ape", 4, 160, HEARTH_F32);
    check_role(&csa->index_compressor.wgate, "layers.1.attn.indexer.compressor.wgate.weight", 64, 64, HEARTH_BF16);
    check_role(&csa->index_weights_proj, "layers.1.attn.indexer.weights_proj.weight", 4, 64, HEARTH_BF16);
    check_role(&csa->gate_bias, "layers.1.ffn.gate.bias", 1, 6, HEARTH_F32);
    check_role(&hca->compressor.wkv, "layers.4.attn.compressor.wkv.weight", 80, 64, HEARTH_BF16);
    check_role(&hca->compressor.ape, "layers.4.attn.compressor.ape", 128, 80, HEARTH_F32);
    check_role(&hashed->tid2eid, "layers.0.ffn.gate.tid2eid", 96, 2, HEARTH_I64);
    check_role(&hca->experts[5].w[0], "layers.4.ffn.experts.5.w1.weight", 32, 64, HEARTH_E2M1X2);
    check_role(&hca->experts[5].w[1], "layers.4.ffn.experts.5.w3.weight", 32, 64, HEARTH_E2M1X2);
    check_role(&hca->experts[5].w[2], "layers.4.ffn.experts.5.w2.weight", 64, 32, HEARTH_E2M1X2);
    check_role(&hca->shared.w[1], "layers.4.ffn.shared_experts.w3.weight", 32, 64, HEARTH_E4M3);
    ck_assert_ptr_null(hashed->compressor.wkv.data);
    ck_assert_ptr_null(hashed->gate_bias.data);
    ck_assert_ptr_null(csa->tid2eid.data);
    ck_assert_ptr_null(hca->index_wq_b.data);
    model_close(model);
}
END_TEST

START_TEST(headers_only_has_shapes_without_bytes)
{
    struct model *model = open_saved(MODEL_HEADERS_ONLY);
    const struct model_roles *roles = model_roles(model);
    size_t n;
    const struct tensor *tensors = model_tensors(model, &n);
    ck_assert_uint_eq(n, checkpoint->n_tensors);
    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_null(tensors[i].data);
        ck_assert_int_ne(tensors[i].kind, TENSOR_UNKNOWN);
    }
    ck_assert_uint_eq(roles->embed.rows, 96);
    ck_assert_ptr_null(roles->embed.data);
    ck_assert_ptr_null(roles->layers[0].wkv.scales);
    model_close(model);
}
END_TEST

START_TEST(sizes_are_those_of_the_files)
{
    uint64_t bytes = 0;
    struct model *model = open_saved(0);
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        bytes += checkpoint->tensors[i].size_bytes;
    }
    ck_assert_uint_eq(model_weight_bytes(model), bytes);
    /* 4 of 6 experts rest: each 3 * 32 * 64 elements of 4 bits and their scales, in 5 layers; and but one row of the
     * embedding and of the hash table is read */
    const uint64_t resting = 5 * 4 * 3 * (32 * 64 / 2 + 32 * 64 / 32);
    ck_assert_uint_eq(model_active_bytes(model), bytes - resting - 95 * (64 * 2 + 2 * 8));
    model_close(model);
}
END_TEST

START_TEST(one_file_needs_no_index)
{
    change_shape(checkpoint_tiny_shape(), HEARTH_E2M1X2, 1);
    struct model *model = open_saved(0);
    check_role(&model_roles(model)->layers[3].wkv, "layers.3.attn.wkv.weight", 80, 64, HEARTH_E4M3);
    model_close(model);
}
END_TEST

START_TEST(experts_may_be_fp8)
{
    struct model_shape shape = checkpoint_tiny_shape();
    shape.dim = 160; /* two tiles, the second one not full */
    change_shape(shape, HEARTH_E4M3, 1);
    struct model *model = open_saved(0);
    check_role(&model_roles(model)->layers[2].experts[3].w[2], "layers.2.ffn.experts.3.w2.weight", 160, 32,
               HEARTH_E4M3);
    ck_assert_uint_eq(model_roles(model)->layers[2].experts[3].w[2].scales_bytes, 2);
    model_close(model);
}
END_TEST

START_TEST(drafters_are_counted)
{
    struct model_shape shape = checkpoint_tiny_shape();
    shape.n_nextn = 1;
    change_shape(shape, HEARTH_E2M1X2, 2);
    struct model *model = open_saved(0);
    /* an uncompressed layer that scores: 21 weights and 8 scales; 6 experts of 6 tensors; e_proj and h_proj with
     * scales; enorm, hnorm; norm; hc_head_* */
    ck_assert_uint_eq(model_roles(model)->n_nextn_tensors, 21 + 8 + 36 + 4 + 2 + 1 + 3);
    ck_assert_uint_eq(model_shape(model)->n_nextn, 1);
    model_close(model);
    shape.n_nextn = 3;
    shape.nextn_kind = NEXTN_DSPARK;
    shape.dspark_rank = 8;
    shape.dspark_n_taps = 3;
    change_shape(shape, HEARTH_E2M1X2, 2);
    model = open_saved(0);
    ck_assert_uint_eq(model_roles(model)->n_nextn_tensors, 3 * (21 + 8 + 36) + 3 + 1 + 3 + 3);
    ck_assert_uint_eq(model_shape(model)->n_nextn, 3);
    model_close(model);
}
END_TEST

START_TEST(older_names_are_understood)
{
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        struct checkpoint_tensor *tensor = &checkpoint->tensors[i];
        char name[LAYOUT_NAME_BYTES];
        snprintf(name, sizeof name, "model.%.80s", tensor->name);
        memcpy(tensor->name, name, sizeof name);
    }
    strcpy(checkpoint_find(checkpoint, "model.layers.1.attn.wkv.scale")->name,
           "model.layers.1.self_attn.wkv.weight_scale_inv");
    strcpy(checkpoint_find(checkpoint, "model.layers.1.ffn.gate.bias")->name,
           "model.layers.1.mlp.gate.e_score_correction_bias");
    struct model *model = open_saved(0);
    ck_assert_ptr_nonnull(model_roles(model)->layers[1].gate_bias.data);
    size_t n;
    const struct tensor *tensors = model_tensors(model, &n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(strncmp(tensors[i].name, "model.", 6) != 0, "%s", tensors[i].name);
    }
    model_close(model);
}
END_TEST

START_TEST(identity_follows_config_and_headers)
{
    unsigned char first[32], second[32];
    struct model *model = open_saved(0);
    memcpy(first, model_identity(model), 32);
    model_close(model);
    model = open_saved(MODEL_HEADERS_ONLY);
    ck_assert_mem_eq(first, model_identity(model), 32);
    model_close(model);
    checkpoint->extra_config = ", \"initializer_range\": 0.02";
    model = open_saved(0);
    memcpy(second, model_identity(model), 32);
    ck_assert_mem_ne(first, second, 32);
    model_close(model);
    checkpoint->tensors[0].shard = 1;
    model = open_saved(0);
    ck_assert_mem_ne(second, model_identity(model), 32);
    model_close(model);
}
END_TEST

START_TEST(loaded_matrices_are_checked)
{
    struct model *model = open_saved(0);
    const struct hearth_matrix *wkv = &model_roles(model)->layers[1].wkv;
    ck_assert_int_eq(model_check_matrix(model, wkv, &err), HEARTH_OK);
    ck_assert_int_eq(model_check_matrix(model, &model_roles(model)->layers[1].experts[0].w[0], &err), HEARTH_OK);
    model_close(model);
    struct checkpoint_tensor *tensor = checkpoint_find(checkpoint, "layers.1.attn.wkv.weight");
    for (size_t at = 0; at < 20; at++) {
        const unsigned char kept = tensor->bytes[at];
        tensor->bytes[at] = at % 2 ? 0x7F : 0xFF;
        model = open_saved(0);
        ck_assert_int_eq(model_check_matrix(model, &model_roles(model)->layers[1].wkv, &err), HEARTH_EFORMAT);
        char wanted[128];
        snprintf(wanted, sizeof wanted, "layers.1.attn.wkv.weight: numbers wanted, NaN found at element %zu", at);
        ck_assert_msg(strstr(err.text, wanted) != NULL, "%s", err.text);
        model_close(model);
        tensor->bytes[at] = kept;
    }
}
END_TEST

/* ---- one fault each ---------------------------------------------------------------------------------------------- */

static struct checkpoint_tensor *
find(const char *name)
{
    return checkpoint_find(checkpoint, name);
}

static void
cut_file(const char *name, off_t n_bytes)
{
    char path[CHECKPOINT_PATH_BYTES + 64];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_int_eq(truncate(path, info.st_size - n_bytes), 0);
}

static void
remove_file(const char *name)
{
    char path[CHECKPOINT_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ck_assert_int_eq(unlink(path), 0);
}

static void
write_text(const char *name, const char *text)
{
    checkpoint_write_file(folder, name, text, strlen(text));
}

#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"

static void fault_shard_cut(void) { cut_file(SHARD_2, 1); }
static void fault_shard_empty(void) { write_text(SHARD_1, ""); }
static void fault_shard_missing(void) { remove_file(SHARD_2); }
static void fault_header_huge(void) { write_text(SHARD_1, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F{}"); }
static void fault_header_text(void) { checkpoint_write_file(folder, SHARD_1, "\2\0\0\0\0\0\0\0[]", 10); }
static void fault_no_weights(void) { remove_file(INDEX); }
static void fault_no_config(void) { remove_file("config.json"); }
static void fault_config_cut(void) { cut_file("config.json", 3); }
static void fault_config_empty(void) { write_text("config.json", ""); }
static void fault_config_other(void) { write_text("config.json", "{\"model_type\": \"llama\"}"); }
static void fault_index_cut(void) { cut_file(INDEX, 3); }
static void fault_index_none(void) { write_text(INDEX, "{\"weight_map\": {}}"); }
static void fault_index_no_map(void) { write_text(INDEX, "{\"map\": {}}"); }
static void fault_index_path(void) { write_text(INDEX, "{\"weight_map\": {\"embed.weight\": \"../x.safetensors\"}}"); }
static void fault_index_type(void) { write_text(INDEX, "{\"weight_map\": {\"embed.weight\": 7}}"); }

/* The index gains, loses or misplaces one entry. */
static void
edit_index(const char *from, const char *to)
{
    char path[CHECKPOINT_PATH_BYTES + 64], *text;
    snprintf(path, sizeof path, "%s/%s", folder, INDEX);
    FILE *stream = fopen(path, "rb");
    ck_assert_ptr_nonnull(stream);
    text = calloc(1, 1 << 20);
    ck_assert_ptr_nonnull(text);
    ck_assert_uint_gt(fread(text, 1, (1 << 20) - 1, stream), 0);
    fclose(stream);
    char *at = strstr(text, from);
    ck_assert_ptr_nonnull(at);
    char *edited = calloc(1, strlen(text) + strlen(to) + 1);
    ck_assert_ptr_nonnull(edited);
    memcpy(edited, text, (size_t)(at - text));
    strcat(strcat(edited, to), at + strlen(from));
    write_text(INDEX, edited);
    free(edited);
    free(text);
}

static void fault_index_extra(void) { edit_index("{\n", "{\"no.such\": \"" SHARD_2 "\",\n"); }
static void fault_index_less(void) { edit_index("\"embed.weight\": \"" SHARD_1 "\",", ""); }
static void fault_index_wrong(void) { edit_index("\"embed.weight\": \"" SHARD_1, "\"embed.weight\": \"" SHARD_2); }

static void fault_missing(void) { checkpoint_remove(checkpoint, "layers.3.attn.kv_norm.weight"); }
static void fault_missing_scale(void) { checkpoint_remove(checkpoint, "layers.2.attn.wo_b.scale"); }
static void fault_missing_expert(void) { checkpoint_remove(checkpoint, "layers.4.ffn.experts.5.w2.weight"); }
static void fault_missing_bias(void) { checkpoint_remove(checkpoint, "layers.1.ffn.gate.bias"); }
static void fault_dtype(void) { find("layers.1.attn.attn_sink")->dtype = "I32"; }
static void fault_dtype_foreign(void) { find("norm.weight")->dtype = "F16"; }
static void fault_dtype_expert(void) { find("layers.0.ffn.experts.1.w3.weight")->dtype = "U8"; }
static void
fault_shape(void)
{
    *find("layers.2.attn.wkv.weight")->dims = 64;
    find("layers.2.attn.wkv.weight")->dims[1] = 80;
}
static void fault_dims(void) { find("norm.weight")->n_dims = 2; find("norm.weight")->dims[1] = 1; }
static void fault_size(void) { *find("norm.weight")->dims = 63; }
static void
fault_scale_shape(void)
{
    find("layers.1.ffn.experts.0.w1.scale")->dims[0] = 64;
    find("layers.1.ffn.experts.0.w1.scale")->dims[1] = 1;
}
static void fault_vocab(void) { checkpoint->shape.vocab_size = 97; }
static void fault_layers(void) { checkpoint->shape.n_layers = 4; }
static void fault_experts(void) { checkpoint->shape.n_experts = 5; }
static void fault_more_experts(void) { checkpoint->shape.n_experts = 4096; }
static void
fault_unknown(void)
{
    strcpy(find("layers.1.attn.compressor.norm.weight")->name, "layers.1.attn.compressor.gamma");
}
static void fault_other_kind(void) { checkpoint->shape.compress_ratios[4] = 0; }
static void fault_nan(void) { find("layers.2.attn.wq_a.scale")->bytes[0] = 0xFF; }
static void fault_nan_expert(void) { find("layers.4.ffn.experts.3.w3.scale")->bytes[13] = 0xFF; }
static void fault_expert_id(void) { write_le64(find("layers.0.ffn.gate.tid2eid")->bytes + 8 * 11, 6); }
static void fault_expert_negative(void) { write_le64(find("layers.0.ffn.gate.tid2eid")->bytes + 8 * 7, UINT64_MAX); }
static void fault_ratio(void) { checkpoint->shape.compress_ratios[2] = 16; }
static void fault_absurd(void) { checkpoint->shape.dim = 4000000000u; }

/* The same name in both shards. */
static void
fault_twice(void)
{
    struct checkpoint_tensor *tensor = find("head.weight");
    ck_assert_uint_ne(tensor->shard, find("layers.4.attn.wq_a.weight")->shard);
    strcpy(find("layers.4.attn_norm.weight")->name, "head.weight");
}

static const struct fault {
    void (*before)(void); /* the checkpoint is saved */
    void (*after)(void);
    int status;
    const char *named;
} faults[] = {
    {NULL, fault_shard_cut, HEARTH_EFORMAT, SHARD_2 ": tensor "},
    {NULL, fault_shard_empty, HEARTH_EFORMAT, SHARD_1 ": the 8 bytes of a header length"},
    {NULL, fault_shard_missing, HEARTH_EIO, SHARD_2},
    {NULL, fault_header_huge, HEARTH_EFORMAT, SHARD_1 ": a header length"},
    {NULL, fault_header_text, HEARTH_EFORMAT, SHARD_1 ": "},
    {NULL, fault_no_weights, HEARTH_EIO, INDEX " or model.safetensors wanted"},
    {NULL, fault_no_config, HEARTH_EIO, "config.json"},
    {NULL, fault_config_cut, HEARTH_EFORMAT, "config.json: byte "},
    {NULL, fault_config_empty, HEARTH_EFORMAT, "config.json"},
    {NULL, fault_config_other, HEARTH_EUNSUPPORTED,
     "config.json: field model_type: deepseek_v4 wanted, \"llama\" found"},
    {NULL, fault_index_cut, HEARTH_EFORMAT, INDEX ": byte "},
    {NULL, fault_index_none, HEARTH_EFORMAT, INDEX ": weight_map"},
    {NULL, fault_index_no_map, HEARTH_EFORMAT, INDEX ": field weight_map"},
    {NULL, fault_index_path, HEARTH_EFORMAT, "tensor embed.weight: the name of a file beside it wanted"},
    {NULL, fault_index_type, HEARTH_EFORMAT, "tensor embed.weight: the name of a file beside it wanted, 7 found"},
    {NULL, fault_index_extra, HEARTH_EFORMAT, SHARD_2 ": tensor no.such wanted"},
    {NULL, fault_index_less, HEARTH_EFORMAT, "weight_map: tensor embed.weight wanted, as " SHARD_1 " holds it"},
    {NULL, fault_index_wrong, HEARTH_EFORMAT, "weight_map: tensor embed.weight: " SHARD_1 " wanted"},
    {fault_missing, NULL, HEARTH_EFORMAT, "tensor layers.3.attn.kv_norm.weight: BF16 [80] wanted, none found"},
    {fault_missing_scale, NULL, HEARTH_EFORMAT, "tensor layers.2.attn.wo_b.scale: F8_E8M0 [1, 1] wanted, none found"},
    {fault_missing_expert, NULL, HEARTH_EFORMAT,
     "tensor layers.4.ffn.experts.5.w2.weight: I8 [64, 16] wanted, none found"},
    {fault_missing_bias, NULL, HEARTH_EFORMAT, "tensor layers.1.ffn.gate.bias: F32 [6] wanted, none found"},
    {fault_dtype, NULL, HEARTH_EFORMAT, "tensor layers.1.attn.attn_sink: F32 [4] wanted, I32 [4] found"},
    {fault_dtype_foreign, NULL, HEARTH_EFORMAT, "tensor norm.weight: BF16 [64] wanted, F16 [64] found"},
    {fault_dtype_expert, NULL, HEARTH_EFORMAT,
     "tensor layers.0.ffn.experts.1.w3.weight: I8 [32, 32] wanted, U8 [32, 32] found"},
    {fault_shape, NULL, HEARTH_EFORMAT,
     "tensor layers.2.attn.wkv.weight: F8_E4M3 [80, 64] wanted, F8_E4M3 [64, 80] found"},
    {fault_dims, NULL, HEARTH_EFORMAT, "tensor norm.weight: BF16 [64] wanted, BF16 [64, 1] found"},
    {fault_size, NULL, HEARTH_EFORMAT, "tensor norm.weight: data_offsets"},
    {fault_scale_shape, NULL, HEARTH_EFORMAT,
     "tensor layers.1.ffn.experts.0.w1.scale: F8_E8M0 [32, 2] wanted, F8_E8M0 [64, 1] found"},
    {fault_vocab, NULL, HEARTH_EFORMAT, "tensor embed.weight: BF16 [97, 64] wanted, BF16 [96, 64] found"},
    {fault_layers, NULL, HEARTH_EUNSUPPORTED, "tensor layers.4."},
    {fault_experts, NULL, HEARTH_EFORMAT, "tensor layers.0.ffn.gate.weight: BF16 [5, 64] wanted"},
    {fault_more_experts, NULL, HEARTH_EFORMAT, "tensor layers.0.ffn.gate.weight: BF16 [4096, 64] wanted"},
    {fault_unknown, NULL, HEARTH_EFORMAT, "tensor layers.1.attn.compressor.norm.weight: BF16 [80] wanted"},
    {fault_other_kind, NULL, HEARTH_EUNSUPPORTED, "tensor layers.4.attn.compressor."},
    {fault_nan, NULL, HEARTH_EFORMAT,
     "tensor layers.2.attn.wq_a.scale: scales in [0, 254] wanted, NaN (255) found at element 0"},
    {fault_nan_expert, NULL, HEARTH_EFORMAT,
     "tensor layers.4.ffn.experts.3.w3.scale: scales in [0, 254] wanted, NaN (255) found at element 13"},
    {fault_expert_id, NULL, HEARTH_EFORMAT,
     "tensor layers.0.ffn.gate.tid2eid: experts in [0, 6) wanted, 6 found at element 11"},
    {fault_expert_negative, NULL, HEARTH_EFORMAT, "tid2eid: experts in [0, 6) wanted, -1 found at element 7"},
    {fault_ratio, NULL, HEARTH_EUNSUPPORTED, "config.json: field compress_ratios[2]: 0, 4 or 128 wanted, 16 found"},
    {fault_absurd, NULL, HEARTH_EFORMAT, "config.json: field hidden_size"},
    {fault_twice, NULL, HEARTH_EFORMAT, "tensor head.weight: one of that name wanted, found in "},
};

START_TEST(each_fault_is_named)
{
    const struct fault *fault = &faults[_i];
    struct model *model = NULL;
    if (fault->before) {
        fault->before();
    }
    checkpoint_save(checkpoint, folder);
    if (fault->after) {
        fault->after();
    }
    const int status = model_open(folder, 0, &model, &err);
    ck_assert_msg(status == fault->status, "%s: %d %s", fault->named, status, err.text);
    ck_assert_int_eq(err.status, status);
    ck_assert_msg(strstr(err.text, fault->named) != NULL, "%s wanted, found: %s", fault->named, err.text);
    ck_assert_ptr_null(model);
}
END_TEST

START_TEST(a_missing_folder_is_named)
{
    struct model *model = NULL;
    ck_assert_int_eq(model_open("no/such/folder", 0, &model, &err), HEARTH_EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "no/such/folder"));
    ck_assert_int_ne(err.native, 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("model");
    TCase *cases = tcase_create("model");
    tcase_set_timeout(cases, 60);
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, roles_point_to_their_tensors);
    tcase_add_test(cases, headers_only_has_shapes_without_bytes);
    tcase_add_test(cases, sizes_are_those_of_the_files);
    tcase_add_test(cases, one_file_needs_no_index);
    tcase_add_test(cases, experts_may_be_fp8);
    tcase_add_test(cases, drafters_are_counted);
    tcase_add_test(cases, older_names_are_understood);
    tcase_add_test(cases, identity_follows_config_and_headers);
    tcase_add_test(cases, loaded_matrices_are_checked);
    tcase_add_loop_test(cases, each_fault_is_named, 0, (int)(sizeof faults / sizeof faults[0]));
    tcase_add_test(cases, a_missing_folder_is_named);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
