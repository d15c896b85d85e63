/* core/base/bytes.h - sizes that cannot overflow, little-endian reads. */
#ifndef CORE_BASE_BYTES_H
#define CORE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False, and *ret_size untouched, if the result does not fit. */
static inline bool
mul_size(uint64_t a, uint64_t b, uint64_t *ret_size)
{
    uint64_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        return false;
    }
    *ret_size = product;
    return true;
}

static inline bool
add_size(uint64_t a, uint64_t b, uint64_t *ret_size)
{
    uint64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) {
        return false;
    }
    *ret_size = sum;
    return true;
}

/* value rounded up to a multiple of step; step > 0 and the result fits */
static inline uint64_t
round_up(uint64_t value, uint64_t step)
{
    return (value + step - 1) / step * step;
}

static inline uint64_t
ceil_div(uint64_t value, uint64_t divisor)
{
    return value / divisor + (value % divisor != 0);
}

static inline uint64_t
read_le64(const unsigned char *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static inline void
write_le64(unsigned char *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
}

#endif
