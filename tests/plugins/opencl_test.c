/* opencl_test.c - the OpenCL backend through its plugin table: limits, the program cache and its corruption, faults.
 * Needs a platform (PoCL will do); without one the test is skipped. */
#include <config.h>

#define CL_TARGET_OPENCL_VERSION 300

#include <CL/cl.h>
#include <check.h>
#include <dirent.h>
#include <dlfcn.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/plugins/opencl_case.h"

#define TEXT(text) sizeof(text), text
#define DIM 96u
#define SOON_NS 200000000u

static char folder[64]; /* of the cache */

/* What a device is made to answer; what 0: the end. */
struct answer {
    cl_device_info what;
    size_t size;
    const void *value;
};

static const struct answer *pretended;

typedef cl_int ask_function(cl_device_id, cl_device_info, size_t, void *, size_t *);

/* Stands before the ICD loader's function of this name. */
CL_API_ENTRY cl_int CL_API_CALL
clGetDeviceInfo(cl_device_id id, cl_device_info what, size_t size, void *value, size_t *ret_size)
{
    ask_function *ask;
    *(void **)&ask = dlsym(RTLD_NEXT, "clGetDeviceInfo");
    for (const struct answer *answer = pretended; answer != NULL && answer->what != 0; answer++) {
        if (answer->what == what) {
            if (value != NULL) {
                memcpy(value, answer->value, answer->size);
            }
            if (ret_size != NULL) {
                *ret_size = answer->size;
            }
            return CL_SUCCESS;
        }
    }
    return ask(id, what, size, value, ret_size);
}

START_TEST(the_limit_is_told_and_kept)
{
    struct hearth_device_info info = {.struct_size = sizeof info};
    struct hearth_buffer *buffer = NULL;
    opencl_open("max_alloc=65536", "memory=1048576");
    ck_assert_int_eq(plugin->describe(0, &info, &err), 0);
    ck_assert_uint_eq(info.max_buffer_bytes, 65536);
    ck_assert_uint_eq(info.memory_bytes, 1048576);
    ck_assert_str_ne(info.name, "");
    ck_assert_int_eq(plugin->buffer_alloc(device, 65537, &buffer, &err), HEARTH_EMEMORY);
    ck_assert_ptr_nonnull(strstr(err.text, "65537"));
    ck_assert_ptr_null(buffer);
    opencl_close();
}
END_TEST

START_TEST(wrong_options_are_refused)
{
    static const char *const wrong[] = {"max_alloc=many",  "max_alloc=1",  "timeout=0",     "copies=quick",
                                        "int_dot=perhaps", "mma=perhaps",  "subgroups=8",   "fault=alloc",
                                        "fault=lost:",     "fault=hang:x", "fault=tired:1", "memory=little"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint32_t n = 0;
        int status = opencl_start(wrong[i], NULL, &n);
        if (status == 0) { /* faults are read when a device is opened */
            status = plugin->open(0, &device, &err);
            plugin->stop();
        }
        ck_assert_msg(status == HEARTH_ECONFIG, "%s: status %d", wrong[i], status);
        ck_assert_ptr_nonnull(strstr(err.text, "option "));
    }
}
END_TEST

