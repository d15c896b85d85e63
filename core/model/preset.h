/* core/model/preset.h - published hyper-parameters by name, for models without a checkpoint. */
#ifndef CORE_MODEL_PRESET_H
#define CORE_MODEL_PRESET_H

#include <stddef.h>

#include "core/model/shape.h"

/* "v4-flash", "v4-pro", or "tiny": every kind of layer at a size that any machine computes at once.
 *
 * ratios NULL: the preset's own first n_layers, 0: all of them; the layers that hash do so here.
 * Otherwise compress_ratios of the layers, repeated until there are n_layers of them, 0: as many as ratios; they stand
 * for layers of the middle, so all of them route by score.
 * Errors: EUSAGE (no such preset, too many layers, a ratio that is none). */
int preset_shape(const char *name, uint32_t n_layers, const uint32_t *ratios, size_t n_ratios,
                 struct model_shape *ret_shape, struct hearth_error *err);

#endif
