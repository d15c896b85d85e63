/* core/front/bench_figures.h - what hearth bench --synthetic measured, and the forms it is told in.  Used by
 * bench_synthetic.c. */
#ifndef CORE_FRONT_BENCH_FIGURES_H
#define CORE_FRONT_BENCH_FIGURES_H

#include "core/front/bench.h"
#include "core/front/out.h"

/* One context decoded at, or one prompt read. */
struct figures_row {
    uint64_t n;                      /* tokens of context when the decoding ends, or of the prompt */
    double rates[BENCH_MAX_REPEATS]; /* tokens per second of each repeat */
    double median;
    struct hearth_costs costs;       /* of one token decoded; of the whole prompt */
    struct hearth_limits limits;     /* means of those measured right before and right after */
    double launches;                 /* pieces of work that a token took; 0: unknown */
    double launch_seconds;           /* of one that does nothing */
};

struct figures {
    struct hearth_model_facts facts;
    struct hearth_load load;
    const struct bench_values *wanted;
    struct figures_row prefill[ARGS_MAX_LIST], decode[ARGS_MAX_LIST];
    size_t n_prefill, n_decode;
};

/* Part of the measured bandwidth that a token's bytes take at the measured rate; 0: unknown. */
double figures_read_share(const struct figures_row *row);
/* The same of the measured rates of operations, quantised and exact ones one after the other.  tokens: that row->costs
 * are of. */
double figures_operation_share(const struct figures_row *row, double tokens);

/* Part of a token's time that its launches would take if they did nothing; 0: unknown. */
double figures_launch_share(const struct figures_row *row);

void figures_text(const struct figures *figures, struct text *text);
void figures_csv(const struct figures *figures, struct text *text);
void figures_plot(const struct figures *figures, struct text *text);
struct json_object *figures_json(const struct figures *figures);

#endif
