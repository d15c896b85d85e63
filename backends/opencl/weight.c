/* weight.c - weights in slabs of device memory, written there by the host itself where it shares that memory.  Vectors
 * become f32, everything else keeps the canonical layout of plugin.h.  A matrix larger than one allocation is cut into
 * parts by rows; the matrices of an expert lie one behind the other in one slab. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

/* The matrix as f32.  Owner: the caller; free(). */
static float *
to_f32(const struct hearth_matrix *matrix)
{
    const struct host_matrix from = {
        .dtype = matrix->dtype,
        .rows = matrix->rows,
        .cols = matrix->cols,
        .data = matrix->data,
        .scales = matrix->scales,
    };
    float *values = malloc(matrix->rows * matrix->cols * sizeof *values);
    for (uint64_t row = 0; values != NULL && row < matrix->rows; row++) {
        host_matrix_row(&from, row, values + row * matrix->cols);
    }
    return values;
}

/* What a weight will be, before memory is taken. */
struct outline {
    enum hearth_weight_role role;
    struct hearth_matrix matrices[OCL_MAX_MATRICES]; /* vectors already f32 */
    uint64_t part_rows[OCL_MAX_MATRICES]; /* rows of a part, but the last */
    float *values;                        /* of a vector, owned; NULL: none */
    uint32_t n_matrices, n_parts;
};

/* A part has a multiple of so many rows, but the last: parts are cut between tiles of scales. */
static uint64_t
row_step(const struct hearth_matrix *matrix)
{
    return matrix->dtype == HEARTH_E4M3 ? HOST_ACT_BLOCK : 1;
}

