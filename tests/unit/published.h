/* tests/unit/published.h - the hyper-parameters of the published models, in our own config.json. */
#ifndef TESTS_UNIT_PUBLISHED_H
#define TESTS_UNIT_PUBLISHED_H

#include "core/model/shape.h"

enum published_model { PUBLISHED_FLASH, PUBLISHED_FLASH_0731, PUBLISHED_PRO };

/* Asserts that shape_read accepts it. */
struct model_shape published_shape(enum published_model which);

#endif
