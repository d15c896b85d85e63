/* joint_test.c - commands that a backend runs together give the bits of the same commands one by one.  Compiled once
 * for each plugin that does so. */
#include <config.h>

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/joint_rig.h"

static const uint32_t n_outs[N_LINEARS] = {300, 20, 36, 64, 20, 7, 300, 128, 64, 512, 132};
static const uint32_t dtypes[N_LINEARS] = {HEARTH_E4M3, HEARTH_BF16, HEARTH_BF16, HEARTH_BF16,
                                           HEARTH_BF16, HEARTH_BF16, HEARTH_BF16, HEARTH_E2M1X2,
                                           HEARTH_F32,  HEARTH_E4M3, HEARTH_E4M3};

/* Several linears of one x, of every type, some with rounded outputs, and then one that reads what the first has
 * written. */
START_TEST(linears_of_one_input)
{
    if (device == NULL) {
        return; /* nothing here for this backend */
    }
    const uint32_t n = _i % 2 == 0 ? 1 : MAX_TOKENS;
    const uint32_t numerics = _i / 2 == 0 ? HEARTH_NATIVE : HEARTH_EXACT;
    const struct hearth_view x = make_x(n);
    struct hearth_command commands[N_LINEARS + 1];
    for (uint32_t i = 0; i < N_LINEARS; i++) {
        commands[i] = make_linear(x, n, DIM, n_outs[i], dtypes[i], numerics);
        commands[i].args.linear.round_output = i % 4 != 1;
    }
    commands[N_LINEARS] = make_linear(commands[0].args.linear.y, n, n_outs[0], 96, HEARTH_E4M3, numerics);
    expect_same_bits(commands, N_LINEARS + 1);
}
END_TEST

/* One or two of quantised weights and some of bf16, of rows that fill tiles and that do not. */
START_TEST(linears_of_two_kinds)
{
    static const uint32_t rows[] = {300, 132, 36, 512, 7, 64, 20};
    if (device == NULL) {
        return;
    }
    const uint32_t n = _i % 2 == 0 ? 1 : 2, n_quantised = _i / 2 % 2 + 1, n_others = _i < 4 ? 5 : 1;
    const struct hearth_view x = make_x(n);
    struct hearth_command commands[7];
    for (uint32_t i = 0; i < n_quantised + n_others; i++) {
        commands[i] = make_linear(x, n, DIM, rows[i], i < n_quantised ? HEARTH_E4M3 : HEARTH_BF16, HEARTH_NATIVE);
        commands[i].args.linear.round_output = i % 4 != 2;
    }
    expect_same_bits(commands, n_quantised + n_others);
}
END_TEST

/* Linears and the norm of what the first one makes, in place or elsewhere; then what reads it. */
START_TEST(linears_and_a_norm)
{
    static const uint32_t rows[] = {512, 132, 36, 300};
    if (device == NULL) {
        return;
    }
    const uint32_t n = _i % 2 == 0 ? 1 : 2, numerics = _i / 2 % 2 == 0 ? HEARTH_NATIVE : HEARTH_EXACT;
    const struct hearth_view x = make_x(n);
    struct hearth_command commands[6];
    for (uint32_t i = 0; i < 4; i++) {
        commands[i] = make_linear(x, n, DIM, rows[i], i < 2 ? HEARTH_E4M3 : HEARTH_BF16, numerics);
    }
    const struct hearth_view y = commands[0].args.linear.y;
    commands[4] = (struct hearth_command){.op = HEARTH_OP_RMSNORM, .numerics = numerics};
    commands[4].args.rmsnorm = (struct hearth_op_rmsnorm){.x = y,
                                                          .y = _i < 4 ? y : make_view(sizeof(float) * n * rows[0]),
                                                          .norm = make_vector(rows[0]),
                                                          .n = n,
                                                          .dim = rows[0],
                                                          .eps = 1e-6f};
    commands[5] = make_linear(commands[4].args.rmsnorm.y, n, rows[0], 96, HEARTH_E4M3, numerics);
    for (uint32_t turn = 0; turn < 3; turn++) { /* what one launch leaves behind, the next one meets */
        expect_same_bits(commands, 6);
    }
}
END_TEST

