/* mhc.cl - manifold-constrained hyper-connections: S residual streams collapse to one input for a sublayer (pre), its
 * output returns to all of them (post), and the last collapse before the head (head).
 *
 * streams  [n][S][dim] f32, a token's streams one after the other: X, n_in = S * dim elements
 * fn       [n_mix][n_in] of DTYPE, n_mix = (2 + S) * S, in head S
 * parts    [n][n_mix + 1][PIECES] f32: a row's dot product with X by pieces of PIECE elements; the last row is X . X
 * post     [n][S], comb [n][S][S] with row j = source stream, normed [n][dim]
 *
 *     m = (fn X) * rsqrt(mean(X^2) + norm_eps)
 *     pre[s]     = sigmoid(m[s] * scale[0] + base[s]) + hc_eps
 *     post[s]    = 2 sigmoid(m[S + s] * scale[1] + base[S + s])
 *     comb[j][k] = Sinkhorn(m[2S + S j + k] * scale[2] + base[2S + S j + k])
 *     normed     = rmsnorm(sum_s pre[s] X_s)
 *     X'_k       = post[k] result + sum_j comb[j][k] X_j
 *
 * mhc_dots: a work-group is ROWS rows, TOKENS tokens and one piece; one row and token where there is little to do.
 * Every sum is made in one order whatever ROWS and TOKENS are: an item has elements 4 i .. 4 i + 3 of every 4 GROUP.
 * The rest is in collapse.cl, mhc_post in sum.cl.
 *
 * One token's time is the chain of what waits for memory and for each other: all that a work-group reads is asked for
 * before it uses any of it.  WHOLE: rows are whole steps of four elements, which lie at multiples of 16 bytes. */

#define STEP (4u * GROUP)

/* Elements at .. at + 3 of a row of n; 0 for those beyond it.  WHOLE: they are inside. */
static inline float4
four_of(const global float *row, uint at, uint n)
{
#ifdef WHOLE
    return *(const global float4 *)(row + at);
#else
    return (float4)(at < n ? row[at] : 0.0f, at + 1u < n ? row[at + 1u] : 0.0f, at + 2u < n ? row[at + 2u] : 0.0f,
                    at + 3u < n ? row[at + 3u] : 0.0f);
#endif
}

/* a . b + sum, in order */
static inline float
add_four(float4 a, float4 b, float sum)
{
    return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}

#ifdef DTYPE
#if DTYPE == DTYPE_F32
#define FN_TYPE float
#define FN_FOUR(fn, at) four_of(fn, at, COLS)
#else
#define FN_TYPE ushort
#define FN_FOUR(fn, at) four_bf16(fn, at)

static inline float4
four_bf16(const global ushort *row, uint at)
{
#ifdef WHOLE
    const ushort4 bits = *(const global ushort4 *)(row + at);
    return as_float4((uint4)(bits.x, bits.y, bits.z, bits.w) << 16);
#else
    return (float4)(at < COLS ? bf16_to_f32(row[at]) : 0.0f, at + 1u < COLS ? bf16_to_f32(row[at + 1u]) : 0.0f,
                    at + 2u < COLS ? bf16_to_f32(row[at + 2u]) : 0.0f,
                    at + 3u < COLS ? bf16_to_f32(row[at + 3u]) : 0.0f);
#endif
}
#endif
#endif

#ifdef ROWS
#define STEPS (PIECE / STEP)
#define DOTS (ROWS * TOKENS)
/* A tile of several tokens makes their X . X too; for a lone one a work-group of its own does. */
#if TOKENS > 1
#define N_SUMS (DOTS + TOKENS)
#define FIRST_OF_SQUARES 0u
#define IS_EVEN (N_ROWS % ROWS == 0) /* tiles end where the rows do */
#else
#define N_SUMS DOTS
#define FIRST_OF_SQUARES N_ROWS
#define IS_EVEN false
#endif
#if defined(TEAM) && GROUP % TEAM == 0 && (DOTS % TEAM == 0 || (DOTS & (DOTS - 1)) == 0)
#define HAS_GROUP_SUMS
#define PARTS_ROOM (SUMS_ROOM(DOTS, GROUP) + SUMS_ROOM(TOKENS, GROUP))
#else
#define PARTS_ROOM (N_SUMS * GROUP)
#endif

/* A piece's dot products of ROWS rows with TOKENS tokens, and behind them the tokens' with themselves.  at: the item's
 * first element; sums: [ROWS][TOKENS], [TOKENS] */
