/* check.h - what a check_<op>.c gives to the runner: trials, each one command with its tensors, weights and the answer.
 *
 * The answer of a trial is worked out in the check file by a direct formula in double, and is independent of
 * backends/ref. An output element is right if it lies within its slack of the expected value.  Slacks are derived:
 * `tight` for sums that another order may add differently, half a step of the format for what is rounded to one, 0
 * where bits are the contract. */
#ifndef CORE_CONFORMANCE_CHECK_H
#define CORE_CONFORMANCE_CHECK_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/numerics.h>
#include <hearth/plugin.h>

#define CHECK_MAX_TENSORS 8
#define CHECK_MAX_WEIGHTS 24

enum check_role { CHECK_IN = 1, CHECK_OUT = 2, CHECK_INOUT = 3 };

struct check_trial;

struct check_tensor {
    const char *name;
    struct hearth_view *view; /* in the trial's command */
    enum check_role role;
    uint64_t size_bytes;
    uint64_t token_bytes;   /* bytes of one token, so that the command can be cut; 0: the same for all */
    unsigned char *initial; /* [size_bytes] */
    bool same_bits;         /* any implementation gives the reference's bits */
    /* What the output holds as numbers; NULL: it is f32. */
    void (*read)(const struct check_trial *trial, const unsigned char *bytes, float *values);
    uint64_t n_values;
    double *expected, *slack; /* [n_values]; a NaN in expected: not checked; NULL: not checked at all */
};

struct check_weight {
    const struct hearth_weight **slot; /* in the trial's command or its experts */
    enum hearth_weight_role role;
    struct hearth_matrix matrices[3];
    size_t n_matrices;
};

struct check_memory;

struct check_trial {
    char name[160];
    uint64_t random;
    struct hearth_command command;
    uint32_t *n;        /* in command: cut here into commands of fewer tokens; NULL: cannot be cut */
    uint64_t *position; /* in command, or NULL */
    struct check_tensor tensors[CHECK_MAX_TENSORS];
    size_t n_tensors;
    struct check_weight weights[CHECK_MAX_WEIGHTS];
    size_t n_weights;
    double n_products; /* multiplications; 0: not counted */
    /* A last look at an output as a whole, where tolerance by element says too little.  Returns NULL or what is wrong.
     */
    const char *(*verify)(const struct check_trial *trial, unsigned char *const *outputs);
    const void *verify_context;
    struct check_memory *memory;
    jmp_buf *no_memory; /* where check_alloc goes when there is none */
};

struct check {
    const char *name;
    uint32_t op;
    uint32_t n_trials;
    void (*make)(struct check_trial *trial, uint32_t index, uint32_t numerics);
};

#define HEARTH_OP(NAME, name) extern const struct check check_##name;
#include <hearth/ops.def>
#undef HEARTH_OP

/* Zeroed memory that lives as long as the trial.  check_alloc never returns NULL: it leaves by trial->no_memory, so
 * that formulas need not be cut up by failure.  check_try_alloc may, and is for whoever holds something to give back.
 */
void *check_alloc(struct check_trial *trial, uint64_t n, uint64_t size);
void *check_try_alloc(struct check_trial *trial, uint64_t n, uint64_t size);
void check_trial_done(struct check_trial *trial);

/* Random numbers of the trial. */
uint32_t check_below(struct check_trial *trial, uint32_t limit);
double check_uniform(struct check_trial *trial, double low, double high);
double check_normal(struct check_trial *trial);

/* Adds a tensor of n elements of size bytes and returns its initial contents to fill. */
void *check_tensor(struct check_trial *trial, const char *name, struct hearth_view *view, enum check_role role,
                   uint64_t n, uint64_t size, uint64_t token_bytes);
/* An f32 input of n normal values times magnitude, rounded to bf16. */
float *check_input(struct check_trial *trial, const char *name, struct hearth_view *view, uint64_t n_tokens,
                   uint64_t width, double magnitude);
/* An f32 output with its expected values and slacks to fill. */
struct check_tensor *check_output(struct check_trial *trial, const char *name, struct hearth_view *view,
                                  uint64_t n_tokens, uint64_t width);

/* A random matrix of the type; values: its exact numbers. */
struct check_matrix {
    struct hearth_matrix matrix;
    float *values; /* [rows * cols] */
};

struct check_matrix check_matrix_make(struct check_trial *trial, uint32_t dtype, uint64_t rows, uint64_t cols,
                                      double magnitude);
/* Adds a weight of one matrix and returns its values. */
float *check_weight_add(struct check_trial *trial, const struct hearth_weight **slot, enum hearth_weight_role role,
                        uint32_t dtype, uint64_t rows, uint64_t cols, double magnitude);
/* inv_freq: [n] rotation speeds */
float *check_freqs_add(struct check_trial *trial, const struct hearth_weight **slot, uint64_t n);

/* Numbers. */
double check_bf16(double x);                            /* rounded, through f32 */
double check_half_bf16(double x);                       /* half a bf16 step at x */
double check_tight(double n, double sum_of_magnitudes); /* (8 + sqrt n) 2^-24 sum */
/* Half a step of bf16 (native) or of f32 at x. */
double check_half_step(bool native, double x);
/* Rounds to e4m3 with power-of-two scales by blocks: worked out with frexp, not with dtype.h. */
void check_act_quant(const float *x, uint64_t n, uint64_t block, float *out);
double check_act_scale(const double *x, uint64_t n);
double check_fp4_scale(const double *x, uint64_t n);
double check_half_e4m3(double x, double scale); /* half a step of the format at x */
double check_half_e2m1(double x, double scale);
void check_rotate(double *x, uint64_t rope_dim, const float *inv_freq, uint64_t position, int direction);
void check_normalise(const double *x, const float *norm, uint64_t n, double eps, double *y);
void check_hadamard(double *x, uint64_t width);

/* rows.c: stored rows, written and read without dtype.h's quantisers.  format: enum hearth_kv_format */
void check_kv_encode(const double *row, uint32_t format, uint32_t head_dim, uint32_t rope_dim, unsigned char *bytes);
void check_kv_decode(const unsigned char *bytes, uint32_t format, uint32_t head_dim, uint32_t rope_dim, float *row);
void check_index_encode(const double *key, uint32_t format, uint32_t width, unsigned char *bytes);
void check_index_decode(const unsigned char *bytes, uint32_t format, uint32_t width, float *key);
/* How far a stored row may be from row, the value before it was quantised; error: of that value, [head_dim]. */
void check_kv_slack(const double *row, const double *error, bool native, uint32_t head_dim, uint32_t rope_dim,
                    double *slack);
void check_index_slack(const double *key, const double *error, bool native, uint32_t width, double *slack);
/* Rotates the last rope_dim of n elements as an operation does, rounded to bf16 in native numerics, and grows the
 * error. */
void check_rotate_tail(double *x, double *error, bool native, uint64_t n, uint64_t rope_dim, const float *inv_freq,
                       uint64_t position, int direction);
/* Native: the indexer's Hadamard rotation, rounded to bf16. */
void check_hadamard_rounded(double *x, double *error, uint64_t width);

#endif
