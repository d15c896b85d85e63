/* joint_rig.c - see joint_rig.h.  JOINT_PLUGIN is the plugin's table. */
#include <config.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/joint_rig.h"

extern const struct hearth_plugin JOINT_PLUGIN;

/* What a test took, given back by its fixture. */
static const struct hearth_plugin *const plugin = &JOINT_PLUGIN;
struct hearth_device *device;
static struct hearth_weight *weights[64];
static struct hearth_buffer *buffers[64];
static void *memories[128];
static size_t n_weights, n_buffers, n_memories;
static uint64_t noise;
static const char *option_mma, *option_subgroups; /* of plugin opencl */

static const char *
give_option(void *context, const char *key)
{
    (void)context;
    return strcmp(key, "threads") == 0     ? "3"
           : strcmp(key, "mma") == 0       ? option_mma
           : strcmp(key, "subgroups") == 0 ? option_subgroups
                                           : NULL;
}

static const struct hearth_host host = {.struct_size = sizeof host, .option = give_option};

static void
open_with(const char *mma, const char *subgroups)
{
    uint32_t n = 0;
    option_mma = mma;
    option_subgroups = subgroups;
    noise = 88172645463325252u;
    ck_assert_int_eq(plugin->start(&host, &n, NULL), 0);
    device = NULL;
    if (n > 0) {
        ck_assert_int_eq(plugin->open(0, &device, NULL), 0);
    }
}

void
open_device(void)
{
    open_with(NULL, NULL);
}

void
open_with_mma(void)
{
    open_with("yes", NULL);
}

void
open_with_both(void)
{
    open_with("yes", "yes");
}

void
close_memory(void)
{
    while (n_weights > 0) {
        plugin->weight_free(device, weights[--n_weights]);
    }
    while (n_buffers > 0) {
        plugin->buffer_free(device, buffers[--n_buffers]);
    }
    while (n_memories > 0) {
        free(memories[--n_memories]);
    }
}

void
close_device(void)
{
    close_memory();
    plugin->close(device);
    plugin->stop();
}

uint32_t
next_random(void)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return (uint32_t)(noise >> 32);
}

void *
take(size_t size)
{
    ck_assert_uint_lt(n_memories, sizeof memories / sizeof memories[0]);
    memories[n_memories] = malloc(size);
    ck_assert_ptr_nonnull(memories[n_memories]);
    return memories[n_memories++];
}

/* Any value of the type that is a number of moderate size. */
struct hearth_matrix
make_matrix(uint32_t dtype, uint64_t rows, uint64_t cols)
{
    const bool is_e2m1 = dtype == HEARTH_E2M1X2;
    const uint64_t size = dtype == HEARTH_F32 ? 4 : (dtype == HEARTH_BF16 ? 2 : 1);
    struct hearth_matrix matrix = {.dtype = dtype, .rows = rows, .cols = cols};
    matrix.data_bytes = rows * cols * size / (is_e2m1 ? 2 : 1);
    unsigned char *data = take(matrix.data_bytes);
    for (uint64_t i = 0; i < matrix.data_bytes; i++) {
        const bool is_top = i % size == size - 1;
        data[i] = (unsigned char)(next_random() & (is_e2m1 || !is_top ? 0xFFu : 0xBFu));
    }
    matrix.data = data;
    if (dtype == HEARTH_E4M3 || is_e2m1) {
        matrix.scales_bytes = is_e2m1 ? rows * ((cols + 31) / 32) : (rows + 127) / 128 * ((cols + 127) / 128);
        unsigned char *scales = take(matrix.scales_bytes);
        for (uint64_t i = 0; i < matrix.scales_bytes; i++) {
            scales[i] = (unsigned char)(118 + next_random() % 5);
        }
        matrix.scales = scales;
    }
    return matrix;
}

struct hearth_weight *
make_weight(enum hearth_weight_role role, const struct hearth_matrix *matrices, size_t n)
{
    ck_assert_uint_lt(n_weights, sizeof weights / sizeof weights[0]);
    ck_assert_int_eq(plugin->weight_create(device, role, matrices, n, &weights[n_weights], NULL), 0);
    return weights[n_weights++];
}

static struct hearth_weight *
make_expert(uint32_t dtype)
{
    const struct hearth_matrix matrices[3] = {make_matrix(dtype, INNER, DIM), make_matrix(dtype, INNER, DIM),
                                              make_matrix(dtype, DIM, INNER)};
    return make_weight(HEARTH_WEIGHT_EXPERT, matrices, 3);
}

struct hearth_view
make_view(size_t size)
{
    struct hearth_view view = {NULL, 0};
    ck_assert_uint_lt(n_buffers, sizeof buffers / sizeof buffers[0]);
    ck_assert_int_eq(plugin->buffer_alloc(device, size, &view.buffer, NULL), 0);
    buffers[n_buffers++] = view.buffer;
    return view;
}

void
write_view(struct hearth_view view, const void *bytes, size_t size)
{
    ck_assert_int_eq(plugin->buffer_write(device, view, bytes, size, NULL, NULL), 0);
}

