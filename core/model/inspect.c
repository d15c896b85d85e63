/* inspect.c - the report behind `hearth inspect`: what sizes.c can say about an opened model, as one JSON object. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/command.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/model/model.h"
#include "core/model/sizes.h"

/* An object or array being filled.  Once an allocation failed, everything after it is skipped. */
struct report {
    struct json_object *root;
    bool failed;
};

static void
put(struct report *report, struct json_object *object, const char *key, struct json_object *value)
{
    if (!value || !object || json_object_object_add(object, key, value) != 0) {
        json_object_put(value);
        report->failed = true;
    }
}

static void
put_u64(struct report *report, struct json_object *object, const char *key, uint64_t value)
{
    put(report, object, key, json_object_new_uint64(value));
}

static void
put_text(struct report *report, struct json_object *object, const char *key, const char *text)
{
    put(report, object, key, json_object_new_string(text));
}

/* Figures are for people: six significant digits. */
static void
put_double(struct report *report, struct json_object *object, const char *key, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.6g", value);
    put(report, object, key, json_object_new_double_s(value, text));
}

/* null for a token the model has not */
static void
put_token_id(struct report *report, struct json_object *object, const char *key, int32_t id)
{
    if (id >= 0) {
        put(report, object, key, json_object_new_int(id));
    } else if (!object || json_object_object_add(object, key, NULL) != 0) {
        report->failed = true;
    }
}

/* The new object under key; NULL, and the report failed, without memory. */
static struct json_object *
put_object(struct report *report, struct json_object *object, const char *key)
{
    struct json_object *part = json_object_new_object();
    put(report, object, key, part);
    return report->failed ? NULL : part;
}

static struct json_object *
put_array(struct report *report, struct json_object *object, const char *key)
{
    struct json_object *part = json_object_new_array();
    put(report, object, key, part);
    return report->failed ? NULL : part;
}

static void
append(struct report *report, struct json_object *array, struct json_object *value)
{
    if (!value || !array || json_object_array_add(array, value) != 0) {
        json_object_put(value);
        report->failed = true;
    }
}

static const char *
layer_kind_text(enum layer_kind kind)
{
    return kind == LAYER_SWA ? "window" : kind == LAYER_CSA ? "csa" : "hca";
}

static void
report_shape(struct report *report, const struct model_shape *shape)
{
    struct json_object *part = put_object(report, report->root, "hyper_parameters");
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"num_hidden_layers", shape->n_layers}, {"hidden_size", shape->dim}, {"vocab_size", shape->vocab_size},
        {"num_attention_heads", shape->n_heads}, {"head_dim", shape->head_dim}, {"qk_rope_head_dim", shape->rope_dim},
        {"q_lora_rank", shape->q_lora_rank}, {"o_groups", shape->o_groups}, {"o_lora_rank", shape->o_lora_rank},
        {"moe_intermediate_size", shape->expert_inner}, {"n_routed_experts", shape->n_experts},
        {"n_shared_experts", shape->n_shared_experts}, {"num_experts_per_tok", shape->experts_per_token},
        {"num_hash_layers", shape->n_hash_layers}, {"index_n_heads", shape->index_n_heads},
        {"index_head_dim", shape->index_head_dim}, {"index_topk", shape->index_topk}, {"sliding_window", shape->window},
        {"hc_mult", shape->n_streams}, {"hc_sinkhorn_iters", shape->n_sinkhorn},
        {"max_position_embeddings", shape->max_positions}, {"yarn_original_positions", shape->yarn_original_positions}};
    const struct {
        const char *key;
        double value;
    } reals[] = {
        {"routed_scaling_factor", (double)shape->route_scale}, {"swiglu_limit", (double)shape->swiglu_limit},
        {"rms_norm_eps", (double)shape->norm_eps}, {"hc_eps", (double)shape->hc_eps}, {"rope_theta", shape->rope_theta},
        {"compress_rope_theta", shape->compress_rope_theta}, {"yarn_factor", shape->yarn_factor},
        {"yarn_beta_fast", shape->yarn_beta_fast}, {"yarn_beta_slow", shape->yarn_beta_slow}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        put_u64(report, part, counts[i].key, counts[i].value);
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        put_double(report, part, reals[i].key, reals[i].value);
    }
    put_token_id(report, part, "bos_token_id", shape->bos_id);
    put_token_id(report, part, "eos_token_id", shape->eos_id);
}

