/* platform.c - the devices that the ICD loader finds, platform by platform, and what each has beyond OpenCL 1.2. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

#include <CL/cl_ext.h>

#define MAX_PLATFORMS 32u
#define TEXT_BYTES 256u

/* Of cl_nv_device_attribute_query and cl_amd_device_attribute_query; not every cl_ext.h has them all. */
#define NV_COMPUTE_CAPABILITY_MAJOR 0x4000
#define NV_COMPUTE_CAPABILITY_MINOR 0x4001
#define NV_WARP_SIZE 0x4003
#define NV_PCI_BUS_ID 0x4008
#define NV_PCI_SLOT_ID 0x4009
#define NV_PCI_DOMAIN_ID 0x400A
#define AMD_TOPOLOGY 0x4037
#define AMD_WAVEFRONT_WIDTH 0x4043
#define KHR_PCI_BUS_INFO 0x410F
#define SUBGROUP_SIZES 0x4108 /* of cl_intel_required_subgroup_size */
#define SUBGROUP_WANTED 16u   /* which all of Intel's GPUs have */
#define MAX_SUBGROUP_SIZES 16
#define NO_PLATFORM (-1001) /* CL_PLATFORM_NOT_FOUND_KHR of cl_khr_icd */
#define MMA_CAPABILITY 80u  /* as in mma.cl */
#define LANES_CPU 8u
#define LANES_UNKNOWN 32u

/* What cl_khr_pci_bus_info answers. */
struct pci_place {
    cl_uint domain, bus, device, function;
};

/* What cl_amd_device_attribute_query answers: a type (1: PCIe), 17 bytes unused, bus, device, function. */
struct amd_place {
    cl_uint type;
    unsigned char unused[17], bus, device, function;
};

