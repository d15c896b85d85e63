/* units.h - the tensors of tests/golden/data/units.safetensors, for tests of the reference. */
#ifndef TESTS_KERNELS_UNITS_H
#define TESTS_KERNELS_UNITS_H

#include <stddef.h>

/* Reads the file; units_drop frees it and everything unit returned. */
void units_load(void);
void units_drop(void);

/* A tensor, aligned; ret_n: its elements of element_bytes.  Fails the running test if there is none of that name. */
const void *unit(const char *name, size_t element_bytes, size_t *ret_n);
const float *unit_f32(const char *name, size_t *ret_n);

#endif
