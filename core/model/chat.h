/* core/model/chat.h - the official V4 chat encoding, in both directions.  The public types stand in hearth/engine.h. */
#ifndef CORE_MODEL_CHAT_H
#define CORE_MODEL_CHAT_H

#include <hearth/engine.h>

/* The fixed English passages of the format.  They are read from the checkpoint (its encoding file), never part of
 * hearth. An absent passage is NULL. */
struct chat_passages;

/* Looks in the model folder (encoding/, inference/encoding/, the folder itself) for the official Python encoding file,
 * encoding*.py, and in the first two for JSON files of passages: an object with tools_section with {tools},
 * response_format with {schema}, effort_prefix, effort_prefix_max (0731's level max).
 * A passage of the official file whose digest is none of the specification's is used and said once in the log.
 * Never fails because a passage is missing.  Errors: EIO (unreadable), EFORMAT, EMEMORY. */
int chat_passages_load(const char *model_path, struct chat_passages **ret_passages, struct hearth_error *err);
void chat_passages_free(struct chat_passages *passages); /* NULL allowed */

int chat_encode(const struct chat_passages *passages, const char *messages, const struct hearth_chat_options *options,
                char **ret_text, const char **ret_missing, struct hearth_error *err);

#endif
