/* beside.cl - one token's products with E4M3 weights (few.cl) and, in the same launch, what does not depend on them and
 * would leave most of the device idle by itself: products with bf16 weights of the same row (bf16_mma.cl), or the
 * router's choice (routes.cl).  The text stands behind those.
 *
 * A work-group of WARPS warps makes a tile of bf16 rows, or tiles of E4M3 rows, or the choice.
 * few_and_products: x is the row of both.  With NORM the first matrix's products become their RMS norm (norm.cl), which
 * the last of their work-groups to finish makes while others multiply.
 * few_and_choice: with SWIGLU, the row is the gated activation of x and up. */

/* Local memory of a work-group: `room`. */
#define LATE_ROOM(room)                                                                                                \
    local uint words_of_warps[MMA_WORDS(WARPS)];                                                                       \
    local float late_sums[PASS * FEW_OUTPUTS];                                                                         \
    local uint4 halves[MAX_BLOCKS * X_STEPS * 4u];                                                                     \
    local CODE codes[MAX_BLOCKS];                                                                                      \
    const struct late_room room = {halves, halves, codes, late_sums, words_of_warps};

#ifdef SWIGLU
/* The first work-group chooses the token's routes. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
few_and_choice(PLACE_CONST(x), PLACE_CONST(up), PLACE_CONST(data), PLACE_CONST(scales), PLACE(y), uint cols,
               uint n_weight_rows, float limit, CHOICE)
{
    LATE_ROOM(room)
    const uint is_choice = get_group_id(0) == 0u, first = is_choice ? 0u : get_group_id(0) - 1u;
    const uint step = get_num_groups(0) - 1u;
    FIND_CHOICE(choice, 0u)
    struct source source = {AT_CONST(uchar, data), AT_CONST(uchar, scales), 0u, n_weight_rows - 1u};
#ifdef OCL_CPU /* either half is left out by counts of 0: group.cl says why */
    choice.n_experts = is_choice ? n_experts : 0u;
    choice.top_k = is_choice ? top_k : 0u;
    source.last = is_choice ? ~0u : source.last;
    choose_routes(&choice, 0u, AT(struct route, routes), words);
    make_late(&source, AT_CONST(float, x), AT_CONST(float, up), limit, is_choice ? 0u : cols / X_BLOCK, first, step,
              AT(float, y), &room);
#else
    if (is_choice) {
        choose_routes(&choice, 0u, AT(struct route, routes), words);
    } else {
        make_late(&source, AT_CONST(float, x), AT_CONST(float, up), limit, cols / X_BLOCK, first, step, AT(float, y),
                  &room);
    }
#endif
}

#else

/* The first n_late work-groups make the rows of the E4M3 matrix, late_rows of them, the next pair_late those of the
 * second one, whose places lie data_step and scales_step further; the others tiles of the bf16 matrices. */
kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void
few_and_products(PLACE_CONST(x), PLACE_CONST(late_data), PLACE_CONST(late_scales), PLACE(late_y), PLACE(pair_y),
                 ulong data_step, ulong scales_step, uint late_rows, uint pair_rows, uint n_late, uint pair_late,
                 SEVERAL
#ifdef NORM
                 ,
                 PLACE_CONST(norm), PLACE(counter), float eps
#endif
)
{
    LATE_ROOM(room)
#ifdef NORM
    local float parts[GROUP];
    local uint flag;
#endif
    local float sums[WARPS * OUTPUTS];
    const uint group = get_group_id(0), is_late = group < n_late + pair_late, is_pair = group >= n_late;
    const uint own_rows = is_pair ? pair_rows : late_rows, first = is_pair ? group - n_late : group;
    const struct source source = {AT_CONST(uchar, late_data) + (is_pair ? data_step : 0),
                                  AT_CONST(uchar, late_scales) + (is_pair ? scales_step : 0), 0u,
                                  is_late ? own_rows - 1u : ~0u};
    const uint step = is_pair ? pair_late : n_late;
    global float *late = is_pair ? AT(float, pair_y) : AT(float, late_y);
    FIND_TILE(one, ROWS, is_late ? 0u : group - (n_late + pair_late))
#ifdef OCL_CPU /* either half is left out by counts of 0: group.cl says why */
    one.n_rows = is_late ? 0u : one.n_rows;
    make_late(&source, AT_CONST(float, x), 0, 0.0f, is_late ? cols / X_BLOCK : 0u, first, max(step, 1u), late, &room);
    make_products(&one, AT_CONST(float, x), one.y, n, is_late ? 0u : cols, rounded >> one.which & 1u, sums,
                  words_of_warps);
#else
    if (is_late) {
        make_late(&source, AT_CONST(float, x), 0, 0.0f, cols / X_BLOCK, first, step, late, &room);
    } else {
        make_products(&one, AT_CONST(float, x), one.y, n, cols, rounded >> one.which & 1u, sums, words_of_warps);
    }
#endif
#ifdef NORM
    const uint is_last = is_last_group(group < n_late, AT(uint, counter), n_late, &flag);
#ifndef OCL_CPU
    if (is_last)
#endif
    {
        global float *row = AT(float, late_y);
        normalise_row(row, row, AT_CONST(float, norm), is_last ? late_rows : 0u, eps, 1u, parts);
    }
#endif
}
#endif
