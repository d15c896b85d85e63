/* weight.c - matrices in the layouts of cpu.h.  Vectors become f32; embeddings and tables of integers stay where the
 * program has mapped them; all else is copied, rows padded, e2m1 rows interleaved, by all threads: into a slab, or to
 * where the program wants it, who then keeps it in a file and gives it back.
 * What is packed depends on the matrices and on option head alone: CPU_LAYOUT names it. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backends/cpu/kernels.h"

#define DATA_ALIGN 64u

static uint64_t
align_up(uint64_t n)
{
    return (n + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
}

/* Where one matrix lies in the packed weight; data_bytes 0: it stays as it is. */
struct part {
    uint32_t packing;
    uint64_t at, data_bytes, scales_bytes; /* scales, where they lie apart, behind the data */
};

/* What matrices of a role and type are packed as.  False: they stay as they are. */
static bool
choose_packing(enum hearth_weight_role role, uint32_t dtype, uint32_t *ret_packing)
{
    if (role == HEARTH_WEIGHT_EMBEDDING || dtype == HEARTH_I32 || dtype == HEARTH_I64) {
        return false;
    }
    *ret_packing = role == HEARTH_WEIGHT_VECTOR ? CPU_CANONICAL : (dtype == HEARTH_E2M1X2 ? CPU_PANELS : CPU_ROWS);
    return true;
}

