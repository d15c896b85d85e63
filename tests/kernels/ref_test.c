/* ref_test.c - the reference against numbers made elsewhere: the specification's vectors, and units.safetensors from
 * tests/golden; and what it says to arguments that break command.h. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/ref/ref.h"
#include "tests/kernels/units.h"

extern const struct hearth_plugin hearth_plugin_ref;

/* What a test took, given back by its fixture. */
static struct hearth_buffer *buffers[256];
static struct hearth_weight *weights[256];
static size_t n_buffers, n_weights;

/* A device with buffers that hold the arrays a test gives. */
static struct hearth_device *device;
static struct hearth_host host = {.struct_size = sizeof host};

static void
open_device(void)
{
    uint32_t n;
    ck_assert_int_eq(hearth_plugin_ref.start(&host, &n, NULL), 0);
    ck_assert_int_eq(hearth_plugin_ref.open(0, &device, NULL), 0);
    units_load();
}

static void
close_device(void)
{
    while (n_weights > 0) {
        hearth_plugin_ref.weight_free(device, weights[--n_weights]);
    }
    while (n_buffers > 0) {
        hearth_plugin_ref.buffer_free(device, buffers[--n_buffers]);
    }
    hearth_plugin_ref.close(device);
    hearth_plugin_ref.stop();
    units_drop();
}

static struct hearth_view
view_of(const void *data, uint64_t size)
{
    struct hearth_view view = {NULL, 0};
    ck_assert_int_eq(hearth_plugin_ref.buffer_alloc(device, size, &view.buffer, NULL), 0);
    ck_assert_uint_lt(n_buffers, sizeof buffers / sizeof buffers[0]);
    buffers[n_buffers++] = view.buffer;
    if (data != NULL) {
        ck_assert_int_eq(hearth_plugin_ref.buffer_write(device, view, data, size, NULL, NULL), 0);
    }
    return view;
}

static float *
values_of(struct hearth_view view)
{
    return hearth_plugin_ref.buffer_host(device, view.buffer);
}

static struct hearth_weight *
weight_of(enum hearth_weight_role role, uint32_t dtype, uint64_t rows, uint64_t cols, const void *data,
          uint64_t data_bytes, const void *scales, uint64_t scales_bytes)
{
    struct hearth_weight *weight = NULL;
    const struct hearth_matrix matrix = {.dtype = dtype,
                                         .rows = rows,
                                         .cols = cols,
                                         .data = data,
                                         .data_bytes = data_bytes,
                                         .scales = scales,
                                         .scales_bytes = scales_bytes};
    ck_assert_int_eq(hearth_plugin_ref.weight_create(device, role, &matrix, 1, &weight, NULL), 0);
    ck_assert_uint_lt(n_weights, sizeof weights / sizeof weights[0]);
    weights[n_weights++] = weight;
    return weight;
}

static struct hearth_weight *
vector_of(const float *values, uint64_t n)
{
    return weight_of(HEARTH_WEIGHT_VECTOR, HEARTH_F32, 1, n, values, 4 * n, NULL, 0);
}

static int
run(uint32_t op, uint32_t numerics, struct hearth_command *command, struct hearth_error *err)
{
    command->op = op;
    command->numerics = numerics;
    return hearth_plugin_ref.submit(device, command, 1, NULL, 0, NULL, err);
}

static void
expect_near(const float *found, const float *expected, size_t n, double relative, const char *what)
{
    for (size_t i = 0; i < n; i++) {
        ck_assert_msg(fabs((double)found[i] - expected[i]) <= relative * fabs((double)expected[i]),
                      "%s[%zu]: %.9g wanted, %.9g found", what, i, (double)expected[i], (double)found[i]);
    }
}

