/* joint_rig.h - commands with random contents, and the comparison of a run together with a run one by one. */
#ifndef TESTS_KERNELS_JOINT_RIG_H
#define TESTS_KERNELS_JOINT_RIG_H

#include <hearth/plugin.h>

enum {
    DIM = 256,
    INNER = 128,
    MAX_TOKENS = 9,
    N_EXPERTS = 5,
    TOP_K = 2,
    N_LINEARS = 11,
    MAX_BYTES = 131072,
    N_STREAMS = 4,
    N_HEADS = 3,
    ROPE_DIM = 64,
    RING_SLOTS = MAX_TOKENS,
    INDEX_DIM = 128,
    INDEX_TOP_K = 5,
    MAX_COMMANDS = 16,
    MAX_OUTPUTS = 3 * MAX_COMMANDS
};

/* What a command writes; read: it reads it before. */
struct output {
    struct hearth_view view;
    size_t size;
    bool is_read;
};

extern struct hearth_device *device; /* NULL: there is none */

void open_device(void);
void open_with_mma(void);
void open_with_both(void); /* sub-groups, too */
void close_memory(void);
void close_device(void);
uint32_t next_random(void);
void *take(size_t size);
/* Any value of the type that is a number of moderate size. */
struct hearth_matrix make_matrix(uint32_t dtype, uint64_t rows, uint64_t cols);
struct hearth_weight *make_weight(enum hearth_weight_role role, const struct hearth_matrix *matrices, size_t n);
struct hearth_view make_view(size_t size);
void write_view(struct hearth_view view, const void *bytes, size_t size);
struct hearth_weight *make_vector(uint32_t n);
struct hearth_command make_linear(struct hearth_view x, uint32_t n, uint32_t n_in, uint32_t n_out, uint32_t dtype,
                                  uint32_t numerics);
struct hearth_view make_x(uint32_t n);
/* The two feed-forward commands; half of the experts live elsewhere when told so, or all of them. */
void make_experts(struct hearth_view x, uint32_t n, uint32_t n_here, uint32_t numerics,
                  struct hearth_command commands[2]);
size_t add_compress_outputs(const struct hearth_op_compress *op, struct output outputs[2]);
void expect_same_bits(const struct hearth_command *commands, size_t n);

#endif
