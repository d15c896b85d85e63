/* roles.c - see roles.h. */
#include "core/model/roles.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/layout.h"

static int
compare_names(const void *a, const void *b)
{
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int
tensor_set_sort(struct tensor_set *set, struct hearth_error *err)
{
    if (set->n_tensors > 0) {
        qsort(set->by_name, set->n_tensors, sizeof *set->by_name, compare_names);
    }
    for (size_t i = 1; i < set->n_tensors; i++) {
        const struct tensor *before = set->by_name[i - 1], *tensor = set->by_name[i];
        if (strcmp(before->name, tensor->name) == 0) {
            return error_set(err, HEARTH_EFORMAT,
                             "%s: tensor %.160s: one of that name wanted, found in %.60s and %.60s", set->path,
                             tensor->name, before->file, tensor->file);
        }
    }
    return HEARTH_OK;
}

struct tensor *
tensor_set_find(const struct tensor_set *set, const char *name)
{
    const struct tensor wanted = {.name = name};
    const struct tensor *key = &wanted;
    struct tensor **found = set->n_tensors == 0 ? NULL
                                : bsearch(&key, set->by_name, set->n_tensors, sizeof *set->by_name, compare_names);
    return found ? *found : NULL;
}

/* Replaces every component of a dotted name that equals from; to is not longer. */
static bool
replace_component(char *name, const char *from, const char *to)
{
    const size_t from_length = strlen(from), to_length = strlen(to);
    bool changed = false;
    char *component = name;
    while (component) {
        char *end = component + strcspn(component, ".");
        if ((size_t)(end - component) == from_length && memcmp(component, from, from_length) == 0) {
            memcpy(component, to, to_length);
            memmove(component + to_length, end, strlen(end) + 1);
            end = component + to_length;
            changed = true;
        }
        component = *end ? end + 1 : NULL;
    }
    return changed;
}

bool
roles_rename(char *name)
{
    static const char *const pairs[][2] = {{"self_attn", "attn"},         {"mlp", "ffn"},
                                           {"weight_scale_inv", "scale"}, {"e_score_correction_bias", "bias"},
                                           {"embed_tokens", "embed"},     {"lm_head", "head"}};
    static const char prefix[] = "model.";
    bool changed = false;
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) {
        memmove(name, name + sizeof prefix - 1, strlen(name + sizeof prefix - 1) + 1);
        changed = true;
    }
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        changed = replace_component(name, pairs[i][0], pairs[i][1]) || changed;
    }
    return changed;
}

/* N of a name "mtp.N.", or -1 */
static long
stage_of(const char *name)
{
    char *end;
    if (strncmp(name, "mtp.", 4) != 0 || name[4] < '0' || name[4] > '9') {
        return -1;
    }
    const unsigned long stage = strtoul(name + 4, &end, 10);
    return *end == '.' && stage < SHAPE_MAX_STAGES ? (long)stage : -1;
}

/* config.json's count of the drafter's stages is not reliable: the names are. */
static void
find_drafter(const struct tensor_set *set, struct model_shape *shape)
{
    long last = -1;
    for (size_t i = 0; i < set->n_tensors; i++) {
        const long stage = stage_of(set->tensors[i].name);
        last = stage > last ? stage : last;
    }
    shape->n_nextn = (uint32_t)(last + 1);
}

struct binding {
    struct tensor_set *set;
    const struct model_shape *shape;
    struct model_roles *roles;
};

/* The tensor of that name if its type and dimensions are the wanted ones. */
static int
require(const struct binding *binding, const char *name, const struct layout_tensor *wanted, struct tensor **ret_tensor,
        struct hearth_error *err)
{
    char wanted_dims[TENSOR_DIMS_BYTES], found_dims[TENSOR_DIMS_BYTES];
    struct tensor *found = tensor_set_find(binding->set, name);
    tensor_dims_text(wanted->n_dims, wanted->dims, wanted_dims);
    if (!found) {
        return error_set(err, HEARTH_EFORMAT, "%s: tensor %s: %s %s wanted, none found", binding->set->path, name,
                         tensor_dtype_text(wanted->dtype), wanted_dims);
    }
    if (found->dtype != wanted->dtype || found->n_dims != wanted->n_dims
        || memcmp(found->dims, wanted->dims, wanted->n_dims * sizeof wanted->dims[0]) != 0) {
        return error_set(err, HEARTH_EFORMAT, "%s/%s: tensor %s: %s %s wanted, %s %s found", binding->set->path,
                         found->file, name, tensor_dtype_text(wanted->dtype), wanted_dims, found->dtype_text,
                         tensor_dims_text(found->n_dims, found->dims, found_dims));
    }
    *ret_tensor = found;
    return HEARTH_OK;
}

static void
mark(struct tensor *tensor, const struct layout_matrix *matrix)
{
    tensor->kind = matrix->kind;
    tensor->layer = matrix->layer;
}