START_TEST(test_specified_codes)
{
    /* specification 16.2 */
    static const struct {
        float value;
        uint8_t code;
    } e4m3[] = {{448, 0x7E}, {240, 0x77},     {0x1p-10f, 0},   {0.00195f, 1}, {0x1p-6f, 8}, {17, 0x58},   {18, 0x59},
                {19, 0x5A},  {1.0625f, 0x38}, {1.1875f, 0x3A}, {0.3f, 0x2A},  {100, 0x6C},  {-448, 0xFE}, {500, 0x7E}};
    static const struct {
        float value;
        uint8_t code;
    } e2m1[] = {{0.25f, 0}, {0.75f, 2},   {1.25f, 2},  {1.75f, 4}, {2.5f, 4}, {3.5f, 6},
                {5, 6},     {5.0001f, 7}, {-0.25f, 8}, {-5, 14},   {7, 7}};
    static const struct {
        float amax;
        int act, fp4;
    } scales[] = {{0, -22, -126}, {1e-4f, -22, -15}, {0.4375f, -10, -3}, {0.875f, -9, -2}, {1, -8, -2}, {2, -7, -1},
                  {3.5f, -7, 0},  {7, -6, 1},        {447.9f, 0, 7},     {448, 0, 7},      {450, 1, 7}};
    for (size_t i = 0; i < sizeof e4m3 / sizeof e4m3[0]; i++) {
        ck_assert_uint_eq(hearth_e4m3_from_f32(e4m3[i].value), e4m3[i].code);
    }
    for (size_t i = 0; i < sizeof e2m1 / sizeof e2m1[0]; i++) {
        ck_assert_uint_eq(hearth_e2m1_from_f32(e2m1[i].value), e2m1[i].code);
    }
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        uint8_t code, scale;
        ref_act_quant(&scales[i].amax, 1, 128, &code, &scale);
        ck_assert_int_eq((int)scale - 127, scales[i].act);
        ref_fp4_quant(&scales[i].amax, 1, &code, &scale);
        ck_assert_int_eq((int)scale - 127, scales[i].fp4);
    }
}
END_TEST

START_TEST(test_formats)
{
    size_t n, n_codes;
    const float *values = unit_f32("e4m3.values", &n);
    for (size_t i = 0; i < n; i++) {
        ck_assert(isnan(values[i]) ? isnan(hearth_e4m3_to_f32((uint8_t)i))
                                   : hearth_e4m3_to_f32((uint8_t)i) == values[i]);
    }
    const float *in = unit_f32("e4m3.in", &n);
    const uint8_t *codes = unit("e4m3.codes", 1, &n_codes);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(hearth_e4m3_from_f32(in[i]), codes[i]);
    }
    in = unit_f32("e2m1.in", &n);
    codes = unit("e2m1.codes", 1, &n_codes);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(hearth_e2m1_from_f32(in[i]), codes[i]);
    }
    in = unit_f32("bf16.in", &n);
    const uint16_t *bits = unit("bf16.codes", 2, &n_codes);
    for (size_t i = 0; i < n; i++) {
        ck_assert_uint_eq(hearth_bf16_from_f32(in[i]), bits[i]);
    }
    const float *amax = unit_f32("scale.amax", &n);
    const int32_t *fp8 = unit("scale.fp8_exponent", 4, &n_codes);
    const int32_t *fp4 = unit("scale.fp4_exponent", 4, &n_codes);
    for (size_t i = 0; i < n; i++) {
        uint8_t code, scale;
        ref_act_quant(&amax[i], 1, 128, &code, &scale);
        ck_assert_int_eq((int)scale - 127, fp8[i]);
        ref_fp4_quant(&amax[i], 1, &code, &scale);
        ck_assert_int_eq((int)scale - 127, fp4[i]);
    }
}
END_TEST

