/* core/front/render_grid.h - cells in rows and columns, printed aligned.  Used by render.c. */
#ifndef CORE_FRONT_RENDER_GRID_H
#define CORE_FRONT_RENDER_GRID_H

#include <stdbool.h>
#include <stddef.h>

#include "core/base/text.h"

#define GRID_MAX_COLUMNS 32u

/* Zero-initialise, set n_columns; then write each cell's text into `cells` and end it with grid_next. */
struct grid {
    size_t n_columns, n_cells;
    struct text cells; /* row by row, each cell ended by NUL */
    size_t begin;      /* of the cell being written */
    size_t widths[GRID_MAX_COLUMNS];
    bool left[GRID_MAX_COLUMNS]; /* a cell that is no number stands in the column */
};

/* number: the cell may stand at the right edge of its column. */
void grid_next(struct grid *grid, bool number);
/* Appends the rows, each begun with indent, and frees the grid. */
void grid_print(struct grid *grid, const char *indent, struct text *text);
/* Code points of string: as good as columns for the names met here. */
size_t text_width(const char *string);

#endif
