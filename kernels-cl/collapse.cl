/* collapse.cl - what mhc_pre and mhc_head make of the dot products (mhc.cl, which has the whole of it and whose text
 * stands before): the coefficients, and the streams as one.
 *
 * mhc_collapse: a work-group makes normed of a token; others, which come first because they take longest, make post and
 * comb, of a token by each LANES items.  With BETWEEN the text stands before between.cl. */

/* 1 / x and 1 / sqrt(x), nearly: what is made of them has a tolerance. */
static inline float
inverse(float x)
{
#ifdef OCL_NVIDIA
    float y;
    __asm__("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / x;
#endif
}

static inline float
inverse_root(float x)
{
#ifdef OCL_NVIDIA
    float y;
    __asm__("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return 1.0f / sqrt(x);
#endif
}

/* What a token's coefficients are made of. */
struct mixes {
    const global float *parts, *base, *scale; /* parts: of the token */
    uint n_mix;
    float norm_eps, hc_eps;
};

/* parts: [PIECES] of a row */
static inline float
sum_parts(const global float *parts)
{
    float sum = 0.0f;
#if PIECES % 4 == 0 && PIECES <= 64
#pragma unroll
    for (uint i = 0; i < PIECES; i += 4) {
        const float4 four = *(const global float4 *)(parts + i);
        sum += (four.x + four.y) + (four.z + four.w);
    }
#else
    for (uint i = 0; i < PIECES; i++) {
        sum += parts[i];
    }
#endif
    return sum;
}

/* m * scale + base */
static inline float
scaled(const struct mixes *mixes, float dot, float squares, float scale, float base)
{
    return fma(dot * inverse_root(squares / ((float)STREAMS * (float)DIM) + mixes->norm_eps), scale, base);
}

/* The same of a row. */
static inline float
mix(const struct mixes *mixes, uint row, uint kind)
{
    const float base = mixes->base[row], scale = mixes->scale[kind];
    const float squares = sum_parts(mixes->parts + mixes->n_mix * PIECES);
    return scaled(mixes, sum_parts(mixes->parts + row * PIECES), squares, scale, base);
}

static inline float
quick_sigmoid(float x)
{
    return inverse(1.0f + exact_exp(-x));
}

/* ---- post and comb ---- */

#define COMB (STREAMS * STREAMS)
#if COMB + STREAMS <= 32 && GROUP >= 32
#define LANES 32u
#else
#define LANES GROUP
#endif

/* Row softmax plus eps.  from, to: [COMB]; n: STREAMS, or 0: nothing */
static inline void
softmax_rows(const local float *from, local float *to, uint n, float eps)
{
    for (uint e = (uint)get_local_id(0) % LANES; e < n * n; e += LANES) {
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
        to[e] = exact_exp(from[e] - most) * inverse(sum) + eps;
    }
    meet_few(LANES);
}

/* Sinkhorn's other half steps: columns, then n_iterations - 1 times rows and columns; eps is in every denominator. */
#if STREAMS <= 4
/* Half a step of the matrix that is r[i] K[i][j] c[j]: of each line its factor, which with the line's old one and the
 * sum s of K times the other factors is 1 / (s + eps / old).  inverses: [STREAMS], 1 / the factors */
static inline void
scale_lines(const float *matrix, uint line_step, uint along, const float *others, float *inverses, float *factors,
            float eps)
{
#pragma unroll
    for (uint i = 0; i < STREAMS; i++) {
        float sum = eps * inverses[i];
#pragma unroll
        for (uint j = 0; j < STREAMS; j++) {
            sum = fma(matrix[i * line_step + j * along], others[j], sum);
        }
        inverses[i] = sum;
    }
#pragma unroll
    for (uint i = 0; i < STREAMS; i++) {
        factors[i] = inverse(inverses[i]);
    }
}

/* Every lane has the whole matrix, so that none waits for another.  from: [COMB]; n: STREAMS, or 0: nothing */
static inline void
sinkhorn(local float *from, global float *comb, uint n, uint n_iterations, float eps)
{
    float matrix[COMB], rows[STREAMS], row_inverses[STREAMS], cols[STREAMS], col_inverses[STREAMS];
#pragma unroll
    for (uint e = 0; e < COMB; e++) {
        matrix[e] = n > 0 ? from[e] : 1.0f;
    }
#pragma unroll
    for (uint i = 0; i < STREAMS; i++) {
        rows[i] = row_inverses[i] = cols[i] = col_inverses[i] = 1.0f;
    }
    scale_lines(matrix, 1, STREAMS, rows, col_inverses, cols, eps);
    for (uint i = 1; i < (n > 0 ? n_iterations : 0); i++) {
        scale_lines(matrix, STREAMS, 1, cols, row_inverses, rows, eps);
        scale_lines(matrix, 1, STREAMS, rows, col_inverses, cols, eps);
    }
    float mine = 0.0f;
#pragma unroll
    for (uint e = 0; e < COMB; e++) { /* no register has an index */
        const float value = rows[e / STREAMS] * matrix[e] * cols[e % STREAMS];
        mine = get_local_id(0) % LANES == e ? value : mine;
    }
    if (get_local_id(0) % LANES < n * n) {
        comb[get_local_id(0) % LANES] = mine;
    }
}
#else
/* An item has elements of the matrix; each half step reads one copy and writes the other.  from: [2][COMB] */
static inline void
sinkhorn(local float *from, global float *comb, uint n, uint n_iterations, float eps)
{
    local float *to = from - COMB;
    for (uint half_step = 1; half_step < 2 * n_iterations; half_step++) {
        for (uint e = (uint)get_local_id(0) % LANES; e < n * n; e += LANES) {
            const uint by_row = half_step % 2 == 0;
            const local float *line = from + (by_row ? e / STREAMS * STREAMS : e % STREAMS);
            float sum = 0.0f;
#pragma unroll
            for (uint i = 0; i < STREAMS; i++) {
                sum += line[by_row ? i : i * STREAMS];
            }
            to[e] = from[e] / (sum + eps);
        }
        meet_few(LANES);
        local float *written = to;
        to = from;
        from = written;
    }
    for (uint e = (uint)get_local_id(0) % LANES; e < n * n; e += LANES) {
        comb[e] = from[e];
    }
}
#endif

/* n: STREAMS, or 0: nothing; n_iterations: alike for all items, which may meet in each.  space: [2 * COMB] of the
 * token */
static inline void
make_comb(const struct mixes *mixes, global float *post, global float *comb, uint n, uint n_iterations,
          local float *space)
{
    for (uint e = (uint)get_local_id(0) % LANES; e < n * n + n; e += LANES) {
        const uint is_post = e >= n * n;
        const float value = mix(mixes, is_post ? n + (e - n * n) : 2 * n + e, is_post ? 1 : 2);
        if (!is_post) {
            space[e] = value;
        } else {
            post[e - n * n] = 2.0f * quick_sigmoid(value);
        }
    }
    meet_few(LANES);
    softmax_rows(space, space + COMB, n, mixes->hc_eps);
    sinkhorn(space + COMB, comb, n, n_iterations, mixes->hc_eps);
}

/* ---- normed ---- */

static inline float4
round_four(float4 value)
{
#ifdef NATIVE
    return (float4)(round_bf16(value.x), round_bf16(value.y), round_bf16(value.z), round_bf16(value.w));
#else
    return value;
#endif
}

static inline void
store_four(global float *row, uint at, uint n, float4 value)
{
#ifdef WHOLE
    if (at < n) {
        *(global float4 *)(row + at) = value;
    }
#else
    const float values[4] = {value.x, value.y, value.z, value.w};
    for (uint i = 0; i < 4 && at + i < n; i++) {
        row[at + i] = values[i];
    }
#endif
}

/* As four_of, where steps may reach beyond the row. */
static inline float4
four_inside(const global float *row, uint at)
{
    return DIM % STEP == 0 || at < DIM ? four_of(row, at, DIM) : (float4)(0.0f);
}

/* Fours of each stream that are an item's; HELD: it has them in registers, else they are read when they are used. */
#define FOURS ((DIM + STEP - 1u) / STEP)
#if STREAMS * ((DIM + 4 * GROUP - 1) / (4 * GROUP)) <= 16
#define HELD
#define N_HELD FOURS
#else
#define N_HELD 1u
#endif

static inline void
hold_streams(const global float *x, float4 (*held)[STREAMS])
{
#ifdef HELD
#pragma unroll
    for (uint i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint s = 0; s < STREAMS; s++) {
            held[i][s] = four_inside(x + (ulong)s * DIM, 4u * (uint)get_local_id(0) + i * STEP);
        }
    }
#endif
}

/* Each item sums four parts of a row, where there are items enough: in few registers, one load's time.
 * n: 0: what others write is not read.  pre: [STREAMS]; space: [GROUP] */
static inline void
make_pre(const struct mixes *mixes, uint n, local float *pre, local float *space)
{
    const uint item = (uint)get_local_id(0);
#if PIECES % 4 == 0 && (STREAMS + 1) * (PIECES / 4) <= GROUP
    const uint row = item / (PIECES / 4u);
    const uint own = min(item, STREAMS - 1u);
    const float base = mixes->base[own], scale = mixes->scale[0];
    if (row <= STREAMS) {
        const global float *parts = mixes->parts + (row < STREAMS ? row : mixes->n_mix) * PIECES;
        const float4 four = n > 0 ? *(const global float4 *)(parts + item % (PIECES / 4u) * 4u) : (float4)(0.0f);
        space[item] = (four.x + four.y) + (four.z + four.w);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < STREAMS) {
        float dot = 0.0f, squares = 0.0f;
#pragma unroll
        for (uint i = 0; i < PIECES / 4u; i++) {
            dot += space[item * (PIECES / 4u) + i];
            squares += space[STREAMS * (PIECES / 4u) + i];
        }
        pre[item] = quick_sigmoid(scaled(mixes, dot, squares, scale, base)) + mixes->hc_eps;
    }
#else
    for (uint s = item; s < STREAMS; s += GROUP) {
        pre[s] = n > 0 ? quick_sigmoid(mix(mixes, s, 0)) + mixes->hc_eps : 0.0f;
    }
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* held: the item's fours of x, if HELD; n: DIM, or 0: nothing is stored.  pre: [STREAMS], parts: [GROUP] */
static inline void
make_normed(const struct mixes *mixes, const global float *x, float4 (*held)[STREAMS], const global float *norm,
            global float *normed, uint n, local float *pre, local float *parts)
{
    const uint first = 4u * (uint)get_local_id(0);
    float squares = 0.0f;
#ifdef HELD
    float4 sums[FOURS], weights[FOURS];
#pragma unroll
    for (uint i = 0; i < FOURS; i++) {
        weights[i] = four_inside(norm, first + i * STEP);
    }
#define OLD(i, s) held[i][s]
#define SUM_OF(i) sums[i]
#define NORM_OF(i) weights[i]
    const uint n_fours = FOURS;
#else
#define OLD(i, s) four_inside(x + (ulong)(s)*DIM, first + (i)*STEP)
#define SUM_OF(i) four_inside(normed, first + (i)*STEP)
#define NORM_OF(i) four_inside(norm, first + (i)*STEP)
    const uint n_fours = n > 0 ? FOURS : 0; /* what others write is not read */
#endif
    make_pre(mixes, n, pre, parts);
#ifdef HELD
#pragma unroll
#endif
    for (uint i = 0; i < n_fours; i++) {
        float4 sum = (float4)(0.0f);
#pragma unroll
        for (uint s = 0; s < STREAMS; s++) {
            sum = fma((float4)(pre[s]), OLD(i, s), sum);
        }
        sum = round_four(sum);
        squares = add_four(sum, sum, squares);
#ifdef HELD
        sums[i] = sum;
#else
        store_four(normed, first + i * STEP, n, sum);
#endif
    }
    const float factor = inverse_root(group_sum(squares, parts) / (float)DIM + mixes->norm_eps);
#ifdef HELD
#pragma unroll
#endif
    for (uint i = 0; i < n_fours; i++) {
        store_four(normed, first + i * STEP, n, round_four(SUM_OF(i) * factor * NORM_OF(i)));
    }
}

#ifndef BETWEEN
/* The first n_combs work-groups make post and comb.  space: [GROUP / LANES][2 * COMB] floats, without comb [STREAMS] */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
mhc_collapse(PLACE(streams), PLACE_CONST(parts), PLACE_CONST(base), PLACE_CONST(scale), PLACE(norm), PLACE(normed),
             PLACE(post), PLACE(comb), uint n, uint n_combs, uint n_mix, uint n_iterations, float norm_eps,
             float hc_eps, local float *space)
{
    local float shared[GROUP];
    const uint group = (uint)get_group_id(0), is_comb = group < n_combs, team = (uint)get_local_id(0) / LANES;
    const uint wanted = is_comb ? group * (GROUP / LANES) + team : group - n_combs, token = min(wanted, n - 1u);
    const struct mixes mixes = {AT_CONST(float, parts) + (ulong)token * (n_mix + 1) * PIECES,
                                AT_CONST(float, base),
                                AT_CONST(float, scale),
                                n_mix,
                                norm_eps,
                                hc_eps};
    const global float *x = AT_CONST(float, streams) + (ulong)token * STREAMS * DIM;
    global float *normed = AT(float, normed) + (ulong)token * DIM;
    global float *post = AT(float, post) + (ulong)token * STREAMS;
    global float *comb = AT(float, comb) + (ulong)token * COMB;
    const uint n_comb = is_comb && wanted < n ? STREAMS : 0;
    local float *mine = space + (n_combs > 0 ? team * 2 * COMB : 0);
    float4 held[N_HELD][STREAMS];
#ifdef OCL_CPU /* either half is left out by counts of 0: group.cl says why */
    hold_streams(x, held);
    make_normed(&mixes, x, held, AT_CONST(float, norm), normed, is_comb ? 0 : DIM, space, shared);
    make_comb(&mixes, post, comb, n_comb, is_comb ? n_iterations : 0, mine);
#else
    if (is_comb) {
        make_comb(&mixes, post, comb, n_comb, n_iterations, mine);
    } else {
        hold_streams(x, held);
        make_normed(&mixes, x, held, AT_CONST(float, norm), normed, DIM, space, shared);
    }
#endif
}
#endif
