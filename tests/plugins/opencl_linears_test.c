/* opencl_linears_test.c - linears that stand together: many matrices, types and roles, of many tokens in one
 * submission, give the bits of each of them alone and of each token alone.  Needs a platform (PoCL will do), else it is
 * skipped. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <string.h>

#include <hearth/numerics.h>
#include <hearth/plugin.h>

#define SKIPPED 77
#define COLS 256u
#define MOST_TOKENS 130u
#define MOST_ROWS 150u

extern const struct hearth_plugin hearth_plugin_opencl;

/* More of bf16 than a launch takes, and what cannot join them among them. */
static const struct shape {
    uint32_t dtype, role, rows, round;
} shapes[] = {
    {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 40, 0}, {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 1, 1},
    {HEARTH_BF16, HEARTH_WEIGHT_HEAD, 9, 0},    {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, MOST_ROWS, 1},
    {HEARTH_F32, HEARTH_WEIGHT_LINEAR, 7, 0},   {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 16, 0},
    {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 33, 1}, {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 32, 0},
    {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 3, 0},  {HEARTH_BF16, HEARTH_WEIGHT_LINEAR, 64, 0},
};

#define N_SHAPES (sizeof shapes / sizeof shapes[0])

static const struct hearth_plugin *const plugin = &hearth_plugin_opencl;
static const char *mma; /* option */
static struct hearth_device *device;
static struct hearth_error err;
static const struct hearth_weight *weights[N_SHAPES];
static struct hearth_buffer *x, *y[N_SHAPES];
static uint32_t random_state;

/* Of leak checkers. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libpocl\n";
}

static const char *
give_option(void *context, const char *key)
{
    (void)context;
    return strcmp(key, "mma") == 0 ? mma : NULL;
}

static void
take_log(void *context, int level, const char *text)
{
    (void)context;
    (void)level;
    (void)text;
}

static const struct hearth_host host = {.struct_size = sizeof host, .log = take_log, .option = give_option};

/* Between -1 and 1. */
static float
random_value(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)((int32_t)random_state >> 8) * 0x1p-23f;
}

static const struct hearth_weight *
make_weight(const struct shape *shape)
{
    static float values[MOST_ROWS * COLS];
    static uint16_t bits[MOST_ROWS * COLS];
    const bool is_bf16 = shape->dtype == HEARTH_BF16;
    const uint64_t n = (uint64_t)shape->rows * COLS;
    struct hearth_weight *weight = NULL;
    for (uint64_t i = 0; i < n; i++) {
        values[i] = random_value();
        bits[i] = hearth_bf16_from_f32(values[i]);
    }
    const struct hearth_matrix matrix = {.dtype = shape->dtype,
                                         .rows = shape->rows,
                                         .cols = COLS,
                                         .data = is_bf16 ? (const void *)bits : values,
                                         .data_bytes = n * (is_bf16 ? sizeof bits[0] : sizeof values[0])};
    ck_assert_msg(plugin->weight_create(device, shape->role, &matrix, 1, &weight, &err) == 0, "%s", err.text);
    return weight;
}

/* Rows of x by turns are bf16, or not in their second half. */
static void
open_device(void)
{
    static float rows[MOST_TOKENS * COLS];
    uint32_t n = 0;
    ck_assert_msg(plugin->start(&host, &n, &err) == 0 && plugin->open(0, &device, &err) == 0, "%s", err.text);
    random_state = 1;
    for (uint32_t i = 0; i < MOST_TOKENS * COLS; i++) {
        const float value = random_value();
        const bool is_fine = i / COLS % 2 == 1 && i % COLS >= COLS / 2;
        rows[i] = is_fine ? value : hearth_bf16_to_f32(hearth_bf16_from_f32(value));
    }
    ck_assert_int_eq(plugin->buffer_alloc(device, sizeof rows, &x, &err), 0);
    ck_assert_int_eq(plugin->buffer_write(device, (struct hearth_view){x, 0}, rows, sizeof rows, NULL, &err), 0);
    for (size_t i = 0; i < N_SHAPES; i++) {
        weights[i] = make_weight(&shapes[i]);
        ck_assert_int_eq(plugin->buffer_alloc(device, sizeof(float) * MOST_TOKENS * MOST_ROWS, &y[i], &err), 0);
    }
}

