/* k_tiles.c - products with e2m1 panels by AMX, for several tokens: k_panels.c's sums, bit for bit.
 *
 * A tile is 16 rows of 64 bytes, and an instruction adds to a tile of 16 x 16 sums the products of 16 rows of A with
 * the columns of B, four bytes of both at a time.  A panel's block, looked up, is a B as it stands: 8 rows of 16
 * weights' four columns.  A is a digit of a block of 16 tokens, C their 16 x 16 exact sums.  As both operands are
 * signed here, a weight's half stays between -12 and 12, and no correction is due.
 *
 * A block of 16 tokens and a panel, two digits.  The instruction takes a cycle for each row of A: 2 * 16.  What it
 * leaves is stored (32 stores) and joined in vectors: for each token two loads, shift, addition, conversion, product
 * and fma, 5 operations of which a core does two a cycle: 40.  VNNI has the same to join and, instead of the 32 cycles,
 * 2 * 8 * 16 = 256 vpdpbusd, 128 cycles: 168 for 40 to 50.  What 16 tokens cost one costs too, hence LEAST_TOKENS. */
#include "backends/cpu/panels.h"

#define TOKENS 16u      /* rows of a tile */
#define LEAST_TOKENS 6u /* fewer are k_panels.c's */
#define BATCH 64u       /* tokens whose running sums are kept while a panel passes */

/* The shapes of the tiles, as the instruction that sets them reads it: all of 16 rows but the weights' two, all rows of
 * 64 bytes but the digits'.  Two of each kind, so that a block need not wait for the one before. */
#define SUMS_A0 0 /* of an even block: digit 0, digit 1 */
#define SUMS_A1 1
#define SUMS_B0 2 /* of an odd block */
#define SUMS_B1 3
#define DIGITS_0 4
#define DIGITS_1 5
#define HALVES_A 6
#define HALVES_B 7

struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* Static, as gcc 12 believes that the instruction reads eight bytes. */
static void
shape_tiles(void)
{
    static const struct tile_shapes shapes = {
        .palette = 1,
        .row_bytes = {64, 64, 64, 64, BLOCK, BLOCK, 64, 64},
        .rows = {TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS, BLOCK / 4, BLOCK / 4},
    };
    _tile_loadconfig(&shapes);
}

/* A chunk of a panel, looked up: [block][four columns][16 rows of 4 bytes] */
struct chunk {
    _Alignas(64) int8_t halves[CHUNK_BLOCKS][BLOCK / 4][4 * CPU_PANEL_ROWS];
    const uint8_t *scales[CHUNK_BLOCKS];
    bool is_free[CHUNK_BLOCKS];
    unsigned n_blocks;
};

static void
look_up_chunk(const unsigned char *panel, uint64_t first, uint64_t n_blocks, struct chunk *chunk)
{
    static const int8_t table[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    chunk->n_blocks = n_blocks < CHUNK_BLOCKS ? (unsigned)n_blocks : CHUNK_BLOCKS;
    for (unsigned block = 0; block < chunk->n_blocks; block++) {
        const uint8_t *codes = block_codes(panel, first + block);
        chunk->scales[block] = block_scales(panel, first + block);
        chunk->is_free[block] = group_is_free(chunk->scales[block - block % 4]);
        for (unsigned j = 0; j < BLOCK / 8; j++) {
            UNROLL
            for (unsigned part = 0; part < PARTS; part++) {
                const vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j + part * 4 * W);
                vi_store(chunk->halves[block][2 * j] + part * 4 * W, look_up_in(table, low_halves(raw)));
                vi_store(chunk->halves[block][2 * j + 1] + part * 4 * W, look_up_in(table, high_halves(raw)));
            }
        }
    }
}