static void
read_view(struct hearth_view view, void *bytes, size_t size)
{
    ck_assert_int_eq(plugin->buffer_read(device, bytes, view, size, NULL, NULL), 0);
}

struct hearth_weight *
make_vector(uint32_t n)
{
    const struct hearth_matrix matrix = make_matrix(HEARTH_F32, 1, n);
    return make_weight(HEARTH_WEIGHT_VECTOR, &matrix, 1);
}

struct hearth_command
make_linear(struct hearth_view x, uint32_t n, uint32_t n_in, uint32_t n_out, uint32_t dtype, uint32_t numerics)
{
    const struct hearth_matrix matrix = make_matrix(dtype, n_out, n_in);
    struct hearth_command command = {.op = HEARTH_OP_LINEAR, .numerics = numerics};
    command.args.linear = (struct hearth_op_linear){.x = x,
                                                    .y = make_view(sizeof(float) * n * n_out),
                                                    .weight = make_weight(HEARTH_WEIGHT_LINEAR, &matrix, 1),
                                                    .n = n,
                                                    .n_in = n_in,
                                                    .n_out = n_out,
                                                    .round_output = dtype != HEARTH_F32};
    return command;
}

struct hearth_view
make_x(uint32_t n)
{
    static float values[MAX_BYTES / sizeof(float)];
    const struct hearth_view x = make_view(sizeof(float) * n * DIM);
    ck_assert_uint_le(n * DIM, MAX_BYTES / sizeof(float));
    for (uint32_t i = 0; i < n * DIM; i++) {
        values[i] = hearth_round_bf16((float)(int32_t)next_random() * 0x1p-30f);
    }
    write_view(x, values, sizeof(float) * n * DIM);
    return x;
}

/* The two feed-forward commands; half of the experts live elsewhere when told so, or all of them. */
void
make_experts(struct hearth_view x, uint32_t n, uint32_t n_here, uint32_t numerics, struct hearth_command commands[2])
{
    const struct hearth_weight **experts = take(N_EXPERTS * sizeof(struct hearth_weight *));
    const struct hearth_view routes = make_view(n * TOP_K * sizeof(struct hearth_route));
    struct hearth_route list[MAX_TOKENS * TOP_K];
    for (uint32_t e = 0; e < N_EXPERTS; e++) {
        experts[e] = e < n_here ? make_expert(HEARTH_E2M1X2) : NULL;
    }
    for (uint32_t r = 0; r < n * TOP_K; r++) {
        list[r] = (struct hearth_route){r / TOP_K, r, next_random() % N_EXPERTS, 0.25f + 0.5f * (float)(r % TOP_K)};
    }
    write_view(routes, list, n * TOP_K * sizeof(struct hearth_route));
    commands[0] = (struct hearth_command){.op = HEARTH_OP_EXPERT_FFN, .numerics = numerics};
    commands[0].args.expert_ffn = (struct hearth_op_expert_ffn){.x = x,
                                                                .routes = routes,
                                                                .y = make_view(sizeof(float) * n * TOP_K * DIM),
                                                                .experts = experts,
                                                                .n = n,
                                                                .n_routes = n * TOP_K,
                                                                .n_slots = n * TOP_K,
                                                                .n_experts = N_EXPERTS,
                                                                .dim = DIM,
                                                                .inner = INNER,
                                                                .limit = 10.0f};
    commands[1] = (struct hearth_command){.op = HEARTH_OP_SHARED_FFN, .numerics = numerics};
    commands[1].args.shared_ffn = (struct hearth_op_shared_ffn){.x = x,
                                                                .y = make_view(sizeof(float) * n * DIM),
                                                                .expert = make_expert(HEARTH_E4M3),
                                                                .n = n,
                                                                .dim = DIM,
                                                                .inner = INNER,
                                                                .limit = 10.0f};
}

static size_t
row_bytes(const struct hearth_op_compress *op)
{
    return (size_t)(op->kind == HEARTH_ENTRY_KV ? hearth_kv_row_bytes(op->kv_format, op->width, op->rope_dim)
                                                : hearth_index_row_bytes(op->kv_format, op->width));
}

size_t
add_compress_outputs(const struct hearth_op_compress *op, struct output outputs[2])
{
    const size_t n_groups = op->overlap ? 2 : 1, columns = n_groups * op->width;
    outputs[0] = (struct output){op->state, sizeof(float) * 2 * n_groups * op->ratio * columns, true};
    outputs[1] = (struct output){op->entries, row_bytes(op) * (size_t)((op->position + op->n) / op->ratio + 1), false};
    return 2;
}