/* By cl_khr_pci_bus_info, NVIDIA's words, AMD's words; one that does not tell. */
START_TEST(a_device_tells_its_place)
{
    static const cl_uint khr[] = {1, 0x65, 2, 1}, bus = 0x41, slot = 3 << 3 | 1, domain = 2, major = 9, minor = 0;
    static const cl_uint warp = 32, wavefront = 64;
    static const unsigned char amd[24] = {[0] = 1, [21] = 0xC1, [22] = 4};
    static const struct answer by_khr[] = {
        {CL_DEVICE_EXTENSIONS, TEXT("cl_khr_fp16 cl_khr_pci_bus_info")}, {0x410F, sizeof khr, khr}, {0}};
    static const struct answer by_nvidia[] = {{CL_DEVICE_EXTENSIONS, TEXT("cl_nv_device_attribute_query")},
                                              {0x4000, 4, &major},
                                              {0x4001, 4, &minor},
                                              {0x4003, 4, &warp},
                                              {0x4008, 4, &bus},
                                              {0x4009, 4, &slot},
                                              {0x400A, 4, &domain},
                                              {0}};
    static const struct answer by_amd[] = {{CL_DEVICE_EXTENSIONS, TEXT("cl_amd_device_attribute_query")},
                                           {0x4037, sizeof amd, amd},
                                           {0x4043, 4, &wavefront},
                                           {0}};
    static const struct answer silent[] = {
        {CL_DEVICE_EXTENSIONS, TEXT("cl_khr_pci_bus_information")}, {0x410F, sizeof khr, khr}, {0}};
    static const struct answer *const answers[] = {by_khr, by_nvidia, by_amd, silent};
    static const char *const addresses[] = {"0001:65:02.1", "0002:41:03.1", "0000:c1:04.0", ""};
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct hearth_device_info info = {.struct_size = sizeof info};
        uint32_t n = 0;
        pretended = answers[i];
        ck_assert_msg(opencl_start(NULL, NULL, &n) == 0, "%s", err.text);
        ck_assert_int_eq(plugin->describe(0, &info, &err), 0);
        pretended = NULL;
        plugin->stop();
        ck_assert_str_eq(info.pci_address, addresses[i]);
        ck_assert_int_eq(strstr(info.features, " sm_90,") != NULL, answers[i] == by_nvidia);
    }
}
END_TEST

/* One rmsnorm of one row of ones: y = 1 * rsqrt(1 + 0) * norm.  Returns the status; y is checked. */
static int
run_rmsnorm(void)
{
    float ones[DIM], norm[DIM], y[DIM] = {0};
    struct hearth_buffer *buffer = NULL;
    struct hearth_weight *weight = NULL;
    struct hearth_event *event = NULL;
    for (uint32_t i = 0; i < DIM; i++) {
        ones[i] = 1.0f;
        norm[i] = (float)(i + 1);
    }
    const struct hearth_matrix matrix = {
        .dtype = HEARTH_F32, .rows = 1, .cols = DIM, .data = norm, .data_bytes = sizeof norm};
    struct hearth_command command = {.op = HEARTH_OP_RMSNORM, .numerics = HEARTH_EXACT};
    ck_assert(plugin->supports(device, HEARTH_OP_RMSNORM, HEARTH_EXACT));
    int status = plugin->buffer_alloc(device, 2 * sizeof ones, &buffer, &err);
    if (status == 0) {
        status = plugin->weight_create(device, HEARTH_WEIGHT_VECTOR, &matrix, 1, &weight, &err);
    }
    if (status == 0) {
        status = plugin->buffer_write(device, (struct hearth_view){buffer, 0}, ones, sizeof ones, NULL, &err);
    }
    if (status == 0) {
        command.args.rmsnorm = (struct hearth_op_rmsnorm){
            .x = {buffer, 0}, .y = {buffer, sizeof ones}, .norm = weight, .n = 1, .dim = DIM};
        status = plugin->submit(device, &command, 1, NULL, 0, &event, &err);
    }
    if (status == 0) {
        status = plugin->event_wait(device, event, SOON_NS * 100ull, &err);
        plugin->event_free(device, event);
    }
    if (status == 0) {
        status = plugin->buffer_read(device, y, (struct hearth_view){buffer, sizeof ones}, sizeof y, NULL, &err);
        for (uint32_t i = 0; i < DIM && status == 0; i++) {
            ck_assert_float_eq_tol(y[i], norm[i], 1e-4f);
        }
    }
    plugin->weight_free(device, weight);
    plugin->buffer_free(device, buffer);
    return status;
}

/* The one file of the cache; 0 or several files fail the test. */
static void
cache_file(char path[512])
{
    DIR *dir = opendir(folder);
    int n = 0;
    ck_assert_ptr_nonnull(dir);
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            snprintf(path, 512, "%s/%.200s", folder, entry->d_name);
            n++;
        }
    }
    closedir(dir);
    ck_assert_int_eq(n, 1);
}

static void
run_cached(bool from_cache, const char *when)
{
    char option[80];
    snprintf(option, sizeof option, "cache=%s", folder);
    opencl_open(option, NULL);
    ck_assert_msg(run_rmsnorm() == 0, "%s: %s", when, err.text);
    ck_assert_msg((strstr(log_text, "comes from") != NULL) == from_cache, "%s: the cache was %sused", when,
                  from_cache ? "not " : "");
    opencl_close();
}