/* A linear that overwrites its own input's buffer, or another's output, stays on its own and in its order. */
START_TEST(linears_that_meet_in_memory)
{
    if (device == NULL) {
        return;
    }
    const struct hearth_view x = make_x(1);
    struct hearth_command commands[3];
    for (uint32_t i = 0; i < 3; i++) {
        commands[i] = make_linear(x, 1, DIM, 128, HEARTH_E4M3, HEARTH_NATIVE);
    }
    commands[1].args.linear.y = commands[0].args.linear.y;
    expect_same_bits(commands, 3);
}
END_TEST

START_TEST(experts_and_the_shared_one)
{
    if (device == NULL) {
        return;
    }
    const uint32_t n = _i % 2 == 0 ? 1 : MAX_TOKENS;
    const uint32_t n_here[3] = {N_EXPERTS, 2, 0};
    for (uint32_t i = 0; i < 3; i++) {
        struct hearth_command commands[2];
        make_experts(make_x(n), n, n_here[i], _i / 2 == 0 ? HEARTH_NATIVE : HEARTH_EXACT, commands);
        expect_same_bits(commands, 2);
    }
}
END_TEST

/* The router, the experts it chose (the second time they are not in the submission), the shared one; of the hash table
 * or of the scores. */
START_TEST(router_and_experts)
{
    if (device == NULL) {
        return;
    }
    const uint32_t n = _i % 2 == 0 ? 1 : 2;
    const struct hearth_view x = make_x(n);
    const struct hearth_matrix gate = make_matrix(HEARTH_BF16, N_EXPERTS, DIM);
    struct hearth_command commands[3] = {{.op = HEARTH_OP_ROUTER, .numerics = HEARTH_NATIVE}};
    make_experts(x, n, N_EXPERTS, HEARTH_NATIVE, commands + 1);
    commands[0].args.router = (struct hearth_op_router){.x = x,
                                                        .routes = commands[1].args.expert_ffn.routes,
                                                        .gate = make_weight(HEARTH_WEIGHT_LINEAR, &gate, 1),
                                                        .bias = make_vector(N_EXPERTS),
                                                        .n = n,
                                                        .dim = DIM,
                                                        .n_experts = N_EXPERTS,
                                                        .top_k = TOP_K,
                                                        .route_scale = 1.5f};
    if (_i / 2 % 2 == 1) {
        static const int64_t rows[3][TOP_K] = {{0, 3}, {4, 1}, {2, 0}};
        static const int32_t ids[2] = {2, 1};
        const struct hearth_matrix table = {
            .dtype = HEARTH_I64, .rows = 3, .cols = TOP_K, .data = rows, .data_bytes = sizeof rows};
        commands[0].args.router.bias = NULL;
        commands[0].args.router.table = make_weight(HEARTH_WEIGHT_TABLE, &table, 1);
        commands[0].args.router.ids = make_view(sizeof ids);
        write_view(commands[0].args.router.ids, ids, sizeof ids);
    }
    if (_i / 4 == 0) {
        expect_same_bits(commands, 3);
    } else {
        commands[1] = commands[2];
        expect_same_bits(commands, 2);
    }
}
END_TEST

static struct hearth_view
make_routes(uint32_t n)
{
    const struct hearth_view routes = make_view(n * TOP_K * sizeof(struct hearth_route));
    struct hearth_route list[MAX_TOKENS * TOP_K];
    for (uint32_t r = 0; r < n * TOP_K; r++) {
        list[r] = (struct hearth_route){r / TOP_K, r, next_random() % N_EXPERTS, 1.0f};
    }
    write_view(routes, list, n * TOP_K * sizeof(struct hearth_route));
    return routes;
}

