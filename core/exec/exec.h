/* core/exec/exec.h - turns operands into addresses and submits commands to the devices of the plan.  The
 * only caller of submit; it does not know what a layer is.
 *
 * Commands run in the order of the list.  Those of one device that follow each other go out in one
 * submission; a tensor that another device wrote last is copied over first.  Experts of one command that
 * live on several devices run there at the same time, and their results are joined by slot; in a long step one device
 * borrows them all.
 * Thread: one at a time. */
#ifndef CORE_EXEC_EXEC_H
#define CORE_EXEC_EXEC_H

#include "core/graph/graph.h"
#include "core/placement/plan.h"
#include "core/plugin/plugin_set.h"
#include "core/session/session.h"
#include "core/weights/weights.h"

struct exec;

/* Experts that a device should have room to borrow: two sets, one of which is filled while the other computes. */
uint32_t exec_loans(const struct model_shape *shape);

/* Reserves tensors for steps of max_tokens on every device that the commands of `graph` (a step of that size) and of
 * `head` touch.  Steps of borrow_tokens and more borrow experts; 0: none does.  A submission that takes longer than
 * timeout_ns is given up (ETIMEOUT).  Everything given must outlive the exec.  Owner: the caller; exec_free. */
int exec_new(const struct model_shape *shape, const struct plan *plan,
             struct plugin_device *const *devices, const struct weights *weights, uint32_t max_tokens,
             uint32_t borrow_tokens, uint64_t timeout_ns, const struct graph *graph, const struct graph *head,
             struct exec **ret_exec, struct hearth_error *err);
void exec_free(struct exec *exec); /* NULL allowed */

/* A head begins at a multiple of this many tokens, for its view must begin at an aligned offset. */
uint32_t exec_head_step(const struct exec *exec);
/* The step's token ids, before exec_run. */
int exec_write_ids(struct exec *exec, const int32_t *ids, uint32_t n, struct hearth_error *err);
/* Runs the list and waits for its end.  Errors: those of the devices, with the device's name. */
int exec_run(struct exec *exec, const struct graph *graph, const struct session *session,
             struct hearth_error *err);
/* logits: f32 [n][vocab_size], rows first .. first+n-1 of TENSOR_LOGITS. */
int exec_read_logits(struct exec *exec, float *logits, uint32_t first, uint32_t n,
                     struct hearth_error *err);

#endif
