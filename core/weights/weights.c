/* weights.c - hands each matrix to the device the plan names, and keeps the handles.
 * Takes: placement's plan, model's roles.  Gives: handles to exec. */
#include "core/weights/weights.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

struct weights {
    const struct plan *plan;
    const struct model *model;
    const struct model_shape *shape;
    const struct model_roles *roles;
    struct plugin_device *const *devices;
    uint32_t n_rows; /* layers and the row behind them */
    struct hearth_weight **parts;                     /* [n_rows][N_PARTS] */
    struct hearth_weight **experts[PLAN_MAX_DEVICES]; /* [n_layers][n_experts]; NULL: none there */
    struct hearth_weight *ropes[PLAN_MAX_DEVICES][N_ROPE_TABLES];
    float *inv_freq[N_ROPE_TABLES]; /* [rope_dim / 2]: devices that map weights keep reading them */
};

/* How far a load has come, and whom to tell. */
struct load {
    const struct hearth_progress *progress;
    uint64_t done_bytes, total_bytes, told_bytes;
};

#define PROGRESS_STEPS 200u

static int
load_advance(struct load *load, uint64_t bytes, struct hearth_error *err)
{
    load->done_bytes += bytes;
    const bool is_end = load->done_bytes == load->total_bytes;
    if (!load->progress || !load->progress->step ||
        (!is_end && load->done_bytes - load->told_bytes < load->total_bytes / PROGRESS_STEPS)) {
        return HEARTH_OK;
    }
    load->told_bytes = load->done_bytes;
    if (!load->progress->step(load->progress->context, "loading", load->done_bytes,
                              load->total_bytes, "bytes")) {
        return error_set(err, HEARTH_EINTERRUPTED, "loading the weights was interrupted");
    }
    return HEARTH_OK;
}

/* what: the tensor's place in the model, for error lines */
static int
create_weight(struct weights *weights, uint32_t device_id, const char *what,
              enum hearth_weight_role role, const struct hearth_matrix *matrices, size_t n_matrices,
              struct load *load, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    const struct plugin_device *device = weights->devices[device_id];
    struct hearth_error reason = {0};
    if (role == HEARTH_WEIGHT_HEAD && (device->plugin->abi & 0xFFFFu) < 1) {
        role = HEARTH_WEIGHT_LINEAR; /* minor 0 knows no head */
    }
    const int status = device->plugin->weight_create(device->device, role, matrices, n_matrices,
                                                     ret_weight, &reason);
    if (status < 0) {
        return error_set(err, status, "%s: device %s: %s", what, device->info.name,
                         reason.text[0] ? reason.text : hearth_status_name(status));
    }
    return load_advance(load, matrix_bytes(matrices, n_matrices), err);
}

static int
load_part(struct weights *weights, uint32_t row, enum part part, struct load *load,
          struct hearth_error *err)
{
    const struct hearth_matrix *matrices = NULL;
    const uint32_t n_layers = weights->shape->n_layers;
    const size_t n = part_matrices(weights->roles, n_layers, row, part, &matrices);
    if (n == 0) {
        return HEARTH_OK;
    }
    const struct part_facts *facts = part_facts(part);
    char what[96];
    if (row < n_layers) {
        snprintf(what, sizeof what, "layer %u, %s", row, facts->name);
    } else {
        snprintf(what, sizeof what, "%s", facts->name);
    }
    return create_weight(weights, plan_op_device(weights->plan, row, facts->op), what, facts->role,
                         matrices, n, load, &weights->parts[(size_t)row * N_PARTS + part], err);
}

/* model_open has read the dense scales; those of the experts are the bulk of all and are read now, when
 * their pages are needed anyway. */
static int
check_expert(const struct weights *weights, const struct expert_roles *expert,
             struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (int i = 0; status == HEARTH_OK && i < 3; i++) {
        status = model_check_matrix(weights->model, &expert->w[i], err);
    }
    return status;
}

