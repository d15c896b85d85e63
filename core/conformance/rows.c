/* rows.c - stored KV rows and indexer keys for the checks: encoding, decoding and how far a stored row may stray. */
#include <math.h>
#include <string.h>

#include "core/conformance/check.h"

#define KV_BLOCK 64u
#define INDEX_BLOCK 32u

static uint8_t
scale_code(double scale)
{
    int exponent;
    frexp(scale, &exponent);
    return (uint8_t)(exponent - 1 + 127);
}

/* The code of the format's value nearest to x, found by trying all; e4m3: 256 codes, e2m1: 16. */
static uint8_t
nearest_code(double x, bool is_e4m3)
{
    uint8_t best = 0;
    double best_distance = INFINITY;
    for (int code = 0; code < (is_e4m3 ? 256 : 16); code++) {
        const double value = is_e4m3 ? hearth_e4m3_to_f32((uint8_t)code) : hearth_e2m1_to_f32((uint8_t)code);
        const double distance = fabs(x - value);
        if (distance < best_distance || (distance == best_distance && code % 2 == 0)) {
            best = (uint8_t)code;
            best_distance = distance;
        }
    }
    return best;
}

void
check_kv_encode(const double *row, uint32_t format, uint32_t head_dim, uint32_t rope_dim, unsigned char *bytes)
{
    const uint32_t nope = head_dim - rope_dim;
    if (format == HEARTH_KV_F32) {
        for (uint32_t i = 0; i < head_dim; i++) {
            const float value = (float)row[i];
            memcpy(bytes + 4 * i, &value, sizeof value);
        }
        return;
    }
    memset(bytes, 0, hearth_kv_row_bytes(format, head_dim, rope_dim));
    for (uint32_t begin = 0; begin < nope; begin += KV_BLOCK) {
        const uint32_t length = nope - begin < KV_BLOCK ? nope - begin : KV_BLOCK;
        const double scale = check_act_scale(row + begin, length);
        bytes[nope + 2 * rope_dim + begin / KV_BLOCK] = scale_code(scale);
        for (uint32_t i = begin; i < begin + length; i++) {
            bytes[i] = nearest_code(row[i] / scale, true);
        }
    }
    for (uint32_t i = 0; i < rope_dim; i++) {
        const uint32_t bits = hearth_f32_bits((float)check_bf16(row[nope + i]));
        bytes[nope + 2 * i] = (unsigned char)(bits >> 16);
        bytes[nope + 2 * i + 1] = (unsigned char)(bits >> 24);
    }
}

void
check_kv_decode(const unsigned char *bytes, uint32_t format, uint32_t head_dim, uint32_t rope_dim, float *row)
{
    const uint32_t nope = head_dim - rope_dim;
    if (format == HEARTH_KV_F32) {
        memcpy(row, bytes, head_dim * sizeof *row);
        return;
    }
    for (uint32_t i = 0; i < nope; i++) {
        row[i] = hearth_e4m3_to_f32(bytes[i]) * hearth_e8m0_to_f32(bytes[nope + 2 * rope_dim + i / KV_BLOCK]);
    }
    for (uint32_t i = 0; i < rope_dim; i++) {
        row[nope + i] = hearth_bf16_to_f32((uint16_t)(bytes[nope + 2 * i] | bytes[nope + 2 * i + 1] << 8));
    }
}

void
check_index_encode(const double *key, uint32_t format, uint32_t width, unsigned char *bytes)
{
    if (format == HEARTH_KV_F32) {
        check_kv_encode(key, format, width, 0, bytes);
        return;
    }
    memset(bytes, 0, hearth_index_row_bytes(format, width));
    for (uint32_t begin = 0; begin < width; begin += INDEX_BLOCK) {
        const uint32_t length = width - begin < INDEX_BLOCK ? width - begin : INDEX_BLOCK;
        const double scale = check_fp4_scale(key + begin, length);
        bytes[(width + 1) / 2 + begin / INDEX_BLOCK] = scale_code(scale);
        for (uint32_t i = begin; i < begin + length; i++) {
            bytes[i / 2] |= (unsigned char)(nearest_code(key[i] / scale, false) << (i % 2 * 4));
        }
    }
}

