/* k_tile_attend.c - attention by AMX, of packed rows in native numerics: the steps of k_attend.c, whose products are
 * of pairs of bf16.
 *
 * A packed row is bf16, e4m3 times a power of two or as it was rounded; weights are rounded to it; and so are queries
 * where they come from query_rope.  attention.c asks whether a token's are, and takes k_attend.c for it if not: by the
 * token alone, so that its bits hang on nothing else.  An instruction adds the products of two tiles, of 16 x 32 and 32
 * x 16 elements, to 16 x 16 sums: over 32 elements of a row for scores, over 32 keys for values.  What it takes for 0,
 * the subnormal, is far below what a stored row holds.
 *
 * Scores leave the tiles as rows of 16 heads, one a key: [tile of keys][tile of heads][key][head].  Weights take the
 * place of the first half of them: [head][key].  Values meet them as pairs of keys: [pair][column][2]. */
#include "backends/cpu/tiles.h"

#define BLOCK HOST_KV_BLOCK
#define DEPTH 32u /* of an instruction, in bf16 */
#define PAIRS (DEPTH / 2)
#define HEAD_TILE (CPU_KEY_TILE * TILE) /* scores of a tile of keys and one of heads */
#define BATCH 4u                        /* tiles of keys whose values wait together */

_Static_assert(BLOCK == 2 * DEPTH && BLOCK == PAIRS_STEP, "a block of codes is two steps, and decoded at once");
_Static_assert(CPU_KEY_TILE == 2 * TILE && CPU_KEY_TILE == DEPTH,
               "a tile of keys is two of scores, and one of weights");

/* Two tiles beside each other, or one twice: what both do is the same. */
struct two {
    const uint16_t *first, *second;
    uint64_t to_next; /* elements to the tiles of the next step */
};

/* sums[row][col] += a product of n steps; stride: bytes of a row of sums. */
LANE void
multiply(struct two rows, struct two cols, uint64_t n, float *const sums[2][2], uint64_t stride, const bool from_zero)
{
    if (from_zero) {
        _tile_zero(SUMS_00);
        _tile_zero(SUMS_01);
        _tile_zero(SUMS_10);
        _tile_zero(SUMS_11);
    } else {
        _tile_loadd(SUMS_00, sums[0][0], stride);
        _tile_loadd(SUMS_01, sums[0][1], stride);
        _tile_loadd(SUMS_10, sums[1][0], stride);
        _tile_loadd(SUMS_11, sums[1][1], stride);
    }
    for (uint64_t i = 0; i < n; i++) {
        _tile_loadd(LEFT_0, rows.first + i * rows.to_next, TILE_ROW_BYTES);
        _tile_loadd(RIGHT_0, cols.first + i * cols.to_next, TILE_ROW_BYTES);
        _tile_dpbf16ps(SUMS_00, LEFT_0, RIGHT_0);
        _tile_loadd(RIGHT_1, cols.second + i * cols.to_next, TILE_ROW_BYTES);
        _tile_dpbf16ps(SUMS_01, LEFT_0, RIGHT_1);
        _tile_loadd(LEFT_1, rows.second + i * rows.to_next, TILE_ROW_BYTES);
        _tile_dpbf16ps(SUMS_10, LEFT_1, RIGHT_0);
        _tile_dpbf16ps(SUMS_11, LEFT_1, RIGHT_1);
    }
    _tile_stored(SUMS_00, sums[0][0], stride);
    _tile_stored(SUMS_01, sums[0][1], stride);
    _tile_stored(SUMS_10, sums[1][0], stride);
    _tile_stored(SUMS_11, sums[1][1], stride);
}

/* stored rows */

/* Elements d .. d+63 of key k; what is not there is zero. */
static NOT_INLINED void
unpack_any(const struct cpu_attend *work, uint64_t k, uint64_t d, uint16_t out[BLOCK])
{
    float elements[BLOCK] = {0.0f};
    const uint64_t left = work->width - d;
    if (k < work->n_keys) {
        TIERED(k_attend_row)(work, work->rows[k], d, d + (left < BLOCK ? left : BLOCK), elements);
    }
    for (uint64_t i = 0; i < BLOCK; i++) {
        out[i] = (uint16_t)(hearth_f32_bits(elements[i]) >> 16);
    }
}

#ifdef __AVX512BF16__