static void
check_act_quant(uint32_t block, const char *expected_name)
{
    size_t n;
    const uint64_t width = 200;
    const float *in = unit_f32("act_quant.in", &n);
    const float *out = unit_f32(expected_name, &n);
    for (size_t row = 0; row < n / width; row++) {
        uint8_t codes[200], scales[4];
        ref_act_quant(in + row * width, width, block, codes, scales);
        for (size_t i = 0; i < width; i++) {
            ck_assert(hearth_e4m3_to_f32(codes[i]) * hearth_e8m0_to_f32(scales[i / block]) == out[row * width + i]);
        }
    }
}

START_TEST(test_quantisers)
{
    size_t n;
    check_act_quant(128, "act_quant.out_128");
    check_act_quant(64, "act_quant.out_64");
    const float *in = unit_f32("fp4_quant.in", &n);
    const float *out = unit_f32("fp4_quant.out_32", &n);
    for (size_t row = 0; row < n / 192; row++) {
        uint8_t codes[192], scales[6];
        ref_fp4_quant(in + row * 192, 192, codes, scales);
        for (size_t i = 0; i < 192; i++) {
            ck_assert(hearth_e2m1_to_f32(codes[i]) * hearth_e8m0_to_f32(scales[i / 32]) == out[row * 192 + i]);
        }
    }
    for (uint32_t width = 32; width <= 128; width *= 2) {
        char name[64];
        snprintf(name, sizeof name, "hadamard.in_%u", width);
        float *x = (float *)(uintptr_t)unit_f32(name, &n);
        snprintf(name, sizeof name, "hadamard.out_%u", width);
        const float *y = unit_f32(name, &n);
        for (size_t row = 0; row < n / width; row++) {
            ref_hadamard(x + row * width, width);
        }
        expect_near(x, y, n, 0.0, name);
    }
}
END_TEST

START_TEST(test_rotations)
{
    static const char *const tables[] = {"flash", "window", "short"};
    static const char *const directions[] = {"forward", "inverse"};
    size_t n, n_freqs, n_positions;
    const int64_t *positions = unit("rope.positions", 8, &n_positions);
    for (int at = 0; at < 3 * 2 * 2; at++) {
        const bool native = at % 2, inverse = at / 2 % 2;
        char name[64];
        snprintf(name, sizeof name, "rope.freqs_%s", tables[at / 4]);
        const float *freqs = unit_f32(name, &n_freqs);
        snprintf(name, sizeof name, "rope.in_%s", tables[at / 4]);
        float *x = (float *)(uintptr_t)unit_f32(name, &n);
        snprintf(name, sizeof name, "rope.%s_%s.%s", directions[inverse], tables[at / 4], native ? "native" : "exact");
        const float *y = unit_f32(name, &n);
        const size_t width = n / n_positions;
        for (size_t row = 0; row < n_positions; row++) {
            ref_rotate(native, x + row * width + (width - 2 * n_freqs), (uint32_t)(2 * n_freqs), freqs,
                       (uint64_t)positions[row], inverse ? -1 : 1);
        }
        for (size_t i = 0; i < n; i++) { /* of a pair one may be small: judged by a step of f32 or bf16 at size 4 */
            ck_assert_msg(fabs((double)x[i] - y[i]) <= (native ? 0x1p-8 * fabs((double)y[i]) : 0x1p-22),
                          "%s[%zu]: %g, %g", name, i, (double)y[i], (double)x[i]);
        }
    }
}
END_TEST

