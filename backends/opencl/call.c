/* call.c - a command's arguments, checked: views against their buffers, weights against the shapes the command names,
 * and device memory for the length of the command. */
#include <config.h>

#include "backends/opencl/internal.h"

#define SCRATCH_MIN_BYTES 65536u

static const struct ocl_span nowhere;

struct ocl_span
ocl_view(struct ocl_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols, uint64_t size)
{
    struct hearth_error said = {0};
    if (call->status < 0) {
        return nowhere;
    }
    const int status = host_view_check(name, view, view.buffer == NULL ? 0 : view.buffer->size,
                                       (const uint64_t[2]){rows, cols}, size, OCL_VIEW_ALIGN, &said);
    if (status < 0) {
        ocl_call_fail(call, status, "%s", said.text);
        return nowhere;
    }
    return (struct ocl_span){view.buffer->mem, view.offset};
}

struct ocl_span
ocl_view_f32(struct ocl_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols)
{
    return ocl_view(call, name, view, rows, cols, sizeof(float));
}

static const struct ocl_matrix *
matrix_at(struct ocl_call *call, const char *name, const struct hearth_weight *weight, uint32_t index)
{
    if (call->status < 0) {
        return NULL;
    }
    if (weight == NULL || index >= weight->n_matrices) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: matrix %u wanted, the weight has %u", name, index,
                      weight == NULL ? 0 : weight->n_matrices);
        return NULL;
    }
    return &weight->matrices[index];
}

static bool
check_shape(struct ocl_call *call, const char *name, const struct ocl_matrix *matrix, uint64_t rows, uint64_t cols)
{
    if (matrix->rows != rows || matrix->cols != cols) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: %llu x %llu wanted, %llu x %llu found", name,
                      (unsigned long long)rows, (unsigned long long)cols, (unsigned long long)matrix->rows,
                      (unsigned long long)matrix->cols);
        return false;
    }
    return true;
}

const struct ocl_matrix *
ocl_weight(struct ocl_call *call, const char *name, const struct hearth_weight *weight, uint32_t index, uint64_t rows,
           uint64_t cols)
{
    const struct ocl_matrix *matrix = matrix_at(call, name, weight, index);
    if (matrix == NULL || !check_shape(call, name, matrix, rows, cols)) {
        return NULL;
    }
    if (matrix->dtype == HEARTH_I32 || matrix->dtype == HEARTH_I64) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: numbers wanted, a table of integers found", name);
        return NULL;
    }
    return matrix;
}

struct ocl_span
ocl_vector(struct ocl_call *call, const char *name, const struct hearth_weight *weight, uint64_t n)
{
    const struct ocl_matrix *matrix = matrix_at(call, name, weight, 0);
    if (matrix == NULL) {
        return nowhere;
    }
    if (weight->role != HEARTH_WEIGHT_VECTOR || matrix->dtype != HEARTH_F32) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: a weight made as a vector wanted, role %u found", name,
                      weight->role);
        return nowhere;
    }
    if (n == 0 || matrix->rows > n || matrix->rows * matrix->cols != n) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: %llu elements wanted, %llu x %llu found", name,
                      (unsigned long long)n, (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
        return nowhere;
    }
    return matrix->parts[0].data;
}

struct ocl_span
ocl_table(struct ocl_call *call, const char *name, const struct hearth_weight *weight, uint64_t rows, uint64_t cols)
{
    const struct ocl_matrix *matrix = matrix_at(call, name, weight, 0);
    if (matrix == NULL || !check_shape(call, name, matrix, rows, cols)) {
        return nowhere;
    }
    if (matrix->dtype != HEARTH_I64) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "%s: a table of i64 wanted, type %u found", name, matrix->dtype);
        return nowhere;
    }
    return matrix->parts[0].data;
}

/* An arena of at least twice the size takes the place of one that is too small, which stays until the command ends:
 * what was taken of it is still to be launched. */
static bool
grow_scratch(struct ocl_call *call, uint64_t size)
{
    struct hearth_device *device = call->device;
    const uint64_t most = device->caps.max_alloc_bytes;
    const uint64_t doubled = device->scratch_bytes > most / 2 ? most : 2 * device->scratch_bytes;
    const uint64_t least = size > SCRATCH_MIN_BYTES ? size : SCRATCH_MIN_BYTES;
    const uint64_t wanted = least > doubled ? least : doubled;
    cl_int code;
    if (size > most || device->n_outgrown == OCL_MAX_OUTGROWN) {
        ocl_call_fail(call, HEARTH_EMEMORY, "%llu bytes of work space wanted, the device allocates %llu at once",
                      (unsigned long long)size, (unsigned long long)most);
        return false;
    }
    cl_mem grown = ocl_mem_create(device, wanted, &code);
    if (!ocl_call_cl(call, code, "work space")) {
        return false;
    }
    if (device->scratch != NULL) {
        device->outgrown[device->n_outgrown++] = device->scratch;
    }
    device->scratch = grown;
    device->scratch_bytes = wanted;
    device->scratch_used = 0;
    return true;
}

struct ocl_span
ocl_scratch(struct ocl_call *call, uint64_t n, uint64_t size)
{
    struct hearth_device *device = call->device;
    uint64_t n_bytes = 0;
    if (call->status < 0) {
        return nowhere;
    }
    if (n == 0 || size == 0 || __builtin_mul_overflow(n, size, &n_bytes) || n_bytes > UINT64_MAX / 2) {
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for %llu x %llu bytes of work space", (unsigned long long)n,
                      (unsigned long long)size);
        return nowhere;
    }
    n_bytes = ocl_align_up(n_bytes, OCL_SCRATCH_ALIGN);
    if ((device->scratch == NULL || n_bytes > device->scratch_bytes - device->scratch_used) &&
        !grow_scratch(call, n_bytes)) {
        return nowhere;
    }
    const struct ocl_span taken = {device->scratch, device->scratch_used};
    device->scratch_used += n_bytes;
    return taken;
}

void
ocl_scratch_reset(struct hearth_device *device)
{
    while (device->n_outgrown > 0) {
        clReleaseMemObject(device->outgrown[--device->n_outgrown]);
    }
    device->scratch_used = 0;
}

struct ocl_span
ocl_counter(struct ocl_call *call)
{
    struct hearth_device *device = call->device;
    if (call->status == 0 && device->counter == NULL) {
        cl_int code;
        cl_mem counter = ocl_mem_create(device, OCL_N_COUNTERS * sizeof(uint32_t), &code);
        if (!ocl_call_cl(call, code, "counters")) {
            return nowhere;
        }
        ocl_fill(call, (struct ocl_span){counter, 0}, 0, OCL_N_COUNTERS * sizeof(uint32_t));
        device->counter = counter;
    }
    return (struct ocl_span){device->counter, 0};
}