/* Returns how many there are. */
static size_t
outputs_of(const struct hearth_command *command, struct output outputs[3])
{
    const struct hearth_op_mhc_pre *pre = &command->args.mhc_pre;
    switch (command->op) {
    case HEARTH_OP_ROUTER:
        outputs[0] = (struct output){command->args.router.routes,
                                     sizeof(struct hearth_route) * command->args.router.n * TOP_K, false};
        return 1;
    case HEARTH_OP_RMSNORM:
        outputs[0] = (struct output){command->args.rmsnorm.y,
                                     sizeof(float) * command->args.rmsnorm.n * command->args.rmsnorm.dim, false};
        return 1;
    case HEARTH_OP_LINEAR:
        outputs[0] = (struct output){command->args.linear.y,
                                     sizeof(float) * command->args.linear.n * command->args.linear.n_out, false};
        return 1;
    case HEARTH_OP_EXPERT_FFN:
        outputs[0] =
            (struct output){command->args.expert_ffn.y, sizeof(float) * command->args.expert_ffn.n_slots * DIM, false};
        return 1;
    case HEARTH_OP_MOE_SUM:
        outputs[0] = (struct output){command->args.moe_sum.y,
                                     sizeof(float) * command->args.moe_sum.n * command->args.moe_sum.dim, false};
        return 1;
    case HEARTH_OP_MHC_POST:
        outputs[0] = (struct output){command->args.mhc_post.streams,
                                     sizeof(float) * command->args.mhc_post.n * command->args.mhc_post.n_streams *
                                         command->args.mhc_post.dim,
                                     true};
        return 1;
    case HEARTH_OP_MHC_PRE:
        outputs[0] = (struct output){pre->normed, sizeof(float) * pre->n * pre->dim, false};
        outputs[1] = (struct output){pre->post, sizeof(float) * pre->n * pre->n_streams, true};
        outputs[2] = (struct output){pre->comb, sizeof(float) * pre->n * pre->n_streams * pre->n_streams, true};
        return 3;
    case HEARTH_OP_QUERY_ROPE:
        outputs[0] = (struct output){command->args.query_rope.q,
                                     sizeof(float) * command->args.query_rope.n * N_HEADS * DIM, true};
        return 1;
    case HEARTH_OP_INDEX_QUERY:
        outputs[0] = (struct output){command->args.index_query.q,
                                     sizeof(float) * command->args.index_query.n * N_HEADS * INDEX_DIM, true};
        return 1;
    case HEARTH_OP_INDEX_TOPK:
        outputs[0] = (struct output){command->args.index_topk.indices,
                                     sizeof(int32_t) * command->args.index_topk.n * INDEX_TOP_K, false};
        return 1;
    case HEARTH_OP_COMPRESS:
        return add_compress_outputs(&command->args.compress, outputs);
    case HEARTH_OP_KV_APPEND:
        outputs[0] = (struct output){
            command->args.kv_append.ring,
            (size_t)hearth_kv_row_bytes(command->args.kv_append.kv_format, DIM, ROPE_DIM) * RING_SLOTS, false};
        return 1;
    default:
        outputs[0] =
            (struct output){command->args.shared_ffn.y, sizeof(float) * command->args.shared_ffn.n * DIM, false};
        return 1;
    }
}

static size_t
all_outputs(const struct hearth_command *commands, size_t n, struct output outputs[MAX_OUTPUTS])
{
    size_t n_outputs = 0;
    ck_assert_uint_le(n, MAX_COMMANDS);
    for (size_t i = 0; i < n; i++) {
        n_outputs += outputs_of(&commands[i], outputs + n_outputs);
    }
    return n_outputs;
}

/* Poison, or where it is read as well, numbers near 1. */
static void
fill(unsigned char *bytes, size_t n, bool is_read)
{
    for (size_t i = 0; i < n; i++) {
        bytes[i] = !is_read ? 0xA5 : i % 4 == 3 ? 0x3F : (unsigned char)((i + i / 251) * 167);
    }
}

/* Runs `together` commands at a time; all outputs, poisoned before: what is not written, must not be written in
 * either run. */
static void
run(const struct hearth_command *commands, size_t n, size_t together, unsigned char (*results)[MAX_BYTES])
{
    struct output outputs[MAX_OUTPUTS];
    const size_t n_outputs = all_outputs(commands, n, outputs);
    for (size_t i = 0; i < n_outputs; i++) {
        ck_assert_uint_le(outputs[i].size, MAX_BYTES);
        fill(results[i], outputs[i].size, outputs[i].is_read);
        write_view(outputs[i].view, results[i], outputs[i].size);
    }
    for (size_t i = 0; i < n; i += together) {
        ck_assert_int_eq(plugin->submit(device, &commands[i], together, NULL, 0, NULL, NULL), 0);
    }
    for (size_t i = 0; i < n_outputs; i++) {
        read_view(outputs[i].view, results[i], outputs[i].size);
    }
}

void
expect_same_bits(const struct hearth_command *commands, size_t n)
{
    static unsigned char alone[MAX_OUTPUTS][MAX_BYTES], together[MAX_OUTPUTS][MAX_BYTES];
    struct output outputs[MAX_OUTPUTS];
    const size_t n_outputs = all_outputs(commands, n, outputs);
    run(commands, n, 1, alone);
    run(commands, n, n, together);
    for (size_t i = 0; i < n_outputs; i++) {
        ck_assert_msg(memcmp(alone[i], together[i], outputs[i].size) == 0,
                      "output %zu of %zu commands: other bits together than alone", i, n);
    }
}