START_TEST(test_sinkhorn)
{
    for (uint32_t s = 1; s <= 4; s++) {
        const uint32_t n_mix = (2 + s) * s, dim = 2 + s, n_in = s * dim;
        static const char *const parts[] = {"mixes", "base", "scale", "pre", "post", "comb"};
        const float *unit_parts[6];
        float fn[24 * 24] = {0}, norm[6], streams[24];
        size_t n;
        for (int i = 0; i < 6; i++) {
            char name[64];
            snprintf(name, sizeof name, "sinkhorn.%s_%u", parts[i], s);
            unit_parts[i] = unit_f32(name, &n);
        }
        /* streams of ones have mean square 1, so row k of fn with m[k] in one place mixes to m[k] */
        for (uint32_t i = 0; i < n_in; i++) {
            streams[i] = 1.0f;
            norm[i % dim] = 1.0f;
        }
        for (uint32_t k = 0; k < n_mix; k++) {
            fn[k * n_in + k] = unit_parts[0][k];
        }
        struct hearth_command command = {0};
        struct hearth_op_mhc_pre *op = &command.args.mhc_pre;
        *op = (struct hearth_op_mhc_pre){
            .streams = view_of(streams, 4 * n_in),
            .normed = view_of(NULL, 4 * dim),
            .post = view_of(NULL, 4 * s),
            .comb = view_of(NULL, 4 * s * s),
            .fn = weight_of(HEARTH_WEIGHT_LINEAR, HEARTH_F32, n_mix, n_in, fn, 4 * n_mix * n_in, NULL, 0),
            .base = vector_of(unit_parts[1], n_mix),
            .scale = vector_of(unit_parts[2], 3),
            .norm = vector_of(norm, dim),
            .n = 1,
            .n_streams = s,
            .dim = dim,
            .n_sinkhorn = 20,
            .hc_eps = 1e-6f};
        ck_assert_int_eq(run(HEARTH_OP_MHC_PRE, HEARTH_EXACT, &command, NULL), 0);
        expect_near(values_of(op->post), unit_parts[4], s, 1e-6, "post");
        expect_near(values_of(op->comb), unit_parts[5], s * s, 1e-6, "comb");
    }
}
END_TEST

START_TEST(test_norms)
{
    size_t n;
    const float *x = unit_f32("rmsnorm.in", &n);
    const float *w = unit_f32("rmsnorm.weight", &n);
    for (int native = 0; native < 2; native++) {
        const float *y = unit_f32(native ? "rmsnorm.out.native" : "rmsnorm.out.exact", &n);
        float found[400];
        for (size_t row = 0; row < n / 80; row++) {
            ref_normalise(native, x + row * 80, w, 80, 1e-6f, found + row * 80);
        }
        expect_near(found, y, n, native ? 0.0 : 1e-6, "rmsnorm");
        struct hearth_command command = {0};
        struct hearth_op_query_rope *op = &command.args.query_rope;
        const float freq = 0.0f; /* turns nothing */
        y = unit_f32(native ? "query_norm.out.native" : "query_norm.out.exact", &n);
        *op = (struct hearth_op_query_rope){.q = view_of(x, 4 * n),
                                            .inv_freq = vector_of(&freq, 1),
                                            .n = (uint32_t)n / 80,
                                            .n_heads = 1,
                                            .head_dim = 80,
                                            .rope_dim = 2,
                                            .eps = 1e-6f};
        ck_assert_int_eq(run(HEARTH_OP_QUERY_ROPE, native ? HEARTH_NATIVE : HEARTH_EXACT, &command, NULL), 0);
        expect_near(values_of(op->q), y, n, native ? 0.0 : 1e-6, "query_norm");
    }
}
END_TEST

START_TEST(test_sqrtsoftplus)
{
    size_t n;
    const float *in = unit_f32("sqrtsoftplus.in", &n);
    const float *out = unit_f32("sqrtsoftplus.out", &n);
    const float one = 1.0f;
    const int64_t both[2] = {0, 1};
    const int32_t id = 0;
    for (size_t i = 0; i < n; i++) {
        const float gate[2] = {in[i], 0.0f}; /* the second expert's a is sqrt(ln 2) */
        struct hearth_command command = {0};
        struct hearth_op_router *op = &command.args.router;
        *op = (struct hearth_op_router){.x = view_of(&one, 4),
                                        .ids = view_of(&id, 4),
                                        .routes = view_of(NULL, 2 * sizeof(struct hearth_route)),
                                        .gate = weight_of(HEARTH_WEIGHT_LINEAR, HEARTH_F32, 2, 1, gate, 8, NULL, 0),
                                        .table = weight_of(HEARTH_WEIGHT_TABLE, HEARTH_I64, 1, 2, both, 16, NULL, 0),
                                        .n = 1,
                                        .dim = 1,
                                        .n_experts = 2,
                                        .top_k = 2,
                                        .route_scale = 1.0f};
        ck_assert_int_eq(run(HEARTH_OP_ROUTER, HEARTH_NATIVE, &command, NULL), 0);
        const struct hearth_route *routes = (const void *)values_of(op->routes);
        const float found = (float)((double)routes[0].weight / routes[1].weight * sqrt(log(2.0)));
        expect_near(&found, &out[i], 1, 1e-6, "sqrtsoftplus");
    }
}
END_TEST

