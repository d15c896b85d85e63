/* core/model/synthetic_pools.h - random bytes that the tensors of a synthetic model share.
 *
 * A pool holds one kind of values, as many as its largest tensor has and some more, so that the tensors can begin at
 * different places.  Whole tensors are never in memory on their own: a device that packs weights holds the only copy,
 * and one that reads them in place reads the pools. */
#ifndef CORE_MODEL_SYNTHETIC_POOLS_H
#define CORE_MODEL_SYNTHETIC_POOLS_H

#include "core/model/layout.h"

enum synthetic_pool {
    POOL_BF16 = 0,      /* matrices: normal, deviation SYNTHETIC_DEVIATION */
    POOL_NORMS,         /* bf16 vectors: normal around 1 */
    POOL_F32,           /* as POOL_BF16 */
    POOL_E4M3,          /* normal; with its scales the deviation is about SYNTHETIC_DEVIATION */
    POOL_E2M1X2,        /* every byte, likewise */
    POOL_DENSE_SCALES,  /* of E4M3 */
    POOL_EXPERT_SCALES, /* of E2M1X2 */
    POOL_BIAS,          /* f32 [n_layers][n_experts], the router's skew */
    POOL_TABLE,         /* i64 [vocab_size][experts_per_token], the same for every layer that hashes */
    N_SYNTHETIC_POOLS
};

/* The models' own initializer_range: a normalised input gives outputs near 1. */
#define SYNTHETIC_DEVIATION 0.02

struct synthetic_pools {
    unsigned char *bytes[N_SYNTHETIC_POOLS]; /* aligned to 64; NULL: no tensor needs it */
    uint64_t sizes[N_SYNTHETIC_POOLS];
};

/* Errors: EMEMORY.  Owner: the caller; synthetic_pools_free. */
int synthetic_pools_make(const struct model_shape *shape, uint64_t seed, struct synthetic_pools *ret_pools,
                         struct hearth_error *err);
void synthetic_pools_free(struct synthetic_pools *pools);

/* The matrix of that place in the model, its data in the pools.  index: which of the walk's matrices it is. */
struct hearth_matrix synthetic_matrix(const struct synthetic_pools *pools, const struct model_shape *shape,
                                      const struct layout_matrix *place, uint64_t index);

#endif
