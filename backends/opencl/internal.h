/* internal.h - what the plumbing of the OpenCL backend shares and operations have no use for: options, devices found,
 * the plugin table's calls, the copies, the program cache, faults that tests ask for, the trace. */
#ifndef BACKENDS_OPENCL_INTERNAL_H
#define BACKENDS_OPENCL_INTERNAL_H

#include "backends/opencl/opencl.h"

#define OCL_VIEW_ALIGN 4u
#define OCL_MAX_DEVICES 64u

static inline uint64_t
ocl_align_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) / align * align;
}

/* ---- settings.c: what the configuration says ---- */

enum ocl_copies { OCL_COPIES_BY_DEVICE = 0, OCL_COPIES_PINNED, OCL_COPIES_DIRECT, OCL_COPIES_SHARED };
enum ocl_choice { OCL_BY_DEVICE = 0, OCL_YES, OCL_NO };

struct ocl_settings {
    const struct hearth_host *host;
    const char *cache;        /* folder of compiled programs; NULL: none is kept */
    const char *trace;        /* file for the trace; NULL: none */
    const char *fault;        /* faults to inject; NULL: none */
    enum ocl_copies copies;
    enum ocl_choice bytes; /* option int_dot */
    enum ocl_choice mma;
    enum ocl_choice subgroups;
    uint64_t max_alloc_bytes; /* 0: what the device says */
    uint64_t memory_bytes;    /* likewise */
    uint64_t timeout_ns;      /* of a copy that waits for earlier work; UINT64_MAX: none */
};

extern struct ocl_settings ocl_settings;

int ocl_settings_read(const struct hearth_host *host, struct hearth_error *err);
void ocl_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- platform.c: the devices that the ICD loader finds ---- */

struct ocl_found {
    cl_platform_id platform;
    cl_device_id id;
    struct ocl_caps caps;
    char name[HEARTH_DEVICE_NAME_BYTES];
    char pci_address[32];
    char driver[64], features[192]; /* for people */
    char build[128];                /* device, its version, driver: what a compiled program depends on */
    bool has_std3;                  /* compiles OpenCL C 3.0 */
};

int ocl_find_devices(struct ocl_found *found, uint32_t max, uint32_t *ret_n, struct hearth_error *err);

/* ---- device.c and its neighbours: the plugin's calls ---- */

int ocl_start(const struct hearth_host *host, uint32_t *ret_n_devices, struct hearth_error *err);
void ocl_stop(void);
int ocl_describe(uint32_t index, struct hearth_device_info *info, struct hearth_error *err);
/* What weight_refill is given. */
typedef int ocl_weight_source(void *context, size_t index, void *data, void *scales, struct hearth_error *err);

int ocl_open(uint32_t index, struct hearth_device **ret_device, struct hearth_error *err);
void ocl_close(struct hearth_device *device);
bool ocl_supports(const struct hearth_device *device, uint32_t op, uint32_t numerics);
int ocl_submit(struct hearth_device *device, const struct hearth_command *commands, size_t n_commands,
               struct hearth_event *const *waits, size_t n_waits, struct hearth_event **ret_event,
               struct hearth_error *err);
int ocl_event_wait(struct hearth_device *device, struct hearth_event *event, uint64_t timeout_ns,
                   struct hearth_error *err);
void ocl_event_free(struct hearth_device *device, struct hearth_event *event);
int ocl_buffer_alloc(struct hearth_device *device, uint64_t size, struct hearth_buffer **ret_buffer,
                     struct hearth_error *err);
void ocl_buffer_free(struct hearth_device *device, struct hearth_buffer *buffer);
int ocl_buffer_write(struct hearth_device *device, struct hearth_view dst, const void *src, uint64_t size,
                     struct hearth_event **ret_event, struct hearth_error *err);
int ocl_buffer_read(struct hearth_device *device, void *dst, struct hearth_view src, uint64_t size,
                    struct hearth_event **ret_event, struct hearth_error *err);
int ocl_weight_create(struct hearth_device *device, enum hearth_weight_role role, const struct hearth_matrix *matrices,
                      size_t n_matrices, struct hearth_weight **ret_weight, struct hearth_error *err);
void ocl_weight_free(struct hearth_device *device, struct hearth_weight *weight);
int ocl_weight_refill(struct hearth_device *device, struct hearth_weight *weight, ocl_weight_source *source,
                      void *context, struct hearth_error *err);
int ocl_measure(struct hearth_device *device, double seconds, struct hearth_roof *roof, struct hearth_error *err);

/* ---- event.c ---- */

/* Wraps an event of OpenCL, which it then owns. */
int ocl_event_new(struct hearth_device *device, cl_event handle, struct hearth_event **ret_event,
                  struct hearth_error *err);
/* Waits until handle is done, at most timeout_ns.  Errors: ETIMEOUT, ELOST, EDEVICE. */
int ocl_wait(struct hearth_device *device, cl_event handle, uint64_t timeout_ns, struct hearth_error *err);
/* Waited in vain, as long as anybody should.  Returns ETIMEOUT. */
int ocl_give_up(struct hearth_device *device);
/* Waits until all that was submitted is done; a device that does not get there is stuck.  A copy comes after it, so
 * that no driver keeps the address of memory whose owner has given up waiting. */
