/* joint.h - commands that run together, and the lists of work that this takes. */
#ifndef BACKENDS_CPU_JOINT_H
#define BACKENDS_CPU_JOINT_H

#include "backends/cpu/cpu.h"

#define CPU_MAX_JOINT 12u

/* Runs the commands at the head of commands that gain by it as one, and returns how many; 0: run the first alone. */
uint32_t cpu_joint_run(struct host_call *call, const struct hearth_command *commands, size_t n_commands);

/* product.c: all rows of several products on all threads, as one list. */
void cpu_products_run(struct host_call *call, const struct cpu_product *products, uint32_t n_products);
/* linear.c; ops: [n_ops], at most CPU_MAX_JOINT, of the same x */
void cpu_linears(struct host_call *call, const struct hearth_op_linear *const *ops, uint32_t n_ops);
/* expert.c; both of the same x and inner */
void cpu_experts_shared(struct host_call *call, const struct hearth_op_expert_ffn *experts,
                        const struct hearth_op_shared_ffn *shared);

#endif
