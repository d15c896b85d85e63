/* synthetic_pools.c - see synthetic_pools.h. */
#include "core/model/synthetic_pools.h"

#include <stdlib.h>

#include "core/base/bytes.h"
#include "core/base/error.h"
#include "core/base/noise.h"
#include "core/model/synthetic_router.h"

#define POOL_ALIGN 64u
/* Tensors begin at up to this many bytes after the pool does. */
#define POOL_SPREAD (UINT64_C(256) << 10)

#define E4M3_DEVIATION 96.0   /* 448 is 4.7 of them away */
#define E4M3_SCALE (-12)      /* 96 * 2^-12 = 0.023 */
#define E2M1_SCALE (-7)       /* all bytes alike have the deviation 2.93; times 2^-7 = 0.023 */

static enum synthetic_pool
pool_of(const struct layout_matrix *place)
{
    switch (place->dtype) {
    case HEARTH_BF16:
        return place->is_vector ? POOL_NORMS : POOL_BF16;
    case HEARTH_F32:
        return place->kind == TENSOR_GATE ? POOL_BIAS : POOL_F32;
    case HEARTH_I64:
        return POOL_TABLE;
    case HEARTH_E4M3:
        return POOL_E4M3;
    default: /* NONE: a routed expert's */
        return POOL_E2M1X2;
    }
}

static enum hearth_dtype
dtype_of(const struct layout_matrix *place)
{
    return place->dtype == HEARTH_DTYPE_NONE ? HEARTH_E2M1X2 : place->dtype;
}

static enum synthetic_pool
scale_pool_of(const struct layout_matrix *place)
{
    return place->dtype == HEARTH_E4M3 ? POOL_DENSE_SCALES : POOL_EXPERT_SCALES;
}

static void
grow(struct synthetic_pools *pools, enum synthetic_pool pool, uint64_t size)
{
    if (size > pools->sizes[pool]) {
        pools->sizes[pool] = size;
    }
}

static int
measure(void *context, const struct layout_matrix *place, struct hearth_error *err)
{
    struct synthetic_pools *pools = context;
    struct layout_tensor scale;
    (void)err;
    grow(pools, pool_of(place), layout_weight(place, dtype_of(place)).size_bytes);
    if (layout_scale(place, dtype_of(place), &scale)) {
        grow(pools, scale_pool_of(place), scale.size_bytes);
    }
    return HEARTH_OK;
}

static int
fill(struct synthetic_pools *pools, enum synthetic_pool pool, const struct model_shape *shape, struct random *random,
     struct hearth_error *err)
{
    struct noise_table table;
    void *dst = pools->bytes[pool];
    switch (pool) {
    case POOL_BF16:
        noise_table_normal(HEARTH_BF16, 0, SYNTHETIC_DEVIATION, &table);
        break;
    case POOL_NORMS:
        noise_table_normal(HEARTH_BF16, 1, 0.1, &table);
        break;
    case POOL_F32:
        noise_table_normal(HEARTH_F32, 0, SYNTHETIC_DEVIATION, &table);
        break;
    case POOL_E4M3:
        noise_table_normal(HEARTH_E4M3, 0, E4M3_DEVIATION, &table);
        break;
    case POOL_E2M1X2:
        noise_table_bytes(&table);
        break;
    case POOL_DENSE_SCALES:
        noise_table_scales(E4M3_SCALE, &table);
        break;
    case POOL_EXPERT_SCALES:
        noise_table_scales(E2M1_SCALE, &table);
        break;
    case POOL_BIAS:
        return synthetic_fill_bias(shape, SYNTHETIC_DEVIATION, random, dst, err);
    case POOL_TABLE:
        return synthetic_fill_table(shape, random, dst, err);
    case N_SYNTHETIC_POOLS:
        return HEARTH_OK;
    }
    noise_fill(random, &table, dst, pools->sizes[pool] / table.element_bytes);
    return HEARTH_OK;
}

/* Memory for one pool, filled. */
static int
make_pool(struct synthetic_pools *pools, enum synthetic_pool pool, const struct model_shape *shape,
          struct random *random, struct hearth_error *err)
{
    uint64_t *size = &pools->sizes[pool];
    if (*size == 0) {
        return HEARTH_OK;
    }
    if (pool == POOL_BIAS) {
        *size *= shape->n_layers;
    } else if (pool != POOL_TABLE) {
        *size += POOL_SPREAD;
    }
    *size = round_up(*size, POOL_ALIGN);
    pools->bytes[pool] = aligned_alloc(POOL_ALIGN, (size_t)*size);
    return pools->bytes[pool] ? fill(pools, pool, shape, random, err) : error_no_memory(err, "synthetic weights");
}

int
synthetic_pools_make(const struct model_shape *shape, uint64_t seed, struct synthetic_pools *ret_pools,
                     struct hearth_error *err)
{
    struct synthetic_pools pools = {0};
    struct random random;
    int status = layout_walk(shape, measure, &pools, err);
    random_seed(&random, seed);
    for (int pool = 0; status == HEARTH_OK && pool < N_SYNTHETIC_POOLS; pool++) {
        status = make_pool(&pools, (enum synthetic_pool)pool, shape, &random, err);
    }
    if (status < 0) {
        synthetic_pools_free(&pools);
        return status;
    }
    *ret_pools = pools;
    return HEARTH_OK;
}

void
synthetic_pools_free(struct synthetic_pools *pools)
{
    for (int i = 0; i < N_SYNTHETIC_POOLS; i++) {
        free(pools->bytes[i]);
    }
    *pools = (struct synthetic_pools){0};
}

static const unsigned char *
begin_of(const struct synthetic_pools *pools, enum synthetic_pool pool, const struct model_shape *shape,
         const struct layout_matrix *place, uint64_t index)
{
    if (pool == POOL_TABLE) {
        return pools->bytes[pool];
    }
    if (pool == POOL_BIAS) {
        return pools->bytes[pool] + (uint64_t)place->layer * shape->n_experts * sizeof(float);
    }
    uint64_t state = index; /* any mixing will do: neighbours must not begin at the same place */
    return pools->bytes[pool] + random_splitmix(&state) % (POOL_SPREAD / POOL_ALIGN) * POOL_ALIGN;
}

struct hearth_matrix
synthetic_matrix(const struct synthetic_pools *pools, const struct model_shape *shape,
                 const struct layout_matrix *place, uint64_t index)
{
    const enum hearth_dtype dtype = dtype_of(place);
    struct layout_tensor scale;
    struct hearth_matrix matrix = {
        .dtype = dtype, .rows = place->rows, .cols = place->cols,
        .data = begin_of(pools, pool_of(place), shape, place, index),
        .data_bytes = layout_weight(place, dtype).size_bytes,
    };
    if (layout_scale(place, dtype, &scale)) {
        matrix.scales = begin_of(pools, scale_pool_of(place), shape, place, index);
        matrix.scales_bytes = scale.size_bytes;
    }
    return matrix;
}