/* The parts one behind the other; returns how large they are together. */
static uint64_t
lay_out(enum hearth_weight_role role, const struct hearth_weight *weight, struct part parts[HOST_MAX_MATRICES])
{
    uint64_t at = 0;
    for (uint32_t i = 0; i < weight->n_matrices; i++) {
        const struct host_matrix *matrix = &weight->matrices[i];
        struct part part = {.at = at};
        if (choose_packing(role, matrix->dtype, &part.packing)) {
            part.data_bytes = part.packing == CPU_CANONICAL
                                  ? align_up(matrix->rows * matrix->cols * sizeof(float))
                                  : align_up(cpu_row_units(matrix->rows) * cpu_unit_bytes(matrix));
        }
        if (part.packing == CPU_ROWS && matrix->dtype == HEARTH_E4M3) {
            const uint64_t n_rows = (matrix->rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
            part.scales_bytes = align_up(n_rows * (cpu_padded(matrix->cols) / HOST_ACT_BLOCK) * sizeof(float));
        }
        at += part.data_bytes + part.scales_bytes;
        parts[i] = part;
    }
    return at;
}

struct pack {
    const struct cpu_kernels *kernels;
    const struct host_matrix *from;
    unsigned char *data;
    bool *has_nan; /* [threads] */
};

/* Four bits of each of 16 rows: piece j of block `block`. */
static void
pack_piece(const struct host_matrix *from, uint64_t panel, uint64_t col, unsigned char *out)
{
    for (uint64_t r = 0; r < CPU_PANEL_ROWS && panel * CPU_PANEL_ROWS + r < from->rows; r++) {
        const unsigned char *row = from->data + (panel * CPU_PANEL_ROWS + r) * (from->cols / 2);
        unsigned char bytes[4] = {0, 0, 0, 0}; /* columns col .. col + 7, two a byte */
        for (uint64_t i = 0; i < 4 && col + 2 * i < from->cols; i++) {
            bytes[i] = row[col / 2 + i];
        }
        for (unsigned b = 0; b < 4; b++) {
            const unsigned low = bytes[b / 2] >> (b % 2 * 4) & 15u;
            const unsigned high = bytes[2 + b / 2] >> (b % 2 * 4) & 15u;
            out[4 * r + b] = (unsigned char)(low | high << 4);
        }
    }
}

/* A panel with fewer rows, or columns that do not fill its groups. */
static void
pack_odd_panel(const struct host_matrix *from, uint64_t panel, unsigned char *out)
{
    const uint64_t n_blocks = (from->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK;
    memset(out, 0, (size_t)cpu_unit_bytes(from));
    for (uint64_t block = 0; block < n_blocks; block++) {
        unsigned char *group = out + block / 4 * CPU_GROUP_BYTES;
        unsigned char *scales = group + block % 4 * CPU_PANEL_ROWS;
        unsigned char *codes = group + 4 * CPU_PANEL_ROWS + block % 4 * (HOST_E2M1_BLOCK / 2 * CPU_PANEL_ROWS);
        for (uint64_t r = 0; r < CPU_PANEL_ROWS && panel * CPU_PANEL_ROWS + r < from->rows; r++) {
            scales[r] = from->scales[(panel * CPU_PANEL_ROWS + r) * n_blocks + block];
        }
        for (unsigned j = 0; j < 4; j++) {
            pack_piece(from, panel, block * HOST_E2M1_BLOCK + 8 * j, codes + 4 * CPU_PANEL_ROWS * j);
        }
    }
}

/* item: panel */
static void
pack_panels(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct pack *work = context;
    const struct host_matrix *from = work->from;
    const uint64_t n_groups = from->cols / CPU_GROUP_COLS;
    (void)thread;
    for (uint64_t panel = begin; panel < end; panel++) {
        unsigned char *out = work->data + panel * cpu_unit_bytes(from);
        const uint64_t row = panel * CPU_PANEL_ROWS;
        if (from->cols % CPU_GROUP_COLS == 0 && from->rows - row >= CPU_PANEL_ROWS) {
            work->kernels->pack_panel(from->data + row * (from->cols / 2),
                                      from->scales + row * (from->cols / HOST_E2M1_BLOCK), n_groups, out);
        } else {
            pack_odd_panel(from, panel, out);
        }
    }
}

/* item: row */
static void
pack_rows(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct pack *work = context;
    const struct host_matrix *from = work->from;
    const uint64_t padded_bytes = cpu_unit_bytes(from) / CPU_ROW_UNIT;
    const uint64_t bytes = padded_bytes / cpu_padded(from->cols) * from->cols;
    for (uint64_t row = begin; row < end; row++) {
        unsigned char *out = work->data + row * padded_bytes;
        if (from->dtype == HEARTH_E4M3) {
            work->has_nan[thread] |= work->kernels->pack_e4m3(from->data + row * bytes, bytes, out);
        } else {
            memcpy(out, from->data + row * bytes, (size_t)bytes);
        }
        memset(out + bytes, 0, (size_t)(padded_bytes - bytes));
    }
}

/* Returns the end of what it wrote. */
static unsigned char *
pack_scales(const struct host_matrix *from, float *out)
{
    const uint64_t n_cols = cpu_padded(from->cols) / HOST_ACT_BLOCK;
    const uint64_t n = (from->rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * n_cols;
    for (uint64_t i = 0; i < n; i++) {
        out[i] = hearth_e8m0_to_f32(from->scales[i]);
    }
    return (unsigned char *)(out + n);
}

static void
clear(unsigned char *begin, const unsigned char *end)
{
    memset(begin, 0, (size_t)(end - begin));
}

/* Writes all bytes of a part to its place in `to`. */
static int
pack_part(struct hearth_device *device, const struct host_matrix *matrix, const struct part *part, unsigned char *to,
          struct hearth_error *err)
{
    bool has_nan[HOST_MAX_THREADS] = {false};
    unsigned char *data = to + part->at, *scales = data + part->data_bytes;
    struct pack work = {device->kernels, matrix, data, has_nan};
    const uint64_t n_units = cpu_row_units(matrix->rows);
    if (part->packing == CPU_PANELS) {
        cpu_pool_run(device->pool, n_units, 1, cpu_unit_bytes(matrix), (struct cpu_work){pack_panels, &work});
        clear(data + n_units * cpu_unit_bytes(matrix), scales);
    } else if (part->packing == CPU_ROWS) {
        const uint64_t row_bytes = cpu_unit_bytes(matrix) / CPU_ROW_UNIT;
        cpu_pool_run(device->pool, matrix->rows, 1, row_bytes, (struct cpu_work){pack_rows, &work});
        clear(data + matrix->rows * row_bytes, scales);
    } else {
        for (uint64_t row = 0; row < matrix->rows; row++) {
            host_matrix_row(matrix, row, (float *)(void *)data + row * matrix->cols);
        }
        clear(data + matrix->rows * matrix->cols * sizeof(float), scales);
    }
    if (part->scales_bytes > 0) {
        clear(pack_scales(matrix, (float *)(void *)scales), scales + part->scales_bytes);
    }
    for (uint32_t i = 0; i < HOST_MAX_THREADS; i++) {
        if (has_nan[i]) {
            return host_error(err, HEARTH_EFORMAT, 0, "%llu x %llu e4m3 elements: numbers wanted, a NaN found",
                              (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
        }
    }
    return 0;
}

static int
pack_all(struct hearth_device *device, const struct hearth_weight *weight, const struct part *parts, unsigned char *to,
         struct hearth_error *err)
{
    int status = 0;
    for (uint32_t i = 0; i < weight->n_matrices && status == 0; i++) {
        status = parts[i].data_bytes > 0 ? pack_part(device, &weight->matrices[i], &parts[i], to, err) : 0;
    }
    return status;
}

/* The weight's matrices become those that lie packed at `from`. */
static void
point_at(struct hearth_weight *weight, const struct part *parts, const unsigned char *from, bool is_reduced)
{
    for (uint32_t i = 0; i < weight->n_matrices; i++) {
        struct host_matrix *matrix = &weight->matrices[i];
        if (parts[i].data_bytes > 0) {
            matrix->packing = is_reduced ? CPU_ROWS_REDUCED : parts[i].packing;
            matrix->dtype = parts[i].packing == CPU_CANONICAL ? HEARTH_F32 : matrix->dtype;
            matrix->data = from + parts[i].at;
            matrix->scales = parts[i].scales_bytes > 0 ? matrix->data + parts[i].data_bytes : NULL;
        }
    }
}

/* Nobody has touched the weight's memory yet. */
static void
bind(const struct hearth_device *device, const struct hearth_weight *weight, const struct part *parts,
     unsigned char *memory)
{
    bool is_bound = true;
    for (uint32_t i = 0; i < weight->n_matrices; i++) {
        const struct host_matrix *matrix = &weight->matrices[i];
        const uint64_t unit_bytes = parts[i].packing == CPU_CANONICAL ? 0 : cpu_unit_bytes(matrix);
        is_bound &= cpu_places_bind(device->places, memory + parts[i].at, cpu_row_units(matrix->rows), unit_bytes);
    }
    if (!is_bound) {
        cpu_say_once(CPU_MATTER_BIND, "cpu: weights could not be bound to the memory near their threads");
    }
}

/* Whether the weight is the head that option head=e4m3 makes smaller. */
static bool
is_to_reduce(const struct hearth_device *device, enum hearth_weight_role role, const struct hearth_weight *weight)
{
    const uint32_t dtype = weight->matrices[0].dtype;
    return role == HEARTH_WEIGHT_HEAD && device->reduces_head && (dtype == HEARTH_BF16 || dtype == HEARTH_F32);
}

/* Packs the weight to `to`, or to memory of its own if to is NULL. */
static int
pack_weight(struct hearth_device *device, enum hearth_weight_role role, struct hearth_weight *weight, unsigned char *to,
            struct hearth_error *err)
{
    const bool is_reduced = is_to_reduce(device, role, weight);
    struct part parts[HOST_MAX_MATRICES];
    void *reduced = NULL;
    int status = is_reduced ? cpu_head_reduce(device, &weight->matrices[0], &reduced, err) : 0;
    if (status < 0) {
        return status;
    }
    const uint64_t size = lay_out(role, weight, parts);
    if (to == NULL && size > 0) {
        struct cpu_slab *slab = NULL;
        to = cpu_slab_take(device, size, &slab);
        weight->owned = slab;
        if (to == NULL) {
            status =
                host_error(err, HEARTH_EMEMORY, 0, "no memory for a weight of %llu bytes", (unsigned long long)size);
        } else {
            bind(device, weight, parts, to);
        }
    }
    status = status < 0 ? status : pack_all(device, weight, parts, to, err);
    free(reduced);
    if (status == 0) {
        point_at(weight, parts, to, is_reduced);
    }
    return status;
}

int
cpu_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                  size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    struct hearth_weight *weight;
    int status = host_weight_new(role, matrices, n_matrices, &weight, err);
    if (status < 0) {
        return status;
    }
    status = pack_weight(device, role, weight, NULL, err);
    if (status < 0) {
        cpu_weight_free(device, weight);
        return status;
    }
    *ret_weight = weight;
    return 0;
}

void
cpu_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    if (weight != NULL) {
        cpu_slab_leave(device, weight->owned);
        free(weight);
    }
}

/* Vectors are small and soon made; what is not packed stays in the source. */
int
cpu_packed_bytes(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                 size_t n_matrices, uint64_t *ret_bytes, struct hearth_error *err)
{
    struct part parts[HOST_MAX_MATRICES];
    struct hearth_weight *weight;
    const int status = host_weight_new(role, matrices, n_matrices, &weight, err);
    if (status < 0) {
        return status;
    }
    if (is_to_reduce(device, role, weight)) {
        weight->matrices[0].dtype = HEARTH_E4M3;
    }
    *ret_bytes = role == HEARTH_WEIGHT_VECTOR ? 0 : lay_out(role, weight, parts);
    cpu_weight_free(device, weight);
    return 0;
}

int
cpu_weight_pack(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                size_t n_matrices, void *dst, struct hearth_error *err)
{
    struct hearth_weight *weight;
    int status = host_weight_new(role, matrices, n_matrices, &weight, err);
    if (status < 0) {
        return status;
    }
    status = pack_weight(device, role, weight, dst, err);
    cpu_weight_free(device, weight);
    return status;
}

int
cpu_weight_map(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
               size_t n_matrices, const void *packed, struct hearth_weight **ret_weight, struct hearth_error *err)
{
    struct part parts[HOST_MAX_MATRICES];
    struct hearth_weight *weight;
    const int status = host_weight_new(role, matrices, n_matrices, &weight, err);
    if (status < 0) {
        return status;
    }
    const bool is_reduced = is_to_reduce(device, role, weight);
    if (is_reduced) {
        weight->matrices[0].dtype = HEARTH_E4M3;
    }
    (void)lay_out(role, weight, parts);
    point_at(weight, parts, packed, is_reduced);
    if (cpu_places_split(device->places)->n_nodes > 1) {
        cpu_say_once(CPU_MATTER_MAP, "cpu: weights mapped from a file lie in the memory of whichever node read it");
    }
    *ret_weight = weight;
    return 0;
}