static inline void
add_products(const global float **x, const global FN_TYPE **fn, uint at, float *sums, local float *own)
{
#if TOKENS == 1
    float4 values[STEPS], weights[STEPS];
#pragma unroll
    for (uint i = 0; i < STEPS; i++) {
        weights[i] = FN_FOUR(fn[0], at + i * STEP);
        values[i] = four_of(x[0], at + i * STEP, COLS);
    }
    sums[0] = zero_when_asked(own);
#pragma unroll
    for (uint i = 0; i < STEPS; i++) {
        sums[0] = add_four(weights[i], values[i], sums[0]);
    }
#else
    float4 next[TOKENS];
#pragma unroll
    for (uint t = 0; t < TOKENS; t++) {
        next[t] = four_of(x[t], at, COLS);
    }
#pragma unroll 1
    for (uint i = 0; i < STEPS; i++, at += STEP) {
        float4 values[TOKENS];
#pragma unroll
        for (uint t = 0; t < TOKENS; t++) {
            values[t] = next[t];
            next[t] = four_of(x[t], i + 1u < STEPS ? at + STEP : at, COLS);
        }
#pragma unroll
        for (uint r = 0; r < ROWS; r++) {
            const float4 weights = FN_FOUR(fn[r], at);
#pragma unroll
            for (uint t = 0; t < TOKENS; t++) {
                sums[r * TOKENS + t] = add_four(weights, values[t], sums[r * TOKENS + t]);
            }
        }
#pragma unroll
        for (uint t = 0; t < TOKENS; t++) {
            sums[DOTS + t] = add_four(values[t], values[t], sums[DOTS + t]);
        }
    }
#endif
}

/* A piece of one token's X . X. */
static inline float
piece_squares(const global float *x, uint at, local float *own)
{
    float4 values[STEPS];
#pragma unroll
    for (uint i = 0; i < STEPS; i++) {
        values[i] = four_of(x, at + i * STEP, COLS);
    }
    float sum = zero_when_asked(own);
#pragma unroll
    for (uint i = 0; i < STEPS; i++) {
        sum = add_four(values[i], values[i], sum);
    }
    return sum;
}

/* Brings all items' sums together, so far that dot_of ends one. */
static inline void
join_sums(float *sums, local float *parts)
{
#ifdef HAS_GROUP_SUMS
    group_sums(sums, DOTS, parts);
#if TOKENS > 1
    group_sums(sums + DOTS, TOKENS, parts + SUMS_ROOM(DOTS, GROUP));
#endif
#else
    const uint item = (uint)get_local_id(0);
    for (uint i = 0; i < N_SUMS; i++) {
        parts[i * GROUP + item] = sums[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint reach = GROUP / 2; reach > 0; reach /= 2) {
        for (uint i = item; i < N_SUMS * reach; i += GROUP) {
            const uint at = i / reach * GROUP + i % reach;
            parts[at] += parts[at + reach];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#endif
}

static inline float
dot_of(const local float *parts, uint i)
{
#ifdef HAS_GROUP_SUMS
    return i < DOTS ? group_sum_of(parts, DOTS, GROUP, i)
                    : group_sum_of(parts + SUMS_ROOM(DOTS, GROUP), TOKENS, GROUP, i - DOTS);
#else
    return parts[i * GROUP];
#endif
}

/* fn: N_ROWS rows, rows first_row .. of all n_mix, each of COLS elements.  With has_squares X . X is made too, of one
 * token by the group of rows behind them.  What lies outside rows and tokens is computed as if it were the last of
 * them, and not stored. */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
mhc_dots(PLACE(streams), PLACE(fn), PLACE(parts), uint n, uint n_mix, uint first_row, uint has_squares)
{
    local float shared[PARTS_ROOM];
    const uint first = (uint)get_group_id(1) * ROWS, first_token = (uint)get_group_id(2) * TOKENS;
    const uint at = (uint)get_group_id(0) * PIECE + 4u * (uint)get_local_id(0);
    const global float *x[TOKENS];
    const global FN_TYPE *fn[ROWS];
    float sums[N_SUMS];
#pragma unroll
    for (uint r = 0; r < ROWS; r++) {
        const uint row = IS_EVEN ? first + r : min(first + r, N_ROWS - 1u);
        fn[r] = AT_CONST(FN_TYPE, fn) + (ulong)row * COLS;
    }
    for (uint t = 0; t < TOKENS; t++) {
        x[t] = AT_CONST(float, streams) + (ulong)min(first_token + t, n - 1u) * COLS;
    }
#pragma unroll
    for (uint i = 0; i < N_SUMS; i++) {
        sums[i] = 0.0f;
    }
#if TOKENS == 1
    if (first >= N_ROWS) {
        sums[0] = piece_squares(x[0], at, shared + get_local_id(0));
    } else
#endif
    {
        add_products(x, fn, at, sums, shared + get_local_id(0));
    }
    join_sums(sums, shared);
    for (uint i = (uint)get_local_id(0); i < N_SUMS; i += GROUP) {
        const uint row = first + i / TOKENS, token = first_token + i % TOKENS;
        const uint is_squares = TOKENS > 1 ? i >= DOTS : row == N_ROWS;
        if (token < n && (is_squares ? has_squares && first == FIRST_OF_SQUARES : row < N_ROWS)) {
            const uint to = is_squares ? n_mix : first_row + row;
            AT(float, parts)[((ulong)token * (n_mix + 1) + to) * PIECES + get_group_id(0)] = dot_of(shared, i);
        }
    }
}
#endif
