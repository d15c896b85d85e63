/* mixes.h - the hyper-connection formulas that the mhc checks share. */
#ifndef CORE_CONFORMANCE_MIXES_H
#define CORE_CONFORMANCE_MIXES_H

#include "core/conformance/check.h"

/* One token of mhc_pre or (post NULL) mhc_head. */
struct mixes {
    uint32_t n_streams, dim, n_sinkhorn;
    double norm_eps, hc_eps;
    const float *fn, *base, *scale, *norm;
};

/* x: [n_streams][dim].  Expected values and slacks: normed [dim], post [n_streams], comb [n_streams][n_streams]. */
void mixes_expect(struct check_trial *trial, const struct mixes *mixes, bool native, const float *x, double *normed,
                  double *normed_slack, double *post, double *post_slack, double *comb, double *comb_slack);

#endif
