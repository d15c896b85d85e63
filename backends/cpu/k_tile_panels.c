/* k_tile_panels.c - products of several tokens with e2m1 panels by AMX, with the bits of k_panels.c.
 *
 * The contract (docs/numerics.md) wants a block of 32 summed exactly and rounded once.  A quantised activation and an
 * e2m1 value are bf16 without loss, their products exact in f32, and a sum in f32 rounds nothing while all that is
 * added, in units of the lowest bit that occurs, stays within 24 bits.  Then one tdpbf16ps from 0 is a block's sum of
 * 16 tokens and 16 rows, in whatever order.  It leaves its tile after each block, and is added, times the scale of the
 * row, to what vectors hold, a token each; the activation's own scale, a power of two, is in the activation.
 *
 * Some blocks of a token do not stay within 24 bits: some three of a thousand, of a normal distribution.  Their sums
 * are those of k_panels.c, by digits, put in the place of the tile's.  Tokens and panels with scales so large or small
 * that products meet a limit of the contract, which no checkpoint has, are left to k_panels.c altogether. */
#include "backends/cpu/panels.h"
#include "backends/cpu/tiles.h"

#define MAX_BLOCKS 4u /* of 16 tokens that pass a panel at once */
#define CHUNKS 4u     /* that they pass of a panel before the next one */
#define PANELS 32u    /* that they pass before further chunks */
#define MOST_CODE 12u /* the greatest e2m1 in units of its lowest bit */

_Static_assert(CPU_TILED_COLS == HEARTH_EXPERT_CHUNK, "a chunk's activations lie together");

/* ---- activations ------------------------------------------------------------------------------------------------- */

#ifdef __AVX512BF16__

/* 16 columns, values that are bf16: of eight the even ones, then the odd, for so decode_block finds the weights'. */
LANE void
store_columns(uint16_t *out, const float *values, float scale)
{
    const __m256i order =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    const vi bits = vf_to_bits(vf_mul(vf_load(values), vf_set1(scale)));
    _mm256_storeu_si256((void *)out, _mm256_shuffle_epi8(_mm512_cvtepi32_epi16(vi_srl(bits, 16)), order));
}

#else

static void
store_columns(uint16_t *out, const float *values, float scale)
{
    for (unsigned k = 0; k < TILE; k++) {
        out[k / 8 * 8 + k % 2 * 4 + k % 8 / 2] = (uint16_t)(hearth_f32_bits(values[k] * scale) >> 16);
    }
}

#endif

/* Whether no order of f32 additions rounds a sum of the block's products. */
LANE bool
is_exact(const float *values, unsigned shift)
{
    vi sum = vi_zero();
    UNROLL
    for (unsigned i = 0; i < BLOCK; i += W) {
        sum = vi_add(sum, vf_to_int(vf_abs(vf_mul(vf_load(values + i), vf_set1(512.0f)))));
    }
    return (uint32_t)vi_total(sum) >> shift <= (1u << 24) / MOST_CODE;
}

