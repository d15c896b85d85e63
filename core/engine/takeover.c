/* takeover.c - a device fails, and others do its work from then on: accelerators, if there are others, and the host.
 *
 * Lost with the device are its weights, which are created again from the checkpoint, its tensors, which belong to the
 * step that failed, and the state of the sessions whose layers it had.  A session keeps its tokens, so they are fed
 * again, when the session is next used; then the step that failed is run once more, and its caller sees nothing but
 * time.  State that lay on other devices stays. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text.h"

/* ---- which device, and what is said ------------------------------------------------------------------------------ */

void
takeover_forget_faults(struct rooms *rooms)
{
    size_t n = 0;
    struct plugin_device *devices = plugin_set_devices(rooms->plugins, &n);
    for (size_t i = 0; i < n; i++) {
        if (!devices[i].is_given_up) {
            devices[i].fault = (struct hearth_error){0};
        }
    }
}

/* The device whose fault a status is, if others can do without it; NULL: none. */
static struct plugin_device *
find_failed(const struct rooms *rooms, int status)
{
    size_t n = 0;
    struct plugin_device *devices = rooms->plugins ? plugin_set_devices(rooms->plugins, &n) : NULL;
    for (size_t i = 0; i < n; i++) {
        struct plugin_device *device = &devices[i];
        const bool is_host = (device->info.flags & HEARTH_DEVICE_HOST_MEMORY) != 0;
        if (!device->is_given_up && device->fault.status == status && status < 0 &&
            !(is_host && status == HEARTH_EMEMORY) && /* the other has no more */
            rooms_host_device(rooms, device)) {
            return device;
        }
    }
    return NULL;
}

/* Layers in which the device does something. */
static uint32_t
count_layers(const struct rooms *rooms, const struct plugin_device *device)
{
    const uint32_t n_layers = model_shape(rooms->model)->n_layers;
    uint32_t n = 0;
    for (uint32_t layer = 0; rooms->plan && layer < n_layers; layer++) {
        bool takes_part = false;
        for (uint32_t i = 0; i < rooms->n_devices && !takes_part; i++) {
            takes_part = rooms->devices[i] == device && plan_layer_uses(rooms->plan, layer, i);
        }
        n += takes_part;
    }
    return n;
}

bool
takeover_begin(struct rooms *rooms, int status)
{
    struct plugin_device *device = config_values(rooms->config)->device.takeover ? find_failed(rooms, status) : NULL;
    if (!device) {
        return false;
    }
    takeover_tell(rooms, 0); /* of one that came before, and had no time to be told */
    rooms->takeover.from = device;
    rooms->takeover.n_layers = count_layers(rooms, device);
    device->is_given_up = true;
    return true;
}

/* "device Y (other) and device Z (one)": all of the plan. */
static void
write_devices(const struct rooms *rooms, struct text *line)
{
    const char *between = " ";
    for (uint32_t i = 0; i < rooms->n_devices; i++) {
        if (plan_uses_device(rooms->plan, i)) {
            const struct plugin_device *device = rooms->devices[i];
            text_printf(line, "%sdevice %s (%s)", between, device->info.name, device->plugin->name);
            between = " and ";
        }
    }
}

/* "device X (one): lost; its work in 43 of 43 layers moves to device Y (other); 345 tokens are computed again" */
static void
write_line(const struct rooms *rooms, uint64_t n_tokens, struct text *line)
{
    const struct takeover *takeover = &rooms->takeover;
    const struct plugin_device *from = takeover->from;
    text_printf(line, "device %s (%s): %s", from->info.name, from->plugin->name, from->fault.text);
    if (!rooms->plan) { /* the one to take over failed too */
        text_printf(line, "; it is given up");
        return;
    }
    text_printf(line, "; its work");
    if (takeover->n_layers > 0) {
        text_printf(line, " in %u of %u layers", takeover->n_layers, model_shape(rooms->model)->n_layers);
    }
    text_add(line, " moves to");
    write_devices(rooms, line);
    if (n_tokens > 0) {
        text_printf(line, "; %" PRIu64 " tokens are computed again", n_tokens);
    }
}

