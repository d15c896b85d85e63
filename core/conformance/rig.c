/* rig.c - runs a trial's command on a plugin.  See rig.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <hearth/engine.h>

#include "core/base/error.h"
#include "core/base/log.h"
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
    for (const char *const *option = rig->options.list; option != NULL && *option != NULL; option++) {
        if (strncmp(*option, key, length) == 0 && (*option)[length] == '=') {
            return *option + length + 1;
        }
    }
    return rig->options.other == NULL ? NULL : rig->options.other(rig->options.context, key);
}

static void
take_log(void *context, int level, const char *text)
{
    const struct rig *rig = context;
    log_line(level, "%s: %s", rig->plugin->name, text);
}

static int
plugin_failed(const struct rig *rig, int status, const char *call, const struct hearth_error *said,
              struct hearth_error *err)
{
    return error_set(err, status, "plugin %s: %s: %.380s", rig->plugin->name, call,
                     said->text[0] != '\0' ? said->text : hearth_status_name(status));
}

int
rig_open(struct rig *rig, const struct hearth_plugin *plugin, const struct rig_options *options, uint32_t index,
         struct hearth_error *err)
{
    struct hearth_error said = {0};
    *rig = (struct rig){.plugin = plugin, .options = *options};
    rig->host =
        (struct hearth_host){.struct_size = sizeof rig->host, .context = rig, .log = take_log, .option = give_option};
    int status = plugin->start(&rig->host, &rig->n_devices, &said);
    if (status < 0) {
        return plugin_failed(rig, status, "start", &said, err);
    }
    rig->info.struct_size = sizeof rig->info;
    if (index >= rig->n_devices) {
        status = error_set(err, HEARTH_EUSAGE, "plugin %s: device %u wanted, %u device(s) found", plugin->name, index,
                           rig->n_devices);
        goto fail_device;
    }
    status = plugin->describe(index, &rig->info, &said);
    status = status < 0 ? status : plugin->open(index, &rig->device, &said);
    if (status < 0) {
        status = plugin_failed(rig, status, "device", &said, err);
        goto fail_device;
    }
    return HEARTH_OK;
fail_device:
    plugin->stop();
    return status;
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

bool
rig_can_pack(const struct rig *rig)
{
    const struct hearth_plugin *plugin = rig->plugin;
    return plugin->packed_bytes && plugin->weight_pack && plugin->weight_map && rig->info.packed_layout[0] != '\0';
}

double
rig_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

unsigned char *
rig_take_memory(struct rig *rig, struct check_trial *trial, uint64_t size)
{
    unsigned char *bytes = check_try_alloc(trial, size, 1);
    if (bytes == NULL) {
        snprintf(rig->why, sizeof rig->why, "%llu bytes of memory wanted, none found", (unsigned long long)size);
    }
    return bytes;
}

static bool
create_weight(struct rig *rig, const struct check_weight *weight, size_t index, struct hearth_weight **ret_weight)
{
    struct hearth_error err = {0};
    const int status =
        rig->plugin->weight_create(rig->device, weight->role, weight->matrices, weight->n_matrices, ret_weight, &err);
    if (status < 0) {
        rig->refused = status == HEARTH_EUNSUPPORTED;
        snprintf(rig->why, sizeof rig->why, "weight %zu: %s", index, err.text);
    }
    return status == 0;
}

/* Every other expert comes on loan, where the plugin takes such. */
static bool
place_weight(struct rig *rig, struct check_trial *trial, const struct check_weight *weight, size_t index,
             struct hearth_weight **ret_weight)
{
    const bool borrows = rig->plugin->weight_refill != NULL && weight->role == HEARTH_WEIGHT_EXPERT && index % 2 == 1;
    if (!borrows) {
        return create_weight(rig, weight, index, ret_weight);
    }
    struct check_weight empty;
    return rig_empty_weight(rig, trial, weight, &empty) && create_weight(rig, &empty, index, ret_weight) &&
           rig_refill(rig, weight, *ret_weight);
}

#define PACKED_ALIGN 64u

/* Packs the weight to memory that held `filler`, between canaries.  NULL: why says what failed. */
static unsigned char *
pack_once(struct rig *rig, struct check_trial *trial, const struct check_weight *weight, uint64_t size, int filler)
{
    struct hearth_error err = {0};
    unsigned char *bytes = rig_take_memory(rig, trial, size + 2 * CANARY_BYTES + PACKED_ALIGN);
    if (bytes == NULL) {
        return NULL;
    }
    bytes += PACKED_ALIGN - (uintptr_t)bytes % PACKED_ALIGN;
    memset(bytes, POISON, size + 2 * CANARY_BYTES);
    memset(bytes + CANARY_BYTES, filler, size);
    if (rig->plugin->weight_pack(rig->device, weight->role, weight->matrices, weight->n_matrices, bytes + CANARY_BYTES,
                                 &err) < 0) {
        snprintf(rig->why, sizeof rig->why, "weight_pack: %s", err.text);
        return NULL;
    }
    for (uint64_t k = 0; k < CANARY_BYTES; k++) {
        if (bytes[k] != POISON || bytes[size + 2 * CANARY_BYTES - 1 - k] != POISON) {
            snprintf(rig->why, sizeof rig->why, "weight_pack: written %s the %llu bytes of packed_bytes",
                     bytes[k] != POISON ? "before" : "behind", (unsigned long long)size);
            return NULL;
        }
    }
    return bytes + CANARY_BYTES;
}

/* Packs the weight twice, which must give the same bytes, and maps them.  packed_bytes and weight_map are given other
 * data than the weight's: a byte that they must not read.  False: why says what failed. */
