/* head_test.c - the output head kept as e4m3: the product is that of the rounded weights with the input as it is. */
#include <config.h>

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/dtype.h>
#include <hearth/plugin.h>

extern const struct hearth_plugin hearth_plugin_cpu;

enum { N_IN = 200, N_OUT = 300, N = 3, TILE = 128 };

static const struct hearth_plugin *const plugin = &hearth_plugin_cpu;
static const char *head_option;
static uint16_t weight_bits[N_OUT * N_IN];
static float x[N * N_IN], y[N * N_OUT];

static const char *
give_option(void *context, const char *key)
{
    (void)context;
    return strcmp(key, "head") == 0 ? head_option : NULL;
}

static const struct hearth_host host = {.struct_size = sizeof host, .option = give_option};

static float
noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

/* y = the head of the given role times x, on a device with the option. */
static void
multiply(const char *option, enum hearth_weight_role role)
{
    const struct hearth_matrix matrix = {
        .dtype = HEARTH_BF16, .rows = N_OUT, .cols = N_IN, .data = weight_bits, .data_bytes = sizeof weight_bits};
    struct hearth_device *device;
    struct hearth_weight *weight;
    struct hearth_view in = {NULL, 0}, out = {NULL, 0};
    uint32_t n_devices = 0, state = 7;
    for (size_t i = 0; i < N_OUT * N_IN; i++) {
        weight_bits[i] = hearth_bf16_from_f32(noise(&state) * (i % N_IN < TILE ? 0.05f : 1e-3f));
    }
    for (size_t i = 0; i < N * N_IN; i++) {
        x[i] = noise(&state);
    }
    head_option = option;
    ck_assert_int_eq(plugin->start(&host, &n_devices, NULL), 0);
    if (n_devices == 0) {
        exit(77);
    }
    ck_assert_int_eq(plugin->open(0, &device, NULL), 0);
    ck_assert_int_eq(plugin->weight_create(device, role, &matrix, 1, &weight, NULL), 0);
    ck_assert_int_eq(plugin->buffer_alloc(device, sizeof x, &in.buffer, NULL), 0);
    ck_assert_int_eq(plugin->buffer_alloc(device, sizeof y, &out.buffer, NULL), 0);
    ck_assert_int_eq(plugin->buffer_write(device, in, x, sizeof x, NULL, NULL), 0);
    const struct hearth_command command = {
        .op = HEARTH_OP_LINEAR,
        .numerics = HEARTH_NATIVE,
        .args.linear = {.x = in, .y = out, .weight = weight, .n = N, .n_in = N_IN, .n_out = N_OUT}};
    ck_assert_int_eq(plugin->submit(device, &command, 1, NULL, 0, NULL, NULL), 0);
    ck_assert_int_eq(plugin->buffer_read(device, y, out, sizeof y, NULL, NULL), 0);
    plugin->buffer_free(device, in.buffer);
    plugin->buffer_free(device, out.buffer);
    plugin->weight_free(device, weight);
    plugin->close(device);
    plugin->stop();
}

/* The weight's element as its tile's scale and e4m3 hold it. */
static double
rounded(size_t row, size_t col)
{
    float largest = 0.0f;
    for (size_t r = row / TILE * TILE; r < N_OUT && r < (row / TILE + 1) * TILE; r++) {
        for (size_t c = col / TILE * TILE; c < N_IN && c < (col / TILE + 1) * TILE; c++) {
            largest = fmaxf(largest, fabsf(hearth_bf16_to_f32(weight_bits[r * N_IN + c])));
        }
    }
    const float scale = exp2f(ceilf(log2f(largest / 448.0f)));
    return scale * hearth_e4m3_to_f32(hearth_e4m3_from_f32(hearth_bf16_to_f32(weight_bits[row * N_IN + col]) / scale));
}

/* The largest difference between y and the product of the weights as stored or as rounded, and the norm of the latter's
 * difference from the former in shares of its own. */
static void
compare(bool is_rounded, double *ret_worst, double *ret_share)
{
    double worst = 0.0, wrong = 0.0, right = 0.0;
    for (size_t row = 0; row < N_OUT; row++) {
        for (size_t t = 0; t < N; t++) {
            double stored = 0.0, reduced = 0.0;
            for (size_t col = 0; col < N_IN; col++) {
                const double value = hearth_bf16_to_f32(weight_bits[row * N_IN + col]);
                stored += value * x[t * N_IN + col];
                reduced += rounded(row, col) * x[t * N_IN + col];
            }
            worst = fmax(worst, fabs(y[t * N_OUT + row] - (is_rounded ? reduced : stored)));
            wrong += (reduced - stored) * (reduced - stored);
            right += stored * stored;
        }
    }
    *ret_worst = worst;
    *ret_share = sqrt(wrong / right);
}

START_TEST(a_reduced_head_rounds_its_weights_only)
{
    double worst, share;
    multiply("e4m3", HEARTH_WEIGHT_HEAD);
    compare(true, &worst, &share);
    ck_assert_double_lt(worst, 1e-5);
    ck_assert_double_lt(share, 0.035); /* half a step of 2^-3 at most, evenly spread: 2^-4 / sqrt 3 */
    ck_assert_double_gt(share, 0.01);  /* the two differ, so that the bound above says something */
}
END_TEST

START_TEST(other_weights_stay_as_they_are)
{
    double worst, share;
    multiply("e4m3", HEARTH_WEIGHT_LINEAR);
    compare(false, &worst, &share);
    ck_assert_double_lt(worst, 1e-5);
    multiply("bf16", HEARTH_WEIGHT_HEAD);
    compare(false, &worst, &share);
    ck_assert_double_lt(worst, 1e-5);
}
END_TEST

START_TEST(an_unknown_form_is_refused)
{
    struct hearth_error err = {0};
    uint32_t n_devices;
    head_option = "int3";
    ck_assert_int_eq(plugin->start(&host, &n_devices, &err), HEARTH_ECONFIG);
    ck_assert_str_eq(err.text, "cpu: option head: bf16 or e4m3 wanted, \"int3\" found");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("head");
    TCase *head = tcase_create("head");
    tcase_set_timeout(head, 120);
    tcase_add_test(head, a_reduced_head_rounds_its_weights_only);
    tcase_add_test(head, other_weights_stay_as_they_are);
    tcase_add_test(head, an_unknown_form_is_refused);
    suite_add_tcase(suite, head);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
