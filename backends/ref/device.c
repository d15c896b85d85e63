/* device.c - the reference backend's one device: this machine's memory and cores.  Work is done when submit returns, so
 * every event is one that has happened.
 *
 * Option `threads`: how many threads a device uses, 1 .. 1024; without it, one for each core the process may use. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>

#include "backends/ref/ref.h"

#define VIEW_ALIGN 4u

static uint32_t n_threads_wanted = 1;

int
ref_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    uint32_t n = host_count_cores();
    const int status = host_option_threads(host, "ref", &n, err);
    if (status < 0) {
        return status;
    }
    n_threads_wanted = n;
    host_tables_fill();
    *ret_n_devices = 1;
    return 0;
}

void
ref_stop(void)
{
}

int
ref_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err)
{
    struct hearth_device_info filled = {.flags = HEARTH_DEVICE_HOST_MEMORY | HEARTH_DEVICE_MAPS_WEIGHTS};
    if (index != 0) {
        return host_error(err, HEARTH_EDEVICE, 0, "ref: device 0 wanted, %u found", index);
    }
    filled.memory_bytes = host_memory_bytes();
    filled.align_bytes = VIEW_ALIGN;
    snprintf(filled.name, sizeof filled.name, "scalar reference, %u thread%s", n_threads_wanted,
             n_threads_wanted == 1 ? "" : "s");
    host_info_fill(&filled, info);
    return 0;
}

int
ref_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    if (index != 0) {
        return host_error(err, HEARTH_EDEVICE, 0, "ref: device 0 wanted, %u found", index);
    }
    struct hearth_device *device = calloc(1, sizeof *device);
    if (device == NULL) {
        return host_error(err, HEARTH_EMEMORY, 0, "ref: no memory for a device");
    }
    const int status = ref_pool_new(n_threads_wanted, &device->pool, err);
    if (status < 0) {
        free(device);
        return status;
    }
    *ret_device = device;
    return 0;
}

void
ref_close(struct hearth_device *device)
{
    if (device != NULL) {
        ref_pool_free(device->pool);
        host_scratch_free(&device->scratch);
        free(device);
    }
}

int
ref_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                  size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    (void)device;
    return host_weight_new(role, matrices, n_matrices, ret_weight, err);
}

void
ref_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    (void)device;
    free(weight);
}

bool
ref_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics)
{
    (void)device;
    return op < HEARTH_N_OPS && numerics <= HEARTH_NATIVE;
}

static int
run_command(struct hearth_device *device, const struct hearth_command *command, struct hearth_error *err)
{
    struct host_call call = {.device = device,
                             .scratch = &device->scratch,
                             .backend = "ref",
                             .native = command->numerics == HEARTH_NATIVE,
                             .err = err};
    if (!ref_supports(device, command->op, command->numerics)) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "ref: operation %u in numerics %u is not known here",
                          command->op, command->numerics);
    }
    host_scratch_reset(&device->scratch);
    switch (command->op) {
#define HEARTH_OP(NAME, name)                                                                                          \
    case HEARTH_OP_##NAME:                                                                                             \
        call.op = #name;                                                                                               \
        ref_##name(&call, &command->args.name);                                                                        \
        break;
#include <hearth/ops.def>
#undef HEARTH_OP
    }
    return call.status;
}

int
ref_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
           struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)waits; /* they have happened */
    (void)n_waits;
    for (size_t i = 0; i < n_commands; i++) {
        const int status = run_command(device, &commands[i], err);
        if (status < 0) {
            return status;
        }
    }
    if (ret_event != NULL) {
        *ret_event = &host_happened;
    }
    return 0;
}
