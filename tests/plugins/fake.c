/* fake.c - a plugin with one device and no operations, compiled several times: once right, and once for each way to be
 * wrong.  FAKE_NAME is the name in the table, FAKE_SYMBOL the exported symbol, FAKE_ABI and FAKE_SIZE what the table
 * claims. */
#include <stdlib.h>
#include <string.h>

#include <hearth/plugin.h>

struct hearth_buffer {
    uint64_t size;
    unsigned char bytes[];
};

static const struct hearth_host *lender; /* between start and stop */

static int
fake_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err)
{
    const char *fail = lender ? "a second start" : host->option(host->context, "fail");
    if (fail) {
        if (err) {
            err->status = HEARTH_EDEVICE;
            strncpy(err->text, fail, sizeof err->text - 1);
        }
        return HEARTH_EDEVICE;
    }
    host->log(host->context, HEARTH_LOG_INFO, "started");
    lender = host;
    *ret_n_devices = 1;
    return HEARTH_OK;
}

static void
fake_stop(void)
{
    lender = NULL;
}

static int
fake_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err)
{
    (void)index;
    (void)err;
    strcpy(info->name, "a fake device");
    strcpy(info->pci_address, "0000:0f:00.0");
    info->align_bytes = 1;
    return HEARTH_OK;
}

static int
fake_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err)
{
    static char device;
    (void)index;
    if (!lender || !lender->option(lender->context, "timeout")) { /* both are valid until stop */
        strcpy(err->text, "not started");
        return HEARTH_EDEVICE;
    }
    *ret_device = (struct hearth_device *)&device;
    return HEARTH_OK;
}

static void
fake_close(struct hearth_device *device)
{
    (void)device;
}

static int
fake_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                  struct hearth_error *err)
{
    struct hearth_buffer *buffer = malloc(sizeof *buffer + size);
    (void)device;
    (void)err;
    if (!buffer) {
        return HEARTH_EMEMORY;
    }
    buffer->size = size;
    *ret_buffer = buffer;
    return HEARTH_OK;
}

static void
fake_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer)
{
    (void)device;
    free(buffer);
}

static int
fake_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                  struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)device;
    (void)err;
    memcpy(dst.buffer->bytes + dst.offset, src, size);
    if (ret_event) {
        *ret_event = NULL;
    }
    return HEARTH_OK;
}

static int
fake_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                 struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)device;
    (void)err;
    memcpy(dst, src.buffer->bytes + src.offset, size);
    if (ret_event) {
        *ret_event = NULL;
    }
    return HEARTH_OK;
}

static int
fake_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                   size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    (void)device;
    (void)role;
    (void)matrices;
    (void)n_matrices;
    (void)ret_weight;
    (void)err;
    return HEARTH_EUNSUPPORTED;
}

static void
fake_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    (void)device;
    (void)weight;
}

static bool
fake_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics)
{
    (void)device;
    (void)op;
    (void)numerics;
    return false;
}

/* one variant leaves this call out of its table */
__attribute__((unused)) static int
fake_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
            struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
            struct hearth_error *err)
{
    (void)device;
    (void)commands;
    (void)n_commands;
    (void)waits;
    (void)n_waits;
    (void)ret_event;
    (void)err;
    return HEARTH_EUNSUPPORTED;
}

static int
fake_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns, struct hearth_error *err)
{
    (void)device;
    (void)event;
    (void)timeout_ns;
    (void)err;
    return HEARTH_OK;
}

static void
fake_event_free(struct hearth_device *device, struct hearth_event *event)
{
    (void)device;
    (void)event;
}

/* A newer minor adds members at the end; the core must not mind. */
struct fake_table {
    struct hearth_plugin plugin;
    void (*added_later)(void);
};

extern const struct fake_table FAKE_SYMBOL;

const struct fake_table FAKE_SYMBOL = {
    .plugin = {
        .abi = FAKE_ABI,
        .struct_size = FAKE_SIZE,
        .name = FAKE_NAME,
        .version = "1",
        .start = fake_start,
        .stop = fake_stop,
        .describe = fake_describe,
        .open = fake_open,
        .close = fake_close,
        .buffer_alloc = fake_buffer_alloc,
        .buffer_free = fake_buffer_free,
        .buffer_write = fake_buffer_write,
        .buffer_read = fake_buffer_read,
        .weight_create = fake_weight_create,
        .weight_free = fake_weight_free,
        .supports = fake_supports,
#ifndef FAKE_NO_SUBMIT
        .submit = fake_submit,
#endif
        .event_wait = fake_event_wait,
        .event_free = fake_event_free,
    },
    .added_later = fake_stop,
};
