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

/* Blocks of the quantised formats: activations of a linear, cached KV rows, indexer keys and queries, e2m1 weights. */
#define HOST_ACT_BLOCK 128u
#define HOST_KV_BLOCK 64u
#define HOST_INDEX_BLOCK 32u
#define HOST_E2M1_BLOCK 32u

struct hearth_buffer {
    unsigned char *bytes;
    uint64_t size;
};

/* data and scales are the caller's bytes (they may lie at odd addresses) or lie in memory of the weight.  A backend
 * that packs a matrix sets packing to a number of its own; then data is its own, and nothing here reads it. */
struct host_matrix {
    uint32_t dtype;
    uint32_t packing; /* 0: canonical */
    uint64_t rows, cols;
    const unsigned char *data, *scales;
};

#define HOST_MAX_MATRICES 3

struct hearth_weight {
    uint32_t n_matrices;
    struct host_matrix matrices[HOST_MAX_MATRICES];
    void *owned; /* the backend's memory for them, or NULL */
    uint64_t owned_bytes;
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

/* matrix.c: rows of weights. */

/* The value of each code: an e4m3 value also as whole + fraction / 512, a byte of two e2m1 values as two halves. */
struct host_halves {
    int16_t low, high;
};

extern float host_e4m3_values[256];
extern int16_t host_e4m3_wholes[256], host_e4m3_fractions[256];
extern struct host_halves host_e2m1_halves[256];

void host_tables_fill(void); /* called by start, before any thread of ours */

bool host_dtype_quantises(uint32_t dtype); /* whether a linear with such a weight quantises its input (native) */
/* out: [cols] f32, the row's exact values */
void host_matrix_row(const struct host_matrix *matrix, uint64_t row, float *out);

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

#endif