static int
load_experts(struct weights *weights, uint32_t layer, struct load *load, struct hearth_error *err)
{
    const uint32_t n_experts = weights->shape->n_experts;
    for (uint32_t expert = 0; expert < n_experts; expert++) {
        const uint32_t device = plan_expert_device(weights->plan, layer, expert);
        struct hearth_weight **slot = &weights->experts[device][(size_t)layer * n_experts + expert];
        char what[64];
        snprintf(what, sizeof what, "layer %u, expert %u", layer, expert);
        const struct expert_roles *roles = &weights->roles->layers[layer].experts[expert];
        int status = check_expert(weights, roles, err);
        if (status == HEARTH_OK) {
            status = create_weight(weights, device, what, HEARTH_WEIGHT_EXPERT, roles->w, 3, load, slot,
                                   err);
        }
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* Whether an operation that rotates runs there. */
static bool
device_rotates(const struct weights *weights, uint32_t device)
{
    static const enum hearth_op always[] = {HEARTH_OP_QUERY_ROPE, HEARTH_OP_KV_APPEND, HEARTH_OP_ATTENTION};
    bool rotates = false;
    for (uint32_t layer = 0; layer < weights->shape->n_layers; layer++) {
        const enum layer_kind kind = shape_layer_kind(weights->shape, layer);
        for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
            rotates = rotates || plan_op_device(weights->plan, layer, always[i]) == device;
        }
        rotates = rotates ||
                  (kind != LAYER_SWA && plan_op_device(weights->plan, layer, HEARTH_OP_COMPRESS) == device) ||
                  (kind == LAYER_CSA && plan_op_device(weights->plan, layer, HEARTH_OP_INDEX_QUERY) == device);
    }
    return rotates;
}

static int
load_ropes(struct weights *weights, struct load *load, struct hearth_error *err)
{
    const uint32_t n = weights->shape->rope_dim / 2;
    for (int table = 0; table < N_ROPE_TABLES; table++) {
        weights->inv_freq[table] = calloc(n, sizeof(float));
        if (!weights->inv_freq[table]) {
            return error_no_memory(err, "rotation frequencies");
        }
        shape_inv_freq(weights->shape, table == ROPE_COMPRESSED, weights->inv_freq[table]);
    }
    for (uint32_t device = 0; device < PLAN_MAX_DEVICES; device++) {
        const bool wanted = plan_uses_device(weights->plan, device) && device_rotates(weights, device);
        for (int table = 0; wanted && table < N_ROPE_TABLES; table++) {
            const struct hearth_matrix matrix = {.dtype = HEARTH_F32, .rows = 1, .cols = n,
                                                 .data = weights->inv_freq[table],
                                                 .data_bytes = n * sizeof(float)};
            const int status = create_weight(weights, device, "rotation frequencies",
                                             HEARTH_WEIGHT_VECTOR, &matrix, 1, load,
                                             &weights->ropes[device][table], err);
            if (status < 0) {
                return status;
            }
        }
    }
    return HEARTH_OK;
}

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

/* Weights in the order of the layers, so that a mapped file is read forward. */
static int
load_all(struct weights *weights, const struct hearth_progress *progress, struct hearth_error *err)
{
    struct load load = {.progress = progress};
    for (uint32_t device = 0; device < PLAN_MAX_DEVICES; device++) {
        if (plan_uses_device(weights->plan, device)) {
            for (int kind = PLAN_EMBEDDING; kind <= PLAN_EXPERTS; kind++) {
                load.total_bytes += plan_bytes(weights->plan, device, (enum plan_bytes_kind)kind);
            }
            load.total_bytes += N_ROPE_TABLES * weights->shape->rope_dim / 2 * sizeof(float);
        }
    }
    int status = load_ropes(weights, &load, err);
    for (uint32_t row = 0; status == HEARTH_OK && row < weights->n_rows; row++) {
        for (int part = 0; status == HEARTH_OK && part < N_PARTS; part++) {
            status = load_part(weights, row, (enum part)part, &load, err);
        }
        if (status == HEARTH_OK && row < weights->shape->n_layers) {
            status = load_experts(weights, row, &load, err);
        }
    }
    return status;
}

int
weights_load(const struct plan *plan, const struct model *model,
             struct plugin_device *const *devices, const struct hearth_progress *progress,
             struct weights **ret_weights, struct hearth_error *err)
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
        status = load_all(weights, progress, err);
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
        for (int table = 0; table < N_ROPE_TABLES; table++) {
            free_handle(weights, device, weights->ropes[device][table]);
        }
    }
    for (int table = 0; table < N_ROPE_TABLES; table++) {
        free(weights->inv_freq[table]);
    }
    free(weights);
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
