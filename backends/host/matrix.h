/* matrix.h - rows of weights as numbers, wherever a backend's memory is. */
#ifndef BACKENDS_HOST_MATRIX_H
#define BACKENDS_HOST_MATRIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/plugin.h>

/* Blocks of the quantised formats: activations of a linear, cached KV rows, indexer keys and queries, e2m1 weights. */
#define HOST_ACT_BLOCK 128u
#define HOST_KV_BLOCK 64u
#define HOST_INDEX_BLOCK 32u
#define HOST_E2M1_BLOCK 32u

/* data and scales are the caller's bytes (they may lie at odd addresses) or lie in memory of the weight.  A backend
 * that packs a matrix sets packing to a number of its own; then data is its own, and nothing here reads it. */
struct host_matrix {
    uint32_t dtype;
    uint32_t packing; /* 0: canonical */
    uint64_t rows, cols;
    const unsigned char *data, *scales;
};

/* The value of each code: an e4m3 value also as whole + fraction / 512, a byte of two e2m1 values as two halves. */
struct host_halves {
    int16_t low, high;
};

extern float host_e4m3_values[256];
extern int16_t host_e4m3_wholes[256], host_e4m3_fractions[256];
extern struct host_halves host_e2m1_halves[256];

void host_tables_fill(void); /* called by start, before any thread of ours */

bool host_dtype_quantises(uint32_t dtype); /* whether a linear with such a weight quantises its input (native) */
/* out: [cols] f32, the row's exact values */
void host_matrix_row(const struct host_matrix *matrix, uint64_t row, float *out);

#endif
