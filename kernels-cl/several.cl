/* several.cl - what a kernel is told of up to five matrices of one slab that meet the same rows of x, and which of them
 * a work-group's tile is of.  The text stands before product.cl and bf16_mma.cl. */

/* Matrix i has n_rows_i rows at data + data_i, 0 if there is none, and y_i [n][n_rows_i], which becomes bf16 where bit
 * i of `rounded` is set. */
#define SEVERAL                                                                                                        \
    PLACE_CONST(data), PLACE(y_0), PLACE(y_1), PLACE(y_2), PLACE(y_3), PLACE(y_4), ulong data_0, ulong data_1,         \
        ulong data_2, ulong data_3, ulong data_4, uint n_rows_0, uint n_rows_1, uint n_rows_2, uint n_rows_3,          \
        uint n_rows_4, uint n, uint cols, uint rounded

/* A tile of the matrices, side by side: which one's, and its number there. */
struct one_of_several {
    const global uchar *data;
    global float *y;
    uint which, n_rows, tile;
};

/* Matrix i, if the tile lies behind those of all matrices before it. */
#define PASS_TILES(one, tile_rows, i)                                                                                  \
    if (one.which + 1u == i##u && one.tile >= (one.n_rows + tile_rows - 1u) / tile_rows) {                             \
        one.tile -= (one.n_rows + tile_rows - 1u) / tile_rows;                                                         \
        one.n_rows = n_rows_##i;                                                                                       \
        one.data = AT_CONST(uchar, data) + data_##i;                                                                   \
        one.y = AT(float, y_##i);                                                                                      \
        one.which = i;                                                                                                 \
    }

/* Declares `one`: of tiles of so many rows, that of a number. */
#define FIND_TILE(one, tile_rows, number)                                                                              \
    struct one_of_several one = {AT_CONST(uchar, data) + data_0, AT(float, y_0), 0u, n_rows_0, number};                \
    PASS_TILES(one, tile_rows, 1)                                                                                      \
    PASS_TILES(one, tile_rows, 2)                                                                                      \
    PASS_TILES(one, tile_rows, 3)                                                                                      \
    PASS_TILES(one, tile_rows, 4)
