/* opencl.h - the OpenCL backend, for its own files: what a device, a buffer and a weight are, and the calls with which
 * an operation names its kernel, gives it arguments and launches it.
 *
 * An operation is `void ocl_<op>(struct ocl_call *call, const struct hearth_op_<op> *op)`, one family a file (op_*.c);
 * done.def lists those that exist, the host does the others.  Work goes to one in-order queue: a kernel sees all that
 * was launched before it, and nothing here waits unless its comment says so.
 *
 * Every helper does nothing once call->status is negative and keeps the first error, so an operation reads straight
 * down without asking.
 *
 * Kernels.  kernels-cl/<family>.cl is compiled with kernels-cl/common.cl, group.cl and rows.cl before it, and with what
 * else program.c says that it stands on.  A place in device memory is two arguments of a kernel, `global uchar *x_mem,
 * ulong x_at` (x_at in bytes); `AT(float, x)` of common.cl joins them.
 * Kernels are OpenCL C 1.2; what a device has beyond it shows as macros: OCL_HAS_FP64, OCL_HAS_FP16, OCL_HAS_INT_DOT,
 * OCL_SUBGROUP (lanes that exchange values; group.cl), OCL_NVIDIA (compute capability, 90 for 9.0), OCL_CPU, and
 * OCL_LANES (what the device executes together). */
#ifndef BACKENDS_OPENCL_OPENCL_H
#define BACKENDS_OPENCL_OPENCL_H

#define CL_TARGET_OPENCL_VERSION 300

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <CL/cl.h>

#include <hearth/numerics.h>
#include <hearth/plugin.h>

#include "backends/host/check.h"
#include "backends/host/matrix.h"

struct ocl_program;
struct ocl_upload;
struct ocl_staging;
struct ocl_trace;
struct ocl_fault;

/* ---- memory ---- */

/* A place in device memory.  mem NULL: absent (a kernel is given a null pointer). */
struct ocl_span {
    cl_mem mem;
    uint64_t offset; /* bytes */
};

struct hearth_buffer {
    cl_mem mem;
    unsigned char *host; /* mem's bytes, where the host shares them; else NULL */
    uint64_t size;
};

/* One large cl_mem that many weights share, so that one kernel reaches them all by offset. */
struct ocl_slab {
    cl_mem mem;
    unsigned char *host; /* as a buffer's */
    uint64_t size, used;
    uint32_t n_live; /* weights in it; at 0 it is emptied */
};

/* Rows first_row .. first_row + n_rows - 1 of a matrix.  Their scales begin at `scales` (E4M3: first_row is a multiple
 * of 128). */
struct ocl_part {
    struct ocl_span data, scales;
    uint64_t first_row, n_rows;
};

/* In the canonical layout of plugin.h.  A matrix is one part unless it is larger than what the device allocates at
 * once; only weights of role LINEAR, HEAD and EMBEDDING are split. */
struct ocl_matrix {
    uint32_t dtype;
    uint64_t rows, cols;
    uint32_t n_parts;
    struct ocl_part *parts;
};

#define OCL_MAX_MATRICES 3

/* A VECTOR weight is stored as F32 whatever its type was.  The three matrices of an EXPERT or SHARED weight (w1, w3,
 * w2) lie in one slab. */
struct hearth_weight {
    uint32_t role; /* enum hearth_weight_role */
    uint32_t n_matrices;
    struct ocl_matrix matrices[OCL_MAX_MATRICES];
    struct ocl_part *parts; /* of all matrices */
    uint32_t *slabs;        /* [n_slabs], index into the device's slabs: one for each part, or one for an expert */
    uint32_t n_slabs;
    uint64_t expert_bytes;  /* of an expert: its piece of the slab, from the first part's data on */
    uint64_t id;            /* never given again while the device is open: a key for what is derived of weights */
};

/* ---- device ---- */

struct ocl_caps {
    bool is_cpu, is_gpu, is_nvidia;
    bool fp64, fp16, unified_memory;
    bool fine_svm;            /* memory can be had that host and device both use at once, byte by byte */
    bool int_dot;             /* multiplies signed bytes in fours, by an instruction of its own */
    bool dot_function;        /* which OpenCL C has a function for */
    bool std3_subgroups;      /* which exchange by functions of OpenCL C 3.0 */
    bool mma;                 /* multiplies small matrices, by the instructions of mma.cl */
    bool exact_divide;        /* correctly rounded / and sqrt in f32: native expert_ffn needs it */
    bool denormals;           /* keeps subnormal f32 */
    uint32_t nv_capability;   /* 90 for 9.0; 0: no NVIDIA */
    uint32_t lanes;           /* preferred multiple of a work-group's size: warp, wavefront, SIMD width */
    uint32_t subgroup;        /* lanes that exchange values, as group.cl wants them; 0: none */
    uint32_t n_units;
    uint64_t max_group;       /* work items of a work-group */
    uint64_t local_bytes;     /* local memory of a work-group */
    uint64_t memory_bytes;
    uint64_t max_alloc_bytes; /* one cl_mem, or what option `max_alloc` makes of it */
    uint32_t align_bytes;     /* of a part's data and scales */
};