void
takeover_tell(struct rooms *rooms, uint64_t n_tokens)
{
    struct takeover *takeover = &rooms->takeover;
    struct text line = {0};
    if (!takeover->from) {
        return;
    }
    write_line(rooms, n_tokens, &line);
    takeover->from = NULL;
    char **lines = line.failed ? NULL : realloc(takeover->lines, (takeover->n_lines + 1) * sizeof *lines);
    if (!line.failed) {
        log_text(HEARTH_LOG_WARNING, line.bytes);
    }
    if (!lines) {
        text_free(&line); /* said, but not kept */
        return;
    }
    lines[takeover->n_lines++] = line.bytes;
    takeover->lines = lines;
}

void
takeover_done(struct takeover *takeover)
{
    for (size_t i = 0; i < takeover->n_lines; i++) {
        free(takeover->lines[i]);
    }
    free(takeover->lines);
}

const char *
hearth_engine_takeover(struct hearth_engine *engine, size_t index)
{
    pthread_mutex_lock(&engine->lock);
    const struct takeover *takeover = &engine->rooms.takeover;
    const char *line = index < takeover->n_lines ? takeover->lines[index] : NULL;
    pthread_mutex_unlock(&engine->lock);
    return line;
}

/* ---- the engine and its sessions --------------------------------------------------------------------------------- */

bool
engine_take_over(struct hearth_engine *engine, int status, bool may_refuse)
{
    if ((may_refuse && status == HEARTH_EMEMORY) || !takeover_begin(&engine->rooms, status)) {
        return false;
    }
    exec_free(engine->exec);
    engine->exec = NULL;
    weights_free(engine->weights);
    engine->weights = NULL;
    plan_free(engine->rooms.plan);
    engine->rooms.plan = NULL;
    return true;
}

/* Another plan, and the sessions follow it. */
static int
replan(struct hearth_engine *engine, struct hearth_error *err)
{
    uint64_t n_tokens = 0;
    struct hearth_error reason = {0};
    const int status = rooms_plan(&engine->rooms, &reason);
    if (status < 0) {
        const struct plugin_device *from = engine->rooms.takeover.from;
        return from
                   ? error_set(err, status, "device %s: %.200s; %.260s", from->info.name, from->fault.text, reason.text)
                   : error_set(err, status, "%s", reason.text);
    }
    engine->world.plan = engine->rooms.plan;
    for (struct hearth_session *session = engine->sessions; session; session = session->next) {
        session_move(session->session, &engine->world);
        n_tokens += session_is_lost(session->session) ? session_length(session->session) : 0;
    }
    takeover_tell(&engine->rooms, n_tokens);
    return HEARTH_OK;
}

static int
tell(const struct hearth_progress *progress, const struct session *session, struct hearth_error *err)
{
    const uint64_t covered = session_covered(session), length = session_length(session);
    if (!progress || !progress->step ||
        progress->step(progress->context, "computing again", covered, length, "tokens")) {
        return HEARTH_OK;
    }
    return error_set(err, HEARTH_EINTERRUPTED, "interrupted after %" PRIu64 " of %" PRIu64 " tokens computed again",
                     covered, length);
}

/* Some of the tokens that the state has not seen. */
static int
catch_up(struct hearth_engine *engine, struct session *session, const struct hearth_progress *progress,
         struct hearth_error *err)
{
    int status = session_is_lost(session) ? session_restart(session, err) : HEARTH_OK;
    const uint64_t covered = session_covered(session);
    const uint64_t rest = session_length(session) - covered;
    const uint32_t n = rest < engine->rooms.chunk ? (uint32_t)rest : engine->rooms.chunk;
    if (status == HEARTH_OK && n > 0) {
        status = tell(progress, session, err);
    }
    if (status == HEARTH_OK && n > 0) {
        status = engine_step(engine, session, session_ids(session) + covered, n, NULL, 0, err);
    }
    return status;
}

int
engine_prepare(struct hearth_engine *engine, struct session *session, const struct hearth_progress *progress,
               struct hearth_error *err)
{
    bool is_ready = false;
    int status = HEARTH_OK;
    while (status == HEARTH_OK && !is_ready) {
        takeover_forget_faults(&engine->rooms);
        status = engine->rooms.plan ? HEARTH_OK : replan(engine, err);
        if (status == HEARTH_OK) {
            status = engine_load(engine, progress, err);
        }
        is_ready = !session || (!session_is_lost(session) && session_covered(session) == session_length(session));
        if (status == HEARTH_OK && !is_ready) {
            status = catch_up(engine, session, progress, err);
            if (status == HEARTH_OK) {
                pthread_mutex_unlock(&engine->lock); /* others need not wait for all of it */
                pthread_mutex_lock(&engine->lock);
            }
        }
    }
    return status;
}
