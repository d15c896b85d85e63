/* call.c - a command's arguments, checked: views against their buffers, weights against the shapes the command names,
 * and memory for the length of the command. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/host/host.h"

#define VIEW_ALIGN 4u

void
host_call_fail(struct host_call *call, int status, const char *format, ...)
{
    char prefix[64];
    va_list arguments;
    if (call->status < 0) {
        return;
    }
    snprintf(prefix, sizeof prefix, "%s: %s: ", call->backend, call->op);
    va_start(arguments, format);
    call->status = host_error_in(call->err, status, prefix, format, arguments);
    va_end(arguments);
}

bool
host_call_check(struct host_call *call, bool what, const char *text)
{
    if (!what) {
        host_call_fail(call, HEARTH_EINTERNAL, "%s", text);
    }
    return what;
}

void *
host_view(struct host_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols,
          uint64_t size)
{
    struct hearth_error said = {0};
    if (call->status < 0) {
        return NULL;
    }
    const int status = host_view_check(name, view, view.buffer == NULL ? 0 : view.buffer->size,
                                       (const uint64_t[2]){rows, cols}, size, VIEW_ALIGN, &said);
    if (status < 0) {
        host_call_fail(call, status, "%s", said.text);
        return NULL;
    }
    return view.buffer->bytes + view.offset;
}

float *
host_view_f32(struct host_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols)
{
    return host_view(call, name, view, rows, cols, sizeof(float));
}

const struct host_matrix *
host_weight(struct host_call *call, const char *name, const struct hearth_weight *weight, uint32_t index, uint64_t rows,
            uint64_t cols)
{
    if (call->status < 0) {
        return NULL;
    }
    if (weight == NULL || index >= weight->n_matrices) {
        host_call_fail(call, HEARTH_EINTERNAL, "%s: matrix %u wanted, the weight has %u", name, index,
                       weight == NULL ? 0 : weight->n_matrices);
        return NULL;
    }
    const struct host_matrix *matrix = &weight->matrices[index];
    if (matrix->rows != rows || matrix->cols != cols) {
        host_call_fail(call, HEARTH_EINTERNAL, "%s: %llu x %llu wanted, %llu x %llu found", name,
                       (unsigned long long)rows, (unsigned long long)cols, (unsigned long long)matrix->rows,
                       (unsigned long long)matrix->cols);
        return NULL;
    }
    if (matrix->dtype == HEARTH_I32 || matrix->dtype == HEARTH_I64) {
        host_call_fail(call, HEARTH_EINTERNAL, "%s: numbers wanted, a table of integers found", name);
        return NULL;
    }
    return matrix;
}

const float *
host_vector(struct host_call *call, const char *name, const struct hearth_weight *weight, uint64_t n)
{
    if (call->status < 0) {
        return NULL;
    }
    if (weight == NULL || weight->n_matrices != 1) {
        host_call_fail(call, HEARTH_EINTERNAL, "%s: a weight of one matrix wanted", name);
        return NULL;
    }
    const struct host_matrix *matrix = &weight->matrices[0];
    if (n == 0 || matrix->rows > n || matrix->rows * matrix->cols != n) {
        host_call_fail(call, HEARTH_EINTERNAL, "%s: %llu elements wanted, %llu x %llu found", name,
                       (unsigned long long)n, (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
        return NULL;
    }
    if (host_weight(call, name, weight, 0, matrix->rows, matrix->cols) == NULL) {
        return NULL;
    }
    if (matrix->dtype == HEARTH_F32 && (uintptr_t)matrix->data % sizeof(float) == 0) {
        return (const float *)(const void *)matrix->data;
    }
    float *values = host_scratch_take(call, n, sizeof *values);
    for (uint64_t row = 0; values != NULL && row < matrix->rows; row++) {
        host_matrix_row(matrix, row, values + row * matrix->cols);
    }
    return values;
}

/* The first block is the one in use; older ones were too small and go when the command ends. */
struct host_scratch_block {
    struct host_scratch_block *older;
    uint64_t size, used;
    unsigned char *bytes;
};

#define SCRATCH_ALIGN 64u
#define SCRATCH_MIN_BYTES 65536u

static int
add_block(struct host_scratch *scratch, uint64_t size)
{
    struct host_scratch_block *block = malloc(sizeof *block);
    if (block == NULL) {
        return HEARTH_EMEMORY;
    }
    block->bytes = size <= SIZE_MAX ? aligned_alloc(SCRATCH_ALIGN, (size_t)size) : NULL;
    if (block->bytes == NULL) {
        free(block);
        return HEARTH_EMEMORY;
    }
    block->older = scratch->blocks;
    block->size = size;
    block->used = 0;
    scratch->blocks = block;
    return 0;
}

void *
host_scratch_take(struct host_call *call, uint64_t n, uint64_t size)
{
    struct host_scratch *scratch = call->scratch;
    uint64_t n_bytes = 0;
    if (call->status < 0) {
        return NULL;
    }
    if (__builtin_mul_overflow(n, size, &n_bytes) || n_bytes > UINT64_MAX / 2) {
        host_call_fail(call, HEARTH_EMEMORY, "no memory for %llu x %llu bytes of work space", (unsigned long long)n,
                       (unsigned long long)size);
        return NULL;
    }
    n_bytes = (n_bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    if (scratch->blocks == NULL || n_bytes > scratch->blocks->size - scratch->blocks->used) {
        const uint64_t wanted = n_bytes > SCRATCH_MIN_BYTES ? n_bytes : SCRATCH_MIN_BYTES;
        if (add_block(scratch, wanted) < 0) {
            host_call_fail(call, HEARTH_EMEMORY, "no memory for %llu bytes of work space", (unsigned long long)wanted);
            return NULL;
        }
    }
    struct host_scratch_block *block = scratch->blocks;
    void *taken = block->bytes + block->used;
    block->used += n_bytes;
    return taken;
}

void
host_scratch_free(struct host_scratch *scratch)
{
    while (scratch->blocks != NULL) {
        struct host_scratch_block *block = scratch->blocks;
        scratch->blocks = block->older;
        free(block->bytes);
        free(block);
    }
}

/* Several blocks become one of their total size, so that a command like the last one finds it all in one piece. */
void
host_scratch_reset(struct host_scratch *scratch)
{
    uint64_t total = 0;
    if (scratch->blocks == NULL) {
        return;
    }
    if (scratch->blocks->older == NULL) {
        scratch->blocks->used = 0;
        return;
    }
    for (const struct host_scratch_block *block = scratch->blocks; block != NULL; block = block->older) {
        total += block->size;
    }
    host_scratch_free(scratch);
    (void)add_block(scratch, total); /* if it fails, the next command asks again and says so */
}