/* Bytes of n_rows rows that begin between tiles of scales. */
static void
rows_bytes(const struct hearth_matrix *matrix, uint64_t n_rows, uint64_t *ret_data_bytes, uint64_t *ret_scales_bytes)
{
    *ret_data_bytes = matrix->data_bytes / matrix->rows * n_rows;
    *ret_scales_bytes = 0;
    if (matrix->dtype == HEARTH_E4M3) {
        *ret_scales_bytes =
            (n_rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * ((matrix->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK);
    } else if (matrix->dtype == HEARTH_E2M1X2) {
        *ret_scales_bytes = n_rows * ((matrix->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK);
    }
}

/* What they take of a slab: data, then scales. */
static uint64_t
span_bytes(const struct hearth_matrix *matrix, uint64_t n_rows)
{
    uint64_t data_bytes, scales_bytes;
    rows_bytes(matrix, n_rows, &data_bytes, &scales_bytes);
    return ocl_align_up(data_bytes, OCL_SCRATCH_ALIGN) + ocl_align_up(scales_bytes, OCL_SCRATCH_ALIGN);
}

/* Rows of the largest part that one allocation holds. */
static int
cut_matrix(const struct hearth_device *device, struct outline *outline, uint32_t i, struct hearth_error *err)
{
    const struct hearth_matrix *matrix = &outline->matrices[i];
    const uint64_t step = row_step(matrix);
    const uint64_t most = device->caps.max_alloc_bytes;
    const bool may_cut = outline->role == HEARTH_WEIGHT_LINEAR || outline->role == HEARTH_WEIGHT_HEAD ||
                         outline->role == HEARTH_WEIGHT_EMBEDDING;
    uint64_t rows = matrix->rows;
    if (span_bytes(matrix, rows) > most) {
        const uint64_t row_bytes = span_bytes(matrix, rows) / rows + 1;
        rows = most > 4 * OCL_SCRATCH_ALIGN ? (most - 4 * OCL_SCRATCH_ALIGN) / row_bytes : 0;
        rows = rows / step * step;
        while (rows > 0 && span_bytes(matrix, rows) > most) {
            rows -= step;
        }
    }
    if (rows == 0 || (rows < matrix->rows && !may_cut)) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0,
                          "matrix %u: %llu x %llu of type %u needs %llu bytes, the device allocates %llu at once", i,
                          (unsigned long long)matrix->rows, (unsigned long long)matrix->cols, matrix->dtype,
                          (unsigned long long)span_bytes(matrix, matrix->rows), (unsigned long long)most);
    }
    outline->part_rows[i] = rows;
    outline->n_parts += (uint32_t)((matrix->rows + rows - 1) / rows);
    return 0;
}

static int
outline_make(const struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
             size_t n_matrices, struct outline *outline, struct hearth_error *err)
{
    const size_t wanted = role == HEARTH_WEIGHT_EXPERT || role == HEARTH_WEIGHT_SHARED ? 3 : 1;
    *outline = (struct outline){.role = role, .n_matrices = (uint32_t)n_matrices};
    if (n_matrices != wanted) {
        return host_error(err, HEARTH_EINTERNAL, 0, "weight of role %d: %zu matrices wanted, %zu found", (int)role,
                          wanted, n_matrices);
    }
    for (uint32_t i = 0; i < n_matrices; i++) {
        int status = host_matrix_check(&matrices[i], i, err);
        if (status < 0) {
            return status;
        }
        struct hearth_matrix *matrix = &outline->matrices[i];
        *matrix = matrices[i];
        if (role == HEARTH_WEIGHT_VECTOR && matrix->dtype != HEARTH_I32 && matrix->dtype != HEARTH_I64) {
            outline->values = to_f32(matrix);
            if (outline->values == NULL) {
                return host_error(err, HEARTH_EMEMORY, 0, "no memory for a vector");
            }
            *matrix = (struct hearth_matrix){.dtype = HEARTH_F32, .rows = matrix->rows, .cols = matrix->cols,
                                             .data = outline->values,
                                             .data_bytes = matrix->rows * matrix->cols * sizeof(float)};
        }
        status = cut_matrix(device, outline, i, err);
        if (status < 0) {
            return status;
        }
    }
    return 0;
}

/* host: the slab's first byte, where the host shares it, or NULL. */
static int
bytes_fill(struct hearth_device *device, struct ocl_span dst, unsigned char *host, const void *src, uint64_t size,
           struct hearth_error *err)
{
    if (host == NULL) {
        return ocl_stage_write(device, device->copy_queue, dst, src, size, err);
    }
    memcpy(host + dst.offset, src, (size_t)size);
    return 0;
}

/* Brings a part's rows to where they belong. */
static int
part_fill(struct hearth_device *device, const struct hearth_matrix *matrix, const struct ocl_part *part,
          unsigned char *host, struct hearth_error *err)
{
    uint64_t data_bytes, scales_bytes, data_at, scales_at;
    rows_bytes(matrix, part->n_rows, &data_bytes, &scales_bytes);
    rows_bytes(matrix, part->first_row, &data_at, &scales_at);
    int status = host != NULL ? ocl_stage_wait_recycled(device, err) : 0;
    if (status == 0) {
        status = bytes_fill(device, part->data, host, (const unsigned char *)matrix->data + data_at, data_bytes, err);
    }
    if (status == 0 && scales_bytes > 0) {
        status = bytes_fill(device, part->scales, host, (const unsigned char *)matrix->scales + scales_at, scales_bytes,
                            err);
    }
    return status;
}

/* Memory for rows of one matrix: data, then scales. */
static struct ocl_part
part_at(struct ocl_span place, const struct hearth_matrix *matrix, uint64_t first_row, uint64_t n_rows)
{
    uint64_t data_bytes, scales_bytes;
    rows_bytes(matrix, n_rows, &data_bytes, &scales_bytes);
    struct ocl_part part = {.data = place, .first_row = first_row, .n_rows = n_rows};
    if (scales_bytes > 0) {
        part.scales = ocl_at(place, ocl_align_up(data_bytes, OCL_SCRATCH_ALIGN));
    }
    return part;
}

/* An expert's matrices, in one piece of a slab. */
static int
place_together(struct hearth_device *device, const struct outline *outline, struct hearth_weight *weight,
               struct hearth_error *err)
{
    struct ocl_span place;
    uint64_t total = 0;
    for (uint32_t i = 0; i < outline->n_matrices; i++) {
        total += span_bytes(&outline->matrices[i], outline->matrices[i].rows);
    }
    if (total > device->caps.max_alloc_bytes) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "an expert of %llu bytes, the device allocates %llu at once",
                          (unsigned long long)total, (unsigned long long)device->caps.max_alloc_bytes);
    }
    const int status = ocl_slab_take(device, total, &weight->slabs[0], &place, err);
    if (status < 0) {
        return status;
    }
    weight->n_slabs = 1;
    weight->expert_bytes = total;
    for (uint32_t i = 0; i < outline->n_matrices; i++) {
        const struct hearth_matrix *matrix = &outline->matrices[i];
        weight->parts[i] = part_at(place, matrix, 0, matrix->rows);
        weight->matrices[i].parts = &weight->parts[i];
        weight->matrices[i].n_parts = 1;
        place = ocl_at(place, span_bytes(matrix, matrix->rows));
    }
    return 0;
}

