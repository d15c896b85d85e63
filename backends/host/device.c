/* device.c - the parts of a plugin table that are the same wherever buffers are ordinary memory and work is done when a
 * call returns: buffers, copies, events, and what start and describe ask of the machine. */
#include <config.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/host/host.h"

#define BUFFER_ALIGN 64u

struct hearth_event {
    char unused;
};

struct hearth_event host_happened;

uint32_t
host_count_cores(void)
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
    return n > HOST_MAX_THREADS ? HOST_MAX_THREADS : (uint32_t)n;
}

uint64_t
host_memory_bytes(void)
{
    const long n_pages = sysconf(_SC_PHYS_PAGES);
    const long page_bytes = sysconf(_SC_PAGESIZE);
    return n_pages > 0 && page_bytes > 0 ? (uint64_t)n_pages * (uint64_t)page_bytes : 0;
}

int
host_option_threads(const struct hearth_host *host, const char *backend, uint32_t *ret_n_threads,
                    struct hearth_error *err)
{
    const char *text = host->option == NULL ? NULL : host->option(host->context, "threads");
    if (text == NULL) {
        return 0;
    }
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > HOST_MAX_THREADS) {
        return host_error(err, HEARTH_ECONFIG, 0, "%s: option threads: 1 .. %d wanted, \"%s\" found", backend,
                          HOST_MAX_THREADS, text);
    }
    *ret_n_threads = (uint32_t)value;
    return 0;
}

void
host_info_fill(const struct hearth_device_info *filled, struct hearth_device_info *info)
{
    const uint32_t size = info->struct_size;
    memcpy(info, filled, size < sizeof *filled ? size : sizeof *filled);
    info->struct_size = size;
}

int
host_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
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
    return host_error(err, HEARTH_EMEMORY, 0, "no memory for a buffer of %llu bytes", (unsigned long long)size);
}

void
host_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer)
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
        return host_error(err, HEARTH_EINTERNAL, 0, "copy of %llu bytes at offset %llu: the buffer has %llu",
                          (unsigned long long)size, (unsigned long long)view.offset,
                          (unsigned long long)(view.buffer == NULL ? 0 : view.buffer->size));
    }
    return 0;
}

int
host_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                  struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)device;
    const int status = check_copy(dst, size, err);
    if (status < 0) {
        return status;
    }
    memcpy(dst.buffer->bytes + dst.offset, src, (size_t)size);
    if (ret_event != NULL) {
        *ret_event = &host_happened;
    }
    return 0;
}

int
host_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                 struct hearth_event **ret_event, struct hearth_error *err)
{
    (void)device;
    const int status = check_copy(src, size, err);
    if (status < 0) {
        return status;
    }
    memcpy(dst, src.buffer->bytes + src.offset, (size_t)size);
    if (ret_event != NULL) {
        *ret_event = &host_happened;
    }
    return 0;
}

void *
host_buffer_host(struct hearth_device *device, struct hearth_buffer *buffer)
{
    (void)device;
    return buffer->bytes;
}

int
host_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns, struct hearth_error *err)
{
    (void)device;
    (void)timeout_ns;
    (void)err;
    (void)event;
    return 0;
}

void
host_event_free(struct hearth_device *device, struct hearth_event *event)
{
    (void)device;
    (void)event;
}
