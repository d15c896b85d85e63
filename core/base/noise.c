/* noise.c - see noise.h. */
#include "core/base/noise.h"

#include <math.h>
#include <string.h>

#define INDEX_BITS 12 /* of NOISE_VALUES */
#define PER_DRAW (64 / INDEX_BITS)

double
noise_quantile(double p)
{
    double low = -9, high = 9; /* beyond, doubles hold no such p */
    for (int i = 0; i < 60; i++) {
        const double middle = (low + high) / 2;
        if (0.5 * erfc(-middle / sqrt(2)) < p) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (low + high) / 2;
}

void
noise_table_normal(enum hearth_dtype dtype, double mean, double deviation, struct noise_table *ret_table)
{
    ret_table->element_bytes = dtype == HEARTH_F32 ? 4 : dtype == HEARTH_BF16 ? 2 : 1;
    for (uint32_t i = 0; i < NOISE_VALUES; i++) {
        const float value = (float)(mean + deviation * noise_quantile((i + 0.5) / NOISE_VALUES));
        if (dtype == HEARTH_F32) {
            ret_table->values.f32[i] = value;
        } else if (dtype == HEARTH_BF16) {
            ret_table->values.u16[i] = hearth_bf16_from_f32(value);
        } else {
            ret_table->values.u8[i] = hearth_e4m3_from_f32(value);
        }
    }
}

void
noise_table_scales(int exponent, struct noise_table *ret_table)
{
    ret_table->element_bytes = 1;
    for (uint32_t i = 0; i < NOISE_VALUES; i++) {
        const int more = i % 4 == 0 ? -1 : i % 4 == 1 ? 1 : 0;
        ret_table->values.u8[i] = (uint8_t)(127 + exponent + more);
    }
}

void
noise_table_bytes(struct noise_table *ret_table)
{
    ret_table->element_bytes = 1;
    for (uint32_t i = 0; i < NOISE_VALUES; i++) {
        ret_table->values.u8[i] = (uint8_t)i;
    }
}

/* One loop for each element size, so that the size is a constant in it. */
#define FILL(type, member)                                                                                             \
    do {                                                                                                               \
        unsigned char *out = dst; /* a row of state need not be aligned */                                             \
        for (uint64_t i = 0; i < n;) {                                                                                 \
            uint64_t draw = random_next(random);                                                                       \
            const uint64_t end = n - i < PER_DRAW ? n : i + PER_DRAW;                                                  \
            for (; i < end; i++, draw >>= INDEX_BITS) {                                                                \
                memcpy(out + i * sizeof(type), &table->values.member[draw & (NOISE_VALUES - 1)], sizeof(type));        \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

void
noise_fill(struct random *random, const struct noise_table *table, void *dst, uint64_t n)
{
    if (table->element_bytes == 1) {
        FILL(uint8_t, u8);
    } else if (table->element_bytes == 2) {
        FILL(uint16_t, u16);
    } else {
        FILL(float, f32);
    }
}
