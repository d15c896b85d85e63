/* core/model/model.h - an opened checkpoint: shape, tensors, roles, and where its text files are.
 *
 * The official directory: config.json, model.safetensors.index.json (or one model.safetensors), shards; optionally
 * tokenizer.json, generation_config.json, and an encoding file with the fixed chat passages. */
#ifndef CORE_MODEL_MODEL_H
#define CORE_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include <hearth/engine.h>

#include "core/model/generation.h"
#include "core/model/roles.h"

struct model;
struct tokenizer;
struct chat_passages;

enum model_open_flags {
    MODEL_HEADERS_ONLY = 1, /* for inspect and plan: roles have shapes and NULL data; no text files are read */
};

/* Errors: EIO, EFORMAT, EUNSUPPORTED (another architecture), EMEMORY; each names file, field or tensor.
 * Owner: the caller; model_close.  Thread: the model is read-only once open. */
int model_open(const char *path, unsigned flags, struct model **ret_model, struct hearth_error *err);
/* A model of random weights.  It has no tensors, tokenizer or passages, and its path is its name.  A matrix's data is
 * shared with other matrices (synthetic_pools.h).  Errors: EUSAGE (preset.h), EMEMORY. */
int model_synthetic(const struct hearth_synthetic *request, struct model **ret_model, struct hearth_error *err);
void model_close(struct model *model); /* NULL allowed */

const char *model_name(const struct model *model); /* the folder's name */
const char *model_path(const struct model *model);
const struct model_shape *model_shape(const struct model *model);
const struct model_roles *model_roles(const struct model *model);
/* All absent if headers only were read. */
const struct model_generation *model_generation(const struct model *model);
/* All tensors of all shards, in file order. */
const struct tensor *model_tensors(const struct model *model, size_t *ret_n);
/* Tells one checkpoint from another: a SHA-256 of config.json and of the sizes and headers of all shards; 32 bytes. */
const unsigned char *model_identity(const struct model *model);
/* Tells one state of a checkpoint's files from another: a SHA-256 of the identity and of when each shard was last
 * written; 32 bytes.  What the weights hold is not read for it.  NULL: a synthetic model, which has no files. */
const unsigned char *model_source(const struct model *model);
/* NULL if the checkpoint has no tokenizer.json. */
const struct tokenizer *model_tokenizer(const struct model *model);
/* NULL if only headers were read, or there are no files; passages a checkpoint lacks are empty. */
const struct chat_passages *model_passages(const struct model *model);

/* Reads a role's bytes: EFORMAT, naming the tensor, if a scale is NaN or an E4M3 element is.  model_open checks the
 * scales of all dense weights; experts of a large model are checked with this when they load. */
int model_check_matrix(const struct model *model, const struct hearth_matrix *matrix, struct hearth_error *err);

/* Hints about the pages that a role's bytes lie on (mapped_file.h).  Nothing happens to those of a synthetic model. */
void model_expect(const struct model *model, const struct hearth_matrix *matrix);
void model_release(const struct model *model, const struct hearth_matrix *matrix);

/* Stored bytes of the main model; of them, those read for one token at short context. */
uint64_t model_weight_bytes(const struct model *model);
uint64_t model_active_bytes(const struct model *model);

/* The report behind `hearth inspect` (JSON). */
int model_inspect(const struct model *model, char **ret_json, struct hearth_error *err);

#endif
