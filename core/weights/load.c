/* load.c - hands each matrix to the device the plan names.  A device that packs weights ahead maps them from its file,
 * where there is one; all else is created, the source's pages let go of as soon as the device has a copy. */
#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/weights/cache.h"
#include "core/weights/weights_internal.h"

#define PROGRESS_STEPS 200u
#define PAGE_BYTES CACHE_ALIGN

int
load_advance(struct load *load, uint64_t bytes, struct hearth_error *err)
{
    load->done_bytes += bytes;
    const bool is_end = load->done_bytes == load->total_bytes;
    if (!load->progress || !load->progress->step ||
        (!is_end && load->done_bytes - load->told_bytes < load->total_bytes / PROGRESS_STEPS)) {
        return HEARTH_OK;
    }
    load->told_bytes = load->done_bytes;
    if (!load->progress->step(load->progress->context, load->phase, load->done_bytes, load->total_bytes, "bytes")) {
        return error_set(err, HEARTH_EINTERRUPTED, "loading the weights was interrupted");
    }
    return HEARTH_OK;
}

int
weight_item_check(const struct weights *weights, const struct weight_item *item, struct hearth_error *err)
{
    int status = HEARTH_OK;
    for (size_t i = 0; status == HEARTH_OK && item->role == HEARTH_WEIGHT_EXPERT && i < item->n_matrices; i++) {
        status = model_check_matrix(weights->model, &item->matrices[i], err);
    }
    return status;
}

/* Whether the device copies the weight, so that its source is read once. */
static bool
is_copied(const struct weights *weights, const struct weight_item *item)
{
    return item->packed_bytes > 0 || !(weights->devices[item->device]->info.flags & HEARTH_DEVICE_MAPS_WEIGHTS);
}

void
weight_list_expect(const struct weights *weights, const struct weight_list *list, size_t index)
{
    const struct weight_item *item = index < list->n_items ? &list->items[index] : NULL;
    for (size_t i = 0; item && is_copied(weights, item) && i < item->n_matrices; i++) {
        model_expect(weights->model, &item->matrices[i]);
    }
}

static int
device_failed(const struct weights *weights, uint32_t device, const char *what, int status,
              const struct hearth_error *reason, struct hearth_error *err)
{
    struct hearth_error said = {0};
    plugin_device_failed(weights->devices[device], status, reason, &said);
    return error_set(err, status, "%s: %s", what, said.text);
}

static int
create_item(struct weights *weights, const struct weight_item *item, struct hearth_error *err)
{
    const struct plugin_device *device = weights->devices[item->device];
    enum hearth_weight_role role = item->role;
    char name[WEIGHT_NAME_BYTES];
    struct hearth_error reason = {0};
    int status = weight_item_check(weights, item, err);
    if (status < 0) {
        return status;
    }
    if (role == HEARTH_WEIGHT_HEAD && (device->plugin->abi & 0xFFFFu) < 1) {
        role = HEARTH_WEIGHT_LINEAR; /* minor 0 knows no head */
    }
    status = device->plugin->weight_create(device->device, role, item->matrices, item->n_matrices, item->slot, &reason);
    if (status < 0) {
        return device_failed(weights, item->device, weight_item_name(weights, item, name), status, &reason, err);
    }
    for (size_t i = 0; is_copied(weights, item) && i < item->n_matrices; i++) {
        model_release(weights->model, &item->matrices[i]);
    }
    return HEARTH_OK;
}

/* Brings the pages into memory and into the mapping, so that the first token finds them. */
static int
fetch_pages(const unsigned char *bytes, uint64_t size, struct hearth_error *err)
{
#ifdef MADV_POPULATE_READ
    if (madvise((void *)(uintptr_t)bytes, (size_t)round_up(size, PAGE_BYTES), MADV_POPULATE_READ) != 0 &&
        errno != EINVAL && errno != EINTR) {
        return error_set_errno(err, HEARTH_EIO, "packed weights (cache.directory)");
    }
#else
    (void)err;
    (void)madvise((void *)(uintptr_t)bytes, (size_t)round_up(size, PAGE_BYTES), MADV_WILLNEED);
#endif
    return HEARTH_OK;
}

static int
map_item(struct weights *weights, const struct weight_item *item, struct hearth_error *err)
{
    const struct plugin_device *device = weights->devices[item->device];
    const unsigned char *packed = weights->caches[item->device].bytes + item->offset;
    char name[WEIGHT_NAME_BYTES];
    struct hearth_error reason = {0};
    const int status = device->plugin->weight_map(device->device, item->role, item->matrices, item->n_matrices, packed,
                                                  item->slot, &reason);
    if (status < 0) {
        return device_failed(weights, item->device, weight_item_name(weights, item, name), status, &reason, err);
    }
    return fetch_pages(packed, item->packed_bytes, err);
}

