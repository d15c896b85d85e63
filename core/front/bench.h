/* core/front/bench.h - the options of hearth bench, and its two halves: a checkpoint (bench.c), or random weights of
 * real shapes (bench_synthetic.c). */
#ifndef CORE_FRONT_BENCH_H
#define CORE_FRONT_BENCH_H

#include "core/front/front.h"

#define BENCH_MAX_REPEATS 64u

struct bench_values {
    struct args_list contexts;
    uint64_t tokens, repeats;
    const char *csv, *plot;
    const char *synthetic; /* a preset; NULL: the configured checkpoint.  What follows is for synthetic models only */
    uint64_t layers;       /* 0: not given */
    struct args_list ratios, prefill;
    bool sweep;
};

int bench_synthetic(struct front *front, const struct bench_values *wanted, struct hearth_error *err);

#endif
