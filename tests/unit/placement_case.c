/* placement_case.c - see placement_case.h. */
#include <config.h>

#include "tests/unit/placement_case.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/published.h"

struct model_shape shape;
struct model_roles roles;
struct plan_device devices[4];
struct plan_request request;

static struct hearth_matrix
matrix(enum hearth_dtype dtype, uint64_t rows, uint64_t cols)
{
    struct hearth_matrix made = {.dtype = dtype, .rows = rows, .cols = cols};
    switch (dtype) {
    case HEARTH_E2M1X2:
        made.data_bytes = rows * cols / 2;
        made.scales_bytes = rows * (cols / 32);
        break;
    case HEARTH_E4M3:
        made.data_bytes = rows * cols;
        made.scales_bytes = (rows + 127) / 128 * ((cols + 127) / 128);
        break;
    case HEARTH_BF16:
        made.data_bytes = 2 * rows * cols;
        break;
    case HEARTH_I64:
        made.data_bytes = 8 * rows * cols;
        break;
    default:
        made.data_bytes = 4 * rows * cols;
    }
    return made;
}

/* The large parts at their real sizes; the many small vectors stand in one. */
void
placement_make_roles(void)
{
    const uint64_t D = shape.dim, q_width = shape.n_heads * (uint64_t)shape.head_dim;
    roles.layers = calloc(shape.n_layers, sizeof *roles.layers);
    ck_assert_ptr_nonnull(roles.layers);
    roles.n_layers = shape.n_layers;
    roles.embed = roles.head = matrix(HEARTH_BF16, shape.vocab_size, D);
    roles.norm = matrix(HEARTH_BF16, 1, D);
    for (uint32_t i = 0; i < shape.n_layers; i++) {
        struct layer_roles *layer = &roles.layers[i];
        layer->experts = calloc(shape.n_experts, sizeof *layer->experts);
        ck_assert_ptr_nonnull(layer->experts);
        layer->attn_norm = matrix(HEARTH_BF16, 1, D);
        layer->wq_a = matrix(HEARTH_E4M3, shape.q_lora_rank, D);
        layer->wq_b = matrix(HEARTH_E4M3, q_width, shape.q_lora_rank);
        layer->wkv = matrix(HEARTH_E4M3, shape.head_dim, D);
        layer->wo_a = matrix(HEARTH_E4M3, shape.o_groups * shape.o_lora_rank, q_width / shape.o_groups);
        layer->wo_b = matrix(HEARTH_E4M3, D, shape.o_groups * shape.o_lora_rank);
        layer->kv_norm = matrix(HEARTH_BF16, 1, shape.head_dim);
        layer->attn_sink = matrix(HEARTH_F32, 1, shape.n_heads);
        layer->gate = matrix(HEARTH_BF16, shape.n_experts, D);
        if (i < shape.n_hash_layers) {
            layer->tid2eid = matrix(HEARTH_I64, shape.vocab_size, shape.experts_per_token);
        }
        for (uint32_t e = 0; e <= shape.n_experts; e++) {
            const bool is_shared = e == shape.n_experts;
            struct expert_roles *expert = is_shared ? &layer->shared : &layer->experts[e];
            const enum hearth_dtype dtype = is_shared ? HEARTH_E4M3 : HEARTH_E2M1X2;
            expert->w[0] = expert->w[1] = matrix(dtype, shape.expert_inner, D);
            expert->w[2] = matrix(dtype, D, shape.expert_inner);
        }
    }
}

void
placement_set_up(void)
{
    shape = published_shape(PUBLISHED_FLASH);
    placement_make_roles();
    for (size_t i = 0; i < 4; i++) {
        devices[i] = (struct plan_device){.plugin = "one", .name = "card"};
        memset(devices[i].supports, true, sizeof devices[i].supports);
    }
    devices[1].plugin = devices[2].plugin = "two";
    devices[1].name = devices[2].name = "host";
    devices[1].is_host = devices[2].is_host = true;
    request = (struct plan_request){
        .shape = &shape,
        .roles = &roles,
        .devices = devices,
        .n_devices = 1,
        .numerics = HEARTH_NATIVE,
        .format = {.kv_format = HEARTH_KV_PACKED, .ring_slots = shape.window},
        .context_length = CONTEXT,
        .activation_bytes = GIB / 4,
    };
}

void
placement_tear_down(void)
{
    for (uint32_t i = 0; i < shape.n_layers; i++) {
        free(roles.layers[i].experts);
    }
    free(roles.layers);
}

struct plan *
placement_make(void)
{
    struct plan *plan = NULL;
    struct hearth_error err = {0};
    ck_assert_msg(plan_make(&request, &plan, &err) == HEARTH_OK, "%s", err.text);
    return plan;
}

uint64_t
placement_total(const struct plan *plan, uint32_t device)
{
    uint64_t bytes = 0;
    for (int kind = 0; kind < N_PLAN_BYTES; kind++) {
        bytes += plan_bytes(plan, device, (enum plan_bytes_kind)kind);
    }
    return bytes;
}