/* What the experts made becomes one and returns to the streams; the second time another row returns. */
START_TEST(a_sum_and_its_return)
{
    if (device == NULL) {
        return;
    }
    const uint32_t n = _i % 2 == 0 ? 1 : MAX_TOKENS;
    const uint32_t numerics = _i / 2 % 2 == 0 ? HEARTH_NATIVE : HEARTH_EXACT;
    struct hearth_command commands[2] = {{.op = HEARTH_OP_MOE_SUM, .numerics = numerics},
                                         {.op = HEARTH_OP_MHC_POST, .numerics = numerics}};
    commands[0].args.moe_sum = (struct hearth_op_moe_sum){.parts = make_x(n * TOP_K),
                                                          .routes = make_routes(n),
                                                          .shared = make_x(n),
                                                          .y = make_view(sizeof(float) * n * DIM),
                                                          .n = n,
                                                          .top_k = TOP_K,
                                                          .dim = DIM};
    commands[1].args.mhc_post = (struct hearth_op_mhc_post){.streams = make_view(sizeof(float) * n * N_STREAMS * DIM),
                                                            .result = _i < 4 ? commands[0].args.moe_sum.y : make_x(n),
                                                            .post = make_x(n),
                                                            .comb = make_x(n),
                                                            .n = n,
                                                            .n_streams = N_STREAMS,
                                                            .dim = DIM};
    expect_same_bits(commands, 2);
}
END_TEST

/* Rows of numbers that sums of many terms are made of. */
static struct hearth_weight *
make_rows(uint32_t dtype, uint32_t rows, uint32_t cols)
{
    const size_t n = (size_t)rows * cols;
    float *values = take(n * sizeof(float));
    uint16_t *bits = take(n * sizeof(uint16_t));
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)(int32_t)next_random() * 0x1p-34f;
        bits[i] = hearth_bf16_from_f32(values[i]);
    }
    const bool is_bf16 = dtype == HEARTH_BF16;
    const struct hearth_matrix matrix = {.dtype = dtype,
                                         .rows = rows,
                                         .cols = cols,
                                         .data = is_bf16 ? (const void *)bits : values,
                                         .data_bytes = n * (is_bf16 ? sizeof(uint16_t) : sizeof(float))};
    return make_weight(HEARTH_WEIGHT_LINEAR, &matrix, 1);
}

/* n_streams, and what mhc.cl and between.cl cut into pieces: parts of one, one, several, pieces of two streams; and
 * what is not whole fours, or has too many streams or elements to be one launch. */
static const struct {
    uint32_t n_streams, dim, dtype;
} streams_of[] = {
    {1, 12, HEARTH_F32},  {4, 256, HEARTH_BF16}, {4, 1024, HEARTH_F32}, {4, 1028, HEARTH_BF16}, {5, 516, HEARTH_F32},
    {7, 340, HEARTH_F32}, {4, 255, HEARTH_F32},  {9, 64, HEARTH_BF16},  {2, 9000, HEARTH_F32},
};

#define N_STREAMS_OF (sizeof streams_of / sizeof streams_of[0])