/* Experts of a layer get their memory when the walk meets the first: by then the checkpoint has shown a whole layer. */
static int
target_of(const struct binding *binding, const struct layout_matrix *matrix, struct hearth_matrix **ret_target,
          struct hearth_error *err)
{
    char *owner = NULL;
    if (matrix->owner == LAYOUT_MODEL) {
        owner = (char *)binding->roles;
    } else if (matrix->owner == LAYOUT_LAYER) {
        owner = (char *)&binding->roles->layers[matrix->layer];
    } else if (matrix->owner == LAYOUT_EXPERT) {
        struct layer_roles *layer = &binding->roles->layers[matrix->layer];
        if (!layer->experts) {
            layer->experts = calloc(binding->shape->n_experts, sizeof *layer->experts);
            if (!layer->experts) {
                return error_no_memory(err, "the list of experts");
            }
        }
        owner = (char *)&layer->experts[matrix->expert];
    }
    *ret_target = owner ? (struct hearth_matrix *)(void *)(owner + matrix->member) : NULL;
    return HEARTH_OK;
}

/* A routed expert may be FP4, or FP8 as in the base models: its own tensor says which. */
static enum hearth_dtype
dtype_of(const struct binding *binding, const struct layout_matrix *matrix)
{
    if (matrix->dtype != HEARTH_DTYPE_NONE) {
        return matrix->dtype;
    }
    const struct tensor *found = tensor_set_find(binding->set, matrix->name);
    return found && found->dtype == HEARTH_E4M3 ? HEARTH_E4M3 : HEARTH_E2M1X2;
}

static int
bind_matrix(void *context, const struct layout_matrix *matrix, struct hearth_error *err)
{
    const struct binding *binding = context;
    struct hearth_matrix *target = NULL;
    struct tensor *weight, *scale = NULL;
    const enum hearth_dtype dtype = dtype_of(binding, matrix);
    const struct layout_tensor wanted = layout_weight(matrix, dtype);
    struct layout_tensor wanted_scale;
    char scale_name[LAYOUT_NAME_BYTES];
    if (matrix->owner == LAYOUT_STAGE && !tensor_set_find(binding->set, matrix->name)) {
        return HEARTH_OK; /* a drafter is not loaded, so it may be incomplete */
    }
    int status = require(binding, matrix->name, &wanted, &weight, err);
    if (status < 0) {
        return status;
    }
    mark(weight, matrix);
    if (layout_scale(matrix, dtype, &wanted_scale)) {
        layout_scale_name(matrix->name, scale_name);
        status = require(binding, scale_name, &wanted_scale, &scale, err);
        if (status < 0) {
            return status;
        }
        mark(scale, matrix);
    }
    status = target_of(binding, matrix, &target, err);
    if (status < 0 || !target) {
        return status;
    }
    *target = (struct hearth_matrix){.dtype = dtype, .rows = matrix->rows, .cols = matrix->cols, .data = weight->data,
                                     .scales = scale ? scale->data : NULL, .data_bytes = weight->size_bytes,
                                     .scales_bytes = scale ? scale->size_bytes : 0};
    return HEARTH_OK;
}

/* Tensors that the walk did not meet: a drafter's are let be, any other means a model that hearth would get wrong. */
static int
check_unmet(const struct tensor_set *set, struct model_roles *roles, struct hearth_error *err)
{
    for (size_t i = 0; i < set->n_tensors; i++) {
        struct tensor *tensor = &set->tensors[i];
        if (tensor->kind == TENSOR_UNKNOWN && strncmp(tensor->name, "mtp.", 4) == 0) {
            const long stage = stage_of(tensor->name);
            tensor->kind = TENSOR_NEXTN;
            tensor->layer = stage < 0 ? TENSOR_NO_LAYER : (uint32_t)stage;
        }
        if (tensor->kind == TENSOR_UNKNOWN) {
            return error_set(err, HEARTH_EUNSUPPORTED,
                             "%s/%s: tensor %.200s: a tensor of the DeepSeek-V4 that config.json describes wanted",
                             set->path, tensor->file, tensor->name);
        }
        if (tensor->kind == TENSOR_NEXTN) {
            roles->n_nextn_tensors++;
            roles->nextn_bytes += tensor->size_bytes;
        }
    }
    return HEARTH_OK;
}

int
roles_bind(struct tensor_set *set, struct model_shape *shape, struct model_roles *ret_roles, struct hearth_error *err)
{
    struct model_roles roles = {.n_layers = shape->n_layers};
    struct binding binding = {.set = set, .shape = shape, .roles = &roles};
    roles.layers = calloc(shape->n_layers, sizeof *roles.layers);
    if (!roles.layers) {
        return error_no_memory(err, "the list of layers");
    }
    find_drafter(set, shape);
    int status = layout_walk(shape, bind_matrix, &binding, err);
    status = status < 0 ? status : check_unmet(set, &roles, err);
    if (status < 0) {
        roles_free(&roles);
        return status;
    }
    *ret_roles = roles;
    return HEARTH_OK;
}

void
roles_free(struct model_roles *roles)
{
    for (uint32_t layer = 0; roles->layers && layer < roles->n_layers; layer++) {
        free(roles->layers[layer].experts);
    }
    free(roles->layers);
    *roles = (struct model_roles){0};
}