void
check_index_decode(const unsigned char *bytes, uint32_t format, uint32_t width, float *key)
{
    if (format == HEARTH_KV_F32) {
        memcpy(key, bytes, width * sizeof *key);
        return;
    }
    for (uint32_t i = 0; i < width; i++) {
        key[i] = hearth_e2m1_to_f32((uint8_t)(bytes[i / 2] >> (i % 2 * 4))) *
                 hearth_e8m0_to_f32(bytes[(width + 1) / 2 + i / INDEX_BLOCK]);
    }
}

/* An upper bound of the block's scale: where the largest element is near a power of two, its error may double the
 * scale. */
static double
loosest_scale(const double *x, const double *error, uint32_t n, bool is_e4m3)
{
    double most = 0.0;
    for (uint32_t i = 0; i < n; i++) {
        most = fmax(most, fabs(x[i]) + error[i]);
    }
    return is_e4m3 ? check_act_scale(&most, 1) : check_fp4_scale(&most, 1);
}

void
check_kv_slack(const double *row, const double *error, bool native, uint32_t head_dim, uint32_t rope_dim, double *slack)
{
    const uint32_t nope = head_dim - rope_dim;
    for (uint32_t i = 0; i < head_dim; i++) {
        slack[i] = error[i] + check_half_step(native, row[i]);
    }
    for (uint32_t begin = 0; native && begin < nope; begin += KV_BLOCK) {
        const uint32_t length = nope - begin < KV_BLOCK ? nope - begin : KV_BLOCK;
        const double scale = loosest_scale(row + begin, error + begin, length, true);
        for (uint32_t i = begin; i < begin + length; i++) {
            slack[i] = error[i] + check_half_e4m3(fabs(row[i]) + error[i], scale);
        }
    }
}

void
check_index_slack(const double *key, const double *error, bool native, uint32_t width, double *slack)
{
    for (uint32_t begin = 0; begin < width; begin += INDEX_BLOCK) {
        const uint32_t length = width - begin < INDEX_BLOCK ? width - begin : INDEX_BLOCK;
        const double scale = loosest_scale(key + begin, error + begin, length, false);
        for (uint32_t i = begin; i < begin + length; i++) {
            slack[i] =
                error[i] + (native ? check_half_e2m1(fabs(key[i]) + error[i], scale) : check_half_step(false, key[i]));
        }
    }
}

/* Rounding turns an error into at most itself and one step. */
static void
round_values(double *x, double *error, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        error[i] += error[i] > 0.0 ? 2.0 * check_half_bf16(fabs(x[i]) + error[i]) : 0.0;
        x[i] = check_bf16(x[i]);
    }
}

void
check_rotate_tail(double *x, double *error, bool native, uint64_t n, uint64_t rope_dim, const float *inv_freq,
                  uint64_t position, int direction)
{
    double *tail = x + (n - rope_dim);
    double *tail_error = error + (n - rope_dim);
    for (uint64_t i = 0; i < rope_dim; i += 2) {
        const double sum = tail_error[i] + tail_error[i + 1] + 4.0 * 0x1p-24 * (fabs(tail[i]) + fabs(tail[i + 1]));
        tail_error[i] = tail_error[i + 1] = sum;
    }
    check_rotate(tail, rope_dim, inv_freq, position, direction);
    if (native) {
        round_values(tail, tail_error, rope_dim);
    }
}

void
check_hadamard_rounded(double *x, double *error, uint64_t width)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < width; i++) {
        sum += error[i] + 8.0 * 0x1p-24 * fabs(x[i]);
    }
    check_hadamard(x, width);
    for (uint64_t i = 0; i < width; i++) {
        error[i] = sum / sqrt((double)width);
    }
    round_values(x, error, width);
}
