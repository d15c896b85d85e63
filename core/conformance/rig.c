/* rig.c - runs a trial's command on a plugin.  See rig.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/conformance/rig.h"

/* On both sides of a tensor; a multiple of any alignment a device may ask for. */
#define CANARY_BYTES 4096u
/* Bytes of 0xFF are a NaN in every float format: what an operation leaves unwritten, or reads beyond its input, shows.
 */
#define POISON 0xFF

static const char *
give_option(void *context, const char *key)
{
    const struct rig *rig = context;
    const size_t length = strlen(key);
    for (const char *const *option = rig->options; *option != NULL; option++) {
        if (strncmp(*option, key, length) == 0 && (*option)[length] == '=') {
            return *option + length + 1;
        }
    }
    return NULL;
}

static void
take_log(void *context, int level, const char *text)
{
    (void)context;
    printf("# log %d: %s\n", level, text);
}

bool
rig_open(struct rig *rig, const struct hearth_plugin *plugin, const char *const *options, uint32_t index)
{
    struct hearth_error err = {0};
    uint32_t n_devices = 0;
    memset(rig, 0, sizeof *rig);
    rig->plugin = plugin;
    rig->options = options;
    rig->host =
        (struct hearth_host){.struct_size = sizeof rig->host, .context = rig, .log = take_log, .option = give_option};
    if (plugin->start(&rig->host, &n_devices, &err) < 0) {
        snprintf(rig->why, sizeof rig->why, "start: %s", err.text);
        return false;
    }
    rig->info.struct_size = sizeof rig->info;
    if (index >= n_devices) {
        snprintf(rig->why, sizeof rig->why, "device %u wanted, the plugin found %u", index, n_devices);
    } else if (plugin->describe(index, &rig->info, &err) < 0 || plugin->open(index, &rig->device, &err) < 0) {
        snprintf(rig->why, sizeof rig->why, "device %u: %s", index, err.text);
    } else {
        return true;
    }
    plugin->stop();
    return false;
}

void
rig_close(struct rig *rig)
{
    rig->plugin->close(rig->device);
    rig->plugin->stop();
}

bool
rig_supports(const struct rig *rig, uint32_t op, uint32_t numerics)
{
    return rig->plugin->supports(rig->device, op, numerics);
}

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* The trial's tensors and weights on the device.  Zeroed members are not there. */
struct placed {
    struct hearth_buffer *buffers[CHECK_MAX_TENSORS];
    struct hearth_weight *weights[CHECK_MAX_WEIGHTS];
};

static bool
place(struct rig *rig, struct check_trial *trial, struct placed *placed)
{
    const struct hearth_plugin *plugin = rig->plugin;
    struct hearth_error err = {0};
    for (size_t i = 0; i < trial->n_tensors; i++) {
        struct check_tensor *tensor = &trial->tensors[i];
        const uint64_t size = tensor->size_bytes + 2 * CANARY_BYTES;
        unsigned char *bytes = check_alloc(trial, size, 1);
        memset(bytes, POISON, size);
        if (tensor->role & CHECK_IN) {
            memcpy(bytes + CANARY_BYTES, tensor->initial, tensor->size_bytes);
        }
        if (plugin->buffer_alloc(rig->device, size, &placed->buffers[i], &err) < 0 ||
            plugin->buffer_write(rig->device, (struct hearth_view){placed->buffers[i], 0}, bytes, size, NULL, &err) <
                0) {
            snprintf(rig->why, sizeof rig->why, "%s: %s", tensor->name, err.text);
            return false;
        }
        *tensor->view = (struct hearth_view){placed->buffers[i], CANARY_BYTES};
    }
    for (size_t i = 0; i < trial->n_weights; i++) {
        struct check_weight *weight = &trial->weights[i];
        if (plugin->weight_create(rig->device, weight->role, weight->matrices, weight->n_matrices, &placed->weights[i],
                                  &err) < 0) {
            snprintf(rig->why, sizeof rig->why, "weight %zu: %s", i, err.text);
            return false;
        }
        *weight->slot = placed->weights[i];
    }
    return true;
}

