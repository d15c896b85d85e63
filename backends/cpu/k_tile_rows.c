/* k_tile_rows.c - e4m3 rows whose scales are near 1 (k_pairs.c), and bf16 rows, by AMX.
 *
 * An instruction adds to 16 x 16 sums the products of 16 tokens and 16 rows over 32 columns, as pairs of bf16.  Within
 * it the even columns are summed, and the odd ones, from 0 and in order, each product with one rounding; then the two,
 * and then they are added to what was there.  So an output hangs on its own token and row, and on the order of the
 * columns.  A lone token, for whom tiles would stand empty, gets the same additions from vectors.
 *
 * Eight tiles share 256 columns, in the order in which vectors decode 64 codes to four words of 16 (vf_load_e4m3):
 * lanes 2 i and 2 i + 1 of the 16 words are the 16 pairs of tile i, so that a running word of a lone token is the even
 * and odd sums of eight tiles.  Tokens' tiles are read where k_pairs left them.  Those of the weights hold pairs of
 * columns, each of 16 rows: codes are brought into that order as they are, before they become bf16.  Weights of bf16
 * have the order in which they lie: 16 words of 16. */
#include "backends/cpu/tiles.h"

#define COLS CPU_TILE_COLS
#define CHUNK PAIRS_COLS
#define MAX_TILES (HOST_ACT_BLOCK / TILE)
#define MAX_BLOCKS (PAIRS_BATCH / TILE)

/* Rows of a chunk: [tile of columns][pair][row] */
struct decoded {
    _Alignas(64) uint16_t pairs[CHUNK / COLS][TILE][TILE][2];
};

#ifdef __AVX512BF16__

/* 64 bytes of each of four rows: words[w] has dwords w, w + 4, w + 8 and w + 12, each of all four. */
LANE void
turn_four(const uint8_t *const from[4], uint64_t at, vi words[4])
{
    vi rows[4];
    UNROLL
    for (unsigned r = 0; r < 4; r++) {
        rows[r] = vi_load(from[r] + at);
    }
    const vi low[2] = {_mm512_unpacklo_epi32(rows[0], rows[1]), _mm512_unpacklo_epi32(rows[2], rows[3])};
    const vi high[2] = {_mm512_unpackhi_epi32(rows[0], rows[1]), _mm512_unpackhi_epi32(rows[2], rows[3])};
    words[0] = _mm512_unpacklo_epi64(low[0], low[1]);
    words[1] = _mm512_unpackhi_epi64(low[0], low[1]);
    words[2] = _mm512_unpacklo_epi64(high[0], high[1]);
    words[3] = _mm512_unpackhi_epi64(high[0], high[1]);
}

/* 128 columns, of one scale, the first or second half of eight tiles. */
LANE void
decode_block(const uint8_t *const codes[TILE], float scale, uint64_t k, uint16_t (*tiles)[TILE][TILE][2])
{
    /* of a dword's codes the even ones, then the odd */
    const vi order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    const struct tables tables = tables_of(scale);
    for (unsigned i = 0; i < 2 * TILE / 4; i++) {
        const unsigned row = i / 2 * 4;
        const uint64_t at = k + i % 2 * PAIRS_STEP;
        const unsigned pair = (unsigned)(at % PAIRS_BLOCK / PAIRS_STEP * 4);
        vi words[4];
        for (unsigned r = row; r < row + 4; r++) {
            _mm_prefetch((const char *)codes[r] + at + CHUNK, _MM_HINT_T1);
        }
        turn_four(codes + row, at, words);
        UNROLL
        for (unsigned w = 0; w < 4; w++) {
            vi pairs[2];
            decode(_mm512_shuffle_epi8(words[w], order), &tables, pairs);
            UNROLL
            for (unsigned odd = 0; odd < 2; odd++) {
                uint16_t(*low)[TILE][2] = tiles[w] + pair + 2 * odd, (*high)[TILE][2] = tiles[w + 4] + pair + 2 * odd;
                _mm_store_si128((void *)low[0][row], _mm512_castsi512_si128(pairs[odd]));
                _mm_store_si128((void *)high[0][row], _mm512_extracti32x4_epi32(pairs[odd], 1));
                _mm_store_si128((void *)low[1][row], _mm512_extracti32x4_epi32(pairs[odd], 2));
                _mm_store_si128((void *)high[1][row], _mm512_extracti32x4_epi32(pairs[odd], 3));
            }
        }
    }
}

