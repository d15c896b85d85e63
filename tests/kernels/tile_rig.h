/* tile_rig.h - what the tests of kernels for AMX share: numbers, and memory as kernels want it. */
#ifndef TESTS_KERNELS_TILE_RIG_H
#define TESTS_KERNELS_TILE_RIG_H

#include <check.h>
#include <stdint.h>
#include <stdlib.h>

static uint32_t state; /* of next_random */

static uint32_t
next_random(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

static void *
take(size_t size)
{
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

#endif