struct ocl_kernel {
    cl_kernel handle;
    char *name;
    cl_uint n_args; /* that the kernel has */
    cl_uint next;   /* the argument that ocl_arg_* sets next */
    size_t max_group; /* work items that the kernel can have in one group on this device */
};

#define OCL_MAX_SLABS 4096u
#define OCL_SCRATCH_ALIGN 256u
#define OCL_MAX_OUTGROWN 48u /* doublings of a size that fits 64 bits */
#define OCL_N_COUNTERS 4u

struct hearth_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;      /* in order: all work and all copies of buffers */
    cl_command_queue copy_queue; /* uploads of weights, beside the work */
    cl_event copied;             /* the last of them, which the next work waits for; NULL: none */
    struct ocl_caps caps;
    char name[HEARTH_DEVICE_NAME_BYTES];
    char build_options[512]; /* of every kernel: the numeric contract and the macros above */
    uint64_t build_key;      /* device, driver and build options */
    struct ocl_program *programs;
    cl_mem scratch;          /* of the command that runs; one of twice the size takes its place */
    uint64_t scratch_bytes, scratch_used;
    cl_mem outgrown[OCL_MAX_OUTGROWN]; /* until the command ends */
    uint32_t n_outgrown;
    cl_mem counter;             /* u32 [OCL_N_COUNTERS], 0 between kernels; NULL: not asked for yet */
    struct ocl_upload *uploads; /* host memory that the queue still reads */
    pthread_mutex_t lock;    /* slabs, staging */
    struct ocl_slab *slabs;  /* [OCL_MAX_SLABS] */
    uint32_t n_slabs;
    uint64_t slabs_bytes, last_id;
    bool is_recycled;        /* memory of freed weights may be written again while earlier work still reads it */
    struct ocl_staging *staging; /* pinned host memory for copies */
    struct ocl_fault *fault;
    struct ocl_trace *trace;
    bool is_lost;  /* nothing is asked of it any more */
    bool is_stuck; /* likewise, and what it holds is not given back: its work may yet go on */
    uint64_t n_launches;                      /* of kernels */
    _Atomic uint64_t n_submitted, n_finished; /* submissions; all are finished when both are alike */
    bool uses_bytes;         /* products with e2m1 weights are those of bytes (DIGITS of product.cl) */
    enum { OCL_UNPROVEN, OCL_EXACT, OCL_INEXACT } mma_sums; /* what probe.cl has found */
    bool uses_mma;           /* products are those of tensor.cl where they can be */
    void *expert_state;      /* of expert_ffn: what it keeps between commands; NULL at first */
    void (*expert_state_free)(struct hearth_device *device); /* called at close unless NULL */
};

/* One command under way.  status keeps the first failure. */
struct ocl_call {
    struct hearth_device *device;
    const char *op;
    bool native;
    int status;
    struct hearth_error *err;
};

/* ---- error.c ---- */