/* A sum returns to the streams, of which the next sublayer's input is made; its result, and so on: five commands. */
static void
make_between(size_t which, uint32_t n, uint32_t numerics, struct hearth_command commands[5])
{
    const uint32_t n_streams = streams_of[which].n_streams, dim = streams_of[which].dim;
    const uint32_t n_mix = (2 + n_streams) * n_streams;
    const struct hearth_view streams = make_view(sizeof(float) * n * n_streams * dim);
    const struct hearth_view post = make_view(sizeof(float) * n * n_streams);
    const struct hearth_view comb = make_view(sizeof(float) * n * n_streams * n_streams);
    const struct hearth_view normed = make_view(sizeof(float) * n * dim);
    commands[0] = (struct hearth_command){.op = HEARTH_OP_MOE_SUM, .numerics = numerics};
    commands[0].args.moe_sum = (struct hearth_op_moe_sum){.parts = make_x((n * TOP_K * dim + DIM - 1) / DIM),
                                                          .routes = make_routes(n),
                                                          .shared = make_x((n * dim + DIM - 1) / DIM),
                                                          .y = make_view(sizeof(float) * n * dim),
                                                          .n = n,
                                                          .top_k = TOP_K,
                                                          .dim = dim};
    for (uint32_t i = 1; i < 5; i += 2) {
        commands[i] = (struct hearth_command){.op = HEARTH_OP_MHC_POST, .numerics = numerics};
        commands[i].args.mhc_post = (struct hearth_op_mhc_post){.streams = streams,
                                                                .result = i == 1 ? commands[0].args.moe_sum.y
                                                                                 : make_x((n * dim + DIM - 1) / DIM),
                                                                .post = post,
                                                                .comb = comb,
                                                                .n = n,
                                                                .n_streams = n_streams,
                                                                .dim = dim};
        commands[i + 1] = (struct hearth_command){.op = HEARTH_OP_MHC_PRE, .numerics = numerics};
        commands[i + 1].args.mhc_pre =
            (struct hearth_op_mhc_pre){.streams = streams,
                                       .normed = normed,
                                       .post = post,
                                       .comb = comb,
                                       .fn = make_rows(streams_of[which].dtype, n_mix, n_streams * dim),
                                       .base = make_vector(n_mix),
                                       .scale = make_vector(3),
                                       .norm = make_vector(dim),
                                       .n = n,
                                       .n_streams = n_streams,
                                       .dim = dim,
                                       .n_sinkhorn = 3,
                                       .norm_eps = 1e-6f,
                                       .hc_eps = 1e-6f};
    }
}

/* All together, and without the sum; one token, as many as go together, and more. */
START_TEST(between_sublayers)
{
    static const uint32_t n_tokens[] = {1, 3, 4, 5};
    if (device == NULL) {
        return;
    }
    const uint32_t numerics = _i % 2 == 0 ? HEARTH_NATIVE : HEARTH_EXACT;
    for (size_t i = 0; i < (streams_of[_i / 2].dim < 2048 ? 4 : 1); i++) {
        struct hearth_command commands[5];
        make_between((size_t)_i / 2, n_tokens[i], numerics, commands);
        for (uint32_t turn = 0; turn < 2; turn++) { /* what one launch leaves behind, the next one meets */
            expect_same_bits(commands, 5);
        }
        expect_same_bits(commands + 2, 3);
        close_memory();
    }
}
END_TEST

/* Other streams, other tokens, memory that two of them use. */
START_TEST(not_between_sublayers)
{
    if (device == NULL) {
        return;
    }
    struct hearth_command commands[5];
    make_between(1, 2, HEARTH_NATIVE, commands);
    struct hearth_op_moe_sum *sum = &commands[0].args.moe_sum;
    struct hearth_op_mhc_post *post = &commands[1].args.mhc_post;
    struct hearth_op_mhc_pre *pre = &commands[2].args.mhc_pre;
    if (_i == 0) {
        pre->streams.offset = sizeof(float) * N_STREAMS * DIM;
        pre->n = 1;
    } else if (_i == 1) {
        pre->normed = post->result;
    } else if (_i == 2) {
        sum->shared = sum->y;
        commands[0].args.moe_sum.parts = make_x(2 * TOP_K);
    } else {
        pre->normed = sum->shared;
        commands[3].args.mhc_post.result = sum->shared;
    }
    expect_same_bits(commands, 5);
}
END_TEST

