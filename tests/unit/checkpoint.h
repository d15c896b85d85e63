/* tests/unit/checkpoint.h - a small DeepSeek-V4 with random weights, in memory and as a folder: for tests that need a
 * valid checkpoint, or one with a single fault.  Every function asserts that it worked (Check). */
#ifndef TESTS_UNIT_CHECKPOINT_H
#define TESTS_UNIT_CHECKPOINT_H

#include "core/model/layout.h"

struct checkpoint_tensor {
    char name[LAYOUT_NAME_BYTES];
    const char *dtype; /* a safetensors name */
    uint32_t n_dims;
    uint64_t dims[TENSOR_MAX_DIMS];
    unsigned char *bytes; /* size_bytes of them, malloc'ed; NULL: a hole in the file */
    uint64_t size_bytes;
    uint32_t shard;
};

struct checkpoint {
    struct model_shape shape;
    const char *extra_config; /* further members of config.json, ", \"key\": value"; or "" */
    struct checkpoint_tensor *tensors;
    size_t n_tensors;
    uint32_t n_shards;
};

/* Five layers, of every kind, the first hash-routed; no drafter.  For tests to change before checkpoint_new. */
struct model_shape checkpoint_tiny_shape(void);
/* expert_dtype: E2M1X2 or E4M3.  Values keep activations near 1.  holes: no bytes, for shapes of real size. */
struct checkpoint *checkpoint_new(const struct model_shape *shape, enum hearth_dtype expert_dtype, uint32_t n_shards,
                                  uint32_t seed, bool holes);
void checkpoint_free(struct checkpoint *checkpoint);
struct checkpoint_tensor *checkpoint_find(struct checkpoint *checkpoint, const char *name);
void checkpoint_remove(struct checkpoint *checkpoint, const char *name);

/* config.json; the caller frees it. */
char *checkpoint_config(const struct checkpoint *checkpoint);
/* Writes config.json and the shards into an existing folder; the index if there are several. */
void checkpoint_save(const struct checkpoint *checkpoint, const char *folder);
/* The base name of a shard: model.safetensors if it is the only one. */
void checkpoint_shard_name(const struct checkpoint *checkpoint, uint32_t shard, char name[64]);

#define CHECKPOINT_PATH_BYTES 512

/* A new folder for temporary files, and its removal with the files in it. */
void checkpoint_make_folder(char folder[CHECKPOINT_PATH_BYTES]);
void checkpoint_remove_folder(const char *folder);
/* Writes a whole file. */
void checkpoint_write_file(const char *folder, const char *file, const void *bytes, size_t size);

#endif
