/* eval.c - see eval.h. */
#include "core/front/eval.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/front/out.h"

#define EVAL_MAX_TEXT_BYTES (UINT64_C(1) << 30)

int
eval_read_text(const struct front *front, const char *path, struct text *text,
               struct hearth_error *err)
{
    struct text own = {0};
    struct hearth_error reason = {0};
    if (!path) {
        const int status = front_model_file(front, "heldout.txt", &own, err);
        if (status < 0) {
            text_free(&own);
            return status;
        }
    }
    int status = file_read(path ? path : own.bytes, EVAL_MAX_TEXT_BYTES, text, &reason);
    if (status == HEARTH_EIO && !path) {
        status =
            error_set(err, HEARTH_EIO, "%s; a text can be named on the command line", reason.text);
    } else if (status < 0 && err) {
        *err = reason;
    }
    text_free(&own);
    return status;
}

int
eval_set_context(struct front *front, uint64_t n_tokens, struct hearth_error *err)
{
    char wanted[32];
    const char *set = hearth_config_get(front->config, "context.length");
    if (set && strtoull(set, NULL, 10) >= n_tokens) {
        return HEARTH_OK;
    }
    snprintf(wanted, sizeof wanted, "%" PRIu64, n_tokens);
    return hearth_config_set(front->config, "context.length", wanted, "evaluation", err);
}