static void
unplace(struct rig *rig, const struct check_trial *trial, struct placed *placed)
{
    for (size_t i = 0; i < trial->n_tensors; i++) {
        rig->plugin->buffer_free(rig->device, placed->buffers[i]);
    }
    for (size_t i = 0; i < trial->n_weights; i++) {
        rig->plugin->weight_free(rig->device, placed->weights[i]);
    }
}

static bool
submit(struct rig *rig, const struct hearth_command *command)
{
    struct hearth_event *event = NULL;
    struct hearth_error err = {0};
    int status = rig->plugin->submit(rig->device, command, 1, NULL, 0, &event, &err);
    if (status == 0) {
        status = rig->plugin->event_wait(rig->device, event, UINT64_MAX, &err);
        rig->plugin->event_free(rig->device, event);
    }
    if (status < 0) {
        snprintf(rig->why, sizeof rig->why, "submit: status %d: %s", status, err.text);
    }
    return status == 0;
}

/* Submits the command, cut at n_at_once tokens.  The command is as before afterwards. */
static bool
submit_cut(struct rig *rig, struct check_trial *trial, uint32_t n_at_once)
{
    const struct hearth_command whole = trial->command;
    const uint32_t n = trial->n == NULL ? 0 : *trial->n;
    bool done = true;
    if (trial->n == NULL || n_at_once >= n) {
        return submit(rig, &trial->command);
    }
    for (uint32_t first = 0; first < n && done; first += n_at_once) {
        *trial->n = n - first < n_at_once ? n - first : n_at_once;
        done = submit(rig, &trial->command);
        for (size_t i = 0; i < trial->n_tensors; i++) {
            trial->tensors[i].view->offset += *trial->n * trial->tensors[i].token_bytes;
        }
        if (trial->position != NULL) {
            *trial->position += *trial->n;
        }
    }
    trial->command = whole;
    return done;
}

static bool
read_back(struct rig *rig, struct check_trial *trial, const struct placed *placed, unsigned char **outputs)
{
    struct hearth_error err = {0};
    for (size_t i = 0; i < trial->n_tensors; i++) {
        const struct check_tensor *tensor = &trial->tensors[i];
        const uint64_t size = tensor->size_bytes + 2 * CANARY_BYTES;
        unsigned char *bytes = check_alloc(trial, size, 1);
        if (rig->plugin->buffer_read(rig->device, bytes, (struct hearth_view){placed->buffers[i], 0}, size, NULL,
                                     &err) < 0) {
            snprintf(rig->why, sizeof rig->why, "%s: %s", tensor->name, err.text);
            return false;
        }
        for (uint64_t k = 0; k < CANARY_BYTES; k++) {
            if (bytes[k] != POISON || bytes[size - 1 - k] != POISON) {
                snprintf(rig->why, sizeof rig->why, "%s: written %s its memory", tensor->name,
                         bytes[k] != POISON ? "before" : "behind");
                return false;
            }
        }
        outputs[i] = bytes + CANARY_BYTES;
        if (tensor->role == CHECK_IN && memcmp(outputs[i], tensor->initial, tensor->size_bytes) != 0) {
            snprintf(rig->why, sizeof rig->why, "%s: an input was written", tensor->name);
            return false;
        }
    }
    return true;
}

bool
rig_run(struct rig *rig, struct check_trial *trial, uint32_t n_at_once, unsigned char **outputs, double *ret_seconds)
{
    struct placed placed = {{NULL}, {NULL}};
    bool done = place(rig, trial, &placed);
    const double start = now();
    done = done && submit_cut(rig, trial, n_at_once);
    const double seconds = now() - start;
    done = done && read_back(rig, trial, &placed, outputs);
    unplace(rig, trial, &placed);
    if (done) {
        *ret_seconds = seconds;
    }
    return done;
}
