/* mhc.cl - manifold-constrained hyper-connections: S residual streams collapse to one input for a sublayer (pre), its
 * output returns to all of them (post), and the last collapse before the head (head).
 *
 * streams  [n][S][dim] f32, a token's streams one after the other: X, n_in = S * dim elements
 * fn       [n_mix][n_in] of DTYPE, n_mix = (2 + S) * S, in head S
 * parts    [n][n_mix + 1][n_pieces] f32: a row's dot product with X by pieces of PIECE elements; the last row is X . X
 * post     [n][S], comb [n][S][S] with row j = source stream, normed [n][dim]
 *
 *     m = (fn X) * rsqrt(mean(X^2) + norm_eps)
 *     pre[s]     = sigmoid(m[s] * scale[0] + base[s]) + hc_eps
 *     post[s]    = 2 sigmoid(m[S + s] * scale[1] + base[S + s])
 *     comb[j][k] = Sinkhorn(m[2S + S j + k] * scale[2] + base[2S + S j + k])
 *     normed     = rmsnorm(sum_s pre[s] X_s)
 *     X'_k       = post[k] result + sum_j comb[j][k] X_j
 *
 * mhc_dots: a work-group is ROWS rows, TOKENS tokens and one piece; few rows and tokens where there is little to do.
 * Every sum is made in one order whatever ROWS and TOKENS are.
 * mhc_collapse: a work-group makes normed of a token; with comb a second one makes post and comb.
 * mhc_post is in sum.cl. */

#if DTYPE == DTYPE_F32
#define FN_TYPE float
#define FN_VALUE(x) (x)
#else
#define FN_TYPE ushort
#define FN_VALUE(x) bf16_to_f32(x)
#endif

#ifdef ROWS
#define DOTS (ROWS * TOKENS)
#if defined(SUBGROUP) && GROUP % SUBGROUP == 0 && (ROWS * TOKENS & (ROWS * TOKENS - 1)) == 0
#define HAS_GROUP_SUMS
#define PARTS_ROOM SUMS_ROOM(DOTS, GROUP)
#else
#define PARTS_ROOM (DOTS * GROUP)
#endif

/* A piece's dot products of ROWS rows with TOKENS tokens.  sums: [ROWS][TOKENS] */
static inline void
add_products(const global float *x, const global FN_TYPE *fn, uint begin, uint end, uint n_in, const uint *rows,
             const uint *tokens, float *sums)
{
    for (uint i = begin + (uint)get_local_id(0); i < end; i += GROUP) {
        float values[TOKENS];
        for (uint t = 0; t < TOKENS; t++) {
            values[t] = x[(ulong)tokens[t] * n_in + i];
        }
        for (uint r = 0; r < ROWS; r++) {
            const float weight = FN_VALUE(fn[(ulong)rows[r] * n_in + i]);
            for (uint t = 0; t < TOKENS; t++) {
                sums[r * TOKENS + t] = fma(weight, values[t], sums[r * TOKENS + t]);
            }
        }
    }
}

/* A piece of X . X of TOKENS tokens. */
static inline void
add_squares(const global float *x, uint begin, uint end, uint n_in, const uint *tokens, float *sums)
{
    for (uint i = begin + (uint)get_local_id(0); i < end; i += GROUP) {
        for (uint t = 0; t < TOKENS; t++) {
            const float value = x[(ulong)tokens[t] * n_in + i];
            sums[t] = fma(value, value, sums[t]);
        }
    }
}

/* What all items' sums of dot i have come to. */
static inline float
dot_of(const local float *parts, uint i)
{
#ifdef HAS_GROUP_SUMS
    return sum_of(parts, DOTS, GROUP, i);
#else
    return parts[i * GROUP];
#endif
}

/* fn: n_rows rows, rows first_row .. of all.  The group of rows behind them, if there is one, makes X . X.  What lies
 * outside rows and tokens is computed as if it were the last of them, and not stored. */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