/* A chunk of 16 tokens. */
struct gathered {
    _Alignas(64) int8_t digits[CHUNK_BLOCKS][TOKENS][2 * BLOCK];
    int8_t third[CHUNK_BLOCKS][TOKENS][BLOCK];
    int32_t worths[CHUNK_BLOCKS][TOKENS];
    const struct cpu_digits *x[TOKENS]; /* of the chunk's first block */
    bool is_free[CHUNK_BLOCKS], has_third[CHUNK_BLOCKS];
};

static void
gather(struct gathered *all, unsigned n_blocks)
{
    for (unsigned block = 0; block < n_blocks; block++) {
        all->is_free[block] = true;
        all->has_third[block] = false;
        for (unsigned t = 0; t < TOKENS; t++) {
            const struct cpu_digits *x = all->x[t] + block;
            memcpy(all->digits[block][t], x->digits, 2 * BLOCK);
            all->worths[block][t] = x->worth;
            all->is_free[block] &= digits_are_free(x);
            all->has_third[block] |= x->n > 2;
        }
        for (unsigned t = 0; t < TOKENS && all->has_third[block]; t++) {
            memcpy(all->third[block][t], all->x[t][block].digits[2], BLOCK);
        }
    }
}

/* [digit][token][row], as the tiles store them */
struct products {
    _Alignas(64) int32_t sums[3][TOKENS][CPU_PANEL_ROWS];
};

/* gcc 12 does not know that a tile is loaded from memory: what was written must be there. */
#define WRITTEN() __asm__ volatile("" ::: "memory")

/* Tiles are named in the instruction itself, so this cannot be a function. */
#define MULTIPLY_BLOCK(halves_tile, tile0, tile1)                                                                      \
    do {                                                                                                               \
        WRITTEN();                                                                                                     \
        _tile_loadd(halves_tile, chunk->halves[block], 4 * CPU_PANEL_ROWS);                                            \
        _tile_loadd(DIGITS_0, all->digits[block], 2 * BLOCK);                                                          \
        _tile_loadd(DIGITS_1, (const int8_t *)all->digits[block] + BLOCK, 2 * BLOCK);                                  \
        _tile_zero(tile0);                                                                                             \
        _tile_zero(tile1);                                                                                             \
        _tile_dpbssd(tile0, DIGITS_0, halves_tile);                                                                    \
        _tile_dpbssd(tile1, DIGITS_1, halves_tile);                                                                    \
        _tile_stored(tile0, products->sums[0], 4 * CPU_PANEL_ROWS);                                                    \
        _tile_stored(tile1, products->sums[1], 4 * CPU_PANEL_ROWS);                                                    \
        if (all->has_third[block]) {                                                                                   \
            _tile_loadd(DIGITS_0, all->third[block], BLOCK);                                                           \
            _tile_zero(tile0);                                                                                         \
            _tile_dpbssd(tile0, DIGITS_0, halves_tile);                                                                \
            _tile_stored(tile0, products->sums[2], 4 * CPU_PANEL_ROWS);                                                \
        }                                                                                                              \
    } while (0)

static void
multiply_even(const struct chunk *chunk, const struct gathered *all, unsigned block, struct products *products)
{
    MULTIPLY_BLOCK(HALVES_A, SUMS_A0, SUMS_A1);
}

static void
multiply_odd(const struct chunk *chunk, const struct gathered *all, unsigned block, struct products *products)
{
    MULTIPLY_BLOCK(HALVES_B, SUMS_B0, SUMS_B1);
}

/* A block's sums, joined from those of the digits, each rounded once. */
LANE vf
joined(const struct products *products, bool has_third, unsigned t, unsigned at)
{
    vi sum = vi_add(vi_load(&products->sums[0][t][at]), vi_sll(vi_load(&products->sums[1][t][at]), DIGIT_BITS));
    if (has_third) {
        sum = vi_add(sum, vi_sll(vi_load(&products->sums[2][t][at]), 2 * DIGIT_BITS));
    }
    return vf_from_int(sum);
}

