/* list.c - every weight of the plan, in the order they are loaded. */
#include <stdio.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/weights/weights_internal.h"

static void
add_part(struct weights *weights, uint32_t row, enum part part, struct weight_list *list)
{
    const struct hearth_matrix *matrices = NULL;
    const size_t n = part_matrices(weights->roles, weights->shape->n_layers, row, part, &matrices);
    const struct part_facts *facts = part_facts(part);
    if (n > 0) {
        list->items[list->n_items++] = (struct weight_item){.device = plan_op_device(weights->plan, row, facts->op),
                                                            .row = row,
                                                            .part = part,
                                                            .role = facts->role,
                                                            .matrices = matrices,
                                                            .n_matrices = n,
                                                            .slot = &weights->parts[(size_t)row * N_PARTS + part]};
    }
}

static void
add_experts(struct weights *weights, uint32_t layer, struct weight_list *list)
{
    const uint32_t n_experts = weights->shape->n_experts;
    for (uint32_t expert = 0; expert < n_experts; expert++) {
        const uint32_t device = plan_expert_device(weights->plan, layer, expert);
        list->items[list->n_items++] =
            (struct weight_item){.device = device,
                                 .row = layer,
                                 .part = N_PARTS,
                                 .expert = expert,
                                 .role = HEARTH_WEIGHT_EXPERT,
                                 .matrices = weights->roles->layers[layer].experts[expert].w,
                                 .n_matrices = 3,
                                 .slot = &weights->experts[device][(size_t)layer * n_experts + expert]};
    }
}

int
weight_list_make(struct weights *weights, struct weight_list *ret_list, struct hearth_error *err)
{
    const uint32_t n_layers = weights->shape->n_layers;
    const size_t most = (size_t)weights->n_rows * N_PARTS + (size_t)n_layers * weights->shape->n_experts;
    struct weight_list list = {.items = calloc(most, sizeof *list.items)};
    if (!list.items) {
        return error_no_memory(err, "the list of weights");
    }
    for (uint32_t row = 0; row < weights->n_rows; row++) {
        for (int part = 0; part < N_PARTS; part++) {
            add_part(weights, row, (enum part)part, &list);
        }
        if (row < n_layers) {
            add_experts(weights, row, &list);
        }
    }
    *ret_list = list;
    return HEARTH_OK;
}

const char *
weight_item_name(const struct weights *weights, const struct weight_item *item, char text[WEIGHT_NAME_BYTES])
{
    if (item->part == N_PARTS) {
        snprintf(text, WEIGHT_NAME_BYTES, "layer %u, expert %u", item->row, item->expert);
    } else if (item->row < weights->shape->n_layers) {
        snprintf(text, WEIGHT_NAME_BYTES, "layer %u, %s", item->row, part_facts((enum part)item->part)->name);
    } else {
        snprintf(text, WEIGHT_NAME_BYTES, "%s", part_facts((enum part)item->part)->name);
    }
    return text;
}