START_TEST(test_linears)
{
    size_t n, n_in, n_scales, n_out;
    const float *x = unit_f32("linear.in", &n_in);
    for (int at = 0; at < 4; at++) {
        const bool native = at % 2, fp8 = at / 2;
        char name[64];
        snprintf(name, sizeof name, "linear.%s.weight", fp8 ? "fp8" : "fp4");
        const void *data = unit(name, 1, &n);
        snprintf(name, sizeof name, "linear.%s.scale", fp8 ? "fp8" : "fp4");
        const void *scales = unit(name, 1, &n_scales);
        snprintf(name, sizeof name, "linear.%s_out.%s", fp8 ? "fp8" : "fp4", native ? "native" : "exact");
        const float *y = unit_f32(name, &n_out);
        struct hearth_command command = {0};
        struct hearth_op_linear *op = &command.args.linear;
        *op = (struct hearth_op_linear){.x = view_of(x, 4 * n_in),
                                        .y = view_of(NULL, 4 * n_out),
                                        .n = 3,
                                        .n_in = 160,
                                        .n_out = 200,
                                        .round_output = 1,
                                        .weight = weight_of(HEARTH_WEIGHT_LINEAR, fp8 ? HEARTH_E4M3 : HEARTH_E2M1X2,
                                                            200, 160, data, n, scales, n_scales)};
        ck_assert_int_eq(run(HEARTH_OP_LINEAR, native ? HEARTH_NATIVE : HEARTH_EXACT, &command, NULL), 0);
        const float *found = values_of(op->y);
        for (size_t i = 0; i < n_out; i++) { /* sums of 160 terms of size 2^4 or so: absolute noise where they cancel */
            const double slack = native ? 0x1p-8 * fabs((double)y[i]) : 1e-6 * fabs((double)y[i]) + 1e-6;
            ck_assert_msg(fabs((double)found[i] - y[i]) <= slack, "%s[%zu]: %g, %g", name, i, (double)y[i],
                          (double)found[i]);
        }
    }
}
END_TEST

START_TEST(test_index_choice)
{
    size_t n, n_keys, n_heads;
    const float *q = unit_f32("index.q", &n);
    const float *head_weights = unit_f32("index.head_weights", &n_heads);
    const float *keys = unit_f32("index.keys", &n_keys);
    for (int native = 0; native < 2; native++) {
        size_t n_chosen;
        const int32_t *chosen = unit(native ? "index.chosen.native" : "index.chosen.exact", 4, &n_chosen);
        struct hearth_command command = {0};
        struct hearth_op_index_topk *op = &command.args.index_topk;
        *op = (struct hearth_op_index_topk){.q = view_of(q, 4 * n),
                                            .head_weights = view_of(head_weights, 4 * n_heads),
                                            .keys = view_of(keys, 4 * n_keys),
                                            .indices = view_of(NULL, 4 * n_chosen),
                                            .position = n_keys / 32 * 4 - 1,
                                            .n = 1,
                                            .n_heads = 4,
                                            .width = 32,
                                            .ratio = 4,
                                            .top_k = (uint32_t)n_chosen,
                                            .kv_format = HEARTH_KV_F32};
        ck_assert_int_eq(run(HEARTH_OP_INDEX_TOPK, native ? HEARTH_NATIVE : HEARTH_EXACT, &command, NULL), 0);
        ck_assert_int_eq(memcmp(values_of(op->indices), chosen, 4 * n_chosen), 0);
    }
}
END_TEST