/* 128 columns of bf16 rows; k: their first column. */
LANE void
arrange_block(const uint8_t *const rows[TILE], uint64_t k, uint16_t (*tiles)[TILE][TILE][2])
{
    for (unsigned i = 0; i < 4 * TILE / 4; i++) { /* four rows, 32 columns */
        const unsigned row = i / 4 * 4;
        const uint64_t at = k + i % 4 * 32;
        const unsigned pair = (unsigned)(at % PAIRS_BLOCK / 16);
        vi words[4];
        for (unsigned r = row; r < row + 4; r++) {
            _mm_prefetch((const char *)rows[r] + 2 * (at + CHUNK), _MM_HINT_T1);
        }
        turn_four(rows + row, 2 * at, words);
        UNROLL
        for (unsigned w = 0; w < 4; w++) {
            _mm_store_si128((void *)tiles[w][pair][row], _mm512_castsi512_si128(words[w]));
            _mm_store_si128((void *)tiles[w + 4][pair][row], _mm512_extracti32x4_epi32(words[w], 1));
            _mm_store_si128((void *)tiles[w][pair + 1][row], _mm512_extracti32x4_epi32(words[w], 2));
            _mm_store_si128((void *)tiles[w + 4][pair + 1][row], _mm512_extracti32x4_epi32(words[w], 3));
        }
    }
}

#define ROWS_ALONE 4u
#define NEAR_BYTES 512u
#define LEAST_STRIDE 4096u
#define NO_SUBNORMALS 0x8040u /* they are 0, in operands and results: so it is with tiles */

/* 64 columns of rows that meet a lone token: lane 2 i of a sum is of even columns of tile i, lane 2 i + 1 of odd ones.
 */
LANE void
meet_step(const uint8_t *const rows[ROWS_ALONE], const bool is_bf16, const float *x, float factor, vf sums[ROWS_ALONE])
{
    vf parts[4];
    UNROLL
    for (unsigned i = 0; i < 4; i++) { /* a power of two: x stays what it is */
        parts[i] = is_bf16 ? vf_load(x + i * W) : vf_mul(vf_load(x + i * W), vf_set1(factor));
    }
    UNROLL
    for (unsigned r = 0; r < ROWS_ALONE; r++) {
        vf codes[4];
        if (!is_bf16) {
            vf_load_e4m3(rows[r], codes);
        }
        UNROLL
        for (unsigned i = 0; i < 4 && is_bf16; i++) {
            codes[i] = vf_from_bits(vi_sll(vi_load_u16(rows[r] + 2 * i * W), 16));
        }
        UNROLL
        for (unsigned i = 0; i < 4; i++) {
            sums[r] = vf_fma(codes[i], parts[i], sums[r]);
        }
    }
}

/* What the tiles' instruction does with its sums: even and odd ones become one, and are added tile by tile. */
LANE __m128
add_tiles(__m128 total, const vf sums[ROWS_ALONE])
{
    vf both[ROWS_ALONE];
    UNROLL
    for (unsigned r = 0; r < ROWS_ALONE; r++) {
        both[r] = vf_add(sums[r], vf_swap1(sums[r]));
    }
    const __m512d first = _mm512_castps_pd(vf_mix1(both[0], both[1])),
                  second = _mm512_castps_pd(vf_mix1(both[2], both[3]));
    const vf even = _mm512_castpd_ps(_mm512_unpacklo_pd(first, second));
    const vf odd = _mm512_castpd_ps(_mm512_unpackhi_pd(first, second));
    total = _mm_add_ps(total, _mm512_castps512_ps128(even));
    total = _mm_add_ps(total, _mm512_castps512_ps128(odd));
    total = _mm_add_ps(total, _mm512_extractf32x4_ps(even, 1));
    total = _mm_add_ps(total, _mm512_extractf32x4_ps(odd, 1));
    total = _mm_add_ps(total, _mm512_extractf32x4_ps(even, 2));
    total = _mm_add_ps(total, _mm512_extractf32x4_ps(odd, 2));
    total = _mm_add_ps(total, _mm512_extractf32x4_ps(even, 3));
    return _mm_add_ps(total, _mm512_extractf32x4_ps(odd, 3));
}

