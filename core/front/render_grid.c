/* render_grid.c - see render_grid.h. */
#include "core/front/render_grid.h"

#include <string.h>

size_t
text_width(const char *string)
{
    size_t width = 0;
    for (; *string; string++) {
        width += ((unsigned char)*string & 0xC0) != 0x80;
    }
    return width;
}

void
grid_next(struct grid *grid, bool number)
{
    const size_t column = grid->n_cells % grid->n_columns;
    text_append(&grid->cells, "", 1);
    if (grid->cells.failed) {
        return;
    }
    const size_t width = text_width(grid->cells.bytes + grid->begin);
    grid->widths[column] = width > grid->widths[column] ? width : grid->widths[column];
    grid->left[column] = grid->left[column] || !number;
    grid->begin = grid->cells.length;
    grid->n_cells++;
}

void
grid_print(struct grid *grid, const char *indent, struct text *text)
{
    const char *cell = grid->cells.bytes;
    text->failed = text->failed || grid->cells.failed;
    for (size_t i = 0; !text->failed && i < grid->n_cells; i++) {
        const size_t column = i % grid->n_columns;
        const bool last = column + 1 == grid->n_columns;
        const size_t own = text_width(cell), width = grid->widths[column];
        const int fill = own < width ? (int)(width - own) : 0;
        text_add(text, column == 0 ? indent : "  ");
        if (!grid->left[column]) {
            text_printf(text, "%*s%s", fill, "", cell);
        } else {
            text_printf(text, "%s%*s", cell, last ? 0 : fill, "");
        }
        text_add(text, last ? "\n" : "");
        cell += strlen(cell) + 1;
    }
    text_free(&grid->cells);
    *grid = (struct grid){0};
}
