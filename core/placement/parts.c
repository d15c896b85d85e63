/* parts.c - see parts.h. */
#include "core/placement/parts.h"

#include <assert.h>

static const struct part_facts facts[N_PARTS] = {
#define PART_FACTS(name, member, role, op)                                                         \
    [PART_##name] = {#member, HEARTH_WEIGHT_##role, HEARTH_OP_##op},
    PART_LAYER_MAP(PART_FACTS)
    PART_MODEL_MAP(PART_FACTS)
#undef PART_FACTS
    [PART_SHARED] = {"shared", HEARTH_WEIGHT_SHARED, HEARTH_OP_SHARED_FFN},
};

static const size_t layer_offsets[N_PARTS] = {
#define PART_OFFSET(name, member, role, op) [PART_##name] = offsetof(struct layer_roles, member),
    PART_LAYER_MAP(PART_OFFSET)
#undef PART_OFFSET
    [PART_SHARED] = offsetof(struct layer_roles, shared.w),
};

static const size_t model_offsets[N_PARTS] = {
#define PART_OFFSET(name, member, role, op) [PART_##name] = offsetof(struct model_roles, member),
    PART_MODEL_MAP(PART_OFFSET)
#undef PART_OFFSET
};

const struct part_facts *
part_facts(enum part part)
{
    assert(part < N_PARTS);
    return &facts[part];
}

size_t
part_matrices(const struct model_roles *roles, uint32_t n_layers, uint32_t row, enum part part,
              const struct hearth_matrix **ret_matrices)
{
    assert(row <= n_layers && part < N_PARTS);
    const bool in_layer = part <= PART_SHARED;
    if (in_layer != (row < n_layers)) {
        return 0;
    }
    const char *base = in_layer ? (const char *)&roles->layers[row] : (const char *)roles;
    const size_t offset = in_layer ? layer_offsets[part] : model_offsets[part];
    const struct hearth_matrix *matrices = (const struct hearth_matrix *)(const void *)(base + offset);
    if (matrices->data_bytes == 0) { /* headers alone have sizes but no data */
        return 0;
    }
    *ret_matrices = matrices;
    return part == PART_SHARED ? 3 : 1;
}

uint64_t
matrix_bytes(const struct hearth_matrix *matrices, size_t n_matrices)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_matrices; i++) {
        bytes += matrices[i].data_bytes + matrices[i].scales_bytes;
    }
    return bytes;
}