LANE void
meet_alone(const struct cpu_product *product, const bool is_bf16, uint64_t row, uint64_t n_rows)
{
    const struct host_matrix *weight = product->weight;
    const uint64_t n = cpu_padded(weight->cols), size = is_bf16 ? 2 : 1, stride = n * size;
    const uint64_t to_next = (stride < LEAST_STRIDE ? LEAST_STRIDE / stride : 1) * ROWS_ALONE * stride;
    const float *scales = is_bf16 ? NULL : row_scales(weight, row);
    const float *x = (is_bf16 ? product->input->plain : product->input->split) + cpu_token_of(product, 0) * n;
    const uint8_t *rows[ROWS_ALONE];
    __m128 total = _mm_setzero_ps();
    for (unsigned r = 0; r < ROWS_ALONE; r++) {
        rows[r] = weight->data + (row + (r < n_rows ? r : n_rows - 1)) * stride;
    }
    for (uint64_t begin = 0; begin < n; begin += PAIRS_BLOCK) {
        vf sums[ROWS_ALONE] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
        for (uint64_t k = begin; k < n && k < begin + PAIRS_BLOCK; k += PAIRS_STEP) {
            UNROLL
            for (unsigned i = 0; i < ROWS_ALONE * size; i++) { /* as k_rows.c */
                _mm_prefetch((const char *)rows[i / size] + i % size * 64 + to_next, _MM_HINT_T1);
                _mm_prefetch((const char *)rows[i / size] + i % size * 64 + NEAR_BYTES, _MM_HINT_T0);
            }
            meet_step(rows, is_bf16, x + k, is_bf16 ? 1.0f : scales[k / HOST_ACT_BLOCK] * E4M3_BACK, sums);
            UNROLL
            for (unsigned r = 0; r < ROWS_ALONE; r++) {
                rows[r] += PAIRS_STEP * size;
            }
        }
        total = add_tiles(total, sums);
    }
    float *y = product->y + cpu_slot_of(product, 0) * product->y_stride + row;
    vf_store_some(y, vf_round(_mm512_castps128_ps512(total), product->round), (unsigned)n_rows);
}

static NOT_INLINED void
meet_codes_alone(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    meet_alone(product, false, row, n_rows);
}

static NOT_INLINED void
meet_bf16_alone(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    meet_alone(product, true, row, n_rows);
}

/* Whether the token is alone, and its rows are done. */
static bool
go_alone(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    if (product->n_tokens > 1 || product->input->n > CPU_FEW_TOKENS) {
        return false;
    }
    const bool is_bf16 = product->weight->dtype == HEARTH_BF16;
    const unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | NO_SUBNORMALS);
    for (uint64_t r = 0; r < n_rows; r += ROWS_ALONE) {
        const uint64_t n = n_rows - r < ROWS_ALONE ? n_rows - r : ROWS_ALONE;
        (is_bf16 ? meet_bf16_alone : meet_codes_alone)(product, row + r, n);
    }
    _mm_setcsr(saved);
    return true;
}

#else

/* For processors without AMX, where tests run this file. */
static void
decode_block(const uint8_t *const codes[TILE], float scale, uint64_t k, uint16_t (*tiles)[TILE][TILE][2])
{
    for (unsigned i = 0; i < TILE * HOST_ACT_BLOCK; i++) {
        const unsigned row = i / HOST_ACT_BLOCK, col = i % HOST_ACT_BLOCK;
        const unsigned place = place_in_block(HEARTH_E4M3, (unsigned)(k % PAIRS_BLOCK) + col);
        const float value = hearth_e4m3_to_f32(codes[row][k + col]) * scale;
        tiles[place / COLS][place % COLS / 2][row][place % 2] = (uint16_t)(hearth_f32_bits(value) >> 16);
    }
}

static void
arrange_block(const uint8_t *const rows[TILE], uint64_t k, uint16_t (*tiles)[TILE][TILE][2])
{
    for (unsigned i = 0; i < TILE * HOST_ACT_BLOCK; i++) {
        const unsigned row = i / HOST_ACT_BLOCK, col = i % HOST_ACT_BLOCK;
        const unsigned place = place_in_block(HEARTH_BF16, (unsigned)(k % PAIRS_BLOCK) + col);
        memcpy(&tiles[place / COLS][place % COLS / 2][row][place % 2], rows[row] + 2 * (k + col), 2);
    }
}

static bool
go_alone(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    (void)product, (void)row, (void)n_rows;
    return false;
}

#endif

