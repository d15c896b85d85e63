/* program.c - kernels by name: a family is compiled the first time one of its kernels is asked for (or comes from the
 * cache), and kept.  A build that fails tells the file and the compiler's first complaint; the log has the rest. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

#define MAX_SOURCES 11u
#define MAX_UNDER 7u
#define OPTIONS_BYTES 1024

/* What every family stands on. */
static const char *const under_all[] = {"common", "group", "rows"};

/* And what some stand on beside it. */
static const struct {
    const char *family, *under[MAX_UNDER];
} under_some[] = {
    {"attend_mma", {"mma"}},
    {"beside", {"mma", "several", "tensor", "few", "bf16_mma", "norm", "routes"}},
    {"between", {"mhc", "collapse", "sum"}},
    {"bf16_mma", {"mma", "several"}},
    {"collapse", {"mhc"}},
    {"few", {"mma", "tensor"}},
    {"index_mma", {"mma"}},
    {"many", {"mma", "tensor", "tile"}},
    {"measure_mma", {"mma"}},
    {"prepare", {"mma"}},
    {"probe", {"mma", "tensor"}},
    {"product", {"several"}},
    {"ready", {"kv", "index", "compress"}},
    {"routed", {"several", "product"}},
    {"routed_mma", {"mma", "tensor", "tile"}},
};

struct named_kernel {
    struct ocl_kernel kernel;
    struct named_kernel *next;
};

/* The texts of a program, in order; the family's own is the last. */
struct texts {
    const struct ocl_source *sources[MAX_SOURCES];
    uint32_t n;
    cl_uint n_lines;
};

struct ocl_program {
    struct ocl_program *next;
    const char *family; /* of ocl_sources */
    char *defines;      /* "": none */
    cl_program handle;
    struct named_kernel *kernels;
};

uint64_t
ocl_hash(uint64_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ at[i]) * UINT64_C(0x100000001B3);
    }
    return hash;
}

static const struct ocl_source *
find_source(const char *family)
{
    for (const struct ocl_source *source = ocl_sources; source->family != NULL; source++) {
        if (strcmp(source->family, family) == 0) {
            return source;
        }
    }
    return NULL;
}

static struct texts
texts_of(const struct ocl_source *family)
{
    struct texts texts = {.n = 0};
    for (size_t i = 0; i < sizeof under_all / sizeof under_all[0]; i++) {
        texts.sources[texts.n++] = find_source(under_all[i]);
    }
    for (size_t i = 0; i < sizeof under_some / sizeof under_some[0]; i++) {
        const bool is_it = strcmp(under_some[i].family, family->family) == 0;
        for (size_t j = 0; is_it && j < MAX_UNDER && under_some[i].under[j] != NULL; j++) {
            texts.sources[texts.n++] = find_source(under_some[i].under[j]);
        }
    }
    texts.sources[texts.n++] = family;
    for (uint32_t i = 0; i < texts.n; i++) {
        texts.n_lines += texts.sources[i]->n_lines;
    }
    return texts;
}

/* What a compiled program depends on. */
static uint64_t
program_key(const struct hearth_device *device, const struct texts *texts, const char *options)
{
    uint64_t hash = ocl_hash(device->build_key, options, strlen(options) + 1);
    for (uint32_t i = 0; i < texts->n; i++) {
        const struct ocl_source *source = texts->sources[i];
        for (cl_uint line = 0; line < source->n_lines; line++) {
            hash = ocl_hash(hash, source->lines[line], strlen(source->lines[line]));
        }
    }
    return hash;
}

/* The compiler's words, line by line, to the log; the first line that tells an error to `first`. */
static void
tell_build_log(struct hearth_device *device, const char *family, cl_program program, char *first, size_t first_size)
{
    size_t size = 0;
    first[0] = '\0';
    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS || size == 0) {
        return;
    }
    char *log = calloc(size + 1, 1);
    if (log == NULL ||
        clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) != CL_SUCCESS) {
        free(log);
        return;
    }
    char *rest = NULL;
    for (char *line = strtok_r(log, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        ocl_log(HEARTH_LOG_ERROR, "kernels-cl/%s.cl: %.400s", family, line);
        if (first[0] == '\0' && strstr(line, "error") != NULL) {
            snprintf(first, first_size, "%.200s", line);
        }
    }
    free(log);
}

static cl_program
compile(struct ocl_call *call, const struct texts *texts, const char *options)
{
    struct hearth_device *device = call->device;
    const char *family = texts->sources[texts->n - 1]->family;
    const char **lines = calloc(texts->n_lines, sizeof *lines);
    cl_uint n_lines = 0;
    char first[256];
    cl_int code;
    if (lines == NULL) {
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for the text of kernels-cl/%s.cl", family);
        return NULL;
    }
    for (uint32_t i = 0; i < texts->n; i++) {
        memcpy(lines + n_lines, texts->sources[i]->lines, texts->sources[i]->n_lines * sizeof *lines);
        n_lines += texts->sources[i]->n_lines;
    }
    cl_program program = clCreateProgramWithSource(device->context, n_lines, lines, NULL, &code);
    free(lines);
    if (!ocl_call_cl(call, code, "clCreateProgramWithSource")) {
        return NULL;
    }
    code = ocl_fault_build(device->fault, family) ? CL_BUILD_PROGRAM_FAILURE
                                                  : clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (code != CL_SUCCESS) {
        tell_build_log(device, family, program, first, sizeof first);
        ocl_call_fail(call, HEARTH_EDEVICE, "kernels-cl/%s.cl does not compile for %s: %s (%d)%s%s", family,
                      device->name, ocl_code_name(code), (int)code, first[0] != '\0' ? ": " : "", first);
        clReleaseProgram(program);
        return NULL;
    }
    return program;
}

