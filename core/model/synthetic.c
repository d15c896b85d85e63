/* synthetic.c - a model without files: the shape of a preset, roles that point into pools of random numbers.
 *
 * Everything behind core/model sees a model like any other, but without tensors, tokenizer and texts. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/model/model_internal.h"
#include "core/model/preset.h"

/* Part of the identity: another number when the same request gives other weights. */
#define SYNTHETIC_VERSION 1u

struct binding {
    struct model *model;
    uint64_t n_bound;
};

static int
bind_place(void *context, const struct layout_matrix *place, struct hearth_error *err)
{
    struct binding *binding = context;
    struct model *model = binding->model;
    char *owner = (char *)&model->roles;
    (void)err;
    if (place->owner != LAYOUT_MODEL) {
        struct layer_roles *layer = &model->roles.layers[place->layer];
        owner = place->owner == LAYOUT_LAYER ? (char *)layer : (char *)&layer->experts[place->expert];
    }
    const struct hearth_matrix matrix = synthetic_matrix(&model->pools, &model->shape, place, binding->n_bound++);
    *(struct hearth_matrix *)(void *)(owner + place->member) = matrix;
    return HEARTH_OK;
}

static int
make_roles(struct model *model, struct hearth_error *err)
{
    struct binding binding = {.model = model};
    const uint32_t n_layers = model->shape.n_layers;
    model->roles.layers = calloc(n_layers, sizeof *model->roles.layers);
    if (!model->roles.layers) {
        return error_no_memory(err, "the list of layers");
    }
    model->roles.n_layers = n_layers;
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        struct layer_roles *roles = &model->roles.layers[layer];
        roles->experts = calloc(model->shape.n_experts, sizeof *roles->experts);
        if (!roles->experts) {
            return error_no_memory(err, "the list of experts");
        }
    }
    return layout_walk(&model->shape, bind_place, &binding, err);
}

static int
make_name(struct model *model, const struct hearth_synthetic *request, struct hearth_error *err)
{
    struct text name = {0};
    text_printf(&name, "synthetic %s (%u layer%s)", request->preset, model->shape.n_layers,
                model->shape.n_layers == 1 ? "" : "s");
    model->path = text_take(&name);
    if (!model->path) {
        return error_no_memory(err, "a name");
    }
    model->name = model->path;
    model->shards.tensors.path = model->path;
    return HEARTH_OK;
}

static void
make_identity(struct model *model, const struct hearth_synthetic *request)
{
    SHA2_CTX digest;
    char line[128];
    snprintf(line, sizeof line, "synthetic %u %.32s %u %u %llu", SYNTHETIC_VERSION, request->preset,
             model->shape.n_layers, model->shape.n_hash_layers, (unsigned long long)request->seed);
    SHA256Init(&digest);
    SHA256Update(&digest, (const unsigned char *)line, strlen(line));
    SHA256Update(&digest, (const unsigned char *)model->shape.compress_ratios, sizeof model->shape.compress_ratios);
    SHA256Final(model->identity, &digest);
}

int
model_synthetic(const struct hearth_synthetic *request, struct model **ret_model, struct hearth_error *err)
{
    struct model *model = calloc(1, sizeof *model);
    if (!model) {
        return error_no_memory(err, "a model");
    }
    int status =
        preset_shape(request->preset, request->n_layers, request->ratios, request->n_ratios, &model->shape, err);
    status = status < 0 ? status : make_name(model, request, err);
    status = status < 0 ? status : synthetic_pools_make(&model->shape, request->seed, &model->pools, err);
    status = status < 0 ? status : make_roles(model, err);
    if (status < 0) {
        model_close(model);
        return status;
    }
    make_identity(model, request);
    sizes_of_shape(&model->shape, HEARTH_E2M1X2, &model->sizes);
    *ret_model = model;
    return HEARTH_OK;
}
