/* routed.cl - product.cl's tiles for the experts: rows of x are those of routes, and a weight is the one of many that a
 * route names. */

/* One tile of a matrix of the experts.  A tile is routes of one expert: with TILES those that tiles[get_group_id(1)]
 * has in `order`, else the route get_group_id(1).  Route i meets row i of x, or with X_TOKENS the row of its token, and
 * writes row i of y, or with Y_SLOTS the row of its slot.  get_group_id(2) counts the matrices first_matrix .. that are
 * made side by side; the second's y begins y_step elements further.
 * Does the experts whose matrices are of DTYPE and lie in the slab `data`, number `slab`. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
routed(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(experts), PLACE_CONST(routes),
       PLACE_CONST(order), PLACE_CONST(tiles), PLACE(y), uint slab, uint first_matrix, uint cols, uint n_rows, uint n,
       uint n_slots, uint n_experts, ulong y_step)
{
    local long words[LOCAL_WORDS];
    const uint lane = get_local_id(0), which = first_matrix + get_group_id(2), first_row = get_group_id(0) * ROWS;
#if !defined(TILES) || defined(X_TOKENS) || defined(Y_SLOTS)
    const global struct route *all_routes = AT_CONST(struct route, routes);
#endif
#ifdef TILES
    const struct tile tile = AT_CONST(struct tile, tiles)[get_group_id(1)];
    const global uint *chosen = AT_CONST(uint, order) + tile.first;
    if (tile.n == 0u) {
        return;
    }
#else
    const struct tile tile = {all_routes[get_group_id(1)].expert, get_group_id(1), 1u};
#endif
    if (tile.expert >= n_experts) {
        return;
    }
    const global struct expert *expert = AT_CONST(struct expert, experts) + tile.expert;
    if (expert->dtypes[which] != DTYPE || expert->slab != slab) {
        return;
    }
    const struct matrix matrix = {AT_CONST(uchar, data) + expert->data[which],
                                  AT_CONST(uchar, data) + expert->scales[which], n_rows, cols};
    struct input input = {AT_CONST(float, x), AT_CONST(uchar, x_scales), {0}};
    uint rows[ROWS];
    tile_rows(first_row, n_rows, rows);
    for (uint t = 0; t < TOKENS; t++) {
#ifdef TILES
        const uint route = chosen[min(t, tile.n - 1u)];
#else
        const uint route = tile.first;
#endif
#ifdef X_TOKENS
        input.rows[t] = min(all_routes[route].token, n - 1u);
#else
        input.rows[t] = route;
#endif
    }
    const float value = tile_product(&input, &matrix, rows, PARTS_OF(words));
    const uint row = first_row + lane / TOKENS, token = lane % TOKENS;
    if (lane < OUTPUTS && row < n_rows && token < tile.n) {
#ifdef TILES
        const uint route = chosen[token];
#else
        const uint route = tile.first;
#endif
#ifdef Y_SLOTS
        const uint to = all_routes[route].slot;
        const uint n_to = n_slots;
#else
        const uint to = route;
        const uint n_to = to + 1u;
#endif
        if (to < n_to) {
            AT(float, y)[get_group_id(2) * y_step + (ulong)to * n_rows + row] = finished(value);
        }
    }
}