/* From the cache, or compiled and then kept there. */
static cl_program
obtain(struct ocl_call *call, const struct ocl_source *family, const char *defines)
{
    struct hearth_device *device = call->device;
    const struct texts texts = texts_of(family);
    char options[OPTIONS_BYTES];
    const int length = snprintf(options, sizeof options, "%s %s", device->build_options, defines);
    if (length < 0 || (size_t)length >= sizeof options) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "kernels-cl/%s.cl: options too long: %s", family->family, defines);
        return NULL;
    }
    const uint64_t key = program_key(device, &texts, options);
    cl_program program = ocl_fault_build(device->fault, family->family)
                             ? NULL
                             : ocl_cache_load(device, family->family, options, key);
    if (program == NULL) {
        program = compile(call, &texts, options);
        if (program != NULL) {
            ocl_cache_store(family->family, key, program);
        }
    }
    return program;
}

static struct ocl_program *
find_program(struct ocl_call *call, const char *family, const char *defines)
{
    struct hearth_device *device = call->device;
    for (struct ocl_program *program = device->programs; program != NULL; program = program->next) {
        if (strcmp(program->family, family) == 0 && strcmp(program->defines, defines) == 0) {
            return program;
        }
    }
    const struct ocl_source *source = find_source(family);
    if (source == NULL) {
        ocl_call_fail(call, HEARTH_EINTERNAL, "there is no kernels-cl/%s.cl", family);
        return NULL;
    }
    struct ocl_program *program = calloc(1, sizeof *program);
    char *copy = strdup(defines);
    if (program == NULL || copy == NULL) {
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for a program");
        goto fail;
    }
    program->family = source->family;
    program->defines = copy;
    program->handle = obtain(call, source, defines);
    if (program->handle == NULL) {
        goto fail;
    }
    program->next = device->programs;
    device->programs = program;
    return program;
fail:
    free(copy);
    free(program);
    return NULL;
}

static struct ocl_kernel *
make_kernel(struct ocl_call *call, struct ocl_program *program, const char *name)
{
    struct named_kernel *named = calloc(1, sizeof *named);
    cl_int code;
    if (named == NULL) {
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for a kernel");
        return NULL;
    }
    struct ocl_kernel *kernel = &named->kernel;
    kernel->handle = clCreateKernel(program->handle, name, &code);
    if (!ocl_call_cl(call, code, name)) {
        free(named);
        return NULL;
    }
    code = clGetKernelInfo(kernel->handle, CL_KERNEL_NUM_ARGS, sizeof kernel->n_args, &kernel->n_args, NULL);
    if (code == CL_SUCCESS) {
        code = clGetKernelWorkGroupInfo(kernel->handle, call->device->id, CL_KERNEL_WORK_GROUP_SIZE,
                                        sizeof kernel->max_group, &kernel->max_group, NULL);
    }
    if (code == CL_SUCCESS) {
        /* kept by the program, so that the name outlives what the caller passed */
        kernel->name = strdup(name);
    }
    if (!ocl_call_cl(call, code, name) || kernel->name == NULL) {
        clReleaseKernel(kernel->handle);
        free(named);
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for a kernel");
        return NULL;
    }
    named->next = program->kernels;
    program->kernels = named;
    return kernel;
}

struct ocl_kernel *
ocl_kernel(struct ocl_call *call, const char *family, const char *defines, const char *name)
{
    if (call->status < 0) {
        return NULL;
    }
    struct ocl_program *program = find_program(call, family, defines == NULL ? "" : defines);
    struct ocl_kernel *kernel = NULL;
    for (struct named_kernel *at = program == NULL ? NULL : program->kernels; at != NULL && kernel == NULL;
         at = at->next) {
        kernel = strcmp(at->kernel.name, name) == 0 ? &at->kernel : NULL;
    }
    if (program != NULL && kernel == NULL) {
        kernel = make_kernel(call, program, name);
    }
    if (kernel != NULL) {
        kernel->next = 0;
    }
    return kernel;
}

void
ocl_programs_free(struct hearth_device *device)
{
    while (device->programs != NULL) {
        struct ocl_program *program = device->programs;
        device->programs = program->next;
        while (program->kernels != NULL) {
            struct named_kernel *named = program->kernels;
            program->kernels = named->next;
            clReleaseKernel(named->kernel.handle);
            free(named->kernel.name);
            free(named);
        }
        clReleaseProgram(program->handle);
        free(program->defines);
        free(program);
    }
}