void
TIERED(k_blocks)(const float *values, const uint8_t *scales, const struct cpu_digits *digits, uint64_t n_padded,
                 uint64_t token, uint64_t n_tokens, const struct cpu_blocks *blocks)
{
    uint16_t *inexact = blocks->inexact + token * cpu_chunks(n_padded);
    memset(inexact, 0, cpu_chunks(n_padded) * sizeof *inexact);
    for (uint64_t block = 0; block < n_padded / BLOCK; block++) {
        const uint64_t k = block * BLOCK;
        const float scale = hearth_e8m0_to_f32(scales[k / HOST_ACT_BLOCK]);
        uint16_t *out = blocks->pairs + cpu_tiled_at(n_padded, n_tokens, token, k);
        for (unsigned i = 0; i < BLOCK; i += TILE) {
            store_columns(out + i, values + k + i, scale);
        }
        if (!is_exact(values + k, digits[block].shift)) {
            inexact[block / CHUNK_BLOCKS] |= (uint16_t)(1u << block % CHUNK_BLOCKS);
        }
    }
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* A chunk of a panel. */
struct decoded {
    _Alignas(64) uint16_t pairs[CHUNK_BLOCKS][TILE][TILE][2]; /* [block][pair of columns][row] */
    _Alignas(64) float scales[CHUNK_BLOCKS][TILE];
};

/* bf16 by code.  The look-up's fifth bit is another code's first. */
#define E2M1_AS_BF16                                                                                                   \
    0x0000, 0x3F00, 0x3F80, 0x3FC0, 0x4000, 0x4040, 0x4080, 0x40C0, 0x8000, 0xBF00, 0xBF80, 0xBFC0, 0xC000, 0xC040,    \
        0xC080, 0xC0C0
static const _Alignas(64) uint16_t e2m1_as_bf16[32] = {E2M1_AS_BF16, E2M1_AS_BF16};

#ifdef __AVX512BF16__

/* A word has four columns of 16 rows in its low halves, four in its high ones. */
LANE void
decode_block(const uint8_t *codes, uint16_t (*pairs)[TILE][2])
{
    const vi table = vi_load(e2m1_as_bf16);
    UNROLL
    for (unsigned j = 0; j < BLOCK / 8; j++) {
        const vi raw = vi_load(codes + 64 * j);
        vi_store(pairs[4 * j], _mm512_permutexvar_epi16(raw, table));
        vi_store(pairs[4 * j + 1], _mm512_permutexvar_epi16(_mm512_srli_epi16(raw, 4), table));
        vi_store(pairs[4 * j + 2], _mm512_permutexvar_epi16(_mm512_srli_epi16(raw, 8), table));
        vi_store(pairs[4 * j + 3], _mm512_permutexvar_epi16(_mm512_srli_epi16(raw, 12), table));
    }
}

#else

static void
decode_block(const uint8_t *codes, uint16_t (*pairs)[TILE][2])
{
    for (unsigned i = 0; i < BLOCK * TILE; i++) {
        const unsigned row = i % TILE, k = i / TILE;
        const unsigned code = codes[k / 8 * 64 + row * 4 + k % 4] >> (k % 8 / 4 * 4) & 15u;
        /* pairs 0, 2 and 4, 6 and 1, 3 and 5, 7 */
        pairs[k / 8 * 4 + k % 2 * 2 + k % 8 / 4][row][k % 4 / 2] = e2m1_as_bf16[code];
    }
}

#endif

/* Returns whether the scales are far from limits. */
static bool
decode_chunk(const unsigned char *panel, uint64_t first, unsigned n_blocks, struct decoded *decoded)
{
    bool is_free = true;
    for (unsigned block = 0; block < n_blocks; block++) {
        const uint8_t *scales = block_scales(panel, first + block), *codes = block_codes(panel, first + block);
        const uint8_t *lines = panel + ((first + block) / 4 * CPU_GROUP_BYTES + block % 4 * (CPU_GROUP_BYTES / 4));
        is_free &= block % 4 != 0 || group_is_free(scales);
        UNROLL
        for (unsigned i = 0; i < CPU_GROUP_BYTES / 4; i += 64) {
            fetch_ahead(lines + i);
        }
        for (unsigned row = 0; row < TILE; row += W) {
            vi_store(&decoded->scales[block][row], vi_sll(vi_load_u8(scales + row), 23));
        }
        decode_block(codes, decoded->pairs[block]);
    }
    return is_free;
}

/* ---- tokens meet weights ----------------------------------------------------------------------------------------- */

/* 16 tokens of the product, or all there are, and chunks of their activations, gathered: a tile after the other. */
struct meeting {
    _Alignas(64) uint16_t tiles[CHUNKS][CHUNK_BLOCKS][TILE][CPU_TILE_COLS];
    uint64_t first;
    unsigned n;               /* tokens; what other rows of the tiles hold is not looked at */
    unsigned inexact[CHUNKS]; /* blocks of a chunk that are too long for some of them, as bits */
};

/* What a call keeps: 256 KiB of activations, 128 of sums, 17 of weights. */
struct work {
    _Alignas(64) float totals[PANELS][MAX_BLOCKS][TILE][TILE]; /* [panel][meeting][token][row] */
    _Alignas(64) float sums[2][TILE][TILE];                    /* of a block */
    struct decoded decoded;
    struct meeting meetings[MAX_BLOCKS];
    uint64_t n_meetings;
    bool is_free[PANELS];
};

/* Where a chunk is read: the panel, its first block, how many there are, a multiple of 4, and the chunk's place among
 * those gathered. */
struct chunk {
    const unsigned char *panel;
    uint64_t first;
    unsigned n_blocks, place;
};

static unsigned
inexact_blocks(const struct cpu_product *product, uint64_t i, uint64_t chunk)
{
    const struct cpu_input *input = product->input;
    return input->blocks.inexact[cpu_token_of(product, i) * cpu_chunks(input->n_padded) + chunk];
}

/* Sums that a tile would round, by digits. */
static NOT_INLINED void
mend_block(const struct cpu_product *product, const struct meeting *meeting, const uint8_t *codes, uint64_t block,
           float (*sums)[TILE])
{
    for (uint64_t t = 0; t < meeting->n; t++) {
        const uint64_t i = meeting->first + t;
        const struct cpu_digits *x = token_digits(product, i) + block;
        vi dots[PARTS];
        if (!(inexact_blocks(product, i, block / CHUNK_BLOCKS) >> block % CHUNK_BLOCKS & 1u)) {
            continue;
        }
        dot_raw(codes, x, 3, dots);
        for (unsigned part = 0; part < PARTS; part++) {
            const vf unit = vf_set1(hearth_f32_from_bits((x->scale + x->shift - 10u) << 23));
            vf_store(sums[t] + part * W, vf_mul(vf_from_int(dots[part]), unit));
        }
    }
}

LANE void
add_block(const float (*sums)[TILE], const float *scales, const unsigned n_tokens, vf totals[TILE][PARTS])
{
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        const vf scale = vf_load(scales + part * W);
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            /* the product is exact, so that adding it with one rounding is adding it */
            totals[t][part] = vf_fma(vf_load(sums[t] + part * W), scale, totals[t][part]);
        }
    }
}

