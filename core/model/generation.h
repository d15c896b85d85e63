/* core/model/generation.h - what the checkpoint itself recommends for sampling: generation_config.json. */
#ifndef CORE_MODEL_GENERATION_H
#define CORE_MODEL_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

#include <hearth/status.h>

struct model_generation {
    bool has_temperature, has_top_p, has_top_k;
    float temperature; /* 0 when do_sample is false */
    float top_p;
    uint32_t top_k;
};

/* A missing file says nothing.  Errors: EIO, EFORMAT, EMEMORY. */
int generation_read(const char *path, struct model_generation *ret_generation, struct hearth_error *err);

#endif
