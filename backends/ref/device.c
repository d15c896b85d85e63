/* device.c - the reference backend's one device: this machine's memory and cores.  Work is done when submit returns, so
 * every event is one that has happened.
 *
 * Option `threads`: how many threads a device uses, 1 .. 1024; without it, one for each core the process may use. */
#include <config.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "backends/ref/ref.h"

#define MAX_THREADS 1024
#define BUFFER_ALIGN 64u
#define VIEW_ALIGN 4u

static uint32_t n_threads_wanted = 1;

/* All events are this one. */
struct hearth_event {
    char unused;
};

static struct hearth_event happened;

static uint32_t
count_cores(void)
{
    cpu_set_t set;
    long n = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        n = CPU_COUNT(&set);
    }
    if (n < 1) {
        n = sysconf(_SC_NPROCESSORS_ONLN);
    }
    if (n < 1) {
        return 1;
    }
    return n > MAX_THREADS ? MAX_THREADS : (uint32_t)n;
}

int
ref_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    const char *text = host->option == NULL ? NULL : host->option(host->context, "threads");
    uint32_t n = count_cores();
    if (text != NULL) {
        char *end;
        errno = 0;
        const long value = strtol(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0' || value < 1 || value > MAX_THREADS) {
            return ref_error(err, HEARTH_ECONFIG, 0, "ref: option threads: 1 .. %d wanted, \"%s\" found", MAX_THREADS,
                             text);
        }
        n = (uint32_t)value;
    }
    n_threads_wanted = n;
    ref_tables_fill();
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
    const long n_pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    if (index != 0) {
        return ref_error(err, HEARTH_EDEVICE, 0, "ref: device 0 wanted, %u found", index);
    }
    if (n_pages > 0 && page_bytes > 0) {
        filled.memory_bytes = (uint64_t)n_pages * (uint64_t)page_bytes;
    }
    filled.align_bytes = VIEW_ALIGN;
    snprintf(filled.name, sizeof filled.name, "scalar reference, %u thread%s", n_threads_wanted,
             n_threads_wanted == 1 ? "" : "s");
    filled.struct_size = info->struct_size;
    memcpy(info, &filled, info->struct_size < sizeof filled ? info->struct_size : sizeof filled);
    return 0;
}

int
ref_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    if (index != 0) {
        return ref_error(err, HEARTH_EDEVICE, 0, "ref: device 0 wanted, %u found", index);
    }
    struct hearth_device *device = calloc(1, sizeof *device);
    if (device == NULL) {
        return ref_error(err, HEARTH_EMEMORY, 0, "ref: no memory for a device");
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
        ref_scratch_free(&device->scratch);
        free(device);
    }
}

int
ref_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                 struct hearth_error *err)
{
    (void)device;
    const uint64_t padded =
        size > UINT64_MAX - BUFFER_ALIGN ? 0 : (size + BUFFER_ALIGN - 1) / BUFFER_ALIGN * BUFFER_ALIGN;
    struct hearth_buffer *buffer = malloc(sizeof *buffer);
    if (buffer != NULL && padded > 0 && padded <= SIZE_MAX) {
        buffer->size = size;
        buffer->bytes = aligned_alloc(BUFFER_ALIGN, (size_t)padded);
        if (buffer->bytes != NULL) {
            *ret_buffer = buffer;
            return 0;
        }
    }
    free(buffer);
    return ref_error(err, HEARTH_EMEMORY, 0, "ref: no memory for a buffer of %llu bytes", (unsigned long long)size);
}

void
ref_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer)
{
    (void)device;
    if (buffer != NULL) {
        free(buffer->bytes);
        free(buffer);
    }
}

static int
check_copy(struct hearth_view view, uint64_t size, struct hearth_error *err)
{
    if (view.buffer == NULL || view.offset > view.buffer->size || size > view.buffer->size - view.offset) {
        return ref_error(err, HEARTH_EINTERNAL, 0, "ref: copy of %llu bytes at offset %llu: the buffer has %llu",
                         (unsigned long long)size, (unsigned long long)view.offset,
                         (unsigned long long)(view.buffer == NULL ? 0 : view.buffer->size));
    }
    return 0;
}

int
ref_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                 struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)device;
    const int status = check_copy(dst, size, err);
    if (status < 0) {
        return status;
    }
    memcpy(dst.buffer->bytes + dst.offset, src, (size_t)size);
    if (ret_event != NULL) {
        *ret_event = &happened;
    }
    return 0;
}

int
ref_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)device;
    const int status = check_copy(src, size, err);
    if (status < 0) {
        return status;
    }
    memcpy(dst, src.buffer->bytes + src.offset, (size_t)size);
    if (ret_event != NULL) {
        *ret_event = &happened;
    }
    return 0;
}

void *
ref_buffer_host(struct hearth_device *device, struct hearth_buffer *buffer)
{
    (void)device;
    return buffer->bytes;
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
    struct ref_call call = {.device = device, .native = command->numerics == HEARTH_NATIVE, .err = err};
    if (!ref_supports(device, command->op, command->numerics)) {
        return ref_error(err, HEARTH_EUNSUPPORTED, 0, "ref: operation %u in numerics %u is not known here", command->op,
                         command->numerics);
    }
    ref_scratch_reset(&device->scratch);
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
        *ret_event = &happened;
    }
    return 0;
}

int
ref_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns, struct hearth_error *err)
{
    (void)device;
    (void)timeout_ns;
    (void)err;
    (void)event;
    return 0;
}

void
ref_event_free(struct hearth_device *device, struct hearth_event *event)
{
    (void)device;
    (void)event;
}
