/* trial.c - making trials: memory, random contents, and the formulas that several checks share. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/conformance/check.h"

struct check_memory {
    struct check_memory *next;
    max_align_t bytes[];
};

void *
check_try_alloc(struct check_trial *trial, uint64_t n, uint64_t size)
{
    uint64_t payload;
    struct check_memory *memory = NULL;
    if (mul_size(n, size, &payload) && add_size(payload, sizeof *memory, &payload)) {
        memory = calloc(1, (size_t)payload);
    }
    if (memory == NULL) {
        return NULL;
    }
    memory->next = trial->memory;
    trial->memory = memory;
    return memory->bytes;
}

void *
check_alloc(struct check_trial *trial, uint64_t n, uint64_t size)
{
    void *memory = check_try_alloc(trial, n, size);
    if (memory == NULL) {
        longjmp(*trial->no_memory, 1);
    }
    return memory;
}

void
check_trial_done(struct check_trial *trial)
{
    while (trial->memory != NULL) {
        struct check_memory *memory = trial->memory;
        trial->memory = memory->next;
        free(memory);
    }
}

/* splitmix64 */
static uint64_t
next_random(struct check_trial *trial)
{
    uint64_t z = trial->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint32_t
check_below(struct check_trial *trial, uint32_t limit)
{
    return (uint32_t)((next_random(trial) >> 32) * limit >> 32);
}

double
check_uniform(struct check_trial *trial, double low, double high)
{
    return low + (high - low) * ldexp((double)(next_random(trial) >> 11), -53);
}

double
check_normal(struct check_trial *trial)
{
    const double radius = sqrt(-2.0 * log(check_uniform(trial, 0x1p-60, 1.0)));
    return radius * cos(check_uniform(trial, 0.0, 6.283185307179586));
}

void *
check_tensor(struct check_trial *trial, const char *name, struct hearth_view *view, enum check_role role, uint64_t n,
             uint64_t size, uint64_t token_bytes)
{
    struct check_tensor *tensor = &trial->tensors[trial->n_tensors++];
    *tensor = (struct check_tensor){
        .name = name,
        .view = view,
        .role = role,
        .size_bytes = n * size,
        .token_bytes = token_bytes,
        .initial = check_alloc(trial, n, size),
    };
    return tensor->initial;
}

float *
check_input(struct check_trial *trial, const char *name, struct hearth_view *view, uint64_t n_tokens, uint64_t width,
            double magnitude)
{
    float *values = check_tensor(trial, name, view, CHECK_IN, n_tokens * width, sizeof *values, width * sizeof *values);
    for (uint64_t i = 0; i < n_tokens * width; i++) {
        values[i] = (float)check_bf16(magnitude * check_normal(trial));
    }
    return values;
}

struct check_tensor *
check_output(struct check_trial *trial, const char *name, struct hearth_view *view, uint64_t n_tokens, uint64_t width)
{
    check_tensor(trial, name, view, CHECK_OUT, n_tokens * width, sizeof(float), width * sizeof(float));
    struct check_tensor *tensor = &trial->tensors[trial->n_tensors - 1];
    tensor->n_values = n_tokens * width;
    tensor->expected = check_alloc(trial, tensor->n_values, sizeof(double));
    tensor->slack = check_alloc(trial, tensor->n_values, sizeof(double));
    return tensor;
}

/* Codes over the whole range but NaN, and scales that bring them to the magnitude. */
static void
fill_e4m3(struct check_trial *trial, struct check_matrix *made, unsigned char *data, double magnitude)
{
    const uint64_t n_blocks = ceil_div(made->matrix.cols, 128);
    unsigned char *scales = check_alloc(trial, ceil_div(made->matrix.rows, 128) * n_blocks, 1);
    made->matrix.scales = scales;
    made->matrix.scales_bytes = ceil_div(made->matrix.rows, 128) * n_blocks;
    const int centre = 127 + (int)lround(log2(magnitude)) - 6;
    for (uint64_t i = 0; i < made->matrix.scales_bytes; i++) {
        scales[i] = (unsigned char)(centre - 2 + (int)check_below(trial, 5));
    }
    for (uint64_t row = 0; row < made->matrix.rows; row++) {
        for (uint64_t col = 0; col < made->matrix.cols; col++) {
            const unsigned char code = (unsigned char)(check_below(trial, 0x7F) | check_below(trial, 2) << 7);
            data[row * made->matrix.cols + col] = code;
            made->values[row * made->matrix.cols + col] =
                hearth_e4m3_to_f32(code) * hearth_e8m0_to_f32(scales[row / 128 * n_blocks + col / 128]);
        }
    }
}

static void
fill_e2m1(struct check_trial *trial, struct check_matrix *made, unsigned char *data, double magnitude)
{
    const uint64_t n_blocks = ceil_div(made->matrix.cols, 32);
    unsigned char *scales = check_alloc(trial, made->matrix.rows * n_blocks, 1);
    made->matrix.scales = scales;
    made->matrix.scales_bytes = made->matrix.rows * n_blocks;
    const int centre = 127 + (int)lround(log2(magnitude)) - 1;
    for (uint64_t i = 0; i < made->matrix.scales_bytes; i++) {
        scales[i] = (unsigned char)(centre - 3 + (int)check_below(trial, 7));
    }
    for (uint64_t row = 0; row < made->matrix.rows; row++) {
        for (uint64_t col = 0; col < made->matrix.cols; col++) {
            const unsigned char code = (unsigned char)check_below(trial, 16);
            data[(row * made->matrix.cols + col) / 2] |= (unsigned char)(code << (col % 2 * 4));
            made->values[row * made->matrix.cols + col] =
                hearth_e2m1_to_f32(code) * hearth_e8m0_to_f32(scales[row * n_blocks + col / 32]);
        }
    }
}

/* Element data lies at an odd multiple of its alignment: nothing may lean on more. */
struct check_matrix
check_matrix_make(struct check_trial *trial, uint32_t dtype, uint64_t rows, uint64_t cols, double magnitude)
{
    const uint64_t n = rows * cols;
    const uint64_t n_bytes = dtype == HEARTH_F32    ? 4 * n
                             : dtype == HEARTH_BF16 ? 2 * n
                             : dtype == HEARTH_E4M3 ? n
                                                    : n / 2;
    unsigned char *data = (unsigned char *)check_alloc(trial, n_bytes + 4, 1) + (dtype == HEARTH_F32    ? 4
                                                                                 : dtype == HEARTH_BF16 ? 2
                                                                                                        : 1);
    struct check_matrix made = {.values = check_alloc(trial, n, sizeof(float))};
    made.matrix =
        (struct hearth_matrix){.dtype = dtype, .rows = rows, .cols = cols, .data = data, .data_bytes = n_bytes};
    if (dtype == HEARTH_E4M3) {
        fill_e4m3(trial, &made, data, magnitude);
    } else if (dtype == HEARTH_E2M1X2) {
        fill_e2m1(trial, &made, data, magnitude);
    } else {
        for (uint64_t i = 0; i < n; i++) {
            const float value = (float)(magnitude * check_normal(trial));
            const uint16_t bits = hearth_bf16_from_f32(value);
            made.values[i] = dtype == HEARTH_F32 ? value : hearth_bf16_to_f32(bits);
            if (dtype == HEARTH_F32) {
                memcpy(data + 4 * i, &value, sizeof value);
            } else {
                memcpy(data + 2 * i, &bits, sizeof bits);
            }
        }
    }
    return made;
}

float *
check_weight_add(struct check_trial *trial, const struct hearth_weight **slot, enum hearth_weight_role role,
                 uint32_t dtype, uint64_t rows, uint64_t cols, double magnitude)
{
    const struct check_matrix made = check_matrix_make(trial, dtype, rows, cols, magnitude);
    trial->weights[trial->n_weights++] =
        (struct check_weight){.slot = slot, .role = role, .matrices = {made.matrix}, .n_matrices = 1};
    return made.values;
}

float *
check_freqs_add(struct check_trial *trial, const struct hearth_weight **slot, uint64_t n)
{
    float *values = check_alloc(trial, n, sizeof *values);
    for (uint64_t i = 0; i < n; i++) {
        values[i] = (float)pow(10000.0, -(double)i / (double)n);
    }
    trial->weights[trial->n_weights++] = (struct check_weight){
        .slot = slot,
        .role = HEARTH_WEIGHT_VECTOR,
        .matrices = {{.dtype = HEARTH_F32, .rows = 1, .cols = n, .data = values, .data_bytes = n * sizeof *values}},
        .n_matrices = 1,
    };
    return values;
}

/* a power of two no larger than |x| */
static double
binade(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1.0, exponent - 1);
}

