/* submit.c - commands into the queue: which operations there are, and how each is called. */
#include <config.h>

#include <stdlib.h>

#include "backends/opencl/internal.h"

#define OCL_OP(NAME, name)                                                                                             \
    static void run_##name(struct ocl_call *call, const struct hearth_command *command)                                \
    {                                                                                                                  \
        ocl_##name(call, &command->args.name);                                                                         \
    }
#include "backends/opencl/done.def"
#undef OCL_OP

/* run NULL: the host does it. */
static const struct {
    const char *name;
    void (*run)(struct ocl_call *call, const struct hearth_command *command);
} operations[HEARTH_N_OPS] = {
#define OCL_OP(NAME, name) [HEARTH_OP_##NAME] = {#name, run_##name},
#include "backends/opencl/done.def"
#undef OCL_OP
};

bool
ocl_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics)
{
    if (op >= HEARTH_N_OPS || numerics > HEARTH_NATIVE || operations[op].run == NULL) {
        return false;
    }
    /* the bits of a routed expert need 1 / (1 + e^-x) rounded to nearest */
    return op != HEARTH_OP_EXPERT_FFN || numerics == HEARTH_EXACT || device->caps.exact_divide;
}

/* Several commands from one of this kind on. */
static const struct several {
    uint32_t first;
    size_t (*count)(const struct hearth_command *commands, size_t n_commands);
    void (*run)(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands);
} several[] = {
    {HEARTH_OP_LINEAR, ocl_count_linears, ocl_linears},
    {HEARTH_OP_QUERY_ROPE, ocl_count_ready, ocl_ready},
    {HEARTH_OP_ROUTER, ocl_count_router, ocl_router_and_shared},
    {HEARTH_OP_MOE_SUM, ocl_count_between, ocl_between},
    {HEARTH_OP_MHC_POST, ocl_count_between, ocl_between},
};

/* NULL: none begin like this. */
static const struct several *
find_several(const struct hearth_command *first)
{
    for (size_t i = 0; i < sizeof several / sizeof several[0]; i++) {
        if (several[i].first == first->op) {
            return &several[i];
        }
    }
    return NULL;
}

/* How many commands from the first on are done together. */
static size_t
count_together(const struct hearth_command *commands, size_t n)
{
    const struct several *together = find_several(&commands[0]);
    return together != NULL ? together->count(commands, n) : 1;
}

/* n commands: one, or what count_together found. */
static int
run_commands(struct hearth_device *device, const struct hearth_command *command, size_t n, struct hearth_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!ocl_supports(device, command[i].op, command[i].numerics)) {
            return host_error(err, HEARTH_EUNSUPPORTED, 0, "operation %u in numerics %u is not known here",
                              command[i].op, command[i].numerics);
        }
    }
    struct ocl_call call = {.device = device,
                            .op = operations[command->op].name,
                            .native = command->numerics == HEARTH_NATIVE,
                            .err = err};
    if (n == 1) {
        operations[command->op].run(&call, command);
    } else {
        find_several(command)->run(&call, command, n);
    }
    ocl_scratch_reset(device);
    return call.status;
}

/* Everything queued from now on waits for the event. */
static int
queue_waits(struct hearth_device *device, cl_event event, struct hearth_error *err)
{
    const cl_int code = clEnqueueBarrierWithWaitList(device->queue, 1, &event, NULL);
    return code == CL_SUCCESS ? 0 : ocl_cl_error(err, code, "clEnqueueBarrierWithWaitList");
}

/* What comes before the commands: the device is there, what they need has been copied, and no fault is asked for. */
static int
begin(struct hearth_device *device, struct hearth_error *err)
{
    if (ocl_fault_lost(device->fault)) {
        device->is_lost = true;
    }
    if (device->is_lost) {
        return host_error(err, HEARTH_ELOST, 0, "the device is lost");
    }
    device->n_submitted++;
    const cl_event stuck = ocl_fault_hang(device->fault, device->context);
    ocl_uploads_free(device, false);
    const int status = ocl_stage_join(device, err);
    return status == 0 && stuck != NULL ? queue_waits(device, stuck, err) : status;
}

int
ocl_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
           struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)waits; /* events of this device: its queue is in order, so they come first anyway */
    (void)n_waits;
    int status = begin(device, err);
    for (size_t i = 0; i < n_commands && status == 0;) {
        const size_t n = count_together(commands + i, n_commands - i);
        status = run_commands(device, commands + i, n, err);
        i += n;
    }
    if (status < 0) {
        device->is_lost = device->is_lost || status == HEARTH_ELOST;
        return status;
    }
    if (ret_event != NULL) {
        cl_event marker;
        const cl_int code = clEnqueueMarkerWithWaitList(device->queue, 0, NULL, &marker);
        if (code != CL_SUCCESS) {
            return ocl_cl_error(err, code, "clEnqueueMarkerWithWaitList");
        }
        status = ocl_event_new(device, marker, ret_event, err);
    }
    const cl_int code = clFlush(device->queue);
    return status < 0 || code == CL_SUCCESS ? status : ocl_cl_error(err, code, "clFlush");
}