/* Columns begin .. begin+n-1 of at most 16 rows; those beyond n_rows repeat the last. */
static void
decode_rows(const struct host_matrix *weight, uint64_t row, uint64_t n_rows, uint64_t begin, uint64_t n,
            struct decoded *decoded)
{
    const uint64_t n_cols = cpu_padded(weight->cols), size = weight->dtype == HEARTH_BF16 ? 2 : 1;
    const uint8_t *rows[TILE];
    for (uint64_t r = 0; r < TILE; r++) {
        rows[r] = weight->data + ((row + (r < n_rows ? r : n_rows - 1)) * n_cols + begin) * size;
    }
    for (uint64_t k = 0; k < n; k += HOST_ACT_BLOCK) {
        if (weight->dtype == HEARTH_BF16) {
            arrange_block(rows, k, decoded->pairs + k / PAIRS_BLOCK * 8);
        } else {
            const float scale = row_scales(weight, row)[(begin + k) / HOST_ACT_BLOCK];
            decode_block(rows, scale, k, decoded->pairs + k / PAIRS_BLOCK * 8);
        }
    }
    for (uint64_t tile = n / PAIRS_BLOCK * 8; n % PAIRS_BLOCK != 0 && tile < n / PAIRS_BLOCK * 8 + 8; tile++) {
        memset(decoded->pairs[tile][TILE / 2], 0, sizeof decoded->pairs[tile] / 2);
    }
}

/* 16 tokens, or the rest, of the product's list; is_whole: they are the rows of one tile. */
struct block {
    uint64_t first, n;
    bool is_whole;
};

static struct block
block_of(const struct cpu_product *product, uint64_t first)
{
    const uint64_t left = product->n_tokens - first, token = cpu_token_of(product, first);
    struct block block = {first, left < TILE ? left : TILE, token % TILE == 0};
    for (uint64_t i = 1; i < block.n; i++) {
        block.is_whole &= cpu_token_of(product, first + i) == token + i;
    }
    return block;
}

/* A chunk's n columns of a block, gathered in room if they are not one tile behind the other.  Tiles may have rows
 * that belong to no token: what these add up to is not looked at. */
static const uint16_t *
find_tokens(const struct cpu_product *product, const struct block *block, uint64_t begin, uint64_t n,
            uint16_t (*room)[TILE][COLS])
{
    if (block->is_whole) {
        return token_pairs(product, cpu_token_of(product, block->first), begin);
    }
    for (uint64_t i = 0; i < block->n; i++) {
        gather_token(product, block->first + i, begin, n, room, i);
    }
    return room[0][0];
}

/* sums: [block][row tile] */
LANE void
meet(const uint16_t *const tokens[2], const bool has_two_blocks, const struct decoded *rows, const bool has_two_tiles,
     uint64_t n_tiles, float (*const sums[2][2])[TILE])
{
    TILES_WRITTEN();
    _tile_loadd(SUMS_00, sums[0][0], TILE_ROW_BYTES);
    if (has_two_tiles) {
        _tile_loadd(SUMS_01, sums[0][1], TILE_ROW_BYTES);
    }
    if (has_two_blocks) {
        _tile_loadd(SUMS_10, sums[1][0], TILE_ROW_BYTES);
    }
    if (has_two_blocks && has_two_tiles) {
        _tile_loadd(SUMS_11, sums[1][1], TILE_ROW_BYTES);
    }
    for (uint64_t i = 0; i < n_tiles; i++) {
        _tile_loadd(RIGHT_0, rows[0].pairs[i], TILE_ROW_BYTES);
        _tile_loadd(LEFT_0, tokens[0] + i * TILE * COLS, 2 * COLS);
        _tile_dpbf16ps(SUMS_00, LEFT_0, RIGHT_0);
        if (has_two_tiles) {
            _tile_loadd(RIGHT_1, rows[1].pairs[i], TILE_ROW_BYTES);
            _tile_dpbf16ps(SUMS_01, LEFT_0, RIGHT_1);
        }
        if (has_two_blocks) {
            _tile_loadd(LEFT_1, tokens[1] + i * TILE * COLS, 2 * COLS);
            _tile_dpbf16ps(SUMS_10, LEFT_1, RIGHT_0);
        }
        if (has_two_blocks && has_two_tiles) {
            _tile_dpbf16ps(SUMS_11, LEFT_1, RIGHT_1);
        }
    }
    _tile_stored(SUMS_00, sums[0][0], TILE_ROW_BYTES);
    if (has_two_tiles) {
        _tile_stored(SUMS_01, sums[0][1], TILE_ROW_BYTES);
    }
    if (has_two_blocks) {
        _tile_stored(SUMS_10, sums[1][0], TILE_ROW_BYTES);
    }
    if (has_two_blocks && has_two_tiles) {
        _tile_stored(SUMS_11, sums[1][1], TILE_ROW_BYTES);
    }
    TILES_WRITTEN();
}

