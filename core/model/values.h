/* core/model/values.h - checks of the stored values themselves, where a wrong one would spoil everything it touches. */
#ifndef CORE_MODEL_VALUES_H
#define CORE_MODEL_VALUES_H

#include "core/model/shards.h"

/* model_open reads the scales of routed experts up to this many bytes; beyond, they are checked as they load. */
#define VALUES_OPEN_SCALE_BYTES (64u << 20)

/* What model_open checks: hash tables, scales of the dense weights, and of the experts if those are few. */
int values_check_open(const struct tensor_set *set, const struct model_shape *shape, struct hearth_error *err);
/* No scale of the matrix is NaN, and no element of an E4M3 one. */
int values_check_matrix(const struct tensor_set *set, const struct hearth_matrix *matrix, struct hearth_error *err);

#endif