#define MIN_SCALE (127 - 117) /* as e8m0: from here to there e4m3 times the scale is a normal number */
#define MAX_SCALE (127 + 119)
#define AHEAD CPU_KEY_TILE /* keys: what is listed lies anywhere */

/* Elements d .. d+63 of key k, as words of 32 in order, or as values want them: of 16 columns each lane of 16 bytes has
 * four, the first 16's, then the next ones'.  False: they are not all codes of one scale, nor all bf16. */
LANE bool
decode_block(const struct cpu_attend *work, uint64_t k, uint64_t d, const bool are_values, vi out[2])
{
    const uint64_t nope = work->head_dim - work->rope_dim;
    const vi eights = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const vi fours = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    if (k >= work->n_keys) {
        out[0] = out[1] = vi_zero();
        return true;
    }
    const unsigned char *row = work->rows[k], *ahead = work->rows[k + AHEAD < work->n_keys ? k + AHEAD : k];
    if (d >= nope && d + BLOCK <= work->head_dim) {
        for (unsigned i = 0; i < 2; i++) {
            _mm_prefetch((const char *)ahead + nope + 2 * (d + i * DEPTH - nope), _MM_HINT_T0);
            out[i] = vi_load(row + nope + 2 * (d + i * DEPTH - nope));
            out[i] = are_values ? _mm512_permutexvar_epi64(eights, out[i]) : out[i];
        }
        return true;
    }
    const uint8_t scale = d + BLOCK <= nope ? row[nope + 2 * work->rope_dim + d / BLOCK] : 0;
    if (scale < MIN_SCALE || scale > MAX_SCALE) {
        return false;
    }
    const struct tables tables = tables_of(hearth_e8m0_to_f32(scale));
    const vi codes = vi_load(row + d);
    _mm_prefetch((const char *)ahead + d, _MM_HINT_T0);
    decode(are_values ? _mm512_permutexvar_epi32(fours, codes) : _mm512_permutexvar_epi64(eights, codes), &tables, out);
    return true;
}

/* Whether it has done elements d .. d+63 of key k: in two steps, each [key][32]. */
LANE bool
unpack_key(const struct cpu_attend *work, uint64_t k, uint64_t d, uint16_t *out, uint16_t *next)
{
    vi words[2];
    const bool done = decode_block(work, k, d, false, words);
    if (done) {
        vi_store(out, words[0]);
        vi_store(next, words[1]);
    }
    return done;
}

/* The same of keys k and k + 1, whose pairs belong to four tiles of 16 columns. */
LANE bool
unpack_pair(const struct cpu_attend *work, uint64_t k, uint64_t d, uint16_t *out, uint64_t to_tile)
{
    vi first[2], second[2];
    if (!decode_block(work, k, d, true, first) || !decode_block(work, k + 1, d, true, second)) {
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        vi_store(out + 2 * i * to_tile, _mm512_unpacklo_epi16(first[i], second[i]));
        vi_store(out + (2 * i + 1) * to_tile, _mm512_unpackhi_epi16(first[i], second[i]));
    }
    return true;
}

#else

static bool
unpack_key(const struct cpu_attend *work, uint64_t k, uint64_t d, uint16_t *out, uint16_t *next)
{
    (void)work, (void)k, (void)d, (void)out, (void)next;
    return false;
}

static bool
unpack_pair(const struct cpu_attend *work, uint64_t k, uint64_t d, uint16_t *out, uint64_t to_tile)
{
    (void)work, (void)k, (void)d, (void)out, (void)to_tile;
    return false;
}

#endif

