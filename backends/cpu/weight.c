/* weight.c - matrices in the layouts of cpu.h.  Vectors become f32; embeddings and tables of integers stay where the
 * program has mapped them; all else is copied, rows padded, e2m1 rows interleaved, by all threads, into memory on huge
 * pages where the system gives them.  The source's pages are then marked as ones that are not needed soon. */
#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/cpu/kernels.h"

#define DATA_ALIGN 64u
#define HUGE_PAGE (2u << 20)

static uint64_t
align_up(uint64_t n)
{
    return (n + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
}

/* Bytes of the copy; scales: of those that lie apart. */
static void
copy_bytes(const struct host_matrix *matrix, uint32_t packing, uint64_t *ret_data, uint64_t *ret_scales)
{
    *ret_scales = 0;
    if (packing == CPU_CANONICAL) {
        *ret_data = align_up(matrix->rows * matrix->cols * sizeof(float));
        return;
    }
    *ret_data = align_up(cpu_row_units(matrix->rows) * cpu_unit_bytes(matrix));
    if (matrix->dtype == HEARTH_E4M3) {
        const uint64_t n_rows = (matrix->rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
        *ret_scales = align_up(n_rows * (cpu_padded(matrix->cols) / HOST_ACT_BLOCK) * sizeof(float));
    }
}

struct pack {
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

/* item: panel */
static void
pack_panels(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct pack *work = context;
    const struct host_matrix *from = work->from;
    const uint64_t n_blocks = (from->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK;
    const uint64_t panel_bytes = cpu_unit_bytes(from);
    (void)thread;
    for (uint64_t panel = begin; panel < end; panel++) {
        unsigned char *out = work->data + panel * panel_bytes;
        memset(out, 0, (size_t)panel_bytes);
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
}

static bool
holds_nan(const unsigned char *codes, uint64_t n)
{
    bool found = false;
    for (uint64_t i = 0; i < n; i++) {
        found |= (codes[i] & 0x7Fu) == 0x7Fu;
    }
    return found;
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
        memcpy(out, from->data + row * bytes, (size_t)bytes);
        memset(out + bytes, 0, (size_t)(padded_bytes - bytes));
        if (from->dtype == HEARTH_E4M3 && holds_nan(out, bytes)) {
            work->has_nan[thread] = true;
        }
    }
}

static void
pack_scales(const struct host_matrix *from, float *out)
{
    const uint64_t n_cols = cpu_padded(from->cols) / HOST_ACT_BLOCK;
    const uint64_t n = (from->rows + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK * n_cols;
    for (uint64_t i = 0; i < n; i++) {
        out[i] = hearth_e8m0_to_f32(from->scales[i]);
    }
}

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

/* Copies one matrix to `to` and makes it point there. */
static int
pack_matrix(struct hearth_device *device, struct host_matrix *matrix, uint32_t packing, unsigned char *to,
            struct hearth_error *err)
{
    struct host_matrix packed = *matrix;
    bool has_nan[HOST_MAX_THREADS] = {false};
    struct pack work = {matrix, to, has_nan};
    uint64_t data_bytes, scales_bytes;
    copy_bytes(matrix, packing, &data_bytes, &scales_bytes);
    packed.packing = packing;
    packed.data = to;
    packed.scales = NULL;
    const uint64_t unit_bytes = packing == CPU_CANONICAL ? 0 : cpu_unit_bytes(matrix);
    if (!cpu_places_bind(device->places, to, cpu_row_units(matrix->rows), unit_bytes)) {
        cpu_say_once(CPU_MATTER_BIND, "cpu: weights could not be bound to the memory near their threads");
    }
    if (packing == CPU_PANELS) {
        cpu_pool_run(device->pool, cpu_row_units(matrix->rows), 1, cpu_unit_bytes(matrix),
                     (struct cpu_work){pack_panels, &work});
    } else if (packing == CPU_ROWS) {
        const uint64_t cost = cpu_unit_bytes(matrix) / CPU_ROW_UNIT;
        cpu_pool_run(device->pool, matrix->rows, 1, cost, (struct cpu_work){pack_rows, &work});
    } else {
        packed.dtype = HEARTH_F32;
        for (uint64_t row = 0; row < matrix->rows; row++) {
            host_matrix_row(matrix, row, (float *)(void *)to + row * matrix->cols);
        }
    }
    if (scales_bytes > 0) {
        pack_scales(matrix, (float *)(void *)(to + data_bytes));
        packed.scales = to + data_bytes;
    }
    for (uint32_t i = 0; i < HOST_MAX_THREADS; i++) {
        if (has_nan[i]) {
            return host_error(err, HEARTH_EFORMAT, 0, "%llu x %llu e4m3 elements: numbers wanted, a NaN found",
                              (unsigned long long)matrix->rows, (unsigned long long)matrix->cols);
        }
    }
    *matrix = packed;
    return 0;
}

/* The pages of a source that lie wholly within it.  Only a hint: what the program still reads, it reads. */
static void
let_go(const struct hearth_matrix *source)
{
#ifdef MADV_COLD
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)source->data + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)source->data + source->data_bytes) / page * page;
    if (end > begin) {
        (void)madvise((void *)begin, end - begin, MADV_COLD);
    }
#else
    (void)source;
#endif
}

static unsigned char *
take_memory(uint64_t size)
{
    const uint64_t align = size >= HUGE_PAGE ? HUGE_PAGE : DATA_ALIGN;
    const uint64_t padded = (size + align - 1) / align * align;
    unsigned char *memory = aligned_alloc((size_t)align, (size_t)padded);
#ifdef MADV_HUGEPAGE
    if (memory != NULL && align == HUGE_PAGE && madvise(memory, (size_t)padded, MADV_HUGEPAGE) != 0) {
        cpu_say_once(CPU_MATTER_HUGE_PAGES, "cpu: no huge pages for weights: small ones serve as well, slower");
    }
#endif
    return memory;
}

static int
pack_weight(struct hearth_device *device, enum hearth_weight_role role, struct hearth_weight *weight,
            struct hearth_error *err)
{
    uint64_t total = 0;
    for (uint32_t pass = 0; pass < 2; pass++) {
        uint64_t at = 0;
        for (uint32_t i = 0; i < weight->n_matrices; i++) {
            struct host_matrix *matrix = &weight->matrices[i];
            uint32_t packing;
            uint64_t data_bytes, scales_bytes;
            if (!choose_packing(role, matrix->dtype, &packing)) {
                continue;
            }
            copy_bytes(matrix, packing, &data_bytes, &scales_bytes);
            if (pass == 1) {
                const int status = pack_matrix(device, matrix, packing, (unsigned char *)weight->owned + at, err);
                if (status < 0) {
                    return status;
                }
            }
            at += data_bytes + scales_bytes;
        }
        total = at;
        if (pass == 0 && total > 0) {
            weight->owned = take_memory(total);
            weight->owned_bytes = total;
            if (weight->owned == NULL) {
                return host_error(err, HEARTH_EMEMORY, 0, "no memory for a weight of %llu bytes",
                                  (unsigned long long)total);
            }
        }
    }
    return 0;
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
    void *reduced = NULL;
    const uint32_t dtype = weight->matrices[0].dtype;
    if (role == HEARTH_WEIGHT_HEAD && device->reduces_head && (dtype == HEARTH_BF16 || dtype == HEARTH_F32)) {
        status = cpu_head_reduce(device, &weight->matrices[0], &reduced, err);
    }
    if (status == 0) {
        status = pack_weight(device, role, weight, err);
    }
    free(reduced);
    if (status < 0) {
        cpu_weight_free(device, weight);
        return status;
    }
    if (reduced != NULL) {
        weight->matrices[0].packing = CPU_ROWS_REDUCED;
    }
    for (size_t i = 0; i < n_matrices && weight->owned != NULL; i++) {
        let_go(&matrices[i]);
    }
    *ret_weight = weight;
    return 0;
}

void
cpu_weight_free(struct hearth_device *device, struct hearth_weight *weight)
{
    (void)device;
    if (weight != NULL) {
        free(weight->owned);
        free(weight);
    }
}
