/* core/model/shards.h - the weight files of a checkpoint: one model.safetensors, or those that
 * model.safetensors.index.json names; their headers read, their tensors in one list. */
#ifndef CORE_MODEL_SHARDS_H
#define CORE_MODEL_SHARDS_H

#include "core/model/mapped_file.h"
#include "core/model/roles.h"
#include "core/model/safetensors.h"

struct shard {
    char *file; /* base name */
    struct mapped_file map;
    struct safetensors header; /* its tensors moved into the set; its names stay */
    uint64_t size_bytes;
    int64_t written_ns; /* mapped_file.h */
};

struct shard_set {
    struct shard *shards; /* sorted by file name */
    size_t n_shards;
    struct tensor_set tensors; /* in file order, under their published names */
};

/* folder outlives the set.  keep_maps: the tensors' data stay mapped; otherwise their data is NULL.  digest sees every
 * header and file size.  Errors: EIO, EFORMAT, EMEMORY.  Owner: the caller; shards_close. */
int shards_open(const char *folder, bool keep_maps, void (*digest)(void *context, const void *bytes, size_t size),
                void *context, struct shard_set *ret_set, struct hearth_error *err);
void shards_close(struct shard_set *set); /* an empty one allowed */

#endif