/* One matrix, each part wherever there is room. */
static int
place_parts(struct hearth_device *device, const struct outline *outline, struct hearth_weight *weight,
            struct hearth_error *err)
{
    const struct hearth_matrix *matrix = &outline->matrices[0];
    uint64_t row = 0;
    weight->matrices[0].parts = weight->parts;
    weight->matrices[0].n_parts = outline->n_parts;
    for (uint32_t i = 0; i < outline->n_parts; i++) {
        struct ocl_span place;
        const uint64_t left = matrix->rows - row;
        const uint64_t n_rows = left < outline->part_rows[0] ? left : outline->part_rows[0];
        const int status = ocl_slab_take(device, span_bytes(matrix, n_rows), &weight->slabs[i], &place, err);
        if (status < 0) {
            return status;
        }
        weight->n_slabs = i + 1;
        weight->parts[i] = part_at(place, matrix, row, n_rows);
        row += n_rows;
    }
    return 0;
}

static struct hearth_weight *
weight_alloc(const struct outline *outline)
{
    struct hearth_weight *weight = calloc(1, sizeof *weight);
    if (weight == NULL) {
        return NULL;
    }
    weight->role = outline->role;
    weight->n_matrices = outline->n_matrices;
    weight->parts = calloc(outline->n_parts, sizeof *weight->parts);
    weight->slabs = calloc(outline->n_parts, sizeof *weight->slabs);
    if (weight->parts == NULL || weight->slabs == NULL) {
        free(weight->parts);
        free(weight->slabs);
        free(weight);
        return NULL;
    }
    for (uint32_t i = 0; i < outline->n_matrices; i++) {
        weight->matrices[i] = (struct ocl_matrix){.dtype = outline->matrices[i].dtype,
                                                  .rows = outline->matrices[i].rows,
                                                  .cols = outline->matrices[i].cols};
    }
    return weight;
}

static int
weight_fill(struct hearth_device *device, const struct outline *outline, struct hearth_weight *weight,
            struct hearth_error *err)
{
    pthread_mutex_lock(&device->lock);
    int status = outline->n_matrices > 1 ? place_together(device, outline, weight, err)
                                         : place_parts(device, outline, weight, err);
    weight->id = ++device->last_id;
    pthread_mutex_unlock(&device->lock);
    for (uint32_t i = 0; i < outline->n_matrices; i++) {
        const struct ocl_matrix *matrix = &weight->matrices[i];
        for (uint32_t j = 0; j < matrix->n_parts && status == 0; j++) {
            unsigned char *host = device->slabs[weight->slabs[outline->n_matrices > 1 ? 0 : j]].host;
            status = part_fill(device, &outline->matrices[i], &matrix->parts[j], host, err);
        }
    }
    return status;
}

int
ocl_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                  size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    struct outline outline;
    struct hearth_weight *weight = NULL;
    int status = outline_make(device, role, matrices, n_matrices, &outline, err);
    if (status == 0) {
        weight = weight_alloc(&outline);
        status = weight == NULL ? host_error(err, HEARTH_EMEMORY, 0, "no memory for a weight")
                                : weight_fill(device, &outline, weight, err);
    }
    free(outline.values);
    if (status < 0) {
        ocl_weight_free(device, weight);
        return status;
    }
    *ret_weight = weight;
    return 0;
}

void
ocl_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    if (weight == NULL) {
        return;
    }
    pthread_mutex_lock(&device->lock);
    for (uint32_t i = 0; i < weight->n_slabs; i++) {
        ocl_slab_give(device, weight->slabs[i]);
    }
    pthread_mutex_unlock(&device->lock);
    free(weight->parts);
    free(weight->slabs);
    free(weight);
}

int
ocl_weight_refill(struct hearth_device *device, struct hearth_weight *weight, ocl_weight_source *source, void *context,
                  struct hearth_error *err)
{
    if (weight->role != HEARTH_WEIGHT_EXPERT) {
        return host_error(err, HEARTH_EUNSUPPORTED, 0, "an expert wanted, a weight of role %u found", weight->role);
    }
    if (device->is_lost) {
        return host_error(err, HEARTH_ELOST, 0, "the device is lost");
    }
    const struct ocl_span first = weight->parts[0].data;
    unsigned char *host = device->slabs[weight->slabs[0]].host;
    unsigned char *bytes = host != NULL ? host + first.offset : NULL; /* of the expert's piece of its slab */
    int status = host != NULL ? 0 : ocl_loan_begin(device, weight->expert_bytes, &bytes, err);
    for (uint32_t i = 0; i < weight->n_matrices && status == 0; i++) {
        const struct ocl_part *part = &weight->parts[i];
        unsigned char *scales = part->scales.mem != NULL ? bytes + (part->scales.offset - first.offset) : NULL;
        status = source(context, i, bytes + (part->data.offset - first.offset), scales, err);
    }
    return status < 0 || host != NULL ? status : ocl_loan_end(device, first, weight->expert_bytes, err);
}