/* A macro, for tiles are named by constants. */
#define SUM_BLOCK(sums, of_tokens, of_rows, tiles, decoded, block)                                                     \
    do {                                                                                                               \
        _tile_zero(sums);                                                                                              \
        _tile_loadd(of_tokens, (tiles)[block], 2 * BLOCK);                                                             \
        _tile_loadd(of_rows, (decoded)->pairs[block], TILE_ROW_BYTES);                                                 \
        _tile_dpbf16ps(sums, of_tokens, of_rows);                                                                      \
    } while (0)

/* n_rounded: tokens, rounded up.  totals: [n_rounded][TILE] */
LANE void
meet_chunk(const struct cpu_product *product, struct work *work, const struct meeting *meeting,
           const struct chunk *chunk, const unsigned n_rounded, float (*totals)[TILE])
{
    const uint16_t(*tiles)[TILE][CPU_TILE_COLS] = meeting->tiles[chunk->place];
    vf sums[TILE][PARTS];
    UNROLL
    for (unsigned i = 0; i < n_rounded * PARTS; i++) {
        sums[i / PARTS][i % PARTS] = vf_zero();
    }
    TILES_WRITTEN();
    for (unsigned block = 0; block < chunk->n_blocks; block += 2) {
        SUM_BLOCK(SUMS_00, LEFT_0, RIGHT_0, tiles, &work->decoded, block);
        SUM_BLOCK(SUMS_01, LEFT_1, RIGHT_1, tiles, &work->decoded, block + 1);
        _tile_stored(SUMS_00, work->sums[0], TILE_ROW_BYTES);
        _tile_stored(SUMS_01, work->sums[1], TILE_ROW_BYTES);
        TILES_WRITTEN();
        UNROLL
        for (unsigned i = 0; i < 2; i++) {
            if (meeting->inexact[chunk->place] >> (block + i) & 1u) {
                const uint64_t at = chunk->first + block + i;
                mend_block(product, meeting, block_codes(chunk->panel, at), at, work->sums[i]);
            }
            add_block(work->sums[i], work->decoded.scales[block + i], n_rounded, sums);
        }
    }
    UNROLL
    for (unsigned i = 0; i < n_rounded * PARTS; i++) {
        float *total = totals[i / PARTS] + i % PARTS * W;
        vf_store(total, vf_add(vf_load(total), sums[i / PARTS][i % PARTS]));
    }
}

