/* conformance.c - every operation's trials, one after the other.  See conformance.h. */
#include "core/conformance/conformance.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "core/base/error.h"
#include "core/conformance/judge.h"
#include "core/conformance/rig.h"
#include "core/conformance/speed.h"

static const struct check *const checks[] = {
#define HEARTH_OP(NAME, name) &check_##name,
#include <hearth/ops.def>
#undef HEARTH_OP
};

static const char *const numerics_names[] = {"exact", "native"};

/* How often a timed trial runs; the best counts. */
#define N_TIMINGS 5

struct suite {
    const struct conformance_request *request;
    struct rig reference, device;
    bool is_reference; /* the plugin under test is the reference: all bits must agree */
};

const char *
conformance_op_name(size_t i)
{
    return checks[i]->name;
}

uint32_t
conformance_op_trials(size_t i)
{
    return checks[i]->n_trials;
}

bool
conformance_line_is_right(const struct conformance_line *line)
{
    return line->n_wrong == 0 && line->n_refused < line->n_trials;
}

bool
conformance_is_right(const struct conformance_report *report)
{
    for (size_t i = 0; i < report->n_lines; i++) {
        if (report->lines[i].supported && !conformance_line_is_right(&report->lines[i])) {
            return false;
        }
    }
    return true;
}

static void
time_trial(struct rig *device, struct check_trial *trial, struct conformance_trial *outcome)
{
    unsigned char *outputs[CHECK_MAX_TENSORS];
    outcome->n_products = trial->n_products;
    outcome->seconds = INFINITY;
    for (int i = 0; i < N_TIMINGS; i++) {
        double seconds;
        if (rig_run(device, trial, UINT32_MAX, outputs, &seconds)) {
            outcome->seconds = fmin(outcome->seconds, seconds);
        }
    }
}

/* Weights that were packed and mapped must do what created ones do, bit for bit. */
static bool
run_packed(struct rig *device, struct check_trial *trial, unsigned char *const *created, char *why, size_t why_size)
{
    unsigned char *mapped[CHECK_MAX_TENSORS];
    double seconds;
    device->packs = true;
    const bool done = rig_run(device, trial, UINT32_MAX, mapped, &seconds);
    device->packs = false;
    if (!done) {
        snprintf(why, why_size, "%s", device->why);
        return false;
    }
    for (size_t i = 0; i < trial->n_tensors; i++) {
        const struct check_tensor *tensor = &trial->tensors[i];
        if (tensor->role != CHECK_IN && memcmp(mapped[i], created[i], tensor->size_bytes) != 0) {
            snprintf(why, why_size, "%s: other bits with weights that were packed and mapped", tensor->name);
            return false;
        }
    }
    return true;
}

/* The verdict on one trial, in outcome. */
static void
run_trial(struct suite *suite, struct check_trial *trial, struct conformance_trial *outcome)
{
    unsigned char *reference[CHECK_MAX_TENSORS], *found[CHECK_MAX_TENSORS], *cut[CHECK_MAX_TENSORS];
    struct rig *device = &suite->device;
    double seconds;
    const uint32_t n_cut = rig_cut(device, trial);
    outcome->verdict = CONFORMANCE_WRONG;
    if (!rig_run(&suite->reference, trial, UINT32_MAX, reference, &seconds)) {
        snprintf(outcome->why, sizeof outcome->why, "reference: %s", suite->reference.why);
        return;
    }
    if (!rig_run(device, trial, UINT32_MAX, found, &seconds)) {
        snprintf(outcome->why, sizeof outcome->why, "%s", device->why);
        outcome->verdict = device->refused ? CONFORMANCE_REFUSED : CONFORMANCE_WRONG;
        return;
    }
    if (n_cut > 0 && !rig_run(device, trial, n_cut, cut, &seconds)) {
        snprintf(outcome->why, sizeof outcome->why, "%u token(s) at a time: %s", n_cut, device->why);
        return;
    }
    const struct judge_outputs outputs = {
        .found = found, .cut = n_cut > 0 ? cut : NULL, .reference = reference, .all_bits = suite->is_reference};
    if (judge_outputs(trial, &outputs, &outcome->used, &outcome->same_bits, outcome->why, sizeof outcome->why) &&
        (!rig_can_pack(device) || trial->n_weights == 0 ||
         run_packed(device, trial, found, outcome->why, sizeof outcome->why))) {
        outcome->verdict = CONFORMANCE_RIGHT;
    }
    if (outcome->verdict == CONFORMANCE_RIGHT && suite->request->time_trials) {
        time_trial(device, trial, outcome);
    }
}

