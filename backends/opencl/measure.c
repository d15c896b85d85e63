/* measure.c - the device's roofs, by kernels-cl/measure.cl: bytes read a second, and products of registers. */
#include <config.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "backends/opencl/internal.h"

#define READ_BYTES (UINT64_C(1) << 30) /* no cache holds as much */
#define READ_SHARE 8u                  /* of the device's memory, at most one in so many */
#define GROUPS_PER_UNIT 16u
#define MAX_GROUP 256u
#define ITEM_OPERATIONS 256u /* an item's in a round of measure.cl: STEPS of eight products and additions */
#define MMA_OPERATIONS 2048u /* in one of measure_mma.cl: CHAINS of 16 x 8 x 16, shared by 32 items */
#define WARP 32u
#define UNIT_BYTES 16u
#define LAUNCHES 256u
#define LAUNCH_REPEATS 5u

/* A launch that can be repeated. */
struct probe {
    struct ocl_call *call;
    const char *family, *defines, *kernel;
    struct ocl_span x, never;
    uint64_t groups, local;
    uint64_t share;    /* read_all */
    uint32_t n_rounds; /* add_* */
};

static double
now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void
launch(const struct probe *probe)
{
    struct ocl_kernel *kernel = ocl_kernel(probe->call, probe->family, probe->defines, probe->kernel);
    if (probe->share > 0) {
        ocl_arg_span(probe->call, kernel, probe->x);
        ocl_arg_span(probe->call, kernel, probe->never);
        ocl_arg_u64(probe->call, kernel, probe->share);
    } else {
        ocl_arg_span(probe->call, kernel, probe->never);
        ocl_arg_u32(probe->call, kernel, probe->n_rounds);
        if (strcmp(probe->kernel, "add_int") == 0) {
            ocl_arg_u32(probe->call, kernel, 7);
        } else {
            ocl_arg_f32(probe->call, kernel, 0.5f); /* a rotation: neither grows nor fades */
        }
    }
    ocl_launch_1d(probe->call, kernel, probe->groups, probe->local);
}

/* Seconds of one launch, the shortest of what fits in `seconds`.  A first one, which compiles, is not counted. */
static double
shortest(const struct probe *probe, double seconds)
{
    double best = 0.0;
    const double begin = now();
    for (int i = 0; probe->call->status == 0 && (i < 3 || now() - begin < seconds); i++) {
        const double start = now();
        launch(probe);
        (void)ocl_call_cl(probe->call, clFinish(probe->call->device->queue), "clFinish");
        const double took = now() - start;
        best = i > 0 && (best == 0.0 || took < best) ? took : best;
    }
    return best;
}

/* Operations a second of a kernel whose items make item_operations in a round.  Rounds are doubled until a launch is
 * long beside its own overhead. */
static double
operations(struct probe *probe, const char *kernel, uint32_t item_operations, double seconds)
{
    double took = 0.0;
    probe->kernel = kernel;
    probe->share = 0;
    probe->n_rounds = 16;
    for (; probe->n_rounds < UINT32_C(1) << 24 && took < seconds / 8.0; probe->n_rounds *= 2) {
        took = shortest(probe, 0.0);
        if (probe->call->status < 0) {
            return 0.0;
        }
    }
    took = shortest(probe, seconds / 2.0);
    const double n = (double)probe->groups * (double)probe->local * probe->n_rounds;
    return took > 0.0 ? n * item_operations / took : 0.0;
}

/* The same of the matrix instructions that quantised products use. */
static double
mma_operations(const struct probe *probe, double seconds)
{
    struct probe warps = *probe;
    char defines[32];
    snprintf(defines, sizeof defines, "-DWARPS=%llu", (unsigned long long)(probe->local / WARP));
    warps.family = "measure_mma";
    warps.defines = defines;
    return operations(&warps, "add_mma", MMA_OPERATIONS, seconds);
}

static double
read_rate(struct probe *probe, uint64_t size, double seconds)
{
    probe->kernel = "read_all";
    probe->share = size / UNIT_BYTES / probe->groups / (4 * probe->local) * (4 * probe->local);
    ocl_fill(probe->call, probe->x, 0x01234567, size); /* memory that was never written may not exist */
    const double took = shortest(probe, seconds);
    return took > 0.0 ? (double)(probe->share * probe->groups * UNIT_BYTES) / took : 0.0;
}

/* Seconds of a launch, by many that follow each other and have next to nothing to do. */
static double
launch_seconds(struct probe *probe)
{
    struct probe least = *probe;
    double best = 0.0;
    least.kernel = "add_int";
    least.share = 0;
    least.groups = 1;
    least.n_rounds = 0;
    for (unsigned i = 0; i < LAUNCH_REPEATS && probe->call->status == 0; i++) {
        (void)ocl_call_cl(probe->call, clFinish(probe->call->device->queue), "clFinish");
        const double start = now();
        for (unsigned j = 0; j < LAUNCHES; j++) {
            launch(&least);
        }
        (void)ocl_call_cl(probe->call, clFinish(probe->call->device->queue), "clFinish");
        const double took = (now() - start) / LAUNCHES;
        best = best == 0.0 || took < best ? took : best;
    }
    return best;
}

int
ocl_measure(struct hearth_device *device, double seconds, struct hearth_roof *roof, struct hearth_error *err)
{
    struct hearth_error why = {0};
    struct ocl_call call = {.device = device, .op = "measure", .err = &why};
    struct hearth_roof filled = {.operation = "int mad", .n_launches = device->n_launches};
    const uint64_t share = device->caps.memory_bytes / READ_SHARE;
    const uint64_t most = share < device->caps.max_alloc_bytes ? share : device->caps.max_alloc_bytes;
    const uint64_t size = (READ_BYTES < most ? READ_BYTES : most) / UNIT_BYTES * UNIT_BYTES;
    struct probe probe = {.call = &call,
                          .family = "measure",
                          .groups = (uint64_t)device->caps.n_units * GROUPS_PER_UNIT,
                          .local = MAX_GROUP < device->caps.max_group ? MAX_GROUP : device->caps.max_group};
    cl_int code;
    cl_mem mem = ocl_mem_create(device, size + UNIT_BYTES, &code);
    if (code != CL_SUCCESS) {
        return ocl_cl_error(err, code, "memory to measure with");
    }
    probe.x = (struct ocl_span){mem, 0};
    probe.never = (struct ocl_span){mem, size};
    filled.read_bytes_per_second = read_rate(&probe, size, seconds / 2.0);
    if (device->uses_mma) {
        memcpy(filled.operation, "mma f16", sizeof "mma f16");
        filled.operations_per_second = mma_operations(&probe, seconds / 4.0);
    } else {
        filled.operations_per_second = operations(&probe, "add_int", ITEM_OPERATIONS, seconds / 4.0);
    }
    filled.exact_operations_per_second = operations(&probe, "add_float", ITEM_OPERATIONS, seconds / 4.0);
    filled.launch_seconds = launch_seconds(&probe);
    clReleaseMemObject(mem);
    device->n_launches = filled.n_launches;
    if (call.status < 0) {
        return host_error(err, call.status, why.native, "%.400s", why.text);
    }
    filled.struct_size = roof->struct_size;
    memcpy(roof, &filled, roof->struct_size < sizeof filled ? roof->struct_size : sizeof filled);
    return 0;
}