/* The line of a failed OpenCL call: "what: CL_NAME (code)".  Returns EMEMORY, ELOST, EDEVICE by the code. */
int ocl_cl_error(struct hearth_error *err, cl_int code, const char *what);
const char *ocl_code_name(cl_int code);
void ocl_call_fail(struct ocl_call *call, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Fails with EINTERNAL and the text unless what holds. */
bool ocl_call_check(struct ocl_call *call, bool what, const char *text);
/* Whether code is CL_SUCCESS; else the call fails with what. */
bool ocl_call_cl(struct ocl_call *call, cl_int code, const char *what);

/* ---- call.c: a command's arguments, checked ---- */

/* rows * cols elements of size bytes, all inside the view's buffer; the offset is a multiple of 4. */
struct ocl_span ocl_view(struct ocl_call *call, const char *name, struct hearth_view view, uint64_t rows, uint64_t cols,
                         uint64_t size);
struct ocl_span ocl_view_f32(struct ocl_call *call, const char *name, struct hearth_view view, uint64_t rows,
                             uint64_t cols);
/* Matrix `index`, whose shape is rows x cols and which is no table of integers.  NULL after a failure. */
const struct ocl_matrix *ocl_weight(struct ocl_call *call, const char *name, const struct hearth_weight *weight,
                                    uint32_t index, uint64_t rows, uint64_t cols);
/* The n elements of a VECTOR weight, f32. */
struct ocl_span ocl_vector(struct ocl_call *call, const char *name, const struct hearth_weight *weight, uint64_t n);
/* A TABLE weight, i64 [rows][cols]. */
struct ocl_span ocl_table(struct ocl_call *call, const char *name, const struct hearth_weight *weight, uint64_t rows,
                          uint64_t cols);
/* n * size bytes, aligned to 256, until the command ends: the next command's scratch may be the same bytes. */
struct ocl_span ocl_scratch(struct ocl_call *call, uint64_t n, uint64_t size);
/* The device's OCL_N_COUNTERS counters of work-groups (is_last_group of group.cl). */
struct ocl_span ocl_counter(struct ocl_call *call);
/* span, `bytes` further. */
static inline struct ocl_span
ocl_at(struct ocl_span span, uint64_t bytes)
{
    return (struct ocl_span){span.mem, span.offset + bytes};
}

/* ---- program.c ---- */

/* The kernel `name` of kernels-cl/<family>.cl, built the first time it is asked for with `defines` ("-DROWS=4", or
 * NULL) added to the options, then kept.  Its arguments are set anew, first to last.  NULL after a failure. */
struct ocl_kernel *ocl_kernel(struct ocl_call *call, const char *family, const char *defines, const char *name);

/* ---- launch.c ---- */

void ocl_arg_span(struct ocl_call *call, struct ocl_kernel *kernel, struct ocl_span span); /* two arguments */
void ocl_arg_u32(struct ocl_call *call, struct ocl_kernel *kernel, uint32_t value);
void ocl_arg_u64(struct ocl_call *call, struct ocl_kernel *kernel, uint64_t value);
void ocl_arg_f32(struct ocl_call *call, struct ocl_kernel *kernel, float value);
void ocl_arg_mem(struct ocl_call *call, struct ocl_kernel *kernel, cl_mem mem);       /* one argument, no offset */
void ocl_arg_struct(struct ocl_call *call, struct ocl_kernel *kernel, const void *value, size_t size); /* by value */
void ocl_arg_local(struct ocl_call *call, struct ocl_kernel *kernel, uint64_t bytes); /* local memory */
/* groups[d] work-groups of local[d] work items in each of dims dimensions.  All arguments must be set. */
void ocl_launch(struct ocl_call *call, struct ocl_kernel *kernel, uint32_t dims, const size_t *groups,
                const size_t *local);
/* One dimension. */
void ocl_launch_1d(struct ocl_call *call, struct ocl_kernel *kernel, uint64_t groups, uint64_t local);
/* Copies size bytes to the device, in the queue's order; src may go when the call returns. */
void ocl_upload(struct ocl_call *call, struct ocl_span dst, const void *src, uint64_t size);
/* Waits for all that was launched, then copies size bytes to dst.  Blocks: for routing alone. */
void ocl_download(struct ocl_call *call, void *dst, struct ocl_span src, uint64_t size);
/* Sets size bytes (a multiple of 4) to the pattern. */
void ocl_fill(struct ocl_call *call, struct ocl_span dst, uint32_t pattern, uint64_t size);

/* ---- the operations ---- */

#define HEARTH_OP(NAME, name) void ocl_##name(struct ocl_call *call, const struct hearth_op_##name *op);
#include <hearth/ops.def>
#undef HEARTH_OP

/* How many commands from the first on, a linear, are linears of the same rows, and behind them perhaps the rmsnorm of
 * what the first one makes. */
size_t ocl_count_linears(const struct hearth_command *commands, size_t n_commands);
/* So many, together. */
void ocl_linears(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands);
/* How many commands from the first on, a router of one token, are that, the shared expert's of the same token, and
 * between them that of the routed ones or none. */
size_t ocl_count_router(const struct hearth_command *commands, size_t n_commands);
/* So many, the router's and the shared expert's together. */
void ocl_router_and_shared(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands);
/* How many commands from the first on, a moe_sum or mhc_post, are what lies between two sublayers: the mhc_post of what
 * the moe_sum makes, the mhc_pre of its streams. */
size_t ocl_count_between(const struct hearth_command *commands, size_t n_commands);
/* So many, together. */
void ocl_between(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands);
/* How many commands from the first on, a query_rope, are what attention wants of the same new tokens, apart in memory:
 * a kv_append, index_query, compress; an index_topk may stand among them. */
size_t ocl_count_ready(const struct hearth_command *commands, size_t n_commands);
/* So many, together. */
void ocl_ready(struct ocl_call *call, const struct hearth_command *commands, size_t n_commands);

#endif
