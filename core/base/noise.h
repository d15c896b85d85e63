/* core/base/noise.h - numbers in bulk that look like a model's: for weights and states that nobody trained.
 *
 * A table holds NOISE_VALUES values of a distribution in one element type; filling picks among them at random, which
 * is as fast as memory is written.  The same seed fills the same bytes on every machine. */
#ifndef CORE_BASE_NOISE_H
#define CORE_BASE_NOISE_H

#include <hearth/dtype.h>

#include "core/base/random.h"

#define NOISE_VALUES 4096u

struct noise_table {
    uint32_t element_bytes; /* 1, 2 or 4 */
    union {
        uint8_t u8[NOISE_VALUES];
        uint16_t u16[NOISE_VALUES];
        float f32[NOISE_VALUES];
    } values;
};

/* The number below which a standard normal variable lies with probability p, 0 < p < 1. */
double noise_quantile(double p);
/* A normal distribution in F32, BF16 or E4M3; what E4M3 cannot hold becomes its largest number, never a NaN. */
void noise_table_normal(enum hearth_dtype dtype, double mean, double deviation, struct noise_table *ret_table);
/* E8M0: 2^(exponent-1), 2^exponent and 2^(exponent+1), the middle one half of the time. */
void noise_table_scales(int exponent, struct noise_table *ret_table);
/* E2M1X2: every byte. */
void noise_table_bytes(struct noise_table *ret_table);

/* dst: room for n elements of the table's type. */
void noise_fill(struct random *random, const struct noise_table *table, void *dst, uint64_t n);

#endif