static int
load_items(struct weights *weights, const struct weight_list *list, const struct hearth_progress *progress,
           struct hearth_error *err)
{
    const bool is_mapped = weights->facts.mapped_bytes + weights->facts.packed_bytes > 0;
    struct load load = {.progress = progress, .phase = is_mapped ? "mapping" : "loading"};
    int status = HEARTH_OK;
    for (size_t i = 0; i < list->n_items; i++) {
        load.total_bytes += matrix_bytes(list->items[i].matrices, list->items[i].n_matrices);
    }
    for (size_t i = 0; i < list->n_items && status == HEARTH_OK; i++) {
        const struct weight_item *item = &list->items[i];
        const bool has_file = item->packed_bytes > 0 && weights->caches[item->device].size > 0;
        if (!has_file) {
            weight_list_expect(weights, list, i + 1);
            weights->facts.unkept_bytes += item->packed_bytes;
        }
        status = has_file ? map_item(weights, item, err) : create_item(weights, item, err);
        status = status < 0 ? status : load_advance(&load, matrix_bytes(item->matrices, item->n_matrices), err);
    }
    weights->facts.bytes = load.done_bytes;
    return status;
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
load_ropes(struct weights *weights, struct hearth_error *err)
{
    const uint32_t n = weights->shape->rope_dim / 2;
    for (int table = 0; table < N_ROPE_TABLES; table++) {
        weights->inv_freq[table] = calloc(n, sizeof(float));
        if (!weights->inv_freq[table]) {
            return error_no_memory(err, "rotation frequencies");
        }
        shape_inv_freq(weights->shape, table == ROPE_COMPRESSED, weights->inv_freq[table]);
    }
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        const bool wanted = plan_uses_device(weights->plan, i) && device_rotates(weights, i);
        for (int table = 0; wanted && table < N_ROPE_TABLES; table++) {
            const struct hearth_matrix matrix = {.dtype = HEARTH_F32,
                                                 .rows = 1,
                                                 .cols = n,
                                                 .data = weights->inv_freq[table],
                                                 .data_bytes = n * sizeof(float)};
            const struct plugin_device *device = weights->devices[i];
            struct hearth_error reason = {0};
            const int status = device->plugin->weight_create(device->device, HEARTH_WEIGHT_VECTOR, &matrix, 1,
                                                             &weights->ropes[i][table], &reason);
            if (status < 0) {
                return device_failed(weights, i, "rotation frequencies", status, &reason, err);
            }
        }
    }
    return HEARTH_OK;
}

/* What they hold at first is never used. */
static int
load_loans(struct weights *weights, struct hearth_error *err)
{
    const struct hearth_matrix *matrices = weights->roles->layers[0].experts[0].w;
    for (uint32_t i = 0; i < PLAN_MAX_DEVICES; i++) {
        const uint32_t n = plan_uses_device(weights->plan, i) ? plan_loans(weights->plan, i) : 0;
        if (n == 0) {
            continue;
        }
        const struct plugin_device *device = weights->devices[i];
        weights->loans[i] = calloc(n, sizeof *weights->loans[i]);
        if (!weights->loans[i]) {
            return error_no_memory(err, "experts on loan");
        }
        for (uint32_t j = 0; j < n; j++) {
            struct hearth_error reason = {0};
            const int status = device->plugin->weight_create(device->device, HEARTH_WEIGHT_EXPERT, matrices, 3,
                                                             &weights->loans[i][j], &reason);
            if (status < 0) {
                return device_failed(weights, i, "experts on loan", status, &reason, err);
            }
        }
    }
    return HEARTH_OK;
}

/* How large the device's weights are, packed.  What it does not say is created. */
static void
ask_sizes(const struct weights *weights, const struct weight_list *list)
{
    for (size_t i = 0; i < list->n_items; i++) {
        struct weight_item *item = &list->items[i];
        const struct plugin_device *device = weights->devices[item->device];
        const struct hearth_plugin *plugin = device->plugin;
        uint64_t bytes = 0;
        if (plugin->packed_bytes && plugin->weight_pack && plugin->weight_map && device->info.packed_layout[0] &&
            plugin->packed_bytes(device->device, item->role, item->matrices, item->n_matrices, &bytes, NULL) == 0) {
            item->packed_bytes = bytes;
        }
    }
}

static double
seconds_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int
weights_load_all(struct weights *weights, const char *folder, const struct hearth_progress *progress,
                 struct hearth_error *err)
{
    struct weight_list list = {0};
    const double start = seconds_now();
    int status = weight_list_make(weights, &list, err);
    status = status < 0 ? status : load_ropes(weights, err);
    if (status == HEARTH_OK) {
        ask_sizes(weights, &list);
    }
    for (uint32_t device = 0; device < PLAN_MAX_DEVICES && folder && status == HEARTH_OK; device++) {
        status = plan_uses_device(weights->plan, device) ? weights_keep(weights, device, &list, folder, progress, err)
                                                         : HEARTH_OK;
    }
    status = status < 0 ? status : load_items(weights, &list, progress, err);
    status = status < 0 ? status : load_loans(weights, err);
    weights->facts.seconds = seconds_now() - start;
    free(list.items);
    return status;
}
