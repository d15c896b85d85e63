/* matrix.c - rows of a weight as numbers.  Data may lie at any address: elements are read through memcpy. */
#include "backends/ref/ref.h"

bool
ref_dtype_quantises(uint32_t dtype)
{
    return dtype == HEARTH_E4M3 || dtype == HEARTH_E2M1X2;
}

static void
row_bf16(const unsigned char *data, uint64_t n, float *out)
{
    for (uint64_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, data + 2 * i, sizeof bits);
        out[i] = hearth_bf16_to_f32(bits);
    }
}

/* Scales are [ceil(rows / 128)][ceil(cols / 128)]. */
static void
row_e4m3(const struct ref_matrix *matrix, uint64_t row, float *out)
{
    const uint64_t n_blocks = (matrix->cols + REF_ACT_BLOCK - 1) / REF_ACT_BLOCK;
    const unsigned char *data = matrix->data + row * matrix->cols;
    const unsigned char *scales = matrix->scales + row / REF_ACT_BLOCK * n_blocks;
    for (uint64_t i = 0; i < matrix->cols; i++) {
        out[i] = hearth_e4m3_to_f32(data[i]) * hearth_e8m0_to_f32(scales[i / REF_ACT_BLOCK]);
    }
}

/* Scales are [rows][ceil(cols / 32)]; element 2j is the low nibble of byte j. */
static void
row_e2m1(const struct ref_matrix *matrix, uint64_t row, float *out)
{
    const uint64_t n_blocks = (matrix->cols + REF_E2M1_BLOCK - 1) / REF_E2M1_BLOCK;
    const unsigned char *data = matrix->data + row * (matrix->cols / 2);
    const unsigned char *scales = matrix->scales + row * n_blocks;
    for (uint64_t i = 0; i < matrix->cols; i++) {
        const uint8_t code = (uint8_t)(data[i / 2] >> (i % 2 * 4) & 15u);
        out[i] = hearth_e2m1_to_f32(code) * hearth_e8m0_to_f32(scales[i / REF_E2M1_BLOCK]);
    }
}

void
ref_matrix_row(const struct ref_matrix *matrix, uint64_t row, float *out)
{
    switch (matrix->dtype) {
    case HEARTH_F32:
        memcpy(out, matrix->data + row * matrix->cols * sizeof(float), (size_t)matrix->cols * sizeof(float));
        break;
    case HEARTH_BF16:
        row_bf16(matrix->data + row * matrix->cols * 2, matrix->cols, out);
        break;
    case HEARTH_E4M3:
        row_e4m3(matrix, row, out);
        break;
    case HEARTH_E2M1X2:
        row_e2m1(matrix, row, out);
        break;
    default: /* weight_create and ref_weight let no other type through */
        break;
    }
}