/* sums: [token][part] */
LANE void
add_block(const struct chunk *chunk, const struct gathered *all, unsigned block, const struct products *products,
          vf sums[TOKENS * PARTS])
{
    if (chunk->is_free[block] && all->is_free[block] && !all->has_third[block]) {
        vi scales[PARTS];
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            scales[part] = vi_sll(vi_load_u8(chunk->scales[block] + part * W), 23);
        }
        UNROLL
        for (unsigned i = 0; i < TOKENS * PARTS; i++) {
            /* the product is exact, so that adding it with one rounding is adding it */
            const vf worth = vf_from_bits(vi_add(scales[i % PARTS], vi_set1(all->worths[block][i / PARTS])));
            sums[i] = vf_fma(joined(products, false, i / PARTS, i % PARTS * W), worth, sums[i]);
        }
        return;
    }
    UNROLL
    for (unsigned i = 0; i < TOKENS * PARTS; i++) {
        const unsigned at = i % PARTS * W;
        const struct cpu_digits *x = all->x[i / PARTS] + block;
        const vf worth = block_worth(chunk->scales[block] + at, x, chunk->is_free[block] && digits_are_free(x));
        sums[i] = vf_fma(joined(products, all->has_third[block], i / PARTS, at), worth, sums[i]);
    }
}

/* totals: [token][16 rows] */
static void
sum_chunk(const struct chunk *chunk, const struct gathered *all, float *totals)
{
    struct products even, odd;
    vf sums[TOKENS * PARTS];
    UNROLL
    for (unsigned i = 0; i < TOKENS * PARTS; i++) {
        sums[i] = vf_zero();
    }
    for (unsigned block = 0; block < chunk->n_blocks; block += 2) { /* blocks come in fours */
        multiply_even(chunk, all, block, &even);
        multiply_odd(chunk, all, block + 1, &odd);
        add_block(chunk, all, block, &even, sums);
        add_block(chunk, all, block + 1, &odd, sums);
    }
    UNROLL
    for (unsigned i = 0; i < TOKENS * PARTS; i++) {
        vf_store(totals + i * W, vf_add(vf_load(totals + i * W), sums[i]));
    }
}

/* Tokens first .. first + n_tokens - 1, at most BATCH, through one panel; what the last 16 lack repeats a token. */
static void
tile_panel(const struct cpu_product *product, uint64_t panel, uint64_t first, uint64_t n_tokens)
{
    const uint64_t n_blocks = product->input->n_padded / BLOCK;
    const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
    _Alignas(64) float totals[BATCH * CPU_PANEL_ROWS];
    struct chunk chunk;
    struct gathered all;
    memset(totals, 0, sizeof totals);
    for (uint64_t block = 0; block < n_blocks; block += CHUNK_BLOCKS) {
        look_up_chunk(codes, block, n_blocks - block, &chunk);
        for (uint64_t t = 0; t < n_tokens; t += TOKENS) {
            for (unsigned i = 0; i < TOKENS; i++) {
                all.x[i] = token_digits(product, first + (t + i < n_tokens ? t + i : n_tokens - 1)) + block;
            }
            gather(&all, chunk.n_blocks);
            sum_chunk(&chunk, &all, totals + t * CPU_PANEL_ROWS);
        }
    }
    for (uint64_t t = 0; t < n_tokens; t++) {
        vf words[PARTS];
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            words[part] = vf_load(totals + t * CPU_PANEL_ROWS + part * W);
        }
        put_digits(product, first + t, panel, token_digits(product, first + t), words);
    }
}

void
TIERED(k_tile_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    if (product->n_tokens < LEAST_TOKENS) {
        TIERED(k_panels)(product, begin, end);
        return;
    }
    shape_tiles();
    for (uint64_t panel = begin / CPU_PANEL_ROWS; panel * CPU_PANEL_ROWS < end; panel++) {
        for (uint64_t t = 0; t < product->n_tokens; t += BATCH) {
            const uint64_t left = product->n_tokens - t;
            tile_panel(product, panel, t, left < BATCH ? left : BATCH);
        }
    }
    _tile_release(); /* a thread without tiles in use is cheaper to switch */
}