/* Functions of their own, for as many registers as there are tokens. */
#define MEET(name, n_rounded)                                                                                          \
    static NOT_INLINED void name(const struct cpu_product *product, struct work *work, const struct meeting *meeting,  \
                                 const struct chunk *chunk, float(*totals)[TILE])                                      \
    {                                                                                                                  \
        meet_chunk(product, work, meeting, chunk, n_rounded, totals);                                                  \
    }
MEET(meet_four, 4)
MEET(meet_eight, 8)
MEET(meet_twelve, 12)
MEET(meet_sixteen, 16)

static void
meet_some(const struct cpu_product *product, struct work *work, const struct meeting *meeting,
          const struct chunk *chunk, float (*totals)[TILE])
{
    const unsigned n = meeting->n;
    (n > 12 ? meet_sixteen : (n > 8 ? meet_twelve : (n > 4 ? meet_eight : meet_four)))(product, work, meeting, chunk,
                                                                                       totals);
}

/* A token's blocks begin .. end-1; place: its row in a tile. */
static void
bring_token(const struct cpu_product *product, uint64_t i, uint64_t begin, uint64_t end, struct meeting *meeting,
            uint64_t place)
{
    for (uint64_t first = begin, c = 0; first < end; first += CHUNK_BLOCKS, c++) {
        const uint64_t n_blocks = end - first < CHUNK_BLOCKS ? end - first : CHUNK_BLOCKS;
        gather_token(product, i, first * BLOCK, n_blocks * BLOCK, meeting->tiles[c], place);
        meeting->inexact[c] |= inexact_blocks(product, i, first / CHUNK_BLOCKS);
    }
}

/* The meetings' tokens, and of their activations blocks begin .. end-1. */
static void
open_meetings(const struct cpu_product *product, uint64_t first, uint64_t begin, uint64_t end, struct work *work)
{
    for (uint64_t m = 0; m < work->n_meetings; m++) {
        struct meeting *meeting = &work->meetings[m];
        meeting->first = first + m * TILE;
        meeting->n = product->n_tokens - meeting->first < TILE ? (unsigned)(product->n_tokens - meeting->first) : TILE;
        memset(meeting->inexact, 0, sizeof meeting->inexact);
        for (uint64_t t = 0; t < meeting->n; t++) {
            bring_token(product, meeting->first + t, begin, end, meeting, t);
        }
    }
}

static void
put_panels(const struct cpu_product *product, const struct work *work, uint64_t panel, unsigned n_panels)
{
    const struct meeting *end = &work->meetings[work->n_meetings - 1];
    const uint64_t last = end->first + end->n;
    for (unsigned p = 0; p < n_panels; p++) {
        if (!work->is_free[p]) {
            TIERED(k_panels)(product, (panel + p) * CPU_PANEL_ROWS, (panel + p + 1) * CPU_PANEL_ROWS);
            continue;
        }
        for (uint64_t i = work->meetings[0].first; i < last; i++) {
            const float *total = work->totals[p][i / TILE % MAX_BLOCKS][i % TILE];
            vf words[PARTS];
            for (unsigned part = 0; part < PARTS; part++) {
                words[part] = vf_load(total + part * W);
            }
            put_panel(product, i, panel + p, words);
        }
    }
}

