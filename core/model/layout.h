/* core/model/layout.h - every matrix that a DeepSeek-V4 checkpoint of a given shape holds: name, type, extents, place.
 *
 * The one list behind binding and checking the roles, counting sizes without a checkpoint, and writing test
 * checkpoints. */
#ifndef CORE_MODEL_LAYOUT_H
#define CORE_MODEL_LAYOUT_H

#include "core/model/roles.h"

#define LAYOUT_NAME_BYTES 96

/* Which struct of roles.h has a member for the matrix. */
enum layout_owner { LAYOUT_MODEL = 0, LAYOUT_LAYER, LAYOUT_EXPERT, LAYOUT_STAGE /* none: a drafter's, not loaded */ };

struct layout_matrix {
    char name[LAYOUT_NAME_BYTES]; /* of the tensor; its scales are under layout_scale_name */
    enum layout_owner owner;
    size_t member;                /* offset of the struct hearth_matrix in the owner */
    uint32_t layer, expert;       /* layer: also the drafter's stage */
    enum tensor_kind kind;
    enum hearth_dtype dtype;      /* NONE: a routed expert's, E2M1X2 or E4M3 */
    bool is_vector;               /* stored as [cols] */
    uint64_t rows, cols;          /* in elements */
};

/* One tensor of the file. */
struct layout_tensor {
    enum hearth_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[2];
    uint64_t n_elements, size_bytes; /* as stored */
};

/* Calls visit for every matrix: the global ones, then layer by layer, then the drafter's n_nextn stages.  A status
 * other than 0 ends the walk and is returned. */
int layout_walk(const struct model_shape *shape,
                int (*visit)(void *context, const struct layout_matrix *matrix, struct hearth_error *err),
                void *context, struct hearth_error *err);

/* How the elements and the scales of a matrix are stored when their type is dtype. */
struct layout_tensor layout_weight(const struct layout_matrix *matrix, enum hearth_dtype dtype);
/* False if the type has no scales. */
bool layout_scale(const struct layout_matrix *matrix, enum hearth_dtype dtype, struct layout_tensor *ret_scale);
/* "X.scale" for "X.weight" */
void layout_scale_name(const char *name, char ret_name[LAYOUT_NAME_BYTES]);

#endif