static struct hearth_command
make_compress(uint32_t kind, uint32_t ratio, uint32_t n, uint64_t position, uint32_t numerics,
              struct hearth_weight *freqs)
{
    struct hearth_command command = {.op = HEARTH_OP_COMPRESS, .numerics = numerics};
    struct hearth_op_compress *op = &command.args.compress;
    *op = (struct hearth_op_compress){.inv_freq = freqs,
                                      .position = position,
                                      .n = n,
                                      .ratio = ratio,
                                      .width = kind == HEARTH_ENTRY_KV ? DIM / 2 : INDEX_DIM,
                                      .rope_dim = ROPE_DIM,
                                      .kv_format = numerics == HEARTH_NATIVE ? HEARTH_KV_PACKED : HEARTH_KV_F32,
                                      .overlap = ratio == 4,
                                      .kind = (uint16_t)kind,
                                      .eps = 1e-6f};
    struct output outputs[2];
    const uint32_t columns = op->overlap ? 2 * op->width : op->width;
    add_compress_outputs(op, outputs);
    op->values = make_x(n); /* of DIM columns, or more than are wanted */
    op->gates = make_x(n);
    op->state = make_view(outputs[0].size);
    op->entries = make_view(outputs[1].size);
    op->ape = make_vector(ratio * columns);
    op->norm = make_vector(op->width);
    return command;
}

/* Of a layer of this ratio, 0: no compressors.  Returns how many commands there are. */
static size_t
make_attention_inputs(uint32_t ratio, uint32_t n, uint64_t position, uint32_t numerics,
                      struct hearth_command commands[6])
{
    const uint32_t format = numerics == HEARTH_NATIVE ? HEARTH_KV_PACKED : HEARTH_KV_F32;
    struct hearth_weight *freqs = make_vector(ROPE_DIM / 2);
    size_t n_commands = 2;
    commands[0] = (struct hearth_command){.op = HEARTH_OP_QUERY_ROPE, .numerics = numerics};
    commands[1] = (struct hearth_command){.op = HEARTH_OP_KV_APPEND, .numerics = numerics};
    commands[0].args.query_rope = (struct hearth_op_query_rope){.q = make_view(sizeof(float) * n * N_HEADS * DIM),
                                                                .inv_freq = freqs,
                                                                .position = position,
                                                                .n = n,
                                                                .n_heads = N_HEADS,
                                                                .head_dim = DIM,
                                                                .rope_dim = ROPE_DIM,
                                                                .eps = 1e-6f};
    commands[1].args.kv_append =
        (struct hearth_op_kv_append){.kv = make_x(n),
                                     .ring = make_view((size_t)hearth_kv_row_bytes(format, DIM, ROPE_DIM) * RING_SLOTS),
                                     .norm = make_vector(DIM),
                                     .inv_freq = freqs,
                                     .position = position,
                                     .n = n,
                                     .head_dim = DIM,
                                     .rope_dim = ROPE_DIM,
                                     .ring_slots = RING_SLOTS,
                                     .kv_format = format,
                                     .eps = 1e-6f};
    if (ratio == 4) {
        commands[2] = (struct hearth_command){.op = HEARTH_OP_INDEX_QUERY, .numerics = numerics};
        commands[2].args.index_query =
            (struct hearth_op_index_query){.q = make_view(sizeof(float) * n * N_HEADS * INDEX_DIM),
                                           .inv_freq = freqs,
                                           .position = position,
                                           .n = n,
                                           .n_heads = N_HEADS,
                                           .width = INDEX_DIM,
                                           .rope_dim = ROPE_DIM};
        commands[3] = make_compress(HEARTH_ENTRY_INDEX, ratio, n, position, numerics, freqs);
        commands[4] = (struct hearth_command){.op = HEARTH_OP_INDEX_TOPK, .numerics = numerics};
        commands[4].args.index_topk =
            (struct hearth_op_index_topk){.q = commands[2].args.index_query.q,
                                          .head_weights = make_x(n),
                                          .keys = commands[3].args.compress.entries,
                                          .indices = make_view(sizeof(int32_t) * n * INDEX_TOP_K),
                                          .position = position,
                                          .n = n,
                                          .n_heads = N_HEADS,
                                          .width = INDEX_DIM,
                                          .ratio = ratio,
                                          .top_k = INDEX_TOP_K,
                                          .kv_format = format};
        n_commands = 5;
    }
    if (ratio != 0) {
        commands[n_commands++] = make_compress(HEARTH_ENTRY_KV, ratio, n, position, numerics, freqs);
    }
    return n_commands;
}