/* words: 16 rows of 16, each two bf16; out: [column][row] */
static void
turn_words(const uint32_t words[TILE][TILE], uint32_t *out)
{
#ifdef __AVX512F__
    vi x[TILE], y[TILE];
    UNROLL
    for (unsigned i = 0; i < TILE; i++) {
        y[i] = vi_load(words[i]);
    }
    UNROLL
    for (unsigned i = 0; i < TILE; i += 2) {
        x[i] = _mm512_unpacklo_epi32(y[i], y[i + 1]);
        x[i + 1] = _mm512_unpackhi_epi32(y[i], y[i + 1]);
    }
    UNROLL
    for (unsigned i = 0; i < TILE; i += 4) {
        y[i] = _mm512_unpacklo_epi64(x[i], x[i + 2]);
        y[i + 1] = _mm512_unpackhi_epi64(x[i], x[i + 2]);
        y[i + 2] = _mm512_unpacklo_epi64(x[i + 1], x[i + 3]);
        y[i + 3] = _mm512_unpackhi_epi64(x[i + 1], x[i + 3]);
    }
    UNROLL
    for (unsigned i = 0; i < 4; i++) {
        const vi low[2] = {_mm512_shuffle_i32x4(y[i], y[i + 4], 0x88), _mm512_shuffle_i32x4(y[i + 8], y[i + 12], 0x88)};
        const vi high[2] = {_mm512_shuffle_i32x4(y[i], y[i + 4], 0xDD),
                            _mm512_shuffle_i32x4(y[i + 8], y[i + 12], 0xDD)};
        vi_store(out + i * TILE, _mm512_shuffle_i32x4(low[0], low[1], 0x88));
        vi_store(out + (i + 4) * TILE, _mm512_shuffle_i32x4(high[0], high[1], 0x88));
        vi_store(out + (i + 8) * TILE, _mm512_shuffle_i32x4(low[0], low[1], 0xDD));
        vi_store(out + (i + 12) * TILE, _mm512_shuffle_i32x4(high[0], high[1], 0xDD));
    }
#else
    for (unsigned i = 0; i < TILE * TILE; i++) {
        out[i % TILE * TILE + i / TILE] = words[i / TILE][i % TILE];
    }
#endif
}

/* queries */

bool
TIERED(k_tile_attend_fits)(const float *q, uint64_t n)
{
    vi rest = vi_zero();
    for (uint64_t i = 0; i + W <= n; i += W) {
        rest = vi_or(rest, vf_to_bits(vf_load(q + i)));
    }
    uint32_t bits = (uint32_t)vi_all_bits(rest);
    for (uint64_t i = n / W * W; i < n; i++) {
        bits |= hearth_f32_bits(q[i]);
    }
    return (bits & 0xFFFFu) == 0;
}

static uint64_t
count_steps(uint64_t width)
{
    return (width + DEPTH - 1) / DEPTH;
}

/* 32 elements of 16 heads; left: how many there are of each. */
static void
turn_step(const float *q, uint64_t head_dim, uint64_t n_heads, uint64_t left, uint32_t *out)
{
    _Alignas(64) uint32_t pairs[TILE][PAIRS] = {{0}};
    for (uint64_t head = 0; head < TILE && head < n_heads; head++, q += head_dim) {
        for (uint64_t i = 0; i < DEPTH && i < left; i += 2 * W) {
            vf even, odd;
            vf_split(vf_load_tail(q + i, left - i), i + W < left ? vf_load_tail(q + i + W, left - i - W) : vf_zero(),
                     &even, &odd);
            vi_store(pairs[head] + i / 2, vi_or(vi_srl(vf_to_bits(even), 16), vf_to_bits(odd)));
        }
    }
    turn_words((const uint32_t(*)[TILE])pairs, out);
}

/* As [tile of heads][32 elements][pair][head][2]. */
void
TIERED(k_tile_attend_turn)(const struct cpu_attend *work, const float *q, float *turned)
{
    uint32_t *out = (uint32_t *)turned;
    if (!work->is_tiled) {
        TIERED(k_attend_turn)(work, q, turned);
        return;
    }
    for (uint64_t head = 0; head < work->stride; head += TILE) {
        for (uint64_t d = 0; d < work->head_dim; d += DEPTH, out += PAIRS * TILE) {
            turn_step(q + head * work->head_dim + d, work->head_dim, work->n_heads - head, work->head_dim - d, out);
        }
    }
}

/* scores */

/* A tile's keys as [32 elements][key][32]. */
static void
unpack_keys(const struct cpu_attend *work, uint64_t tile, uint16_t *out)
{
    const uint64_t n_steps = count_steps(work->width), step_size = CPU_KEY_TILE * DEPTH;
    for (uint64_t i = 0; i < CPU_KEY_TILE; i++) {
        const uint64_t k = tile * CPU_KEY_TILE + i;
        for (uint64_t step = 0; step < n_steps; step += 2) {
            uint16_t *at = out + step * step_size + i * DEPTH;
            uint16_t block[BLOCK];
            if (step + 2 <= n_steps && unpack_key(work, k, step * DEPTH, at, at + step_size)) {
                continue;
            }
            unpack_any(work, k, step * DEPTH, block);
            memcpy(at, block, DEPTH * sizeof *at);
            if (step + 1 < n_steps) {
                memcpy(at + step_size, block + DEPTH, DEPTH * sizeof *at);
            }
        }
    }
}

