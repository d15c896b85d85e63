/* core/front/eval.h - shared by the evaluations: the text they read, as tokens. */
#ifndef CORE_FRONT_EVAL_H
#define CORE_FRONT_EVAL_H

#include "core/base/text.h"
#include "core/front/front.h"

/* The file named, or heldout.txt of the model folder.  Errors: EIO with what to give instead. */
int eval_read_text(const struct front *front, const char *path, struct text *text,
                   struct hearth_error *err);
/* Makes room for n_tokens of context unless the user asked for more. */
int eval_set_context(struct front *front, uint64_t n_tokens, struct hearth_error *err);

#endif
