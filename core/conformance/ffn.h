/* ffn.h - the answer of a gated feed-forward block, by the text of docs/numerics.md, for the expert and shared checks.
 */
#ifndef CORE_CONFORMANCE_FFN_H
#define CORE_CONFORMANCE_FFN_H

#include "core/conformance/check.h"

struct ffn {
    uint32_t dtype, dim, inner;
    struct check_matrix w1, w3, w2;
};

/* Random matrices, added to the trial as one weight. */
void ffn_make(struct check_trial *trial, const struct hearth_weight **slot, enum hearth_weight_role role,
              uint32_t dtype, uint32_t dim, uint32_t inner, struct ffn *ret_ffn);
/* x: [dim]; weight: NULL for none; expected, slack: [dim].  same_bits: slack 0 in native numerics. */
void ffn_expect(struct check_trial *trial, const struct ffn *ffn, bool native, bool same_bits, const float *x,
                const float *weight, float limit, double *expected, double *slack);

#endif
