/* input.c - activations in the forms that products want: once a command, each token by one thread. */
#include "backends/cpu/kernels.h"

struct prepare {
    const struct cpu_kernels *kernels;
    struct cpu_wanted wanted;
    const float *x;
    uint64_t n_in, n_padded;
    float *plain, *split, *codes;
    uint16_t *pairs, *plain_pairs; /* of all n tokens */
    bool *has_pairs, *has_plain_pairs;
    uint64_t n;
    struct cpu_digits *digits;
    struct cpu_blocks blocks;
    uint8_t *digits_kinds;
    uint8_t *scales;
    float *values; /* [threads][n_padded] */
};

struct cpu_wanted
cpu_input_wanted(bool native, bool contract, const struct host_matrix *weight)
{
    const bool quantise = native && host_dtype_quantises(weight->dtype) && weight->packing != CPU_ROWS_REDUCED;
    if (weight->packing == CPU_PANELS) {
        return (struct cpu_wanted){quantise ? CPU_FORM_DIGITS | CPU_FORM_BLOCKS : CPU_FORM_PLAIN, quantise};
    }
    if (weight->dtype == HEARTH_E4M3) {
        return (struct cpu_wanted){quantise && contract ? CPU_FORM_CODES : CPU_FORM_SPLIT, quantise};
    }
    return (struct cpu_wanted){CPU_FORM_PLAIN | (weight->dtype == HEARTH_BF16 ? CPU_FORM_PAIRS : 0u), false};
}

/* Pairs where the tier multiplies them and x allows it, else SPLIT. */
static void
prepare_split(const struct prepare *work, const float *x, uint64_t n_in, uint64_t t)
{
    if (work->pairs != NULL) {
        work->has_pairs[t] = work->kernels->pairs(x, n_in, work->n_padded, HEARTH_E4M3, work->pairs, t, work->n);
    }
    if (work->pairs == NULL || !work->has_pairs[t] || work->n <= CPU_FEW_TOKENS) {
        work->kernels->split(x, n_in, work->n_padded, work->split + t * work->n_padded);
    }
}

static void
prepare_quantised(const struct prepare *work, uint64_t t, uint32_t thread)
{
    const uint64_t n = work->n_padded;
    const uint64_t n_blocks = n / HOST_ACT_BLOCK;
    float *values = work->values + thread * n;
    uint8_t *scales = work->scales + t * n_blocks;
    work->kernels->quantise(work->x + t * work->n_in, work->n_in, n, values, scales);
    if (work->digits != NULL) {
        struct cpu_digits *digits = work->digits + t * (n / HOST_E2M1_BLOCK);
        work->digits_kinds[t] = (uint8_t)work->kernels->digits(values, scales, n, digits);
        if (work->blocks.pairs != NULL) {
            work->kernels->blocks(values, scales, digits, n, t, work->n, &work->blocks);
        }
    }
    if (work->codes != NULL) {
        work->kernels->split(values, n, n, work->codes + t * n);
    }
    if (work->split != NULL) {
        work->kernels->dequantise(values, scales, n);
        prepare_split(work, values, n, t);
    }
}

static void
prepare_tokens(void *context, uint64_t begin, uint64_t end, uint32_t thread)
{
    const struct prepare *work = context;
    for (uint64_t t = begin; t < end; t++) {
        const float *x = work->x + t * work->n_in;
        if (work->plain != NULL) {
            work->kernels->plain(x, work->n_in, work->n_padded, work->plain + t * work->n_padded);
        }
        if (work->plain_pairs != NULL) {
            work->has_plain_pairs[t] =
                work->kernels->pairs(x, work->n_in, work->n_padded, HEARTH_BF16, work->plain_pairs, t, work->n);
        }
        if (work->wanted.quantise) {
            prepare_quantised(work, t, thread);
        } else if (work->split != NULL) {
            prepare_split(work, x, work->n_in, t);
        }
    }
}

void
cpu_input_prepare(struct host_call *call, const float *x, uint64_t n, uint64_t n_in, struct cpu_wanted wanted,
                  struct cpu_input *ret_input)
{
    struct cpu_pool *pool = call->device->pool;
    struct prepare work = {.kernels = call->device->kernels, .wanted = wanted, .x = x, .n_in = n_in, .n = n};
    work.n_padded = cpu_padded(n_in);
    const uint64_t n_values = n * work.n_padded, n_pairs = cpu_pairs_tokens(n) * cpu_pairs_padded(n_in);
    const bool as_it_is = n_in == work.n_padded; /* then x itself is the plain form */
    if (wanted.forms & CPU_FORM_PLAIN && !as_it_is) {
        work.plain = host_scratch_take(call, n_values, sizeof *work.plain);
    }
    if (wanted.forms & CPU_FORM_SPLIT) {
        work.split = host_scratch_take(call, n_values, sizeof *work.split);
    }
    if (wanted.forms & CPU_FORM_SPLIT && work.kernels->pairs != NULL) {
        work.pairs = host_scratch_take(call, n_pairs, sizeof *work.pairs);
        work.has_pairs = host_scratch_take(call, n, sizeof *work.has_pairs);
    }
    if (wanted.forms & CPU_FORM_PAIRS && work.kernels->pairs != NULL) {
        work.plain_pairs = host_scratch_take(call, n_pairs, sizeof *work.plain_pairs);
        work.has_plain_pairs = host_scratch_take(call, n, sizeof *work.has_plain_pairs);
    }
    if (wanted.forms & CPU_FORM_CODES) {
        work.codes = host_scratch_take(call, n_values, sizeof *work.codes);
    }
    if (wanted.forms & CPU_FORM_DIGITS) {
        work.digits = host_scratch_take(call, n_values / HOST_E2M1_BLOCK, sizeof *work.digits);
        work.digits_kinds = host_scratch_take(call, n, sizeof *work.digits_kinds);
    }
    if (wanted.forms & CPU_FORM_BLOCKS && work.kernels->blocks != NULL && n >= CPU_TILED_TOKENS) {
        work.blocks.pairs = host_scratch_take(call, n_pairs, sizeof *work.blocks.pairs);
        work.blocks.inexact = host_scratch_take(call, n * cpu_chunks(n_in), sizeof *work.blocks.inexact);
    }
    if (wanted.quantise) {
        work.scales = host_scratch_take(call, n_values / HOST_ACT_BLOCK, 1);
        work.values = host_scratch_take(call, cpu_pool_threads(pool) * work.n_padded, sizeof *work.values);
    }
    if (call->status < 0) {
        return;
    }
    const uint32_t as_they_are = CPU_FORM_PLAIN | CPU_FORM_PAIRS;
    if (work.plain != NULL || work.plain_pairs != NULL || wanted.quantise || (wanted.forms & ~as_they_are) != 0) {
        cpu_pool_run(pool, n, 1, work.n_padded * 16, (struct cpu_work){prepare_tokens, &work});
    }
    *ret_input = (struct cpu_input){
        .n = n,
        .n_in = n_in,
        .n_padded = work.n_padded,
        .plain = as_it_is ? x : work.plain,
        .split = work.split,
        .pairs = work.pairs,
        .has_pairs = work.has_pairs,
        .plain_pairs = work.plain_pairs,
        .has_plain_pairs = work.has_plain_pairs,
        .codes = work.codes,
        .digits = work.digits,
        .digits_kinds = work.digits_kinds,
        .blocks = work.blocks,
        .scales = work.scales,
    };
}