int ocl_settle(struct hearth_device *device, uint64_t timeout_ns, struct hearth_error *err);

/* ---- memory.c: cl_mem and slabs ---- */

/* A cl_mem of the device, or NULL and the code. */
cl_mem ocl_mem_create(struct hearth_device *device, uint64_t size, cl_int *ret_code);
/* The same; ret_host: where the host reads and writes its bytes while nothing on the device writes or reads them, or
 * NULL: the device has them for itself.  Given back by ocl_mem_free_shared, when what was queued has used it. */
cl_mem ocl_mem_create_shared(struct hearth_device *device, uint64_t size, unsigned char **ret_host, cl_int *ret_code);
void ocl_mem_free_shared(struct hearth_device *device, cl_mem mem, unsigned char *host);
/* size bytes of a slab.  Under the device's lock. */
int ocl_slab_take(struct hearth_device *device, uint64_t size, uint32_t *ret_slab, struct ocl_span *ret_span,
                  struct hearth_error *err);
void ocl_slab_give(struct hearth_device *device, uint32_t slab);
void ocl_slabs_free(struct hearth_device *device);
/* The largest slab; also the memory that slabs may hold beside the weights in them. */
uint64_t ocl_slab_most(const struct ocl_caps *caps);
void ocl_scratch_reset(struct hearth_device *device); /* call.c: a command ended */
/* launch.c: lets go of copies that the queue has read, or of all. */
void ocl_uploads_free(struct hearth_device *device, bool all);

/* ---- staging.c: copies ---- */

/* Whether buffers and weights are to lie in memory that the host shares. */
bool ocl_copies_are_shared(const struct hearth_device *device);
int ocl_staging_new(struct hearth_device *device, struct hearth_error *err);
void ocl_staging_free(struct hearth_device *device);
/* Copies to the device.  src may go when the call returns; the copy itself may still be under way in the queue. */
int ocl_stage_write(struct hearth_device *device, cl_command_queue queue, struct ocl_span dst, const void *src,
                    uint64_t size, struct hearth_error *err);
int ocl_stage_read(struct hearth_device *device, void *dst, struct ocl_span src, uint64_t size,
                   struct hearth_error *err);
/* Memory of size bytes for an expert that comes on loan, free to be written; and its copy, in the copy queue, once it
 * is.  Two at a time are under way.  Thread: the device's. */
int ocl_loan_begin(struct hearth_device *device, uint64_t size, unsigned char **ret_bytes, struct hearth_error *err);
int ocl_loan_end(struct hearth_device *device, struct ocl_span dst, uint64_t size, struct hearth_error *err);
/* Waits for what was submitted so far, if that may read the memory of a weight that the host is about to write. */
int ocl_stage_wait_recycled(struct hearth_device *device, struct hearth_error *err);
/* Makes the main queue wait for what the copy queue still does. */
int ocl_stage_join(struct hearth_device *device, struct hearth_error *err);

/* ---- program.c, cache.c: compiled kernels ---- */

/* The text of a family, line by line; made from kernels-cl when hearth is built. */
struct ocl_source {
    const char *family;
    const char *const *lines;
    cl_uint n_lines;
};

extern const struct ocl_source ocl_sources[]; /* the last has family NULL */

void ocl_programs_free(struct hearth_device *device);

uint64_t ocl_hash(uint64_t hash, const void *bytes, size_t size);
#define OCL_HASH_START UINT64_C(0xCBF29CE484222325)

/* The program that the cache keeps under key, made ready with the options; NULL: none that is whole. */
cl_program ocl_cache_load(struct hearth_device *device, const char *family, const char *options, uint64_t key);
void ocl_cache_store(const char *family, uint64_t key, cl_program program);

/* ---- fault.c: option `fault` ---- */

/* *ret_fault NULL: nothing goes wrong with the device of that index. */
int ocl_fault_new(const char *text, uint32_t index, struct ocl_fault **ret_fault, struct hearth_error *err);
void ocl_fault_free(struct ocl_fault *fault);
void ocl_fault_release(struct ocl_fault *fault); /* what hangs goes on */
bool ocl_fault_alloc(struct ocl_fault *fault);                     /* this allocation fails */
bool ocl_fault_build(struct ocl_fault *fault, const char *family); /* this program does not build */
bool ocl_fault_lost(struct ocl_fault *fault);                      /* the device is lost at this submission */
/* This submission hangs: the event that it waits for, which does not come before ocl_fault_release. */
cl_event ocl_fault_hang(struct ocl_fault *fault, cl_context context);

/* ---- trace.c: option `trace` ---- */

/* The file is PATH or, of a device opened beside one that is traced already, PATH.INDEX. */
int ocl_trace_new(const char *path, uint32_t index, const char *device_name, struct ocl_trace **ret_trace,
                  struct hearth_error *err);
void ocl_trace_free(struct ocl_trace *trace); /* writes the end of the file */
/* Where to put the event of a launch, which the trace then owns; NULL: no trace. */
cl_event *ocl_trace_next(struct ocl_trace *trace, const char *op, const char *kernel);
void ocl_trace_drain(struct ocl_trace *trace); /* writes what is done */

#endif
