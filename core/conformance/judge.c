/* judge.c - see judge.h. */
#include "core/conformance/judge.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The tensor's bytes as numbers, in memory of the trial. */
static float *
read_values(struct check_trial *trial, const struct check_tensor *tensor, const unsigned char *bytes)
{
    float *values = check_alloc(trial, tensor->n_values, sizeof *values);
    if (tensor->read != NULL) {
        tensor->read(trial, bytes, values);
    } else {
        memcpy(values, bytes, tensor->n_values * sizeof *values);
    }
    return values;
}

static bool
within_slack(struct check_trial *trial, const struct check_tensor *tensor, const unsigned char *bytes, double *used,
             char *why, size_t why_size)
{
    if (tensor->expected == NULL) {
        return true;
    }
    const float *values = read_values(trial, tensor, bytes);
    for (uint64_t i = 0; i < tensor->n_values; i++) {
        const double distance = fabs(values[i] - tensor->expected[i]);
        if (isnan(tensor->expected[i])) {
            continue;
        }
        if (!(distance <= tensor->slack[i])) {
            snprintf(why, why_size, "%s[%llu]: %.9g wanted, %.9g found (slack %.3g)", tensor->name,
                     (unsigned long long)i, tensor->expected[i], (double)values[i], tensor->slack[i]);
            return false;
        }
        *used = tensor->slack[i] > 0.0 ? fmax(*used, distance / tensor->slack[i]) : *used;
    }
    return true;
}

static bool
same_bits(const struct check_tensor *tensor, const unsigned char *a, const unsigned char *b, const char *against,
          char *why, size_t why_size)
{
    for (uint64_t i = 0; i < tensor->size_bytes; i++) {
        if (a[i] != b[i]) {
            snprintf(why, why_size, "%s: byte %llu differs from %s", tensor->name, (unsigned long long)i, against);
            return false;
        }
    }
    return true;
}

/* Whether two runs of one device gave the same numbers, wherever numbers are expected at all. */
static bool
same_numbers(struct check_trial *trial, const struct check_tensor *tensor, const unsigned char *a,
             const unsigned char *b, char *why, size_t why_size)
{
    if (tensor->expected == NULL) {
        return same_bits(tensor, a, b, "that of the command cut into several", why, why_size);
    }
    const float *whole = read_values(trial, tensor, a), *cut = read_values(trial, tensor, b);
    for (uint64_t i = 0; i < tensor->n_values; i++) {
        if (!isnan(tensor->expected[i]) && hearth_f32_bits(whole[i]) != hearth_f32_bits(cut[i])) {
            snprintf(why, why_size, "%s[%llu]: %.9g in one command, %.9g cut into several", tensor->name,
                     (unsigned long long)i, (double)whole[i], (double)cut[i]);
            return false;
        }
    }
    return true;
}

bool
judge_outputs(struct check_trial *trial, const struct judge_outputs *outputs, double *ret_used, bool *ret_same_bits,
              char *why, size_t why_size)
{
    *ret_used = 0.0;
    *ret_same_bits = true;
    for (size_t i = 0; i < trial->n_tensors; i++) {
        const struct check_tensor *tensor = &trial->tensors[i];
        if (tensor->role == CHECK_IN) {
            continue;
        }
        const unsigned char *found = outputs->found[i], *reference = outputs->reference[i];
        *ret_same_bits = *ret_same_bits && memcmp(found, reference, tensor->size_bytes) == 0;
        if (!within_slack(trial, tensor, found, ret_used, why, why_size) ||
            ((outputs->all_bits || tensor->same_bits) &&
             !same_bits(tensor, found, reference, "the reference", why, why_size)) ||
            (outputs->cut != NULL && !same_numbers(trial, tensor, found, outputs->cut[i], why, why_size))) {
            return false;
        }
    }
    const char *verdict = trial->verify == NULL ? NULL : trial->verify(trial, outputs->found);
    if (verdict != NULL) {
        snprintf(why, why_size, "%s", verdict);
    }
    return verdict == NULL;
}