mhc_dots(PLACE_CONST(streams), PLACE_CONST(fn), PLACE(parts), uint n, uint n_in, uint n_mix, uint n_pieces,
         uint first_row, uint n_rows)
{
    local float shared[PARTS_ROOM];
    const uint item = (uint)get_local_id(0);
    const uint is_squares = (uint)get_group_id(1) * ROWS >= n_rows; /* the last group of rows */
    const uint begin = (uint)get_group_id(0) * PIECE, end = min(begin + PIECE, n_in);
    uint rows[ROWS], tokens[TOKENS];
    float sums[DOTS];
    for (uint r = 0; r < ROWS; r++) {
        rows[r] = min((uint)get_group_id(1) * ROWS + r, n_rows - 1);
    }
    for (uint t = 0; t < TOKENS; t++) {
        tokens[t] = min((uint)get_group_id(2) * TOKENS + t, n - 1);
    }
    for (uint i = 0; i < DOTS; i++) {
        sums[i] = 0.0f;
    }
    if (is_squares) {
        add_squares(AT_CONST(float, streams), begin, end, n_in, tokens, sums);
    } else {
        add_products(AT_CONST(float, streams), AT_CONST(FN_TYPE, fn), begin, end, n_in, rows, tokens, sums);
    }
#ifdef HAS_GROUP_SUMS
    group_sums(sums, DOTS, shared);
#else
    for (uint i = 0; i < DOTS; i++) {
        shared[i * GROUP + item] = sums[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint reach = GROUP / 2; reach > 0; reach /= 2) {
        for (uint i = item; i < DOTS * reach; i += GROUP) {
            const uint at = i / reach * GROUP + i % reach;
            shared[at] += shared[at + reach];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#endif
    for (uint i = item; i < DOTS; i += GROUP) {
        const uint token = (uint)get_group_id(2) * TOKENS + i % TOKENS;
        const uint row = (uint)get_group_id(1) * ROWS + i / TOKENS;
        if (token < n && (is_squares ? i < TOKENS : row < n_rows)) {
            const uint to = is_squares ? n_mix : first_row + row;
            AT(float, parts)[((ulong)token * (n_mix + 1) + to) * n_pieces + get_group_id(0)] = dot_of(shared, i);
        }
    }
}
#endif

#ifdef COLLAPSE
/* What the two work-groups of a token share. */
struct mixes {
    const global float *parts, *base, *scale; /* parts: of the token */
    float factor;                             /* of m */
    uint n_pieces;
    float hc_eps;
};

static inline float
sum_parts(const struct mixes *mixes, uint row)
{
    const global float *parts = mixes->parts + row * mixes->n_pieces;
    float sum = 0.0f;
    uint i = 0;
    for (; i + 8 <= mixes->n_pieces; i += 8) { /* loads that do not wait for each other */
        const float8 eight = vload8(0, parts + i);
        sum = (((sum + eight.s0) + eight.s1) + eight.s2) + eight.s3;
        sum = (((sum + eight.s4) + eight.s5) + eight.s6) + eight.s7;
    }
    for (; i < mixes->n_pieces; i++) {
        sum += parts[i];
    }
    return sum;
}

/* m[row] * scale + base */
static inline float
mix(const struct mixes *mixes, uint row, uint kind)
{
    return fma(sum_parts(mixes, row) * mixes->factor, mixes->scale[kind], mixes->base[row]);
}

/* Row softmax plus eps, columns, then n_iterations - 1 times rows and columns; eps is in every later denominator.  An
 * item has elements of the matrix; each half step reads one copy and writes the other.  from, to: [S * S], the matrix
 * in from; returns where it ends.  n: elements, or 0: nothing */
static inline local float *
sinkhorn(local float *from, local float *to, uint n, uint n_iterations, float eps)
{
    for (uint e = (uint)get_local_id(0); e < n; e += GROUP) {
        const local float *row = from + e / STREAMS * STREAMS;
        float most = row[0], sum = 0.0f;
#pragma unroll
        for (uint i = 1; i < STREAMS; i++) {
            most = fmax(most, row[i]);
        }
#pragma unroll
        for (uint i = 0; i < STREAMS; i++) {
            sum += exact_exp(row[i] - most);
        }
        to[e] = exact_exp(from[e] - most) / sum + eps;
    }
    meet_few(STREAMS * STREAMS);
    for (uint half_step = 1; half_step < 2 * n_iterations; half_step++) {
        local float *written = to;
        to = from;
        from = written;
        for (uint e = (uint)get_local_id(0); e < n; e += GROUP) {
            const uint by_row = half_step % 2 == 0;
            const local float *line = from + (by_row ? e / STREAMS * STREAMS : e % STREAMS);
            float sum = 0.0f;
#pragma unroll
            for (uint i = 0; i < STREAMS; i++) {
                sum += line[by_row ? i : i * STREAMS];
            }
            to[e] = from[e] / (sum + eps);
        }
        meet_few(STREAMS * STREAMS);
    }
    return to;
}

/* n: STREAMS, or 0: nothing */
static inline void
make_comb(const struct mixes *mixes, global float *post, global float *comb, uint n, uint n_iterations,
          local float *space)
{
    const uint item = (uint)get_local_id(0);
    for (uint s = item; s < n; s += GROUP) {
        post[s] = 2.0f * exact_sigmoid(mix(mixes, n + s, 1));
    }
    for (uint e = item; e < n * n; e += GROUP) {
        space[e] = mix(mixes, 2 * n + e, 2);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const local float *balanced = sinkhorn(space, space + n * n, n * n, n_iterations, mixes->hc_eps);
    for (uint e = item; e < n * n; e += GROUP) {
        comb[e] = balanced[e];
    }
}

/* n: dim, or 0: nothing.  pre: [S] */
static inline void
make_normed(const struct mixes *mixes, const global float *x, const global float *norm, global float *normed, uint dim,
            uint n, float norm_eps, uint native, local float *pre, local float *parts)
{
    const uint item = (uint)get_local_id(0);
    float squares = 0.0f;
    for (uint s = item; s < STREAMS; s += GROUP) {
        pre[s] = exact_sigmoid(mix(mixes, s, 0)) + mixes->hc_eps;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#ifdef OCL_NVIDIA
#pragma unroll 4
#endif
    for (uint d = item; d < n; d += GROUP) {
        float sum = 0.0f;
#pragma unroll
        for (uint s = 0; s < STREAMS; s++) {
            sum = fma(pre[s], x[(ulong)s * dim + d], sum);
        }
        sum = native ? round_bf16(sum) : sum;
        squares = fma(sum, sum, squares);
        normed[d] = sum;
    }
    const float factor = 1.0f / sqrt(group_sum(squares, parts) / (float)dim + norm_eps);
    for (uint d = item; d < n; d += GROUP) { /* the elements that this item has written */
        const float value = normed[d] * factor * norm[d];
        normed[d] = native ? round_bf16(value) : value;
    }
}

/* space: [2 * S * S] floats, in head [S] */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
mhc_collapse(PLACE_CONST(streams), PLACE_CONST(parts), PLACE_CONST(base), PLACE_CONST(scale), PLACE_CONST(norm),
             PLACE(normed), PLACE(post), PLACE(comb), uint dim, uint n_mix, uint n_pieces, uint n_iterations,
             float norm_eps, float hc_eps, uint native, local float *space)
{
    local float shared[GROUP];
    const ulong token = get_group_id(1);
    const uint is_comb = get_group_id(0) == 1;
    struct mixes mixes = {AT_CONST(float, parts) + token * (n_mix + 1) * n_pieces,
                          AT_CONST(float, base),
                          AT_CONST(float, scale),
                          0.0f,
                          n_pieces,
                          hc_eps};
    mixes.factor = 1.0f / sqrt(sum_parts(&mixes, n_mix) / ((float)STREAMS * (float)dim) + norm_eps);
    const uint n_normed = is_comb ? 0 : dim, n_comb = is_comb ? STREAMS : 0;
    const global float *x = AT_CONST(float, streams) + token * STREAMS * dim;
    global float *out = AT(float, post) + token * STREAMS;
    global float *matrix = AT(float, comb) + token * STREAMS * STREAMS;
#ifdef OCL_CPU /* either half is left out by counts of 0: rows.cl says why */
    make_normed(&mixes, x, AT_CONST(float, norm), AT(float, normed) + token * dim, dim, n_normed, norm_eps, native, space,
                shared);
    make_comb(&mixes, out, matrix, n_comb, is_comb ? n_iterations : 0, space);
#else
    if (is_comb) {
        make_comb(&mixes, out, matrix, n_comb, n_iterations, space);
    } else {
        make_normed(&mixes, x, AT_CONST(float, norm), AT(float, normed) + token * dim, dim, n_normed, norm_eps, native,
                    space, shared);
    }
#endif
}
#endif
