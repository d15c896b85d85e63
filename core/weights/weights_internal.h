/* core/weights/weights_internal.h - the members of loaded weights, and what is to be loaded, for the files of this
 * room. */
#ifndef CORE_WEIGHTS_WEIGHTS_INTERNAL_H
#define CORE_WEIGHTS_WEIGHTS_INTERNAL_H

#include "core/model/mapped_file.h"
#include "core/weights/weights.h"

struct weights {
    const struct plan *plan;
    const struct model *model;
    const struct model_shape *shape;
    const struct model_roles *roles;
    struct plugin_device *const *devices;
    uint32_t n_rows;                                  /* layers and the row behind them */
    struct hearth_weight **parts;                     /* [n_rows][N_PARTS] */
    struct hearth_weight **experts[PLAN_MAX_DEVICES]; /* [n_layers][n_experts]; NULL: none there */
    struct hearth_weight **loans[PLAN_MAX_DEVICES];   /* [plan_loans]; NULL: none */
    struct hearth_weight *ropes[PLAN_MAX_DEVICES][N_ROPE_TABLES];
    float *inv_freq[N_ROPE_TABLES];              /* [rope_dim / 2]: devices that map weights keep reading them */
    struct mapped_file caches[PLAN_MAX_DEVICES]; /* files of packed weights that devices read; empty: none */
    struct hearth_load facts;
};

/* One weight to be loaded. */
struct weight_item {
    uint32_t device;
    uint32_t row, part; /* part N_PARTS: an expert */
    uint32_t expert;
    enum hearth_weight_role role;
    const struct hearth_matrix *matrices;
    size_t n_matrices;
    struct hearth_weight **slot;
    uint64_t packed_bytes; /* as the device packs it; 0: it is created */
    uint64_t offset;       /* in the device's file, if it has one */
};

struct weight_list {
    struct weight_item *items; /* in the order of the layers, so that mapped files are read forward */
    size_t n_items;
};

/* list.c.  Owner: the caller; free(list.items). */
int weight_list_make(struct weights *weights, struct weight_list *ret_list, struct hearth_error *err);

#define WEIGHT_NAME_BYTES 96

/* "layer 3, expert 17", for error lines; returns text */
const char *weight_item_name(const struct weights *weights, const struct weight_item *item,
                             char text[WEIGHT_NAME_BYTES]);

/* keep.c: maps the device's file of packed weights from the folder, or makes it first.  What cannot be kept is said in
 * the log, and the device has no file then.  Errors: EMEMORY, EINTERRUPTED. */
int weights_keep(struct weights *weights, uint32_t device, const struct weight_list *list, const char *folder,
                 const struct hearth_progress *progress, struct hearth_error *err);

/* load.c: everything becomes a handle of its device. */
int weights_load_all(struct weights *weights, const char *folder, const struct hearth_progress *progress,
                     struct hearth_error *err);

/* How far a phase has come, and whom to tell. */
struct load {
    const struct hearth_progress *progress;
    const char *phase;
    uint64_t done_bytes, total_bytes, told_bytes;
};

int load_advance(struct load *load, uint64_t bytes, struct hearth_error *err);
/* The source of weight `index`, if it is to be copied, is read soon. */
void weight_list_expect(const struct weights *weights, const struct weight_list *list, size_t index);
/* The values that model_open has left unread: of experts, the bulk of all, whose pages are needed now anyway. */
int weight_item_check(const struct weights *weights, const struct weight_item *item, struct hearth_error *err);

#endif