/* Answers 0 or "" where the device does not know the question. */
static cl_uint
ask_uint(cl_device_id id, cl_device_info what)
{
    cl_uint value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static cl_ulong
ask_ulong(cl_device_id id, cl_device_info what)
{
    cl_ulong value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static size_t
ask_size(cl_device_id id, cl_device_info what)
{
    size_t value = 0;
    return clGetDeviceInfo(id, what, sizeof value, &value, NULL) == CL_SUCCESS ? value : 0;
}

static void
ask_text(cl_device_id id, cl_device_info what, char text[TEXT_BYTES])
{
    if (clGetDeviceInfo(id, what, TEXT_BYTES, text, NULL) != CL_SUCCESS) {
        text[0] = '\0';
    }
    text[TEXT_BYTES - 1] = '\0';
}

/* Owner: the caller; free().  NULL: the device does not tell. */
static char *
ask_extensions(cl_device_id id)
{
    size_t size = 0;
    if (clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, 0, NULL, &size) != CL_SUCCESS || size == 0) {
        return NULL;
    }
    char *text = calloc(size + 1, 1);
    if (text != NULL && clGetDeviceInfo(id, CL_DEVICE_EXTENSIONS, size, text, NULL) != CL_SUCCESS) {
        text[0] = '\0';
    }
    return text;
}

static bool
has_word(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = words; at != NULL && (at = strstr(at, word)) != NULL; at += length) {
        const bool starts = at == words || at[-1] == ' ';
        if (starts && (at[length] == ' ' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static void
find_pci(cl_device_id id, const char *extensions, char address[32])
{
    struct pci_place place = {0, 0, 0, 0};
    struct amd_place amd = {.type = 0};
    bool found = false;
    if (has_word(extensions, "cl_khr_pci_bus_info")) {
        found = clGetDeviceInfo(id, KHR_PCI_BUS_INFO, sizeof place, &place, NULL) == CL_SUCCESS;
    } else if (has_word(extensions, "cl_nv_device_attribute_query")) {
        const cl_uint slot = ask_uint(id, NV_PCI_SLOT_ID);
        place = (struct pci_place){ask_uint(id, NV_PCI_DOMAIN_ID), ask_uint(id, NV_PCI_BUS_ID), slot >> 3, slot & 7u};
        found = true;
    } else if (has_word(extensions, "cl_amd_device_attribute_query") &&
               clGetDeviceInfo(id, AMD_TOPOLOGY, sizeof amd, &amd, NULL) == CL_SUCCESS && amd.type == 1) {
        place = (struct pci_place){0, amd.bus, amd.device, amd.function};
        found = true;
    }
    address[0] = '\0';
    if (found) {
        snprintf(address, 32, "%04x:%02x:%02x.%x", place.domain & 0xFFFFu, place.bus & 0xFFu, place.device & 0x1Fu,
                 place.function & 7u);
    }
}

static void
find_lanes(cl_device_id id, const char *extensions, struct ocl_caps *caps)
{
    caps->lanes = caps->is_cpu ? LANES_CPU : LANES_UNKNOWN;
    if (has_word(extensions, "cl_nv_device_attribute_query")) {
        caps->is_nvidia = true;
        caps->nv_capability =
            10 * ask_uint(id, NV_COMPUTE_CAPABILITY_MAJOR) + ask_uint(id, NV_COMPUTE_CAPABILITY_MINOR);
        caps->lanes = ask_uint(id, NV_WARP_SIZE);
    } else if (has_word(extensions, "cl_amd_device_attribute_query")) {
        caps->lanes = ask_uint(id, AMD_WAVEFRONT_WIDTH);
    }
    caps->mma = caps->nv_capability >= MMA_CAPABILITY;
    if (caps->lanes == 0) {
        caps->lanes = LANES_UNKNOWN;
    }
}

/* Whether the device compiles OpenCL C 3.0, which has integer dot products. */
static bool
has_std3(cl_device_id id)
{
    size_t size = 0;
    if (clGetDeviceInfo(id, CL_DEVICE_OPENCL_C_ALL_VERSIONS, 0, NULL, &size) != CL_SUCCESS ||
        size < sizeof(cl_name_version)) {
        return false;
    }
    cl_name_version *versions = malloc(size);
    bool found = false;
    if (versions != NULL &&
        clGetDeviceInfo(id, CL_DEVICE_OPENCL_C_ALL_VERSIONS, size, versions, NULL) == CL_SUCCESS) {
        for (size_t i = 0; i < size / sizeof *versions; i++) {
            found = found || CL_VERSION_MAJOR(versions[i].version) >= 3;
        }
    }
    free(versions);
    return found;
}

/* NVIDIA's compute capability that came with dp4a. */
#define NV_DOT 61u

/* Whether cl_khr_integer_dot_product is more than a function for signed bytes in fours. */
static bool
has_int_dot(cl_device_id id)
{
    cl_device_integer_dot_product_acceleration_properties_khr quick = {.signed_accelerated = CL_FALSE};
    return clGetDeviceInfo(id, CL_DEVICE_INTEGER_DOT_PRODUCT_ACCELERATION_PROPERTIES_4x8BIT_PACKED_KHR, sizeof quick,
                           &quick, NULL) == CL_SUCCESS &&
           quick.signed_accelerated == CL_TRUE;
}

/* How many lanes exchange values, if a kernel can rely on the number: NVIDIA's and AMD's devices have one, others take
 * what a kernel asks for. */
static void
find_subgroup(const struct ocl_found *found, const char *extensions, struct ocl_caps *caps)
{
    size_t sizes[MAX_SUBGROUP_SIZES];
    size_t bytes = 0;
    if (caps->is_nvidia || has_word(extensions, "cl_amd_device_attribute_query")) {
        caps->subgroup = caps->lanes == 32 || caps->lanes == 64 ? caps->lanes : 0;
        return;
    }
    if (!found->has_std3 || !has_word(extensions, "cl_intel_required_subgroup_size") ||
        !(has_word(extensions, "cl_khr_subgroup_shuffle") || has_word(extensions, "cl_intel_subgroups")) ||
        clGetDeviceInfo(found->id, SUBGROUP_SIZES, sizeof sizes, sizes, &bytes) != CL_SUCCESS) {
        return;
    }
    for (size_t i = 0; i < bytes / sizeof sizes[0]; i++) {
        if (sizes[i] == SUBGROUP_WANTED) {
            caps->subgroup = SUBGROUP_WANTED;
        }
    }
    caps->std3_subgroups = caps->subgroup > 0;
}

static void
find_caps(struct ocl_found *found, const char *extensions)
{
    const cl_device_id id = found->id;
    struct ocl_caps *caps = &found->caps;
    const cl_ulong type = ask_ulong(id, CL_DEVICE_TYPE);
    const cl_ulong most = ask_ulong(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    caps->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    caps->is_gpu = (type & CL_DEVICE_TYPE_GPU) != 0;
    caps->fp64 = has_word(extensions, "cl_khr_fp64");
    caps->fp16 = has_word(extensions, "cl_khr_fp16");
    found->has_std3 = has_std3(id);
    caps->dot_function = found->has_std3 && has_word(extensions, "cl_khr_integer_dot_product") && has_int_dot(id);
    caps->unified_memory = ask_uint(id, CL_DEVICE_HOST_UNIFIED_MEMORY) != 0;
    caps->fine_svm = (ask_ulong(id, CL_DEVICE_SVM_CAPABILITIES) & CL_DEVICE_SVM_FINE_GRAIN_BUFFER) != 0;
    caps->exact_divide = (ask_ulong(id, CL_DEVICE_SINGLE_FP_CONFIG) & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    caps->denormals = (ask_ulong(id, CL_DEVICE_SINGLE_FP_CONFIG) & CL_FP_DENORM) != 0;
    caps->n_units = ask_uint(id, CL_DEVICE_MAX_COMPUTE_UNITS);
    caps->max_group = ask_size(id, CL_DEVICE_MAX_WORK_GROUP_SIZE);
    caps->local_bytes = ask_ulong(id, CL_DEVICE_LOCAL_MEM_SIZE);
    caps->memory_bytes = ask_ulong(id, CL_DEVICE_GLOBAL_MEM_SIZE);
    caps->max_alloc_bytes = most;
    if (ocl_settings.max_alloc_bytes > 0 && ocl_settings.max_alloc_bytes < most) {
        caps->max_alloc_bytes = ocl_settings.max_alloc_bytes;
    }
    caps->align_bytes = OCL_SCRATCH_ALIGN;
    find_lanes(id, extensions, caps);
    find_subgroup(found, extensions, caps);
    caps->int_dot = caps->dot_function || caps->nv_capability >= NV_DOT;
}

/* What the device has, in words between commas. */
static void
features_text(cl_device_id id, const struct ocl_caps *caps, char *text, size_t size)
{
    const cl_ulong svm = ask_ulong(id, CL_DEVICE_SVM_CAPABILITIES); /* 0 before OpenCL 2.0 */
    const char *shared = svm & CL_DEVICE_SVM_FINE_GRAIN_SYSTEM     ? ", system SVM"
                         : svm & CL_DEVICE_SVM_FINE_GRAIN_BUFFER   ? ", fine SVM"
                         : svm & CL_DEVICE_SVM_COARSE_GRAIN_BUFFER ? ", coarse SVM"
                                                                   : "";
    char capability[16] = "", subgroups[32] = "";
    if (caps->subgroup > 0) {
        snprintf(subgroups, sizeof subgroups, ", subgroups of %u", caps->subgroup);
    }
    if (caps->nv_capability > 0) {
        snprintf(capability, sizeof capability, " sm_%u", caps->nv_capability);
    }
    const char *kind = caps->is_cpu ? "CPU" : caps->is_gpu ? "GPU" : "accelerator";
    snprintf(text, size, "%s%s, %u units of %llu items, %llu KiB local memory%s%s%s%s%s%s%s%s%s", kind, capability,
             caps->n_units, (unsigned long long)caps->max_group, (unsigned long long)(caps->local_bytes >> 10),
             caps->fp64 ? ", fp64" : "", caps->fp16 ? ", fp16" : "", subgroups, caps->int_dot ? ", int-dot" : "",
             caps->mma ? ", mma" : "", caps->unified_memory ? ", unified memory" : "", shared,
             caps->denormals ? "" : ", no subnormals", caps->exact_divide ? "" : ", inexact-divide");
}

/* "OpenCL 3.0" of "OpenCL 3.0 and what the vendor adds". */
static int
version_length(const char *version)
{
    const char *number = strchr(version, ' ');
    return (int)(number == NULL ? strlen(version) : (size_t)(number - version) + 1 + strcspn(number + 1, " "));
}

/* A device that compiles kernels and answers what it must; else it is passed over with a word of why. */
static bool
find_device(cl_platform_id platform, cl_device_id id, struct ocl_found *found)
{
    char name[TEXT_BYTES], platform_name[TEXT_BYTES] = "", version[TEXT_BYTES], driver[TEXT_BYTES];
    *found = (struct ocl_found){.platform = platform, .id = id};
    ask_text(id, CL_DEVICE_NAME, name);
    ask_text(id, CL_DEVICE_VERSION, version);
    ask_text(id, CL_DRIVER_VERSION, driver);
    (void)clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof platform_name, platform_name, NULL);
    if (ask_uint(id, CL_DEVICE_AVAILABLE) == 0 || ask_uint(id, CL_DEVICE_COMPILER_AVAILABLE) == 0 ||
        ask_uint(id, CL_DEVICE_ENDIAN_LITTLE) == 0) {
        ocl_log(HEARTH_LOG_WARNING, "%.100s: passed over: it is busy, has no compiler or is big-endian", name);
        return false;
    }
    char *extensions = ask_extensions(id);
    find_caps(found, extensions);
    find_pci(id, extensions, found->pci_address);
    free(extensions);
    features_text(id, &found->caps, found->features, sizeof found->features);
    snprintf(found->name, sizeof found->name, "%.80s (%.40s)", name, platform_name);
    snprintf(found->driver, sizeof found->driver, "%.*s, driver %.40s", version_length(version), version, driver);
    snprintf(found->build, sizeof found->build, "%.40s|%.40s|%.40s", name, version, driver);
    ocl_log(HEARTH_LOG_DEBUG, "%s: %.80s, driver %.40s; %s", found->name, version, driver, found->features);
    return true;
}

static void
find_on_platform(cl_platform_id platform, struct ocl_found *found, uint32_t max, uint32_t *n)
{
    cl_device_id ids[OCL_MAX_DEVICES];
    cl_uint n_ids = 0;
    const cl_int code = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, OCL_MAX_DEVICES, ids, &n_ids);
    if (code != CL_SUCCESS) {
        if (code != CL_DEVICE_NOT_FOUND) {
            ocl_log(HEARTH_LOG_WARNING, "a platform tells no devices: %s", ocl_code_name(code));
        }
        return;
    }
    for (cl_uint i = 0; i < n_ids && i < OCL_MAX_DEVICES && *n < max; i++) {
        *n += find_device(platform, ids[i], &found[*n]);
    }
}

int
ocl_find_devices(struct ocl_found *found, uint32_t max, uint32_t *ret_n, struct hearth_error *err)
{
    cl_platform_id platforms[MAX_PLATFORMS];
    cl_uint n_platforms = 0;
    uint32_t n = 0;
    const cl_int code = clGetPlatformIDs(MAX_PLATFORMS, platforms, &n_platforms);
    if (code != CL_SUCCESS && code != NO_PLATFORM) {
        return ocl_cl_error(err, code, "clGetPlatformIDs");
    }
    for (cl_uint i = 0; code == CL_SUCCESS && i < n_platforms && i < MAX_PLATFORMS; i++) {
        find_on_platform(platforms[i], found, max, &n);
    }
    if (n == 0) {
        ocl_log(HEARTH_LOG_WARNING, "no OpenCL device found among %u platform%s", n_platforms,
                n_platforms == 1 ? "" : "s");
    }
    *ret_n = n;
    return 0;
}