/* Sums times the scale, and the greatest for each head. */
static void
finish_scores(const struct cpu_attend *work, uint64_t tile)
{
    const vf scale = vf_set1((float)(1.0 / sqrt((double)work->head_dim)));
    const uint64_t first = tile * CPU_KEY_TILE, left = work->n_keys - first;
    const uint64_t n = left < CPU_KEY_TILE ? left : CPU_KEY_TILE;
    for (uint64_t head = 0; head < work->stride; head += W) {
        float *scores = work->scores + first * work->stride + head / TILE * HEAD_TILE + head % TILE;
        vf most = vf_set1(-INFINITY);
        for (uint64_t k = 0; k < n; k++) {
            const vf score = vf_mul(vf_load(scores + k * TILE), scale);
            vf_store(scores + k * TILE, score);
            most = vf_max(score, most);
        }
        vf_store(work->greatest + tile * work->stride + head, most);
    }
}

void
TIERED(k_tile_attend_scores)(const struct cpu_attend *work, uint64_t begin, uint64_t end)
{
    const uint64_t n_steps = count_steps(work->width), n_tiles = work->stride / TILE,
                   to_tile = n_steps * PAIRS * TILE * 2;
    const uint16_t *q = (const uint16_t *)work->q;
    uint16_t *keys = (uint16_t *)work->keys;
    if (!work->is_tiled) {
        TIERED(k_attend_scores)(work, begin, end);
        return;
    }
    shape_tiles(TILE);
    for (uint64_t tile = begin; tile < end; tile++) {
        float *scores = work->scores + tile * CPU_KEY_TILE * work->stride;
        unpack_keys(work, tile, keys);
        TILES_WRITTEN();
        for (uint64_t h = 0; h < n_tiles; h += 2) {
            const uint64_t next = h + 1 < n_tiles ? h + 1 : h;
            float *const sums[2][2] = {{scores + h * HEAD_TILE, scores + next * HEAD_TILE},
                                       {scores + h * HEAD_TILE + TILE * TILE, scores + next * HEAD_TILE + TILE * TILE}};
            multiply((struct two){keys, keys + TILE * DEPTH, CPU_KEY_TILE * DEPTH},
                     (struct two){q + h * to_tile, q + next * to_tile, PAIRS * TILE * 2}, n_steps, sums, TILE_ROW_BYTES,
                     true);
        }
        TILES_WRITTEN();
        finish_scores(work, tile);
    }
    _tile_release();
}

/* weights */

/* A word of heads: exponentials of a tile's scores, rounded, and their sum before they are. */
LANE vf
weigh_word(const float *scores, uint64_t n, vf most, uint32_t *pairs)
{
    vf sum = vf_zero();
    for (uint64_t k = 0; k < CPU_KEY_TILE; k += 2) {
        vf weights[2];
        UNROLL
        for (unsigned i = 0; i < 2; i++) {
            weights[i] = vf_zero();
            if (k + i < n) {
                weights[i] = vf_exp(vf_sub(vf_load(scores + (k + i) * TILE), most));
                sum = vf_add(sum, weights[i]);
            }
        }
        const vi low = vi_srl(vf_to_bits(vf_round_bf16(weights[0])), 16);
        vi_store(pairs + k / 2 * TILE, vi_or(low, vf_to_bits(vf_round_bf16(weights[1]))));
    }
    return sum;
}

void
TIERED(k_tile_attend_weigh)(const struct cpu_attend *work, uint64_t begin, uint64_t end)
{
    if (!work->is_tiled) {
        TIERED(k_attend_weigh)(work, begin, end);
        return;
    }
    for (uint64_t tile = begin; tile < end; tile++) {
        const uint64_t first = tile * CPU_KEY_TILE, left = work->n_keys - first;
        for (uint64_t head = 0; head < work->stride; head += TILE) {
            float *scores = work->scores + first * work->stride + head * CPU_KEY_TILE;
            _Alignas(64) uint32_t pairs[PAIRS][TILE];
            for (uint64_t i = 0; i < TILE; i += W) {
                const vf sum = weigh_word(scores + i, left, vf_load(work->most + head + i), pairs[0] + i);
                vf_store(work->totals + tile * work->stride + head + i, sum);
            }
            turn_words((const uint32_t(*)[TILE])pairs, (uint32_t *)scores);
        }
    }
}

