/* judge.h - whether what a device wrote is what a trial expects. */
#ifndef CORE_CONFORMANCE_JUDGE_H
#define CORE_CONFORMANCE_JUDGE_H

#include "core/conformance/check.h"

/* What was written, [n_tensors] each; cut: by commands of fewer tokens, or NULL; all_bits: the reference's are wanted.
 */
struct judge_outputs {
    unsigned char *const *found, *const *cut, *const *reference;
    bool all_bits;
};

/* used: the largest share of a slack; same_bits: of found and reference; why: filled if the answer is false. */
bool judge_outputs(struct check_trial *trial, const struct judge_outputs *outputs, double *ret_used,
                   bool *ret_same_bits, char *why, size_t why_size);

#endif