static void
report_layers(struct report *report, const struct model *model)
{
    const struct model_shape *shape = model_shape(model);
    struct json_object *counts = put_object(report, report->root, "layer_kinds");
    for (enum layer_kind kind = LAYER_SWA; kind <= LAYER_HCA; kind++) {
        put_u64(report, counts, layer_kind_text(kind), shape_count_layers(shape, kind));
    }
    put_u64(report, counts, "hash_routed", shape->n_hash_layers);
    struct json_object *list = put_array(report, report->root, "layers");
    for (uint32_t layer = 0; layer < shape->n_layers && !report->failed; layer++) {
        struct json_object *part = json_object_new_object();
        append(report, list, part);
        part = report->failed ? NULL : part;
        put_u64(report, part, "layer", layer);
        put_text(report, part, "attention", layer_kind_text(shape_layer_kind(shape, layer)));
        put_u64(report, part, "compress_ratio", shape->compress_ratios[layer]);
        put_text(report, part, "router", layer < shape->n_hash_layers ? "hash" : "scores");
        const uint32_t dtype = model_roles(model)->layers[layer].experts[0].w[0].dtype;
        put_text(report, part, "experts", dtype == HEARTH_E2M1X2 ? "fp4" : "fp8");
    }
    struct json_object *drafter = put_object(report, report->root, "drafter");
    put_text(report, drafter, "kind",
             shape->n_nextn == 0 ? "none" : shape->nextn_kind == NEXTN_DSPARK ? "dspark" : "mtp");
    put_u64(report, drafter, "stages", shape->n_nextn);
    put_u64(report, drafter, "tensors", model_roles(model)->n_nextn_tensors);
    put_u64(report, drafter, "bytes", model_roles(model)->nextn_bytes);
}

static void
report_row(struct report *report, struct json_object *parent, const char *key, const struct size_row *row)
{
    struct json_object *part = put_object(report, parent, key);
    put_u64(report, part, "tensors", row->n_tensors);
    put_u64(report, part, "bytes", row->bytes);
    put_u64(report, part, "parameters", row->n_parameters);
    put_u64(report, part, "active_parameters", row->active_parameters);
    put_u64(report, part, "active_bytes", row->active_bytes);
}

static void
report_sizes(struct report *report, const struct model *model, const struct model_sizes *sizes)
{
    const struct size_row *drafter = &sizes->by_kind[TENSOR_NEXTN];
    struct json_object *totals = put_object(report, report->root, "totals");
    put_u64(report, totals, "tensors", sizes->total.n_tensors);
    put_u64(report, totals, "stored_elements", sizes->total.n_elements);
    put_u64(report, totals, "bytes", sizes->total.bytes);
    put_u64(report, totals, "bytes_without_drafter", model_weight_bytes(model));
    put_u64(report, totals, "parameters", sizes->total.n_parameters);
    put_u64(report, totals, "parameters_without_drafter", sizes->total.n_parameters - drafter->n_parameters);
    put_u64(report, totals, "active_parameters", sizes->total.active_parameters);
    put_u64(report, totals, "bytes_read_per_token", sizes->total.active_bytes);
    struct json_object *kinds = put_object(report, report->root, "by_kind");
    for (unsigned kind = 0; kind < N_TENSOR_KINDS; kind++) {
        if (sizes->by_kind[kind].n_tensors > 0) {
            report_row(report, kinds, tensor_kind_text((enum tensor_kind)kind), &sizes->by_kind[kind]);
        }
    }
    struct json_object *types = put_object(report, report->root, "by_dtype");
    for (unsigned dtype = 0; dtype < HEARTH_N_DTYPES; dtype++) {
        if (sizes->by_dtype[dtype].n_tensors > 0) {
            struct json_object *part = put_object(report, types, tensor_dtype_text((enum hearth_dtype)dtype));
            put_u64(report, part, "tensors", sizes->by_dtype[dtype].n_tensors);
            put_u64(report, part, "bytes", sizes->by_dtype[dtype].bytes);
        }
    }
}

static const struct reach {
    const char *key;
    uint64_t n_tokens;
} reaches[] = {{"4k", 4096}, {"128k", 131072}, {"1M", 1048576}};

#define N_REACHES (sizeof reaches / sizeof reaches[0])

