/* engine.c - a loaded model: opens what rooms.c left closed, and closes everything in reverse. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base/error.h"

/* Tensors for the largest step, found by building one. */
static int
open_exec(struct hearth_engine *engine, struct hearth_error *err)
{
    const struct rooms *rooms = &engine->rooms;
    const double timeout_ns = (double)config_values(rooms->config)->device.timeout_seconds * 1e9;
    struct graph head = {0};
    struct graph_step step;
    engine_step_init(engine, 0, rooms->chunk, &step);
    int status = graph_build_layers(&engine->graph, &step, err);
    if (status == HEARTH_OK) {
        status = graph_build_head(&head, &step, 0, 1, err);
    }
    if (status == HEARTH_OK) {
        status = exec_new(model_shape(rooms->model), rooms->plan, rooms->devices, engine->weights,
                          rooms->chunk, rooms->borrow_tokens, (uint64_t)timeout_ns, &engine->graph, &head,
                          &engine->exec, err);
    }
    graph_done(&head);
    return status;
}

/* Where packed weights are kept; NULL: nowhere. */
static const char *
weights_folder(const struct hearth_config *config)
{
    const struct config_values *values = config_values(config);
    const char *folder = values->cache.directory;
    return values->cache.weights && folder && *folder ? folder : NULL;
}

int
engine_load(struct hearth_engine *engine, const struct hearth_progress *progress, struct hearth_error *err)
{
    const struct rooms *rooms = &engine->rooms;
    int status = HEARTH_OK;
    if (!engine->weights) {
        status = weights_load(rooms->plan, rooms->model, rooms->devices, weights_folder(rooms->config), progress,
                              &engine->weights, err);
    }
    if (status == HEARTH_OK && !engine->exec) {
        status = open_exec(engine, err);
    }
    return status;
}

/* synthetic NULL: the configured model. */
static int
engine_open(const struct hearth_config *config, const struct hearth_synthetic *synthetic,
            const struct hearth_progress *progress, struct hearth_engine **ret_engine, struct hearth_error *err)
{
    struct hearth_engine *engine = calloc(1, sizeof *engine);
    if (!engine) {
        return error_no_memory(err, "an engine");
    }
    if (pthread_mutex_init(&engine->lock, NULL) != 0) {
        free(engine);
        return error_no_memory(err, "a lock");
    }
    int status = rooms_open(&engine->rooms, config, synthetic, 0, false, err);
    if (status < 0) {
        hearth_engine_close(engine);
        return status;
    }
    engine->session_bytes = plan_state_bytes(engine->rooms.plan);
    engine->world = (struct session_world){
        .shape = model_shape(engine->rooms.model),
        .plan = engine->rooms.plan,
        .devices = engine->rooms.devices,
        .identity = model_identity(engine->rooms.model),
        .numerics = engine->rooms.numerics,
        .format = engine->rooms.format,
    };
    pthread_mutex_lock(&engine->lock);
    do {
        status = engine_prepare(engine, NULL, progress, err);
    } while (status < 0 && engine_take_over(engine, status, false));
    pthread_mutex_unlock(&engine->lock);
    if (status < 0) {
        hearth_engine_close(engine);
        return status;
    }
    engine->load = *weights_facts(engine->weights);
    *ret_engine = engine;
    return HEARTH_OK;
}

int
hearth_engine_open(const struct hearth_config *config, const struct hearth_progress *progress,
                   struct hearth_engine **ret_engine, struct hearth_error *err)
{
    return engine_open(config, NULL, progress, ret_engine, err);
}

int
hearth_engine_open_synthetic(const struct hearth_config *config, const struct hearth_synthetic *model,
                             const struct hearth_progress *progress, struct hearth_engine **ret_engine,
                             struct hearth_error *err)
{
    return engine_open(config, model, progress, ret_engine, err);
}

void
hearth_engine_close(struct hearth_engine *engine)
{
    if (!engine) {
        return;
    }
    exec_free(engine->exec);
    graph_done(&engine->graph);
    weights_free(engine->weights);
    rooms_close(&engine->rooms);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

void
hearth_engine_facts(const struct hearth_engine *engine, struct hearth_model_facts *ret_facts)
{
    const struct rooms *rooms = &engine->rooms;
    const struct model_shape *shape = model_shape(rooms->model);
    *ret_facts = (struct hearth_model_facts){
        .n_layers = shape->n_layers,
        .dim = shape->dim,
        .vocab_size = shape->vocab_size,
        .max_context = shape->max_positions,
        .bos_id = shape->bos_id,
        .eos_id = shape->eos_id,
        .weight_bytes = model_weight_bytes(rooms->model),
        .active_bytes = model_active_bytes(rooms->model),
        .session_bytes = engine->session_bytes,
        .has_tokenizer = model_tokenizer(rooms->model) != NULL,
    };
    snprintf(ret_facts->name, sizeof ret_facts->name, "%s", model_name(rooms->model));
}

void
hearth_engine_load(const struct hearth_engine *engine, struct hearth_load *ret_load)
{
    *ret_load = engine->load;
}
