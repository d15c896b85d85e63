/* core/engine/engine_internal.h - the members of an engine and its sessions, for the files of this room. */
#ifndef CORE_ENGINE_ENGINE_INTERNAL_H
#define CORE_ENGINE_ENGINE_INTERNAL_H

#include <pthread.h>

#include <hearth/engine.h>

#include "core/config/config.h"
#include "core/exec/exec.h"
#include "core/graph/graph.h"
#include "core/model/model.h"
#include "core/placement/plan.h"
#include "core/plugin/plugin_set.h"
#include "core/session/session.h"
#include "core/topology/topology.h"
#include "core/weights/weights.h"

/* The rooms in the order they open; each needs those before it. */
struct rooms {
    const struct hearth_config *config;
    struct topology *topology;
    struct plugin_set *plugins;
    struct model *model;
    struct plan *plan;
    struct plugin_device *devices[PLAN_MAX_DEVICES]; /* of the plan, in its order, open */
    struct plan_device facts[PLAN_MAX_DEVICES];      /* the same, as the plan was told */
    uint32_t n_devices;
    uint32_t numerics;        /* enum hearth_numerics */
    uint32_t chunk;           /* tokens of the largest step */
    uint64_t context_length;  /* tokens a session gets unless it asks for more or less */
    struct state_format format;
};

struct hearth_engine {
    struct rooms rooms;
    struct weights *weights;
    struct exec *exec;
    struct session_world world; /* lent to every session */
    struct graph graph;         /* of the running step; under lock */
    pthread_mutex_t lock;       /* one step, and one traffic with device memory, at a time */
};

struct hearth_session {
    struct hearth_engine *engine;
    struct session *session;
};

/* rooms.c.  synthetic: a model to make in place of the configured one, or NULL.  flags: enum model_open_flags.
 * measure: time the memory of devices that do not say how fast it is.  On failure nothing stays open. */
int rooms_open(struct rooms *rooms, const struct hearth_config *config, const struct hearth_synthetic *synthetic,
               unsigned flags, bool measure, struct hearth_error *err);
void rooms_close(struct rooms *rooms);
/* What the configured number of threads reads from the host's memory; 0 if it could not be measured. */
double rooms_host_bandwidth(const struct hearth_config *config, const struct topology_facts *facts);

/* feed.c */
void engine_step_init(const struct hearth_engine *engine, uint64_t position, uint32_t n_tokens,
                      struct graph_step *ret_step);

#endif
