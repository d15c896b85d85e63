/* quantize.c - activation quantisation and the Hadamard rotation.
 *
 * A block's scale is the smallest power of two s with max|x| / s within the format, found by one f32 product with the
 * reciprocal of the format's maximum (kernel.py act_quant, fp4_act_quant).  A block that holds a NaN or an infinity
 * gets the scale code HEARTH_E8M0_NAN: everything computed from it is NaN. */
#include "backends/ref/ref.h"

/* kernel.py: the floor of max|x|; for e2m1 6 * 2^-126 */
#define ACT_FLOOR 1e-4f
#define FP4_FLOOR 0x1.8p-124f

static uint8_t
block_scale(const float *x, uint64_t n, float floor, float reciprocal)
{
    float amax = floor;
    for (uint64_t i = 0; i < n; i++) {
        const float magnitude = fabsf(x[i]);
        if (!(magnitude < INFINITY)) {
            return HEARTH_E8M0_NAN;
        }
        amax = magnitude > amax ? magnitude : amax;
    }
    return hearth_scale_code(amax, reciprocal);
}

/* 1 / s, exactly; s = 2^(code - 127), code < 254 since max|x| / 6 < 2^126 */
static float
reciprocal_scale(uint8_t code)
{
    return code == HEARTH_E8M0_NAN ? 0.0f : hearth_e8m0_to_f32((uint8_t)(254u - code));
}

void
ref_act_quant(const float *x, uint64_t n, uint32_t block, uint8_t *codes, uint8_t *scales)
{
    for (uint64_t begin = 0; begin < n; begin += block) {
        const uint64_t length = n - begin < block ? n - begin : block;
        const uint8_t scale = block_scale(x + begin, length, ACT_FLOOR, HEARTH_E4M3_RECIPROCAL);
        const float reciprocal = reciprocal_scale(scale);
        scales[begin / block] = scale;
        for (uint64_t i = begin; i < begin + length; i++) {
            codes[i] = scale == HEARTH_E8M0_NAN ? 0 : hearth_e4m3_from_f32(x[i] * reciprocal);
        }
    }
}

void
ref_fp4_quant(const float *x, uint64_t n, uint8_t *codes, uint8_t *scales)
{
    for (uint64_t begin = 0; begin < n; begin += HOST_INDEX_BLOCK) {
        const uint64_t length = n - begin < HOST_INDEX_BLOCK ? n - begin : HOST_INDEX_BLOCK;
        const uint8_t scale = block_scale(x + begin, length, FP4_FLOOR, HEARTH_E2M1_RECIPROCAL);
        const float reciprocal = reciprocal_scale(scale);
        scales[begin / HOST_INDEX_BLOCK] = scale;
        for (uint64_t i = begin; i < begin + length; i++) {
            codes[i] = scale == HEARTH_E8M0_NAN ? 0 : hearth_e2m1_from_f32(x[i] * reciprocal);
        }
    }
}

/* y_i = width^-1/2 * sum_j (-1)^popcount(i & j) x_j, by the fast transform: log2(width) rounds of sums and differences.
 */
void
ref_hadamard(float *x, uint32_t width)
{
    const float factor = (float)(1.0 / sqrt((double)width));
    for (uint32_t half = 1; half < width; half *= 2) {
        for (uint32_t i = 0; i < width; i++) {
            if ((i & half) == 0) {
                const float a = x[i];
                const float b = x[i + half];
                x[i] = a + b;
                x[i + half] = a - b;
            }
        }
    }
    for (uint32_t i = 0; i < width; i++) {
        x[i] = hearth_round_bf16(x[i] * factor);
    }
}

float
ref_round(bool native, double value)
{
    return native ? hearth_round_bf16((float)value) : (float)value;
}