static void
report_context(struct report *report, const struct model_shape *shape)
{
    static const struct {
        const char *key;
        enum hearth_kv_format format;
    } formats[] = {{"native", HEARTH_KV_PACKED}, {"exact", HEARTH_KV_F32}};
    struct json_object *part = put_object(report, report->root, "context");
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const struct context_sizes sizes = sizes_context(shape, formats[i].format);
        struct json_object *format = put_object(report, part, formats[i].key);
        put_double(report, format, "bytes_per_token", sizes.bytes_per_token);
        put_u64(report, format, "window_bytes", sizes.window_bytes);
        put_u64(report, format, "compressor_state_bytes", sizes.compressor_bytes);
        struct json_object *entries = put_object(report, format, "entry_bytes");
        struct json_object *totals = put_object(report, format, "total_bytes");
        for (size_t j = 0; j < N_REACHES; j++) {
            const uint64_t bytes = sizes_entry_bytes(shape, formats[i].format, reaches[j].n_tokens);
            put_u64(report, entries, reaches[j].key, bytes);
            put_u64(report, totals, reaches[j].key, bytes + sizes.window_bytes + sizes.compressor_bytes);
        }
    }
    const double packed = sizes_context(shape, HEARTH_KV_PACKED).bytes_per_token;
    put_u64(report, part, "v3_2_bytes_per_token", SIZES_V32_CONTEXT_BYTES_PER_TOKEN);
    put_double(report, part, "native_percent_of_v3_2", 100 * packed / SIZES_V32_CONTEXT_BYTES_PER_TOKEN);
}

static void
report_flops_row(struct report *report, struct json_object *parent, const char *key, struct flops flops, double fp8)
{
    struct json_object *part = put_object(report, parent, key);
    put_double(report, part, "linear", flops.linear);
    put_double(report, part, "core_attention", flops.core);
    put_double(report, part, "indexer", flops.indexer);
    put_double(report, part, "sum", flops_plain(flops));
    put_double(report, part, "fp8_equivalent", fp8);
}

static void
report_flops(struct report *report, const struct model_shape *shape, uint64_t active_parameters)
{
    struct json_object *part = put_object(report, report->root, "flops_per_token");
    for (size_t i = 0; i < N_REACHES; i++) {
        const struct flops flops = sizes_flops(shape, active_parameters, reaches[i].n_tokens);
        const struct flops v32 = sizes_v32_flops(reaches[i].n_tokens);
        const double v32_fp8 = sizes_v32_flops_fp8(reaches[i].n_tokens);
        struct json_object *reach = put_object(report, part, reaches[i].key);
        report_flops_row(report, reach, "model", flops, flops_fp8(flops));
        report_flops_row(report, reach, "v3_2", v32, v32_fp8);
        put_double(report, reach, "percent_of_v3_2", 100 * flops_plain(flops) / flops_plain(v32));
        put_double(report, reach, "fp8_equivalent_percent_of_v3_2", 100 * flops_fp8(flops) / v32_fp8);
    }
}

static void
report_tensors(struct report *report, const struct model *model)
{
    size_t n;
    const struct tensor *tensors = model_tensors(model, &n);
    struct json_object *list = put_array(report, report->root, "tensors");
    for (size_t i = 0; i < n && !report->failed; i++) {
        struct json_object *part = json_object_new_object();
        append(report, list, part);
        part = report->failed ? NULL : part;
        put_text(report, part, "name", tensors[i].name);
        put_text(report, part, "dtype", tensors[i].dtype_text);
        struct json_object *dims = put_array(report, part, "shape");
        for (uint32_t j = 0; j < tensors[i].n_dims; j++) {
            append(report, dims, json_object_new_uint64(tensors[i].dims[j]));
        }
        put_u64(report, part, "bytes", tensors[i].size_bytes);
        put_text(report, part, "kind", tensor_kind_text(tensors[i].kind));
        put_text(report, part, "shard", tensors[i].file);
    }
}

static void
report_identity(struct report *report, const struct model *model)
{
    char text[65];
    for (int i = 0; i < 32; i++) {
        snprintf(text + 2 * i, 3, "%02x", model_identity(model)[i]);
    }
    put_text(report, report->root, "identity", text);
}

int
model_inspect(const struct model *model, char **ret_json, struct hearth_error *err)
{
    size_t n_tensors;
    const struct tensor *tensors = model_tensors(model, &n_tensors);
    struct model_sizes sizes;
    struct report report = {.root = json_object_new_object()};
    sizes_of_tensors(model_shape(model), tensors, n_tensors, &sizes);
    put_text(&report, report.root, "name", model_name(model));
    put_text(&report, report.root, "path", model_path(model));
    report_identity(&report, model);
    report_shape(&report, model_shape(model));
    report_layers(&report, model);
    report_sizes(&report, model, &sizes);
    report_context(&report, model_shape(model));
    report_flops(&report, model_shape(model), sizes.total.active_parameters);
    report_tensors(&report, model);
    const int style = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;
    const char *text = report.failed ? NULL : json_object_to_json_string_ext(report.root, style);
    char *json = text ? strdup(text) : NULL;
    json_object_put(report.root);
    if (!json) {
        return error_no_memory(err, "the report of a model");
    }
    *ret_json = json;
    return HEARTH_OK;
}
