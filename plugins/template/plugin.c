/* plugin.c - the socket: life, memory, weights and work of one device that does one operation.
 *
 * hearth-template.so exports one symbol, the table at the end.  hearth's own documentation of each call stands in
 * hearth/plugin.h.  hearth does every operation that `supports` denies, on another device. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template.h"

/* Copied from the options at start. */
static uint64_t memory_bytes;

/* Fills err (may be NULL) and returns status. */
__attribute__((format(printf, 3, 4))) static int
fail(struct hearth_error *err, int status, const char *format, ...)
{
    va_list args;
    if (err) {
        err->status = status;
        err->native = 0;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* Here an accelerator looks for its devices.  memory_bytes: how much the device claims to have; what does not fit stays
 * on the host, expert by expert. */
static int
template_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    const char *text = host->option(host->context, "memory_bytes");
    char *end = NULL;
    memory_bytes = text ? strtoull(text, &end, 10) : 0;
    if (text && (end == text || *end != '\0')) {
        return fail(err, HEARTH_ECONFIG, "memory_bytes: a number of bytes wanted, \"%.40s\" found", text);
    }
    *ret_n_devices = 1;
    return HEARTH_OK;
}

static void
template_stop(void)
{
}

/* The caller has zeroed info and set struct_size. */
static int
template_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err)
{
    if (index > 0) {
        return fail(err, HEARTH_EDEVICE, "device 0 wanted, %" PRIu32 " found", index);
    }
    snprintf(info->name, sizeof info->name, "template device");
    info->memory_bytes = memory_bytes; /* 0: unknown */
    info->align_bytes = 64;
    return HEARTH_OK;
}

static int
template_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    struct hearth_device *device = calloc(1, sizeof *device);
    if (!device) {
        return fail(err, HEARTH_EMEMORY, "memory for a device wanted, none found");
    }
    device->index = index;
    *ret_device = device;
    return HEARTH_OK;
}

static void
template_close(struct hearth_device *device)
{
    free(device);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static int
template_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                      struct hearth_error *err)
{
    (void)device;
    struct hearth_buffer *buffer = malloc(sizeof *buffer);
    unsigned char *bytes = size <= SIZE_MAX ? malloc(size > 0 ? (size_t)size : 1) : NULL;
    if (!buffer || !bytes) {
        free(buffer);
        free(bytes);
        return fail(err, HEARTH_EMEMORY, "a buffer of %" PRIu64 " bytes wanted, no memory found", size);
    }
    *buffer = (struct hearth_buffer){size, bytes};
    *ret_buffer = buffer;
    return HEARTH_OK;
}

static void
template_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer)
{
    (void)device;
    if (buffer) {
        free(buffer->bytes);
        free(buffer);
    }
}

/* The address of size bytes of the view, or NULL and err. */
static void *
view_bytes(struct hearth_view view, uint64_t size, const char *what, struct hearth_error *err)
{
    if (!view.buffer || view.offset > view.buffer->size || size > view.buffer->size - view.offset) {
        fail(err, HEARTH_EINTERNAL, "%s: %" PRIu64 " bytes wanted within a buffer", what, size);
        return NULL;
    }
    return view.buffer->bytes + view.offset;
}

/* Everything here is done when the call returns, so that one event, which has always happened, serves all. */
static struct hearth_event {
    char unused;
} happened;

static int
template_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                      struct hearth_event **ret_event, struct hearth_error *err)
{
    void *bytes = view_bytes(dst, size, "buffer_write", err);
    (void)device;
    if (!bytes) {
        return HEARTH_EINTERNAL;
    }
    memcpy(bytes, src, (size_t)size);
    if (ret_event) {
        *ret_event = &happened;
    }
    return HEARTH_OK;
}

static int
template_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                     struct hearth_event **ret_event, struct hearth_error *err)
{
    const void *bytes = view_bytes(src, size, "buffer_read", err);
    (void)device;
    if (!bytes) {
        return HEARTH_EINTERNAL;
    }
    memcpy(dst, bytes, (size_t)size);
    if (ret_event) {
        *ret_event = &happened;
    }
    return HEARTH_OK;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static void
template_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    (void)device;
    if (weight) {
        struct template_matrix *const matrices[3] = {&weight->w1, &weight->w3, &weight->w2};
        for (size_t i = 0; i < 3; i++) {
            free(matrices[i]->codes);
            free(matrices[i]->scales);
        }
        free(weight);
    }
}

/* The device does not have HEARTH_DEVICE_MAPS_WEIGHTS: it copies what it is given. */
static bool
matrix_copy(struct template_matrix *matrix, const struct hearth_matrix *given)
{
    *matrix = (struct template_matrix){given->rows, given->cols, malloc((size_t)given->data_bytes),
                                       malloc((size_t)given->scales_bytes)};
    if (!matrix->codes || !matrix->scales) {
        return false;
    }
    memcpy(matrix->codes, given->data, (size_t)given->data_bytes);
    memcpy(matrix->scales, given->scales, (size_t)given->scales_bytes);
    return true;
}

