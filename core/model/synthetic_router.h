/* core/model/synthetic_router.h - which experts a synthetic model chooses, and how often.
 *
 * The expert of rank r = 1, 2 ... is chosen with probability proportional to r to the power of -SYNTHETIC_SKEW; ranks
 * are dealt anew in each layer, for real routers have favourites too.  With 256 experts and 6 a token the first is
 * chosen by one token in five, the last by one in eighty.  Layers that hash follow this law by their table; in layers
 * that route by score the bias brings it about, nearly: the scores stay those of a random gate. */
#ifndef CORE_MODEL_SYNTHETIC_ROUTER_H
#define CORE_MODEL_SYNTHETIC_ROUTER_H

#include "core/base/random.h"
#include "core/model/shape.h"

#define SYNTHETIC_SKEW 0.5

/* How often the experts of rank 0 .. n-1 are chosen: probabilities whose sum is n_chosen < n, none above 0.999. */
void synthetic_ranks(uint32_t n, uint32_t n_chosen, double *ret_probabilities);

/* bias: [n_layers][n_experts].  deviation: of the gate's elements; its inputs are normalised.  Errors: EMEMORY. */
int synthetic_fill_bias(const struct model_shape *shape, double deviation, struct random *random, float *bias,
                        struct hearth_error *err);
/* table: [vocab_size][experts_per_token], no expert twice in a row.  Errors: EMEMORY. */
int synthetic_fill_table(const struct model_shape *shape, struct random *random, int64_t *table,
                         struct hearth_error *err);

#endif