static bool
place_packed(struct rig *rig, struct check_trial *trial, const struct check_weight *weight, size_t index,
             struct hearth_weight **ret_weight)
{
    static const unsigned char unread[1];
    struct hearth_matrix shapes[3];
    struct hearth_error err = {0};
    uint64_t size = 0;
    for (size_t i = 0; i < weight->n_matrices; i++) {
        shapes[i] = weight->matrices[i];
        shapes[i].data = unread;
        shapes[i].scales = shapes[i].scales == NULL ? NULL : unread;
    }
    if (rig->plugin->packed_bytes(rig->device, weight->role, shapes, weight->n_matrices, &size, &err) < 0) {
        snprintf(rig->why, sizeof rig->why, "packed_bytes: %s", err.text);
        return false;
    }
    if (size == 0) {
        return place_weight(rig, trial, weight, index, ret_weight);
    }
    const unsigned char *packed = pack_once(rig, trial, weight, size, POISON);
    const unsigned char *again = packed == NULL ? NULL : pack_once(rig, trial, weight, size, 0);
    if (again == NULL) {
        return false;
    }
    if (memcmp(packed, again, size) != 0) {
        snprintf(rig->why, sizeof rig->why, "weight_pack: other bytes the second time");
        return false;
    }
    if (rig->plugin->weight_map(rig->device, weight->role, shapes, weight->n_matrices, packed, ret_weight, &err) < 0) {
        snprintf(rig->why, sizeof rig->why, "weight_map: %s", err.text);
        return false;
    }
    return true;
}

bool
rig_place(struct rig *rig, struct check_trial *trial, struct rig_placed *placed)
{
    const struct hearth_plugin *plugin = rig->plugin;
    struct hearth_error err = {0};
    *placed = (struct rig_placed){{NULL}, {NULL}};
    rig->refused = false;
    for (size_t i = 0; i < trial->n_tensors; i++) {
        struct check_tensor *tensor = &trial->tensors[i];
        const uint64_t size = tensor->size_bytes + 2 * CANARY_BYTES;
        unsigned char *bytes = rig_take_memory(rig, trial, size);
        if (bytes == NULL) {
            return false;
        }
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
        if (!(rig->packs ? place_packed(rig, trial, weight, i, &placed->weights[i])
                         : place_weight(rig, trial, weight, i, &placed->weights[i])) ||
            !rig_check_read(rig, trial, weight, placed->weights[i])) {
            return false;
        }
        *weight->slot = placed->weights[i];
    }
    return true;
}

void
rig_unplace(struct rig *rig, const struct check_trial *trial, struct rig_placed *placed)
{
    for (size_t i = 0; i < trial->n_tensors; i++) {
        rig->plugin->buffer_free(rig->device, placed->buffers[i]);
    }
    for (size_t i = 0; i < trial->n_weights; i++) {
        rig->plugin->weight_free(rig->device, placed->weights[i]);
    }
}

bool
rig_submit(struct rig *rig, const struct hearth_command *commands, size_t n_commands)
{
    struct hearth_event *event = NULL;
    struct hearth_error err = {0};
    int status = rig->plugin->submit(rig->device, commands, n_commands, NULL, 0, &event, &err);
    if (status == 0) {
        status = rig->plugin->event_wait(rig->device, event, UINT64_MAX, &err);
        rig->plugin->event_free(rig->device, event);
    }
    if (status < 0) {
        snprintf(rig->why, sizeof rig->why, "submit: status %d: %s", status, err.text);
    }
    return status == 0;
}

uint32_t
rig_cut(const struct rig *rig, const struct check_trial *trial)
{
    const uint64_t align = rig->info.align_bytes > 0 ? rig->info.align_bytes : 1;
    for (uint32_t n = 1; trial->n != NULL && n < *trial->n; n++) {
        bool aligned = true;
        for (size_t i = 0; i < trial->n_tensors; i++) {
            aligned = aligned && n * trial->tensors[i].token_bytes % align == 0;
        }
        if (aligned) {
            return n;
        }
    }
    return 0;
}

/* Submits the command, cut at n_at_once tokens.  The command is as before afterwards. */
static bool
submit_cut(struct rig *rig, struct check_trial *trial, uint32_t n_at_once)
{
    const struct hearth_command whole = trial->command;
    const uint32_t n = trial->n == NULL ? 0 : *trial->n;
    bool done = true;
    if (trial->n == NULL || n_at_once >= n) {
        return rig_submit(rig, &trial->command, 1);
    }
    for (uint32_t first = 0; first < n && done; first += n_at_once) {
        *trial->n = n - first < n_at_once ? n - first : n_at_once;
        done = rig_submit(rig, &trial->command, 1);
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
read_back(struct rig *rig, struct check_trial *trial, const struct rig_placed *placed, unsigned char **outputs)
{
    struct hearth_error err = {0};
    for (size_t i = 0; i < trial->n_tensors; i++) {
        const struct check_tensor *tensor = &trial->tensors[i];
        const uint64_t size = tensor->size_bytes + 2 * CANARY_BYTES;
        unsigned char *bytes = rig_take_memory(rig, trial, size);
        if (bytes == NULL) {
            return false;
        }
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
    struct rig_placed placed;
    bool done = rig_place(rig, trial, &placed);
    const double start = rig_seconds();
    done = done && submit_cut(rig, trial, n_at_once);
    const double seconds = rig_seconds() - start;
    done = done && read_back(rig, trial, &placed, outputs);
    rig_unplace(rig, trial, &placed);
    if (done) {
        *ret_seconds = seconds;
    }
    return done;
}