/* What becomes of the cache's file. */
enum damage { CUT, FLIPPED, OTHER, LONGER, EMPTY, N_DAMAGES };

static void
damage_file(const char *path, enum damage damage)
{
    FILE *file = fopen(path, "rb+");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    const long size = ftell(file);
    ck_assert_int_gt(size, 64);
    if (damage == FLIPPED) {
        ck_assert_int_eq(fseek(file, size / 2, SEEK_SET), 0);
        const int byte = fgetc(file);
        ck_assert_int_eq(fseek(file, size / 2, SEEK_SET), 0);
        ck_assert_int_ne(fputc(byte ^ 0x10, file), EOF);
    } else if (damage == OTHER) {
        ck_assert_int_eq(fseek(file, 0, SEEK_SET), 0);
        ck_assert_int_ge(fputs("this is no program at all, but a poem", file), 0);
    } else if (damage == LONGER) {
        ck_assert_int_ne(fputc('x', file), EOF);
    }
    ck_assert_int_eq(fclose(file), 0);
    if (damage == CUT || damage == EMPTY) {
        ck_assert_int_eq(truncate(path, damage == CUT ? size - 7 : 0), 0);
    }
}

START_TEST(the_cache_serves_and_heals)
{
    char path[512];
    snprintf(folder, sizeof folder, "opencl_test.%ld", (long)getpid());
    run_cached(false, "the first time");
    run_cached(true, "the second time");
    for (int damage = 0; damage < N_DAMAGES; damage++) {
        cache_file(path);
        damage_file(path, (enum damage)damage);
        run_cached(false, "damaged");
        run_cached(true, "healed");
    }
    cache_file(path);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(a_cache_that_cannot_be_is_done_without)
{
    opencl_open("cache=/dev/null/nowhere", NULL);
    ck_assert_msg(run_rmsnorm() == 0, "%s", err.text);
    opencl_close();
}
END_TEST

START_TEST(no_memory_is_said)
{
    opencl_open("fault=alloc:1", NULL);
    ck_assert_int_eq(run_rmsnorm(), HEARTH_EMEMORY);
    ck_assert_ptr_nonnull(strstr(err.text, "CL_MEM_OBJECT_ALLOCATION_FAILURE"));
    ck_assert_int_eq(run_rmsnorm(), 0); /* and it is over */
    opencl_close();
    opencl_open("fault=alloc:2", NULL); /* the weights' first slab: a smaller one serves */
    ck_assert_msg(run_rmsnorm() == 0, "%s", err.text);
    opencl_close();
}
END_TEST

START_TEST(a_failed_build_names_its_file)
{
    opencl_open("fault=build:norm", NULL);
    ck_assert_int_eq(run_rmsnorm(), HEARTH_EDEVICE);
    ck_assert_ptr_nonnull(strstr(err.text, "kernels-cl/norm.cl"));
    opencl_close();
}
END_TEST

START_TEST(a_lost_device_stays_lost)
{
    opencl_open("fault=device:0,lost:2", NULL);
    ck_assert_int_eq(run_rmsnorm(), 0);
    ck_assert_int_eq(run_rmsnorm(), HEARTH_ELOST);
    ck_assert_int_eq(run_rmsnorm(), HEARTH_ELOST);
    opencl_close();
}
END_TEST

/* A device whose second submission hangs, that submission, and a buffer. */
static void
open_hung(struct hearth_buffer **ret_buffer, uint64_t size, struct hearth_event **ret_event)
{
    opencl_open("fault=hang:2", "timeout=0.2");
    ck_assert_int_eq(run_rmsnorm(), 0);
    ck_assert_int_eq(plugin->buffer_alloc(device, size, ret_buffer, &err), 0);
    ck_assert_int_eq(plugin->submit(device, NULL, 0, NULL, 0, ret_event, &err), 0);
    ck_assert_int_eq(plugin->event_wait(device, *ret_event, 0, &err), HEARTH_ETIMEOUT);
}

START_TEST(a_hung_device_is_not_waited_for)
{
    struct hearth_event *event = NULL;
    struct hearth_buffer *buffer = NULL;
    char bytes[16];
    open_hung(&buffer, sizeof bytes, &event);
    ck_assert_int_eq(plugin->event_wait(device, event, SOON_NS, &err), HEARTH_ETIMEOUT);
    ck_assert_int_eq(plugin->buffer_read(device, bytes, (struct hearth_view){buffer, 0}, sizeof bytes, NULL, &err),
                     HEARTH_ELOST);
    ck_assert_int_eq(plugin->submit(device, NULL, 0, NULL, 0, NULL, &err), HEARTH_ELOST);
    plugin->event_free(device, event);
    plugin->buffer_free(device, buffer);
    opencl_close();
}
END_TEST

/* Both ways; and when the work does end, at close, nobody touches memory that its owner took back. */
START_TEST(a_copy_behind_a_hung_submission_gives_up)
{
    for (int i = 0; i < 2; i++) {
        struct hearth_event *event = NULL;
        struct hearth_buffer *buffer = NULL;
        char bytes[64];
        memset(bytes, 0x5A, sizeof bytes);
        open_hung(&buffer, sizeof bytes, &event);
        const struct hearth_view view = {buffer, 0};
        ck_assert_int_eq(i == 0 ? plugin->buffer_read(device, bytes, view, sizeof bytes, NULL, &err)
                                : plugin->buffer_write(device, view, bytes, sizeof bytes, NULL, &err),
                         HEARTH_ETIMEOUT);
        ck_assert_int_eq(plugin->submit(device, NULL, 0, NULL, 0, NULL, &err), HEARTH_ELOST);
        plugin->event_free(device, event);
        plugin->buffer_free(device, buffer);
        opencl_close();
        for (size_t at = 0; at < sizeof bytes; at++) {
            ck_assert_int_eq(bytes[at], 0x5A);
        }
    }
}
END_TEST

#define N_SLOTS 4u
#define UNTOUCHED 7.0f

/* An expert of ones; its three matrices are one. */
static struct hearth_weight *
make_expert(void)
{
    static float ones[DIM * DIM];
    struct hearth_matrix matrices[3];
    struct hearth_weight *weight = NULL;
    for (uint32_t i = 0; i < DIM * DIM; i++) {
        ones[i] = 1.0f;
    }
    for (int i = 0; i < 3; i++) {
        matrices[i] = (struct hearth_matrix){
            .dtype = HEARTH_F32, .rows = DIM, .cols = DIM, .data = ones, .data_bytes = sizeof ones};
    }
    ck_assert_msg(plugin->weight_create(device, HEARTH_WEIGHT_EXPERT, matrices, 3, &weight, &err) == 0, "%s", err.text);
    return weight;
}

/* Runs n_routes routes of one token and one expert; rows: a row that is not y's, N_SLOTS rows of y, another. */
static void
run_routes(const struct hearth_weight *expert, const struct hearth_route *routes, uint32_t n_routes,
           float rows[N_SLOTS + 2][DIM])
{
    const uint64_t row_bytes = DIM * sizeof(float), y_bytes = (N_SLOTS + 2) * row_bytes;
    const uint64_t routes_bytes = n_routes * sizeof *routes;
    struct hearth_buffer *buffer = NULL;
    for (uint32_t i = 0; i < (N_SLOTS + 2) * DIM; i++) {
        rows[i / DIM][i % DIM] = UNTOUCHED;
    }
    ck_assert_int_eq(plugin->buffer_alloc(device, row_bytes + y_bytes + routes_bytes, &buffer, &err), 0);
    const struct hearth_view x = {buffer, 0}, y = {buffer, row_bytes}, list = {buffer, row_bytes + y_bytes};
    const struct hearth_command command = {.op = HEARTH_OP_EXPERT_FFN,
                                           .numerics = HEARTH_EXACT,
                                           .args.expert_ffn = {.x = x,
                                                               .routes = list,
                                                               .y = {buffer, 2 * row_bytes},
                                                               .experts = &expert,
                                                               .n = 1,
                                                               .n_routes = n_routes,
                                                               .n_slots = N_SLOTS,
                                                               .n_experts = 1,
                                                               .dim = DIM,
                                                               .inner = DIM,
                                                               .limit = 10.0f}};
    ck_assert_int_eq(plugin->buffer_write(device, x, rows, row_bytes, NULL, &err), 0);
    ck_assert_int_eq(plugin->buffer_write(device, y, rows, y_bytes, NULL, &err), 0);
    ck_assert_int_eq(plugin->buffer_write(device, list, routes, routes_bytes, NULL, &err), 0);
    ck_assert_msg(plugin->submit(device, &command, 1, NULL, 0, NULL, &err) == 0, "%s", err.text);
    ck_assert_int_eq(plugin->buffer_read(device, rows, y, y_bytes, NULL, &err), 0);
    plugin->buffer_free(device, buffer);
}

/* Few routes, and as many as are ordered first: what names no slot or no expert is left out, the rest is done. */
START_TEST(wrong_routes_stay_inside)
{
    static const struct hearth_route wrong[] = {{0, N_SLOTS, 0, 1.0f},    {0, UINT32_MAX, 0, 1.0f}, {0, 1, 1, 1.0f},
                                                {0, 1, UINT32_MAX, 1.0f}, {UINT32_MAX, 2, 0, 1.0f}, {0, 3, 0, 1.0f}};
    struct hearth_route many[64];
    float rows[N_SLOTS + 2][DIM];
    opencl_open(NULL, NULL);
    struct hearth_weight *expert = make_expert();
    for (uint32_t i = 0; i < 64; i++) {
        many[i] = wrong[i % 6];
    }
    for (int pass = 0; pass < 2; pass++) {
        run_routes(expert, pass == 0 ? wrong : many, pass == 0 ? 6 : 64, rows);
        for (uint32_t i = 0; i < DIM; i++) {
            ck_assert_float_eq(rows[0][i], UNTOUCHED);
            ck_assert_float_eq(rows[1][i], UNTOUCHED);
            ck_assert_float_eq(rows[2][i], UNTOUCHED);
            ck_assert_float_eq_tol(rows[4][i], DIM * 100.0f, 1.0f); /* w1 x = w3 x = 672, both held to 10 */
            ck_assert_float_eq(rows[N_SLOTS + 1][i], UNTOUCHED);
        }
    }
    plugin->weight_free(device, expert);
    opencl_close();
}
END_TEST

START_TEST(a_trace_names_what_ran)
{
    char option[80], path[64], other_path[80];
    struct hearth_device *other = NULL;
    snprintf(path, sizeof path, "opencl_trace.%ld", (long)getpid());
    snprintf(other_path, sizeof other_path, "%s.0", path);
    snprintf(option, sizeof option, "trace=%s", path);
    opencl_open(option, NULL);
    ck_assert_msg(plugin->open(0, &other, &err) == 0, "%s", err.text);
    ck_assert_msg(run_rmsnorm() == 0, "%s", err.text);
    plugin->close(other);
    opencl_close();
    ck_assert_int_eq(unlink(other_path), 0);
    struct json_object *trace = json_object_from_file(path), *events = NULL, *last, *name = NULL, *time = NULL;
    ck_assert_ptr_nonnull(trace);
    ck_assert(json_object_object_get_ex(trace, "traceEvents", &events));
    ck_assert_uint_eq(json_object_array_length(events), 5); /* three names, the work, the wait */
    last = json_object_array_get_idx(events, 3);
    ck_assert(json_object_object_get_ex(last, "cat", &name));
    ck_assert_str_eq(json_object_get_string(name), "rmsnorm");
    ck_assert(json_object_object_get_ex(last, "dur", &time));
    ck_assert(json_object_get_double(time) > 0.0);
    json_object_put(trace);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

int
main(void)
{
    TCase *tests = tcase_create("plumbing");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, the_limit_is_told_and_kept);
    tcase_add_test(tests, wrong_options_are_refused);
    tcase_add_test(tests, a_device_tells_its_place);
    tcase_add_test(tests, wrong_routes_stay_inside);
    tcase_add_test(tests, the_cache_serves_and_heals);
    tcase_add_test(tests, a_cache_that_cannot_be_is_done_without);
    tcase_add_test(tests, no_memory_is_said);
    tcase_add_test(tests, a_failed_build_names_its_file);
    tcase_add_test(tests, a_lost_device_stays_lost);
    tcase_add_test(tests, a_hung_device_is_not_waited_for);
    tcase_add_test(tests, a_copy_behind_a_hung_submission_gives_up);
    tcase_add_test(tests, a_trace_names_what_ran);
    return opencl_run_all("opencl", tests);
}
