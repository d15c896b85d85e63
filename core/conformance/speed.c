/* speed.c - timing one token's work.  See speed.h. */
#include "core/conformance/speed.h"

#include <math.h>
#include <stdlib.h>

#include <hearth/engine.h>

#include "core/base/error.h"

/* Copies of a work take turns until they hold this much together: more than the last cache of most machines. */
#define CYCLE_BYTES 134217728.0
#define MAX_COPIES 24
/* One round is as long as this at most (a slow device gets fewer copies), and rounds end after this much in all. */
#define ROUND_SECONDS 0.5
#define TOTAL_SECONDS 1.0
#define MAX_ROUNDS 9
/* What `measure` is given. */
#define ROOF_SECONDS 0.3

struct copies {
    struct check_trial trials[MAX_COPIES];
    struct rig_placed placed[MAX_COPIES];
    struct hearth_command commands[MAX_COPIES];
    size_t n;
};

/* One more copy on the device. */
static int
copies_add(struct copies *copies, struct rig *rig, uint32_t op, uint32_t numerics, double *ret_bytes,
           struct hearth_error *err)
{
    struct check_trial *trial = &copies->trials[copies->n];
    jmp_buf no_memory;
    *trial = (struct check_trial){.random = 1 + copies->n, .no_memory = &no_memory};
    if (setjmp(no_memory) != 0) {
        check_trial_done(trial);
        return error_no_memory(err, "the measurement");
    }
    trial->command.op = op;
    trial->command.numerics = numerics;
    speed_work_make(trial, op, numerics, ret_bytes);
    if (!rig_place(rig, trial, &copies->placed[copies->n])) {
        rig_unplace(rig, trial, &copies->placed[copies->n]);
        check_trial_done(trial);
        return error_set(err, rig->refused ? HEARTH_EUNSUPPORTED : HEARTH_EDEVICE, "plugin %s: at V4-Flash's sizes: %s",
                         rig->plugin->name, rig->why);
    }
    copies->commands[copies->n] = trial->command;
    copies->n++;
    return HEARTH_OK;
}

static void
copies_drop(struct copies *copies, struct rig *rig)
{
    while (copies->n > 0) {
        copies->n--;
        rig_unplace(rig, &copies->trials[copies->n], &copies->placed[copies->n]);
        check_trial_done(&copies->trials[copies->n]);
    }
}

/* Seconds of one round over all copies; negative: it failed, and the rig says why. */
static double
run_round(struct copies *copies, struct rig *rig)
{
    const double start = rig_seconds();
    return rig_submit(rig, copies->commands, copies->n) ? rig_seconds() - start : -1.0;
}

static int
compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int
time_copies(struct copies *copies, struct rig *rig, double *ret_seconds, struct hearth_error *err)
{
    double rounds[MAX_ROUNDS], total = 0.0;
    size_t n = 0;
    while (n == 0 || (n < MAX_ROUNDS && total < TOTAL_SECONDS)) {
        rounds[n] = run_round(copies, rig);
        if (rounds[n] < 0.0) {
            return error_set(err, HEARTH_EDEVICE, "plugin %s: at V4-Flash's sizes: %s", rig->plugin->name, rig->why);
        }
        total += rounds[n++];
    }
    qsort(rounds, n, sizeof rounds[0], compare);
    *ret_seconds = rounds[n / 2] / (double)copies->n;
    return HEARTH_OK;
}

int
speed_measure(struct rig *rig, uint32_t op, uint32_t numerics, double *ret_seconds, double *ret_bytes,
              struct hearth_error *err)
{
    double bytes = 0.0, seconds = 0.0;
    struct copies *copies = calloc(1, sizeof *copies);
    if (copies == NULL) {
        return error_no_memory(err, "the measurement");
    }
    int status = copies_add(copies, rig, op, numerics, &bytes, err);
    if (status == HEARTH_OK) {
        run_round(copies, rig); /* the first time may build or allocate */
        const double once = run_round(copies, rig);
        const double wanted = fmin(CYCLE_BYTES / bytes, ROUND_SECONDS / fmax(once, 1e-9));
        while (status == HEARTH_OK && copies->n < MAX_COPIES && (double)copies->n < wanted) {
            status = copies_add(copies, rig, op, numerics, &bytes, err);
        }
    }
    status = status < 0 ? status : time_copies(copies, rig, &seconds, err);
    copies_drop(copies, rig);
    free(copies);
    if (status == HEARTH_OK) {
        *ret_seconds = seconds;
        *ret_bytes = bytes;
    }
    return status == HEARTH_EUNSUPPORTED ? HEARTH_OK : status;
}

int
speed_roof(struct rig *rig, struct hearth_roof *ret_roof, struct hearth_error *err)
{
    struct hearth_error said = {0};
    struct hearth_roof roof = {.struct_size = sizeof roof};
    const int status =
        rig->plugin->measure == NULL ? HEARTH_OK : rig->plugin->measure(rig->device, ROOF_SECONDS, &roof, &said);
    if (status < 0) {
        return error_set(err, status, "plugin %s: measure: %.380s", rig->plugin->name,
                         said.text[0] != '\0' ? said.text : hearth_status_name(status));
    }
    roof.operation[sizeof roof.operation - 1] = '\0';
    *ret_roof = roof;
    return HEARTH_OK;
}
