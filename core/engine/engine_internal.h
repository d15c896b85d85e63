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

/* Devices that failed, and whose work others do now. */
struct takeover {
    const struct plugin_device *from; /* not told yet; NULL: none */
    uint32_t n_layers;                /* in which it did something */
    char **lines;                     /* [n_lines], told */
    size_t n_lines;
};

/* The rooms in the order they open; each needs those before it. */
struct rooms {
    const struct hearth_config *config;
    struct topology *topology;
    struct plugin_set *plugins;
    struct model *model;
    struct plan *plan;                               /* NULL: a device failed, and there is no other plan yet */
    struct plugin_device *devices[PLAN_MAX_DEVICES]; /* of the plan, in its order, open */
    struct plan_device facts[PLAN_MAX_DEVICES];      /* the same, as the plan was told */
    uint32_t n_devices;
    bool measures;            /* how fast memory is that nobody tells of */
    double host_bandwidth;    /* of the host's memory, bytes per second; 0: not measured */
    uint32_t numerics;        /* enum hearth_numerics */
    uint32_t chunk;           /* tokens of the largest step */
    uint32_t borrow_tokens;   /* of a step that borrows experts; 0: none does */
    uint64_t context_length;  /* tokens a session gets unless it asks for more or less */
    struct state_format format;
    struct takeover takeover;
};

/* Everything that may change after the opening, a failed device's traces, is under lock. */
struct hearth_engine {
    struct rooms rooms;
    struct weights *weights;         /* NULL: a device failed, and they are not loaded again yet */
    struct exec *exec;               /* likewise */
    struct session_world world;      /* lent to every session */
    uint64_t session_bytes;          /* of one session at the configured context */
    uint64_t n_launches;             /* of its devices, as they said when they last measured themselves */
    double launch_seconds;           /* likewise */
    struct hearth_load load;         /* the first one, when it was opened */
    struct hearth_session *sessions; /* all of them */
    struct graph graph;              /* of the running step */
    pthread_mutex_t lock;            /* one step, and one traffic with device memory, at a time */
};

struct hearth_session {
    struct hearth_engine *engine;
    struct session *session;
    struct hearth_session *next, **link; /* of engine->sessions; link: what points here */
};

/* rooms.c.  synthetic: a model to make in place of the configured one, or NULL.  flags: enum model_open_flags.
 * measure: time the memory of devices that do not say how fast it is.  A device that cannot be opened is passed over as
 * one that fails later.  On failure nothing stays open. */
int rooms_open(struct rooms *rooms, const struct hearth_config *config, const struct hearth_synthetic *synthetic,
               unsigned flags, bool measure, struct hearth_error *err);
void rooms_close(struct rooms *rooms);
/* Devices, opened, and a plan on them, without those given up. */
int rooms_plan(struct rooms *rooms, struct hearth_error *err);
/* What the configured number of threads reads from the host's memory; 0 if it could not be measured. */
double rooms_host_bandwidth(const struct hearth_config *config, const struct topology_facts *facts);
/* The first device of host memory that is neither given up nor `other`; NULL: there is none. */
struct plugin_device *rooms_host_device(const struct rooms *rooms, const struct plugin_device *other);

/* takeover.c */

void takeover_forget_faults(struct rooms *rooms);
/* Whether a call ended with that status because of a device whose work another can do.  It is then given up:
 * rooms_plan, once nothing needs the old plan any more. */
bool takeover_begin(struct rooms *rooms, int status);
/* The line that says so, once there is the other plan.  n_tokens: to be computed again. */
void takeover_tell(struct rooms *rooms, uint64_t n_tokens);
void takeover_done(struct takeover *takeover);

/* The frame around everything that uses devices.  With the lock held:
 *
 *     do {
 *         status = engine_prepare(engine, session, progress, err);
 *         status = status < 0 ? status : ...;
 *     } while (status < 0 && engine_take_over(engine, status, may_refuse));
 *
 * engine_prepare: a plan, weights and tensors are there, and the session's state (NULL: no session) covers its tokens.
 * Lets other threads in between steps.
 * engine_take_over: true: a device failed, and the next engine_prepare makes do without it.  may_refuse: too little
 * memory is an answer to the caller, who has other sessions, not a fault. */
int engine_prepare(struct hearth_engine *engine, struct session *session, const struct hearth_progress *progress,
                   struct hearth_error *err);
bool engine_take_over(struct hearth_engine *engine, int status, bool may_refuse);

/* engine.c: weights and tensors, as far as they are not there. */
int engine_load(struct hearth_engine *engine, const struct hearth_progress *progress, struct hearth_error *err);

/* feed.c */
void engine_step_init(const struct hearth_engine *engine, uint64_t position, uint32_t n_tokens,
                      struct graph_step *ret_step);
/* One step behind what the session covers.  logits: of its last n_logits tokens. */
int engine_step(struct hearth_engine *engine, struct session *session, const int32_t *ids, uint32_t n, float *logits,
                uint32_t n_logits, struct hearth_error *err);

#endif
