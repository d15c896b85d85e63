/* host.h - what backends whose device is this machine share: buffers of ordinary memory, weights as checked matrices,
 * checked access to a command's arguments, memory for its length, and copies.  A leaf: it knows the plugin contract and
 * nothing else.
 *
 * Each backend defines its own struct hearth_device; nothing here looks inside one. */
#ifndef BACKENDS_HOST_HOST_H
#define BACKENDS_HOST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/numerics.h>
#include <hearth/plugin.h>

#include "backends/host/check.h"
#include "backends/host/matrix.h"

struct hearth_buffer {
    unsigned char *bytes;
    uint64_t size;
};

#define HOST_MAX_MATRICES 3

struct hearth_weight {
    uint32_t n_matrices;
    struct host_matrix matrices[HOST_MAX_MATRICES];
    void *owned; /* the backend's, for memory of theirs; or NULL */
};

struct host_scratch_block;

/* Memory for the length of one command; kept and reused by the next. */
struct host_scratch {
    struct host_scratch_block *blocks;
};

/* One command under way.  status keeps the first failure; err may be NULL. */
struct host_call {
    struct hearth_device *device;
    struct host_scratch *scratch; /* of the device */
    const char *backend, *op;     /* for error lines */
    bool native;
    int status;
    struct hearth_error *err;
};

/* call.c: checked access to arguments.  After a failure they return NULL or false, and the first error stays. */

void host_call_fail(struct host_call *call, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Fails with EINTERNAL and the text unless what holds. */
bool host_call_check(struct host_call *call, bool what, const char *text);
/* The address of rows * cols elements of size bytes, all inside the view's buffer.  NULL if there are none. */
void *host_view(struct host_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols,
                uint64_t size);
float *host_view_f32(struct host_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols);
const struct host_matrix *host_weight(struct host_call *call, const char *name, const struct hearth_weight *weight,
                                      uint32_t index, uint64_t rows, uint64_t cols);
/* The weight's n elements as f32. */
const float *host_vector(struct host_call *call, const char *name, const struct hearth_weight *weight, uint64_t n);
/* n * size bytes, aligned to 64, until the command ends. */
void *host_scratch_take(struct host_call *call, uint64_t n, uint64_t size);
/* Between commands. */
void host_scratch_reset(struct host_scratch *scratch);
void host_scratch_free(struct host_scratch *scratch);

/* device.c: parts of the plugin table, and what start and weight_create ask.  Work is done when a call returns, so
 * every event is host_happened. */

extern struct hearth_event host_happened;

#define HOST_MAX_THREADS 1024

/* The cores that the process may use, at least 1, at most HOST_MAX_THREADS. */
uint32_t host_count_cores(void);
uint64_t host_memory_bytes(void); /* of the machine; 0: unknown */
/* Option `threads`: untouched if it is absent.  backend: for the error line. */
int host_option_threads(const struct hearth_host *host, const char *backend, uint32_t *ret_n_threads,
                        struct hearth_error *err);
/* A describe that answers with what the caller's struct has room for. */
void host_info_fill(const struct hearth_device_info *filled, struct hearth_device_info *info);
int host_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                      struct hearth_error *err);
void host_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer);
int host_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                      struct hearth_event **ret_event, struct hearth_error *err);
int host_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                     struct hearth_event **ret_event, struct hearth_error *err);
void *host_buffer_host(struct hearth_device *device, struct hearth_buffer *buffer);
int host_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns,
                    struct hearth_error *err);
void host_event_free(struct hearth_device *device, struct hearth_event *event);
/* Checks that every byte of the matrices is there and makes a weight that borrows them.  Owner: the caller; free(). */
int host_weight_new(enum hearth_weight_role role, const struct hearth_matrix *matrices, size_t n_matrices,
                    struct hearth_weight **ret_weight, struct hearth_error *err);
/* weight_read of canonical matrices. */
int host_weight_read(struct hearth_device *device, const struct hearth_weight *weight, size_t index, void *data,
                     void *scales, struct hearth_error *err);

#endif