START_TEST(test_attend)
{
    size_t n, n_keys, n_sinks;
    const float *q = unit_f32("attend.q", &n);
    const float *keys = unit_f32("attend.keys", &n_keys);
    const float *sinks = unit_f32("attend.sinks", &n_sinks);
    const float still = 0.0f;
    for (int native = 0; native < 2; native++) {
        const float *out = unit_f32(native ? "attend.out.native" : "attend.out.exact", &n);
        struct hearth_command command = {0};
        struct hearth_op_attention *op = &command.args.attention;
        *op = (struct hearth_op_attention){.q = view_of(q, 4 * n),
                                           .ring = view_of(keys, 4 * n_keys),
                                           .o = view_of(NULL, 4 * n),
                                           .sinks = vector_of(sinks, n_sinks),
                                           .inv_freq = vector_of(&still, 1),
                                           .position = n_keys / 80 - 1,
                                           .n = 1,
                                           .n_heads = 4,
                                           .head_dim = 80,
                                           .rope_dim = 2,
                                           .window = 70,
                                           .ring_slots = 70,
                                           .kv_format = HEARTH_KV_F32};
        ck_assert_int_eq(run(HEARTH_OP_ATTENTION, native ? HEARTH_NATIVE : HEARTH_EXACT, &command, NULL), 0);
        const float *found = values_of(op->o);
        for (size_t i = 0; i < n; i++) {
            ck_assert_msg(fabs((double)found[i] - out[i]) <= (native ? 0x1p-8 * fabs((double)out[i]) : 1e-6),
                          "o[%zu]: %g, %g", i, (double)out[i], (double)found[i]);
        }
    }
}
END_TEST

static void
expect_refusal(uint32_t op, struct hearth_command *command, int status, const char *part)
{
    struct hearth_error err = {0};
    ck_assert_int_eq(run(op, HEARTH_NATIVE, command, &err), status);
    ck_assert_int_eq(err.status, status);
    ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" wanted in \"%s\"", part, err.text);
}