/* Takes experts of e2m1 codes; EUNSUPPORTED is the honest answer to everything else. */
static int
template_weight_create(struct hearth_device *device, enum hearth_weight_role role,
                       const struct hearth_matrix *matrices, size_t n_matrices, struct hearth_weight **ret_weight,
                       struct hearth_error *err)
{
    if (role != HEARTH_WEIGHT_EXPERT || n_matrices != 3) {
        return fail(err, HEARTH_EUNSUPPORTED, "an expert of three matrices wanted");
    }
    for (size_t i = 0; i < 3; i++) {
        const bool turned = i == 2; /* w1, w3: [inner][dim]; w2: [dim][inner] */
        if (matrices[i].dtype != HEARTH_E2M1X2 || matrices[i].cols % 2 != 0 ||
            matrices[i].rows != (turned ? matrices[0].cols : matrices[0].rows) ||
            matrices[i].cols != (turned ? matrices[0].rows : matrices[0].cols)) {
            return fail(err, HEARTH_EUNSUPPORTED, "three e2m1 matrices of one expert wanted");
        }
    }
    struct hearth_weight *weight = calloc(1, sizeof *weight);
    if (!weight || !matrix_copy(&weight->w1, &matrices[0]) || !matrix_copy(&weight->w3, &matrices[1]) ||
        !matrix_copy(&weight->w2, &matrices[2])) {
        template_weight_free(device, weight);
        return fail(err, HEARTH_EMEMORY, "memory for an expert wanted, none found");
    }
    *ret_weight = weight;
    return HEARTH_OK;
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

static bool
template_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics)
{
    (void)device;
    return op == HEARTH_OP_EXPERT_FFN && (numerics == HEARTH_EXACT || numerics == HEARTH_NATIVE);
}

/* Looks at what the command names before anything is computed: a mistake of the caller must not become a crash. */
static int
run_expert_ffn(const struct hearth_op_expert_ffn *op, uint32_t numerics, struct hearth_error *err)
{
    const uint64_t dim_bytes = op->dim * sizeof(float);
    const float *x = view_bytes(op->x, op->n * dim_bytes, "x", err);
    const struct hearth_route *routes = view_bytes(op->routes, op->n_routes * sizeof *routes, "routes", err);
    float *y = view_bytes(op->y, op->n_slots * dim_bytes, "y", err);
    if (!x || !routes || !y) {
        return HEARTH_EINTERNAL;
    }
    for (uint32_t r = 0; r < op->n_routes; r++) {
        if (routes[r].token >= op->n || routes[r].slot >= op->n_slots || routes[r].expert >= op->n_experts) {
            return fail(err, HEARTH_EINTERNAL, "route %" PRIu32 ": a token, slot and expert in range wanted", r);
        }
        const struct hearth_weight *expert = op->experts[routes[r].expert];
        if (expert && (expert->w1.cols != op->dim || expert->w1.rows != op->inner)) {
            return fail(err, HEARTH_EINTERNAL, "route %" PRIu32 ": an expert of %" PRIu32 " x %" PRIu32 " wanted", r,
                        op->inner, op->dim);
        }
    }
    const int status = template_expert_ffn(op, numerics == HEARTH_NATIVE, x, routes, y);
    return status < 0 ? fail(err, status, "scratch memory wanted, none found") : HEARTH_OK;
}

/* An accelerator would queue the commands here and return (HEARTH_DEVICE_ASYNC). */
static int
template_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
                struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
                struct hearth_error *err)
{
    (void)device;
    (void)waits; /* whatever they stand for has happened */
    (void)n_waits;
    for (size_t i = 0; i < n_commands; i++) {
        if (commands[i].op != HEARTH_OP_EXPERT_FFN) {
            return fail(err, HEARTH_EUNSUPPORTED, "expert_ffn wanted, operation %" PRIu32 " found", commands[i].op);
        }
        const int status = run_expert_ffn(&commands[i].args.expert_ffn, commands[i].numerics, err);
        if (status < 0) {
            return status;
        }
    }
    if (ret_event) {
        *ret_event = &happened;
    }
    return HEARTH_OK;
}

static int
template_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns,
                    struct hearth_error *err)
{
    (void)device;
    (void)event;
    (void)timeout_ns;
    (void)err;
    return HEARTH_OK;
}

static void
template_event_free(struct hearth_device *device, struct hearth_event *event)
{
    (void)device;
    (void)event;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

extern __attribute__((visibility("default"))) const struct hearth_plugin hearth_plugin_template;

const struct hearth_plugin hearth_plugin_template = {
    .abi = HEARTH_PLUGIN_ABI,
    .struct_size = sizeof(struct hearth_plugin),
    .name = "template",
    .version = "1",
    .start = template_start,
    .stop = template_stop,
    .describe = template_describe,
    .open = template_open,
    .close = template_close,
    .buffer_alloc = template_buffer_alloc,
    .buffer_free = template_buffer_free,
    .buffer_write = template_buffer_write,
    .buffer_read = template_buffer_read,
    .weight_create = template_weight_create,
    .weight_free = template_weight_free,
    .supports = template_supports,
    .submit = template_submit,
    .event_wait = template_event_wait,
    .event_free = template_event_free,
};
