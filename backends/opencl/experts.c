/* experts.c - the lists of experts that the device keeps, in device->expert_state. */
#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "backends/opencl/experts.h"
#include "backends/opencl/product.h"

/* Lists kept: as many as a model has layers, and more; a list beyond takes the place of the oldest. */
#define MAX_LISTS 256u

/* struct expert of common.cl */
struct device_expert {
    cl_ulong data[3], scales[3];
    cl_uint slab;
    cl_uint dtypes[3];
};

struct list {
    uint64_t *ids; /* [n_experts] of the weights; 0: absent */
    uint32_t n_experts, dim, inner;
    cl_mem mem;
    struct ocl_expert_slab *slabs;
    uint32_t n_slabs;
};

struct lists {
    struct list all[MAX_LISTS];
    uint32_t n, oldest;
};

static void
list_drop(struct list *list)
{
    if (list->mem != NULL) {
        clReleaseMemObject(list->mem);
    }
    free(list->ids);
    free(list->slabs);
    *list = (struct list){0};
}

static void
lists_free(struct hearth_device *device)
{
    struct lists *lists = device->expert_state;
    for (uint32_t i = 0; i < lists->n; i++) {
        list_drop(&lists->all[i]);
    }
    free(lists);
    device->expert_state = NULL;
}

static uint64_t
id_of(const struct hearth_weight *weight)
{
    return weight == NULL ? 0 : weight->id;
}

static bool
is_list_of(const struct list *list, const struct hearth_op_expert_ffn *op)
{
    if (list->n_experts != op->n_experts || list->dim != op->dim || list->inner != op->inner) {
        return false;
    }
    for (uint32_t e = 0; e < op->n_experts; e++) {
        if (list->ids[e] != id_of(op->experts[e])) {
            return false;
        }
    }
    return true;
}

/* The number of the slab in the list. */
static uint32_t
slab_number(struct list *list, cl_mem mem)
{
    for (uint32_t i = 0; i < list->n_slabs; i++) {
        if (list->slabs[i].mem == mem) {
            return i;
        }
    }
    list->slabs[list->n_slabs] = (struct ocl_expert_slab){.mem = mem};
    return list->n_slabs++;
}

/* What the device is told of one expert. */
static void
tell(struct ocl_call *call, const struct hearth_op_expert_ffn *op, uint32_t e, struct list *list,
     struct device_expert *ret_expert)
{
    static const char *const names[] = {"w1", "w3", "w2"};
    const struct hearth_weight *weight = op->experts[e];
    const uint32_t slab = weight->n_matrices > 0 && weight->matrices[0].n_parts > 0
                              ? slab_number(list, weight->matrices[0].parts[0].data.mem)
                              : 0;
    struct device_expert told = {.slab = slab};
    for (uint32_t i = 0; i < 3 && call->status == 0; i++) {
        const uint32_t rows = i < 2 ? op->inner : op->dim, cols = i < 2 ? op->dim : op->inner;
        const struct ocl_matrix *matrix = ocl_weight(call, names[i], weight, i, rows, cols);
        if (matrix == NULL || !ocl_product_can(call, names[i], matrix->dtype) ||
            !ocl_call_check(call, matrix->n_parts == 1 && matrix->parts[0].data.mem == list->slabs[slab].mem,
                            "experts: three matrices of one slab wanted")) {
            return;
        }
        told.data[i] = matrix->parts[0].data.offset;
        told.scales[i] = matrix->parts[0].scales.offset;
        told.dtypes[i] = matrix->dtype;
        *(i < 2 ? &list->slabs[slab].up_dtypes : &list->slabs[slab].down_dtypes) |= 1u << matrix->dtype;
    }
    *ret_expert = told;
}

/* Fills an empty list; false after a failure, which leaves what list_drop frees. */
static bool
list_fill(struct ocl_call *call, const struct hearth_op_expert_ffn *op, struct list *list)
{
    cl_int code = CL_SUCCESS;
    const size_t n_bytes = op->n_experts * sizeof(struct device_expert);
    struct device_expert *experts = calloc(op->n_experts, sizeof *experts);
    list->ids = calloc(op->n_experts, sizeof *list->ids);
    list->slabs = calloc(op->n_experts, sizeof *list->slabs);
    list->n_experts = op->n_experts;
    list->dim = op->dim;
    list->inner = op->inner;
    if (experts == NULL || list->ids == NULL || list->slabs == NULL) {
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for a list of %u experts", op->n_experts);
    }
    for (uint32_t e = 0; e < op->n_experts && call->status == 0; e++) {
        list->ids[e] = id_of(op->experts[e]);
        if (op->experts[e] != NULL) {
            tell(call, op, e, list, &experts[e]);
        }
    }
    if (call->status == 0) {
        list->mem = clCreateBuffer(call->device->context, CL_MEM_READ_ONLY, n_bytes, NULL, &code);
        ocl_call_cl(call, code, "a list of experts");
    }
    ocl_upload(call, (struct ocl_span){list->mem, 0}, experts, n_bytes);
    free(experts);
    return call->status == 0;
}

/* A free place; what lay there is gone. */
static struct list *
take_place(struct lists *lists)
{
    if (lists->n < MAX_LISTS) {
        return &lists->all[lists->n++];
    }
    struct list *list = &lists->all[lists->oldest];
    lists->oldest = (lists->oldest + 1) % MAX_LISTS;
    list_drop(list);
    return list;
}

void
ocl_experts_find(struct ocl_call *call, const struct hearth_op_expert_ffn *op, struct ocl_experts *ret_experts)
{
    struct hearth_device *device = call->device;
    struct list *list = NULL;
    if (call->status < 0) {
        return;
    }
    if (device->expert_state == NULL) {
        device->expert_state = calloc(1, sizeof(struct lists));
        device->expert_state_free = lists_free;
    }
    struct lists *lists = device->expert_state;
    if (lists == NULL) {
        device->expert_state_free = NULL;
        ocl_call_fail(call, HEARTH_EMEMORY, "no memory for lists of experts");
        return;
    }
    for (uint32_t i = 0; i < lists->n && list == NULL; i++) {
        list = is_list_of(&lists->all[i], op) ? &lists->all[i] : NULL;
    }
    if (list == NULL) {
        list = take_place(lists);
        if (!list_fill(call, op, list)) {
            list_drop(list); /* an empty place: no command has 0 experts */
            return;
        }
    }
    *ret_experts = (struct ocl_experts){{list->mem, 0}, list->slabs, list->n_slabs};
}