/* Makes the trial and runs it.  Its memory is the caller's to free, whatever came back. */
static int
make_and_run(struct suite *suite, const struct check *check, uint32_t index, struct check_trial *trial,
             struct conformance_trial *outcome)
{
    jmp_buf no_memory;
    trial->no_memory = &no_memory;
    if (setjmp(no_memory) != 0) {
        return HEARTH_EMEMORY;
    }
    check->make(trial, index, trial->command.numerics);
    snprintf(outcome->name, sizeof outcome->name, "%s %s %.120s", check->name,
             numerics_names[trial->command.numerics], trial->name);
    run_trial(suite, trial, outcome);
    return HEARTH_OK;
}

static void
count(struct conformance_line *line, const struct conformance_trial *outcome)
{
    line->n_trials++;
    line->n_refused += outcome->verdict == CONFORMANCE_REFUSED;
    if (outcome->verdict == CONFORMANCE_WRONG && line->n_wrong++ == 0) {
        line->first_wrong = *outcome;
    }
    if (outcome->verdict == CONFORMANCE_RIGHT) {
        line->used = fmax(line->used, outcome->used);
        line->same_bits = line->same_bits && outcome->same_bits;
    }
}

static int
stop_asked(struct hearth_error *err)
{
    return error_set(err, HEARTH_EINTERRUPTED, "the conformance suite was interrupted");
}

static int
run_line(struct suite *suite, const struct check *check, struct conformance_line *line, struct hearth_error *err)
{
    const struct conformance_request *request = suite->request;
    const bool is_limited = request->max_trials > 0 && request->max_trials < check->n_trials;
    const uint32_t n_trials = is_limited ? request->max_trials : check->n_trials;
    for (uint32_t index = 0; index < n_trials; index++) {
        struct check_trial trial = {.random = request->seed + 1000003u * index + 77u * check->op};
        struct conformance_trial outcome = {.used = 0};
        trial.command.op = check->op;
        trial.command.numerics = line->numerics;
        const int status = make_and_run(suite, check, index, &trial, &outcome);
        check_trial_done(&trial);
        if (status < 0) {
            return error_no_memory(err, check->name);
        }
        count(line, &outcome);
        if (request->step != NULL && !request->step(request->context, line, &outcome)) {
            return stop_asked(err);
        }
    }
    if (!request->speed || !conformance_line_is_right(line)) {
        return HEARTH_OK;
    }
    if (request->step != NULL && !request->step(request->context, line, NULL)) {
        return stop_asked(err);
    }
    return speed_measure(&suite->device, check->op, line->numerics, &line->seconds, &line->bytes, err);
}

static int
run_lines(struct suite *suite, struct conformance_report *report, struct hearth_error *err)
{
    const struct conformance_request *request = suite->request;
    for (size_t i = 0; i < HEARTH_N_OPS; i++) {
        for (uint32_t numerics = HEARTH_EXACT; numerics <= HEARTH_NATIVE; numerics++) {
            if (request->op != NULL && strcmp(request->op, checks[i]->name) != 0) {
                continue;
            }
            struct conformance_line *line = &report->lines[report->n_lines++];
            *line = (struct conformance_line){.op = checks[i]->name, .numerics = numerics, .same_bits = true};
            line->supported = rig_supports(&suite->device, checks[i]->op, numerics);
            const int status = line->supported ? run_line(suite, checks[i], line, err) : HEARTH_OK;
            if (status < 0) {
                return status;
            }
            if (!line->supported && request->step != NULL && !request->step(request->context, line, NULL)) {
                return stop_asked(err);
            }
        }
    }
    return report->n_lines > 0 ? HEARTH_OK
                               : error_set(err, HEARTH_EUSAGE, "an operation of ops.def wanted, \"%s\" found",
                                           request->op);
}

int
conformance_run(const struct conformance_request *request, struct conformance_report *ret_report,
                struct hearth_error *err)
{
    static const char *const one_thread[] = {"threads=1", NULL};
    struct suite suite;
    struct conformance_report report = {.n_lines = 0};
    const struct rig_options reference_options = {.list = one_thread};
    const struct rig_options options = {request->options, request->option, request->context};
    suite = (struct suite){.request = request,
                           .is_reference = strcmp(request->plugin->name, request->reference->name) == 0};
    int status = rig_open(&suite.reference, request->reference, &reference_options, 0, err);
    if (status < 0) {
        return status;
    }
    status = rig_open(&suite.device, request->plugin, &options, request->device, err);
    if (status < 0) {
        goto fail_device;
    }
    report.info = suite.device.info;
    report.n_devices = suite.device.n_devices;
    status = run_lines(&suite, &report, err);
    if (status == HEARTH_OK && request->speed) {
        status = speed_roof(&suite.device, &report.roof, err);
    }
    rig_close(&suite.device);
fail_device:
    rig_close(&suite.reference);
    if (status == HEARTH_OK) {
        *ret_report = report;
    }
    return status;
}
