/* core/exec/exec_internal.h - the members of an exec, for the files of this room. */
#ifndef CORE_EXEC_EXEC_INTERNAL_H
#define CORE_EXEC_EXEC_INTERNAL_H

#include "core/exec/exec.h"

/* A device in use: its tensors, the commands not yet submitted, the submissions not yet waited for. */
struct lane {
    struct plugin_device *device;       /* NULL: the plan does not use it */
    uint64_t timeout_ns;                /* of one submission */
    struct hearth_buffer *tensors[N_TENSORS];
    struct hearth_command *pending;     /* [max_pending] */
    size_t n_pending, max_pending;
    struct hearth_event **events;       /* [max_events] */
    size_t n_events, max_events;
};

struct exec {
    const struct model_shape *shape;
    const struct plan *plan;
    const struct weights *weights;
    const struct session *session; /* of the running list */
    uint32_t n_tokens;             /* of the running list */
    uint32_t max_tokens;
    uint32_t current;              /* the lane the last command went to */
    struct lane lanes[PLAN_MAX_DEVICES];
    uint32_t holders[N_TENSORS];   /* lanes whose copy is the newest, as bits */
    /* memory between devices; NULL while one device does everything */
    unsigned char *staging;        /* the largest tensor */
    struct hearth_route *routes;   /* experts.c */
    unsigned char *joined;         /* TENSOR_EXPERT_PARTS, for a device whose views cannot begin at each slot */
};

/* lane.c: one device */

int lane_reserve(struct lane *lane, enum tensor_id tensor, uint64_t size, struct hearth_error *err);
int lane_append(struct lane *lane, const struct hearth_command *command, struct hearth_error *err);
int lane_submit(struct lane *lane, struct hearth_error *err);
/* Waits for every submission; the first failure is the answer, and ends the waiting if it is a fault of the device. */
int lane_finish(struct lane *lane, struct hearth_error *err);
void lane_drop(struct lane *lane); /* what is pending, and submissions without caring how they end */
int lane_read(struct lane *lane, void *dst, enum tensor_id tensor, uint64_t size,
              struct hearth_error *err);
/* The whole tensor or, from an aligned offset on, a part of it. */
int lane_write(struct lane *lane, enum tensor_id tensor, uint64_t offset, const void *src, uint64_t size,
               struct hearth_error *err);
/* The tensor's own bytes, with all work of the lane done; NULL: they are not in this process's memory. */
int lane_host(struct lane *lane, enum tensor_id tensor, unsigned char **ret_bytes, struct hearth_error *err);

/* exec.c */

uint64_t exec_tensor_bytes(const struct exec *exec, enum tensor_id tensor); /* in the running list */
/* Makes the lane's copy of a tensor the newest one too. */
int exec_bring(struct exec *exec, uint32_t lane, enum tensor_id tensor, struct hearth_error *err);
/* Appends a command to a lane, its inputs brought there first. */
int exec_append(struct exec *exec, uint32_t lane, const struct graph_command *command,
                struct hearth_error *err);

/* experts.c: one expert_ffn whose experts live on the several lanes of the bits. */
int exec_split_experts(struct exec *exec, uint32_t lanes, const struct graph_command *command,
                       struct hearth_error *err);

#endif