/* Blocks begin .. end-1 of a panel, whole chunks, read as they lie. */
static bool
meet_panel(const struct cpu_product *product, struct work *work, const unsigned char *panel, uint64_t begin,
           uint64_t end, float (*totals)[TILE][TILE])
{
    struct chunk chunk = {.panel = panel, .first = begin};
    bool is_free = true;
    for (; chunk.first < end; chunk.first += CHUNK_BLOCKS, chunk.place++) {
        chunk.n_blocks = end - chunk.first < CHUNK_BLOCKS ? (unsigned)(end - chunk.first) : CHUNK_BLOCKS;
        is_free &= decode_chunk(panel, chunk.first, chunk.n_blocks, &work->decoded);
        for (uint64_t m = 0; m < work->n_meetings; m++) {
            meet_some(product, work, &work->meetings[m], &chunk, totals[m]);
        }
    }
    return is_free;
}

/* Some panels, for as many meetings as the work says, whose tokens begin with `first`. */
static void
meet_panels(const struct cpu_product *product, struct work *work, uint64_t first, uint64_t panel, unsigned n_panels)
{
    const uint64_t n_blocks = product->input->n_padded / BLOCK, stride = panel_bytes(product->weight);
    memset(work->totals, 0, n_panels * sizeof work->totals[0]);
    for (unsigned p = 0; p < n_panels; p++) {
        work->is_free[p] = true;
    }
    for (uint64_t begin = 0; begin < n_blocks; begin += CHUNKS * CHUNK_BLOCKS) {
        const uint64_t left = n_blocks - begin,
                       end = begin + (left < CHUNKS * CHUNK_BLOCKS ? left : CHUNKS * CHUNK_BLOCKS);
        open_meetings(product, first, begin, end, work);
        for (unsigned p = 0; p < n_panels; p++) {
            const unsigned char *at = product->weight->data + (panel + p) * stride;
            work->is_free[p] &= meet_panel(product, work, at, begin, end, work->totals[p]);
        }
    }
    put_panels(product, work, panel, n_panels);
}

static bool
are_for_tiles(const struct cpu_product *product)
{
    bool are_free = product->n_tokens >= CPU_TILED_TOKENS;
    for (uint64_t i = 0; i < product->n_tokens && are_free; i++) {
        are_free = token_kind(product, i) == CPU_DIGITS_FREE;
    }
    return are_free;
}

/* A function of its own, so that a lone token's call takes no room for all this. */
static NOT_INLINED void
panels_by_tiles(const struct cpu_product *product, uint64_t first_panel, uint64_t last_panel)
{
    struct work work;
    shape_tiles(product->n_tokens);
    for (uint64_t first = 0; first < product->n_tokens; first += MAX_BLOCKS * TILE) {
        const uint64_t n_meetings = (product->n_tokens - first + TILE - 1) / TILE;
        work.n_meetings = n_meetings < MAX_BLOCKS ? n_meetings : MAX_BLOCKS;
        for (uint64_t panel = first_panel; panel < last_panel; panel += PANELS) {
            const uint64_t left = last_panel - panel;
            meet_panels(product, &work, first, panel, left < PANELS ? (unsigned)left : PANELS);
        }
    }
    _tile_release(); /* a thread without tiles in use is cheaper to switch */
}

void
TIERED(k_tile_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    if (are_for_tiles(product)) {
        panels_by_tiles(product, begin / CPU_PANEL_ROWS, (end + CPU_PANEL_ROWS - 1) / CPU_PANEL_ROWS);
    } else {
        TIERED(k_panels)(product, begin, end);
    }
}