static NOT_INLINED void
meet_any(const uint16_t *const tokens[2], bool has_two_blocks, const struct decoded *rows, bool has_two_tiles,
         uint64_t n_tiles, float (*const sums[2][2])[TILE])
{
    if (has_two_blocks && has_two_tiles) {
        meet(tokens, true, rows, true, n_tiles, sums);
    } else if (has_two_blocks) {
        meet(tokens, true, rows, false, n_tiles, sums);
    } else if (has_two_tiles) {
        meet(tokens, false, rows, true, n_tiles, sums);
    } else {
        meet(tokens, false, rows, false, n_tiles, sums);
    }
}

/* What a call keeps: 256 KiB of sums and 64 of the rest. */
struct work {
    _Alignas(64) float sums[MAX_TILES][MAX_BLOCKS][TILE][TILE]; /* [row tile][block][token][row] */
    struct decoded rows[2];
    _Alignas(64) uint16_t room[2][CHUNK / COLS][TILE][COLS];
    struct block blocks[MAX_BLOCKS];
    uint64_t n_blocks;
};

/* All tokens meet the tiles `tile` and, if there are two, the next. */
static void
meet_tiles(const struct cpu_product *product, struct work *work, uint64_t tile, bool has_two_tiles, uint64_t begin,
           uint64_t n)
{
    for (uint64_t b = 0; b < work->n_blocks; b += 2) {
        const bool has_two_blocks = b + 1 < work->n_blocks;
        const uint64_t next = b + has_two_blocks, next_tile = tile + has_two_tiles;
        const uint16_t *const tokens[2] = {find_tokens(product, &work->blocks[b], begin, n, work->room[0]),
                                           find_tokens(product, &work->blocks[next], begin, n, work->room[1])};
        float(*const sums[2][2])[TILE] = {{work->sums[tile][b], work->sums[next_tile][b]},
                                          {work->sums[tile][next], work->sums[next_tile][next]}};
        meet_any(tokens, has_two_blocks, work->rows, has_two_tiles, n / COLS, sums);
    }
}

static void
store_sums(const struct cpu_product *product, const struct work *work, uint64_t row, uint64_t n_rows)
{
    for (uint64_t b = 0; b < work->n_blocks; b++) {
        for (uint64_t i = 0; i < work->blocks[b].n; i++) {
            float *y = product->y + cpu_slot_of(product, work->blocks[b].first + i) * product->y_stride + row;
            for (uint64_t r = 0; r < n_rows; r += W) {
                const vf sums = vf_load(work->sums[r / TILE][b][i] + r % TILE);
                vf_store_tail(y + r, vf_round(sums, product->round), n_rows - r);
            }
        }
    }
}

void
TIERED(k_near_rows)(const struct cpu_product *product, uint64_t row, uint64_t n_rows)
{
    const uint64_t n = cpu_padded(product->weight->cols), n_row_tiles = (n_rows + TILE - 1) / TILE;
    struct work work;
    if (go_alone(product, row, n_rows)) {
        return;
    }
    work.n_blocks = (product->n_tokens + TILE - 1) / TILE;
    for (uint64_t b = 0; b < work.n_blocks; b++) {
        work.blocks[b] = block_of(product, b * TILE);
    }
    for (uint64_t tile = 0; tile < n_row_tiles; tile++) {
        memset(work.sums[tile], 0, work.n_blocks * sizeof work.sums[tile][0]);
    }
    shape_tiles(product->n_tokens);
    for (uint64_t begin = 0; begin < n; begin += CHUNK) {
        const uint64_t length = n - begin < CHUNK ? n - begin : CHUNK;
        for (uint64_t tile = 0; tile < n_row_tiles; tile += 2) {
            const bool has_two_tiles = tile + 1 < n_row_tiles;
            for (uint64_t i = 0; i <= has_two_tiles; i++) {
                const uint64_t first = (tile + i) * TILE;
                decode_rows(product->weight, row + first, n_rows - first, begin, length, &work.rows[i]);
            }
            meet_tiles(product, &work, tile, has_two_tiles, begin, cpu_pairs_padded(length));
        }
    }
    _tile_release(); /* a thread without tiles in use is cheaper to switch */
    store_sums(product, &work, row, n_rows);
}