START_TEST(test_refusals)
{
    const float values[64] = {0};
    struct hearth_view small = view_of(values, 32);
    struct hearth_weight *norm = vector_of(values, 8);
    struct hearth_command command = {0};
    struct hearth_op_rmsnorm *op = &command.args.rmsnorm;
    *op = (struct hearth_op_rmsnorm){.x = small, .y = small, .norm = norm, .n = 1, .dim = 8, .eps = 1e-6f};
    ck_assert_int_eq(run(HEARTH_OP_RMSNORM, HEARTH_NATIVE, &command, NULL), 0);
    op->n = 2;
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL,
                   "rmsnorm: x: 64 bytes at offset 0 wanted, the buffer has 32");
    op->n = 0;
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL, "impossible shape");
    op->n = 1;
    op->x.offset = 2;
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL, "x: ");
    op->x.offset = UINT64_MAX;
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL, "x: ");
    op->x = (struct hearth_view){NULL, 0};
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL, "x: a buffer wanted");
    op->x = small;
    op->dim = 7;
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL, "norm: 7 elements wanted, 1 x 8 found");
    op->norm = NULL;
    expect_refusal(HEARTH_OP_RMSNORM, &command, HEARTH_EINTERNAL, "norm: ");
    expect_refusal(HEARTH_N_OPS, &command, HEARTH_EUNSUPPORTED, "operation");

    const int32_t bad_ids[2] = {0, 3};
    command = (struct hearth_command){0};
    command.args.embed =
        (struct hearth_op_embed){.ids = view_of(bad_ids, 8),
                                 .streams = view_of(NULL, 64),
                                 .n = 2,
                                 .n_streams = 1,
                                 .dim = 8,
                                 .table = weight_of(HEARTH_WEIGHT_EMBEDDING, HEARTH_F32, 3, 8, values, 96, NULL, 0)};
    expect_refusal(HEARTH_OP_EMBED, &command, HEARTH_EINTERNAL, "ids[1]: 0 .. 2 wanted, 3 found");

    const struct hearth_route route = {.token = 0, .slot = 0, .expert = 5, .weight = 1.0f};
    const struct hearth_weight *experts[1] = {NULL};
    command = (struct hearth_command){0};
    command.args.expert_ffn = (struct hearth_op_expert_ffn){.x = small,
                                                            .routes = view_of(&route, sizeof route),
                                                            .y = view_of(NULL, 32),
                                                            .experts = experts,
                                                            .n = 1,
                                                            .n_routes = 1,
                                                            .n_slots = 1,
                                                            .n_experts = 1,
                                                            .dim = 8,
                                                            .inner = 8};
    expect_refusal(HEARTH_OP_EXPERT_FFN, &command, HEARTH_EINTERNAL, "routes[0]");

    struct hearth_error err = {0};
    struct hearth_weight *weight = NULL;
    struct hearth_matrix matrix = {.dtype = HEARTH_E4M3, .rows = 2, .cols = 8, .data = values, .data_bytes = 16};
    ck_assert_int_eq(hearth_plugin_ref.weight_create(device, HEARTH_WEIGHT_LINEAR, &matrix, 1, &weight, &err),
                     HEARTH_EINTERNAL);
    ck_assert_ptr_nonnull(strstr(err.text, "1 bytes of scales wanted, 0 found"));
    matrix.dtype = HEARTH_E2M1X2;
    matrix.cols = 7;
    ck_assert_int_eq(hearth_plugin_ref.weight_create(device, HEARTH_WEIGHT_LINEAR, &matrix, 1, &weight, &err),
                     HEARTH_EUNSUPPORTED);
    ck_assert_ptr_null(weight);
}
END_TEST

static const char *
option_of(void *context, const char *key)
{
    return strcmp(key, "threads") == 0 ? context : NULL;
}

START_TEST(test_thread_option)
{
    static const char *const bad[] = {"0", "-1", "", "two", "3x", "99999999999999999999", "1025"};
    struct hearth_host asking = {.struct_size = sizeof asking, .option = option_of};
    uint32_t n = 77;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct hearth_error err = {0};
        asking.context = (void *)(uintptr_t)bad[i];
        ck_assert_int_eq(hearth_plugin_ref.start(&asking, &n, &err), HEARTH_ECONFIG);
        ck_assert_uint_eq(n, 77);
        ck_assert_ptr_nonnull(strstr(err.text, "threads"));
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("ref");
    TCase *numbers = tcase_create("numbers"), *refusals = tcase_create("refusals");
    host.option = option_of;
    tcase_add_checked_fixture(numbers, open_device, close_device);
    tcase_add_test(numbers, test_specified_codes);
    tcase_add_test(numbers, test_formats);
    tcase_add_test(numbers, test_quantisers);
    tcase_add_test(numbers, test_rotations);
    tcase_add_test(numbers, test_sinkhorn);
    tcase_add_test(numbers, test_norms);
    tcase_add_test(numbers, test_sqrtsoftplus);
    tcase_add_test(numbers, test_linears);
    tcase_add_test(numbers, test_index_choice);
    tcase_add_test(numbers, test_attend);
    tcase_add_checked_fixture(refusals, open_device, close_device);
    tcase_add_test(refusals, test_refusals);
    tcase_add_test(refusals, test_thread_option);
    suite_add_tcase(suite, numbers);
    suite_add_tcase(suite, refusals);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
