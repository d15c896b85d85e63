/* weights.c - keeps the handles of weights.  Takes: placement's plan, model's roles.  Gives: handles to exec. */
#include "core/weights/weights_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "core/base/error.h"

static int
weights_alloc(struct weights *weights, struct hearth_error *err)
{
    const size_t n_layers = weights->shape->n_layers;
    weights->parts = calloc((size_t)weights->n_rows * N_PARTS, sizeof *weights->parts);
    bool is_complete = weights->parts != NULL;
    uint32_t devices = 0;
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        devices |= plan_expert_devices(weights->plan, layer);
    }
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        if (devices >> i & 1u) {
            weights->experts[i] = calloc(n_layers * weights->shape->n_experts,
                                         sizeof *weights->experts[i]);
            is_complete = is_complete && weights->experts[i];
        }
    }
    return is_complete ? HEARTH_OK : error_no_memory(err, "weight handles");
}

int
weights_load(const struct plan *plan, const struct model *model, struct plugin_device *const *devices,
             const char *folder, const struct hearth_progress *progress, struct weights **ret_weights,
             struct hearth_error *err)
{
    struct weights *weights = calloc(1, sizeof *weights);
    if (!weights) {
        return error_no_memory(err, "weight handles");
    }
    weights->plan = plan;
    weights->model = model;
    weights->shape = model_shape(model);
    weights->roles = model_roles(model);
    weights->devices = devices;
    weights->n_rows = weights->shape->n_layers + 1;
    int status = weights_alloc(weights, err);
    if (status == HEARTH_OK) {
        status = weights_load_all(weights, model_source(model) ? folder : NULL, progress, err);
    }
    if (status < 0) {
        weights_free(weights);
        return status;
    }
    *ret_weights = weights;
    return HEARTH_OK;
}

static void
free_handle(const struct weights *weights, uint32_t device, struct hearth_weight *weight)
{
    if (weight) {
        weights->devices[device]->plugin->weight_free(weights->devices[device]->device, weight);
    }
}

void
weights_free(struct weights *weights)
{
    if (!weights) {
        return;
    }
    for (size_t i = 0; weights->parts && i < (size_t)weights->n_rows * N_PARTS; i++) {
        const enum hearth_op op = part_facts((enum part)(i % N_PARTS))->op;
        const uint32_t row = (uint32_t)(i / N_PARTS);
        free_handle(weights, plan_op_device(weights->plan, row, op), weights->parts[i]);
    }
    free(weights->parts);
    for (uint32_t device = 0; device < PLAN_MAX_DEVICES; device++) {
        const size_t n = (size_t)weights->shape->n_layers * weights->shape->n_experts;
        for (size_t i = 0; weights->experts[device] && i < n; i++) {
            free_handle(weights, device, weights->experts[device][i]);
        }
        free(weights->experts[device]);
        for (uint32_t i = 0; weights->loans[device] && i < plan_loans(weights->plan, device); i++) {
            free_handle(weights, device, weights->loans[device][i]);
        }
        free(weights->loans[device]);
        for (int table = 0; table < N_ROPE_TABLES; table++) {
            free_handle(weights, device, weights->ropes[device][table]);
        }
        file_unmap(&weights->caches[device]);
    }
    for (int table = 0; table < N_ROPE_TABLES; table++) {
        free(weights->inv_freq[table]);
    }
    free(weights);
}

const struct hearth_load *
weights_facts(const struct weights *weights)
{
    return &weights->facts;
}

const struct hearth_weight *
weights_part(const struct weights *weights, uint32_t row, enum part part)
{
    assert(row < weights->n_rows && part < N_PARTS);
    return weights->parts[(size_t)row * N_PARTS + part];
}

const struct hearth_weight *
weights_rope(const struct weights *weights, uint32_t device, enum rope_table table)
{
    return weights->ropes[device][table];
}

struct hearth_weight *const *
weights_loans(const struct weights *weights, uint32_t device)
{
    return weights->loans[device];
}

const struct hearth_weight *const *
weights_experts(const struct weights *weights, uint32_t device, uint32_t layer)
{
    if (!weights->experts[device]) {
        return NULL;
    }
    struct hearth_weight **first =
        &weights->experts[device][(size_t)layer * weights->shape->n_experts];
    return (const struct hearth_weight *const *)first;
}