/* values */

/* Columns of keys k and k + 1 where they are not whole blocks as unpack_pair wants them. */
static NOT_INLINED void
pair_any(const struct cpu_attend *work, uint64_t k, uint64_t begin, uint64_t end, uint16_t *out, uint64_t to_tile)
{
    const uint64_t d = begin / BLOCK * BLOCK;
    uint16_t rows[2][BLOCK];
    unpack_any(work, k, d, rows[0]);
    unpack_any(work, k + 1, d, rows[1]);
    for (uint64_t at = begin; at < end; at++) {
        uint16_t *pair = out + (at - begin) / TILE * to_tile + (at - begin) % TILE * 2;
        pair[0] = rows[0][at - d];
        pair[1] = rows[1][at - d];
    }
}

/* Columns begin .. end-1 of a tile's keys as [16 columns][pair of keys][column][2]. */
static void
unpack_values(const struct cpu_attend *work, uint64_t tile, uint64_t begin, uint64_t end, uint16_t *out)
{
    for (uint64_t pair = 0; pair < PAIRS; pair++, out += 2 * TILE) {
        const uint64_t k = tile * CPU_KEY_TILE + 2 * pair, to_tile = PAIRS * TILE * 2;
        for (uint64_t d = begin, next; d < end; d = next) {
            next = d / BLOCK * BLOCK + BLOCK;
            uint16_t *at = out + (d - begin) / TILE * to_tile;
            if (d % BLOCK != 0 || next > end || !unpack_pair(work, k, d, at, to_tile)) {
                pair_any(work, k, d, next < end ? next : end, at, to_tile);
            }
        }
    }
}

_Static_assert(CPU_HEADS_AT_ONCE % (2 * TILE) == 0, "attend_sum begins where a product does");

/* The heads' weights of n tiles of keys from `tile` on meet values, [tile][16 columns][pair][column][2]. */
static void
add_values(const struct cpu_attend *work, uint64_t tile, uint64_t n, const uint16_t *values, uint64_t columns,
           float *sums)
{
    const uint64_t to_tile = 2 * CPU_KEY_TILE * work->stride, column_tile = PAIRS * TILE * 2;
    const uint16_t *weights = (const uint16_t *)(work->scores + tile * CPU_KEY_TILE * work->stride);
    for (uint64_t d = 0; d < columns; d += 2 * TILE) {
        const uint64_t next_d = d + TILE < columns ? d + TILE : d;
        for (uint64_t head = work->first_head; head < work->end_head; head += 2 * TILE) {
            const uint64_t next = head + TILE < work->end_head ? head + TILE : head;
            float *const to[2][2] = {{sums + head * columns + d, sums + head * columns + next_d},
                                     {sums + next * columns + d, sums + next * columns + next_d}};
            multiply((struct two){weights + 2 * head * CPU_KEY_TILE, weights + 2 * next * CPU_KEY_TILE, to_tile},
                     (struct two){values + d / TILE * column_tile, values + next_d / TILE * column_tile,
                                  columns / TILE * column_tile},
                     n, to, columns * sizeof *sums, false);
        }
    }
}

void
TIERED(k_tile_attend_sum)(const struct cpu_attend *work, uint64_t begin, uint64_t end)
{
    const uint64_t n_tiles = (work->n_keys + CPU_KEY_TILE - 1) / CPU_KEY_TILE, columns = end - begin;
    float *sums = work->keys;
    uint16_t *values = (uint16_t *)(sums + work->stride * columns);
    if (!work->is_tiled) {
        TIERED(k_attend_sum)(work, begin, end);
        return;
    }
    memset(sums, 0, (size_t)(work->stride * columns) * sizeof *sums);
    shape_tiles(TILE);
    for (uint64_t tile = 0; tile < n_tiles; tile += BATCH) {
        const uint64_t n = n_tiles - tile < BATCH ? n_tiles - tile : BATCH;
        for (uint64_t i = 0; i < n; i++) {
            unpack_values(work, tile + i, begin, end, values + i * CPU_KEY_TILE * columns);
        }
        TILES_WRITTEN();
        add_values(work, tile, n, values, columns, sums);
        TILES_WRITTEN();
    }
    _tile_release();
    TIERED(k_attend_put)(work, sums, begin, end);
}
