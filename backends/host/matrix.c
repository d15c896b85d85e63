/* matrix.c - see matrix.h.  Data may lie at any address: elements are read through memcpy. */
#include <string.h>

#include <hearth/numerics.h>

#include "backends/host/matrix.h"

float host_e4m3_values[256];
int16_t host_e4m3_wholes[256], host_e4m3_fractions[256];
struct host_halves host_e2m1_halves[256];

void
host_tables_fill(void)
{
    for (int code = 0; code < 256; code++) {
        const int magnitude = code & 0x7F;
        const int exponent = magnitude >> 3;
        const int units = exponent == 0 ? magnitude : (8 + (magnitude & 7)) << (exponent - 1); /* of 2^-9 */
        const int sign = code & 0x80 ? -1 : 1;
        host_e4m3_values[code] = hearth_e4m3_to_f32((uint8_t)code);
        host_e4m3_wholes[code] = (int16_t)(sign * (units / 512));
        host_e4m3_fractions[code] = (int16_t)(sign * (units % 512));
        host_e2m1_halves[code].low = (int16_t)(2.0f * hearth_e2m1_to_f32((uint8_t)(code & 15)));
        host_e2m1_halves[code].high = (int16_t)(2.0f * hearth_e2m1_to_f32((uint8_t)(code >> 4)));
    }
}

bool
host_dtype_quantises(uint32_t dtype)
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
row_e4m3(const struct host_matrix *matrix, uint64_t row, float *out)
{
    const uint64_t n_blocks = (matrix->cols + HOST_ACT_BLOCK - 1) / HOST_ACT_BLOCK;
    const unsigned char *data = matrix->data + row * matrix->cols;
    const unsigned char *scales = matrix->scales + row / HOST_ACT_BLOCK * n_blocks;
    for (uint64_t begin = 0; begin < matrix->cols; begin += HOST_ACT_BLOCK) {
        const uint64_t end = matrix->cols - begin < HOST_ACT_BLOCK ? matrix->cols : begin + HOST_ACT_BLOCK;
        const float scale = hearth_e8m0_to_f32(scales[begin / HOST_ACT_BLOCK]);
        for (uint64_t i = begin; i < end; i++) {
            out[i] = host_e4m3_values[data[i]] * scale;
        }
    }
}

/* Scales are [rows][ceil(cols / 32)]; element 2j is the low nibble of byte j. */
static void
row_e2m1(const struct host_matrix *matrix, uint64_t row, float *out)
{
    const uint64_t n_blocks = (matrix->cols + HOST_E2M1_BLOCK - 1) / HOST_E2M1_BLOCK;
    const unsigned char *data = matrix->data + row * (matrix->cols / 2);
    const unsigned char *scales = matrix->scales + row * n_blocks;
    for (uint64_t begin = 0; begin < matrix->cols; begin += HOST_E2M1_BLOCK) {
        const uint64_t end = matrix->cols - begin < HOST_E2M1_BLOCK ? matrix->cols : begin + HOST_E2M1_BLOCK;
        const float half = 0.5f * hearth_e8m0_to_f32(scales[begin / HOST_E2M1_BLOCK]);
        for (uint64_t i = begin; i < end; i += 2) {
            const struct host_halves halves = host_e2m1_halves[data[i / 2]];
            out[i] = (float)halves.low * half;
            out[i + 1] = (float)halves.high * half;
        }
    }
}

void
host_matrix_row(const struct host_matrix *matrix, uint64_t row, float *out)
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
