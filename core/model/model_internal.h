/* core/model/model_internal.h - the members of a model, for the files that make one. */
#ifndef CORE_MODEL_MODEL_INTERNAL_H
#define CORE_MODEL_MODEL_INTERNAL_H

#include <sha256.h>

#include "core/model/model.h"
#include "core/model/shards.h"
#include "core/model/sizes.h"
#include "core/model/synthetic_pools.h"

struct model {
    char *path;
    const char *name; /* in path */
    struct model_shape shape;
    struct shard_set shards;       /* empty in a synthetic model */
    struct synthetic_pools pools;  /* empty in a model from files */
    struct model_roles roles;
    struct model_sizes sizes;
    unsigned char identity[SHA256_DIGEST_LENGTH];
    unsigned char source[SHA256_DIGEST_LENGTH];
    struct model_generation generation;
    struct tokenizer *tokenizer;
    struct chat_passages *passages;
};

#endif
