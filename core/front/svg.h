/* core/front/svg.h - a line chart as an SVG file of our own. */
#ifndef CORE_FRONT_SVG_H
#define CORE_FRONT_SVG_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/text.h"

struct svg_series {
    const char *name;
    const double *x, *y; /* [n] */
    size_t n;
    bool dashed;
};

/* x on a logarithmic axis to base 2, y from zero. */
void svg_chart(struct text *text, const char *title, const char *x_label, const char *y_label,
               const struct svg_series *series, size_t n_series);
/* Charts, each a text of svg_chart, below one another in one file. */
void svg_stack(struct text *text, const struct text *charts, size_t n);

#endif