double
check_bf16(double x)
{
    const double value = (float)x;
    if (value == 0.0 || !isfinite(value)) {
        return value;
    }
    const double step = fmax(binade(value), 0x1p-126) * 0x1p-7;
    return nearbyint(value / step) * step;
}

double
check_half_bf16(double x)
{
    return fmax(binade(x), 0x1p-126) * 0x1p-8;
}

double
check_half_step(bool native, double x)
{
    return native ? check_half_bf16(x) : fmax(binade(x), 0x1p-126) * 0x1p-24;
}

double
check_tight(double n, double sum_of_magnitudes)
{
    return (8.0 + sqrt(n)) * 0x1p-24 * sum_of_magnitudes;
}

/* The smallest power of two that is not below the f32 product amax * c. */
static double
power_not_below(double amax, float c)
{
    int exponent;
    const double fraction = frexp((float)amax * c, &exponent);
    return ldexp(1.0, fraction == 0.5 ? exponent - 1 : exponent);
}

double
check_act_scale(const double *x, uint64_t n)
{
    double amax = (double)1e-4f;
    for (uint64_t i = 0; i < n; i++) {
        amax = fmax(amax, fabs(x[i]));
    }
    return power_not_below(amax, (float)(1.0 / 448.0));
}

double
check_fp4_scale(const double *x, uint64_t n)
{
    double amax = 6.0 * 0x1p-126;
    for (uint64_t i = 0; i < n; i++) {
        amax = fmax(amax, fabs(x[i]));
    }
    return power_not_below(amax, (float)(1.0 / 6.0));
}