/* Positions that complete no entry, one, and more of them with many tokens. */
START_TEST(what_attention_wants)
{
    static const uint64_t positions[] = {0, 5, 27, 31, 127};
    static const uint32_t ratios[] = {4, 0, 128, 8};
    if (device == NULL) {
        return;
    }
    const uint32_t numerics = _i % 2 == 0 ? HEARTH_NATIVE : HEARTH_EXACT;
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        const uint32_t n = i == 1 ? 2 : i == 2 ? MAX_TOKENS : 1;
        struct hearth_command commands[6];
        const size_t n_commands = make_attention_inputs(ratios[_i / 2], n, positions[i], numerics, commands);
        expect_same_bits(commands, n_commands);
        close_memory();
    }
}
END_TEST

/* Rows of other tokens than the queries', other frequencies, memory that two of them use. */
START_TEST(what_attention_does_not_want_together)
{
    if (device == NULL) {
        return;
    }
    struct hearth_command commands[6];
    const size_t n = make_attention_inputs(4, 2, 9, HEARTH_NATIVE, commands);
    if (_i == 0) {
        commands[1].args.kv_append.position++;
    } else if (_i == 1) {
        commands[1].args.kv_append.inv_freq = make_vector(ROPE_DIM / 2);
    } else {
        commands[5].args.compress.values = commands[0].args.query_rope.q;
    }
    expect_same_bits(commands, n);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("joint");
    TCase *tests = tcase_create("commands that run together");
    tcase_set_timeout(tests, 300); /* OpenCL's compilers take their time */
    tcase_add_checked_fixture(tests, open_device, close_device);
    tcase_add_loop_test(tests, linears_of_one_input, 0, 4);
    tcase_add_test(tests, linears_that_meet_in_memory);
    tcase_add_loop_test(tests, experts_and_the_shared_one, 0, 4);
    tcase_add_loop_test(tests, router_and_experts, 0, 8);
    tcase_add_loop_test(tests, a_sum_and_its_return, 0, 8);
    tcase_add_loop_test(tests, what_attention_wants, 0, 8);
    tcase_add_loop_test(tests, what_attention_does_not_want_together, 0, 3);
    suite_add_tcase(suite, tests);
    tests = tcase_create("between sublayers"); /* one launch, if any, where a device stands in for another */
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, open_with_mma, close_device);
    tcase_add_loop_test(tests, between_sublayers, 0, 2 * N_STREAMS_OF);
    tcase_add_loop_test(tests, not_between_sublayers, 0, 4);
    suite_add_tcase(suite, tests);
    tests = tcase_create("between sublayers, by sub-groups");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, open_with_both, close_device);
    tcase_add_loop_test(tests, between_sublayers, 0, 2 * N_STREAMS_OF);
    suite_add_tcase(suite, tests);
    tests = tcase_create("by matrix instructions");
    tcase_set_timeout(tests, 300);
    tcase_add_checked_fixture(tests, open_with_mma, close_device);
    tcase_add_loop_test(tests, linears_of_one_input, 0, 2);
    tcase_add_loop_test(tests, linears_of_two_kinds, 0, 8);
    tcase_add_loop_test(tests, linears_and_a_norm, 0, 8);
    tcase_add_loop_test(tests, router_and_experts, 0, 8);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* a driver's threads do not follow into a child */
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