static void
close_device(void)
{
    for (size_t i = 0; i < N_SHAPES; i++) {
        plugin->weight_free(device, (struct hearth_weight *)(uintptr_t)weights[i]);
        plugin->buffer_free(device, y[i]);
    }
    plugin->buffer_free(device, x);
    plugin->close(device);
    plugin->stop();
}

/* Linear i of n tokens from `first` on. */
static struct hearth_command
linear(size_t i, uint32_t first, uint32_t n)
{
    return (struct hearth_command){.op = HEARTH_OP_LINEAR,
                                   .numerics = HEARTH_NATIVE,
                                   .args.linear = {.x = {x, sizeof(float) * COLS * first},
                                                   .y = {y[i], sizeof(float) * shapes[i].rows * first},
                                                   .weight = weights[i],
                                                   .n = n,
                                                   .n_in = COLS,
                                                   .n_out = shapes[i].rows,
                                                   .round_output = shapes[i].round}};
}

static void
submit(const struct hearth_command *commands, size_t n)
{
    ck_assert_msg(plugin->submit(device, commands, n, NULL, 0, NULL, &err) == 0, "%s", err.text);
}

/* Linear i's rows so far, and then none. */
static void
take_rows(size_t i, uint32_t n, float *rows)
{
    static const float none[MOST_TOKENS * MOST_ROWS];
    const struct hearth_view view = {y[i], 0};
    const uint64_t size = sizeof(float) * shapes[i].rows * n;
    ck_assert_int_eq(plugin->buffer_read(device, rows, view, size, NULL, &err), 0);
    ck_assert_int_eq(plugin->buffer_write(device, view, none, size, NULL, &err), 0);
}

static void
compare(uint32_t n)
{
    static float together[N_SHAPES][MOST_TOKENS * MOST_ROWS], alone[MOST_TOKENS * MOST_ROWS];
    struct hearth_command commands[N_SHAPES];
    for (size_t i = 0; i < N_SHAPES; i++) {
        commands[i] = linear(i, 0, n);
    }
    submit(commands, N_SHAPES);
    for (size_t i = 0; i < N_SHAPES; i++) {
        const uint64_t size = sizeof(float) * shapes[i].rows * n;
        take_rows(i, n, together[i]);
        submit(&commands[i], 1);
        take_rows(i, n, alone);
        ck_assert_msg(memcmp(alone, together[i], size) == 0, "linear %zu of %u tokens: alone other bits", i, n);
    }
    for (uint32_t t = 0; t < n; t++) {
        for (size_t i = 0; i < N_SHAPES; i++) {
            commands[i] = linear(i, t, 1);
        }
        submit(commands, N_SHAPES);
    }
    for (size_t i = 0; i < N_SHAPES; i++) {
        const uint64_t size = sizeof(float) * shapes[i].rows * n;
        take_rows(i, n, alone);
        ck_assert_msg(memcmp(alone, together[i], size) == 0, "linear %zu of %u tokens: by one other bits", i, n);
    }
}

/* By option mma; few tokens, as many as still are, and many. */
START_TEST(together_as_alone)
{
    mma = _i == 0 ? "no" : "yes";
    open_device();
    compare(2);
    compare(33);
    compare(MOST_TOKENS);
    close_device();
}
END_TEST

int
main(void)
{
    uint32_t n = 0;
    if (plugin->start(&host, &n, &err) < 0 || n == 0) {
        printf("opencl_linears_test: no OpenCL device: skipped\n");
        return SKIPPED;
    }
    plugin->stop();
    Suite *suite = suite_create("opencl_linears");
    TCase *tests = tcase_create("linears");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, together_as_alone, 0, 2);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* a driver's threads do not follow into a child */
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
