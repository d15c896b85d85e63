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
    uint64_t n_submitted;               /* submissions so far, the last of them at the end of events */
};

/* One half of a device's loans (lend.c). */
struct loan_set {
    const struct hearth_weight **experts; /* [n_experts] of the command that uses it */
    uint64_t submission;                  /* of that command: n_submitted after it */
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
    struct loan_set loans[PLAN_MAX_DEVICES][2];
    uint32_t next_loan;            /* the set filled next, on whatever device */
    uint32_t borrow_tokens;        /* of a step that borrows; 0: none */
    uint32_t *foreign;             /* [n_experts], of the running command */
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
/* Waits for one: what n_submitted was after it. */
int lane_wait(struct lane *lane, uint64_t submission, struct hearth_error *err);
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
/* Appends a command to a lane, its inputs brought there first.  experts: the [n_experts] it is to use; NULL: the lane's
 * own. */
int exec_append(struct exec *exec, uint32_t lane, const struct graph_command *command,
                const struct hearth_weight *const *experts, struct hearth_error *err);

/* experts.c: one expert_ffn whose experts live on the several lanes of the bits. */
int exec_split_experts(struct exec *exec, uint32_t lanes, const struct graph_command *command,
                       struct hearth_error *err);

/* lend.c: the same, all on the device that sums, which borrows the experts it lacks. */
bool exec_can_lend(const struct exec *exec, uint32_t lanes, const struct graph_command *command);
int exec_lend_experts(struct exec *exec, uint32_t lanes, const struct graph_command *command, struct hearth_error *err);
int exec_loans_new(struct exec *exec, struct hearth_error *err);
void exec_loans_free(struct exec *exec); /* also after exec_loans_new has failed */

#endif