double
check_half_e4m3(double x, double scale)
{
    return fmax(binade(x / scale), 0x1p-6) * 0x1p-4 * scale;
}

double
check_half_e2m1(double x, double scale)
{
    return fmax(binade(x / scale), 1.0) * 0.25 * scale;
}

void
check_act_quant(const float *x, uint64_t n, uint64_t block, float *out)
{
    for (uint64_t begin = 0; begin < n; begin += block) {
        const uint64_t end = n - begin < block ? n : begin + block;
        double amax[1] = {0.0};
        for (uint64_t i = begin; i < end; i++) {
            amax[0] = fmax(amax[0], fabs((double)x[i]));
        }
        const double scale = check_act_scale(amax, 1);
        for (uint64_t i = begin; i < end; i++) {
            const double step = 2.0 * check_half_e4m3(x[i], scale);
            out[i] = (float)(fmax(-448.0 * scale, fmin(448.0 * scale, nearbyint(x[i] / step) * step)));
        }
    }
}

void
check_rotate(double *x, uint64_t rope_dim, const float *inv_freq, uint64_t position, int direction)
{
    for (uint64_t i = 0; i < rope_dim / 2; i++) {
        const double angle = (float)position * inv_freq[i];
        const double u = x[2 * i] * cos(angle) - direction * x[2 * i + 1] * sin(angle);
        x[2 * i + 1] = direction * x[2 * i] * sin(angle) + x[2 * i + 1] * cos(angle);
        x[2 * i] = u;
    }
}

void
check_normalise(const double *x, const float *norm, uint64_t n, double eps, double *y)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < n; i++) {
        sum += x[i] * x[i];
    }
    const double factor = pow(sum / (double)n + eps, -0.5);
    for (uint64_t i = 0; i < n; i++) {
        y[i] = x[i] * factor * norm[i];
    }
}

void
check_hadamard(double *x, uint64_t width)
{
    double sums[1024];
    for (uint64_t i = 0; i < width; i++) {
        sums[i] = 0.0;
        for (uint64_t j = 0; j < width; j++) {
            sums[i] += __builtin_popcountll(i & j) % 2 ? -x[j] : x[j];
        }
    }
    for (uint64_t i = 0; i < width; i++) {
        x[i] = sums[i] / sqrt((double)width);
    }
}
