/* k_tile_index.c - the indexer's scores by AMX, for keys of 128 elements: a tile of 16 keys meets tiles of 16 heads.
 *
 * As k_index_bytes.c has them, a key's elements and a head's are integers of a byte, each brought to its smallest
 * scale; here both have a sign.  Two instructions, of the even elements and of the odd, give 16 x 16 dots.  They leave
 * the tiles as rows of keys whose lanes are heads, and are rounded, weighed and added in the order of k_index_bytes.c:
 * an entry gets the same bits from either, and what does not fit here goes there.
 *
 * At 64 heads a key costs the tiles half an instruction of 16 cycles, and the vectors 10 instructions for each of four
 * words of dots, 6 to unpack it and some 3 to add its lanes: 49, two a cycle.  So the tiles of some keys are
 * multiplied while the dots of those before them are weighed. */
#include "backends/cpu/index.h"
#include "backends/cpu/tiles.h"

#define WIDTH 128u /* elements of a key */
#define BLOCKS (WIDTH / HOST_INDEX_BLOCK)
#define HALVES 2u /* of a key: its even elements, and its odd ones */
#define MAX_HEADS 128u
#define MOST_SHIFT 3u /* doublings for which an element keeps to a byte */
#define AHEAD 64u     /* keys: a processor's own asking for them is late */

/* Tiles by name: those of 32 keys stay, and a tile of heads serves two. */
#define SUMS_0 0
#define SUMS_1 1
#define KEYS_0_EVEN 2
#define KEYS_0_ODD 3
#define KEYS_1_EVEN 4
#define KEYS_1_ODD 5
#define HEADS_EVEN 6
#define HEADS_ODD 7

_Static_assert(WIDTH / HALVES == TILE_ROW_BYTES && HOST_INDEX_BLOCK % 8 == 0, "half a key is a row of a tile");
_Static_assert(CPU_INDEX_TILE == 2 * TILE && TILE % KEYS == 0, "keys go by two tiles, and by steps in them");

/* queries */

/* The heads' bytes from the form of k_index_bytes.c, in which a block's even elements stand before its odd ones. */
static void
tile_heads(struct cpu_index_query *query)
{
    const uint64_t block_words = HOST_INDEX_BLOCK / 4, half_words = block_words / HALVES;
    for (uint64_t i = 0; i < WIDTH / 4 * query->stride; i++) {
        const uint64_t word = i / query->stride, head = i % query->stride, block = word / block_words;
        const uint64_t half = word % block_words / half_words, row = block * half_words + word % half_words;
        const int multiplier = query->multipliers[block * query->stride + head] & 0xFFFF; /* it stands there twice */
        int8_t *out =
            query->tiles + (head / TILE * HALVES + half) * TILE_BYTES + row * TILE_ROW_BYTES + head % TILE * 4;
        for (unsigned j = 0; j < 4; j++) {
            out[j] = (int8_t)(query->codes[i * 4 + j] * multiplier);
        }
    }
}

static bool
fits_bytes(const struct cpu_index_query *query)
{
    bool fits = true;
    for (uint64_t i = 0; i < BLOCKS * query->stride; i++) {
        fits &= (query->multipliers[i] & 0xFFFF) <= 1 << MOST_SHIFT;
    }
    return fits;
}

bool
TIERED(k_tile_index_query)(const float *q, uint32_t n_heads, uint32_t width, struct cpu_index_query *query)
{
    const bool is_in_bytes = TIERED(k_index_query)(q, n_heads, width, query);
    query->is_tiled =
        is_in_bytes && query->is_joint && width == WIDTH && query->stride <= MAX_HEADS && fits_bytes(query);
    if (query->is_tiled) {
        tile_heads(query);
    }
    return is_in_bytes;
}

/* keys */

#define ENTRIES(s)                                                                                                     \
    0, 1 << (s), 2 << (s), 3 << (s), 4 << (s), 6 << (s), 8 << (s), 12 << (s), 0, -(1 << (s)), -(2 << (s)),             \
        -(3 << (s)), -(4 << (s)), -(6 << (s)), -(8 << (s)), -(12 << (s))
/* twice what an e2m1 code stands for, doubled 0 to 3 times */
static const _Alignas(64) int8_t elements[MOST_SHIFT + 1][16] = {
    {ENTRIES(0)}, {ENTRIES(1)}, {ENTRIES(2)}, {ENTRIES(3)}};

/* A key's even elements and its odd ones.  shifts: one a block. */
LANE void
unpack_key(const unsigned char *row, const uint8_t shifts[BLOCKS], int8_t *even, int8_t *odd)
{
#ifdef __AVX512VBMI__
    const vi to_blocks =
        _mm512_set_epi32(0x03030303, 0x03030303, 0x03030303, 0x03030303, 0x02020202, 0x02020202, 0x02020202, 0x02020202,
                         0x01010101, 0x01010101, 0x01010101, 0x01010101, 0, 0, 0, 0);
    const vi tables = _mm512_shuffle_epi8(vi_sll(vi_set4(shifts), 4), to_blocks), low = _mm512_set1_epi8(15);
    const vi codes = vi_load(row), table = vi_load(elements);
    /* (codes & low) | tables */
    vi_store(even, _mm512_permutexvar_epi8(_mm512_ternarylogic_epi32(codes, low, tables, 0xEA), table));
    vi_store(odd, _mm512_permutexvar_epi8(_mm512_ternarylogic_epi32(vi_srl(codes, 4), low, tables, 0xEA), table));
#else
    for (unsigned i = 0; i < WIDTH / 2; i++) {
        const int8_t *table = elements[shifts[i / (HOST_INDEX_BLOCK / 2)]];
        even[i] = table[row[i] & 15];
        odd[i] = table[row[i] >> 4];
    }
#endif
}

/* n keys, as tiles in the work space; the last one fills them up.  False: their scales are too far apart. */
static bool
unpack_keys(const struct cpu_index *work, uint64_t first, uint32_t n, float units[CPU_INDEX_TILE])
{
    uint8_t shifts[CPU_INDEX_TILE * BLOCKS];
    if (!TIERED(k_index_join)(work, first, n, shifts, units)) {
        return false;
    }
    for (uint32_t k = 0; k < CPU_INDEX_TILE; k++) {
        const uint32_t from = k < n ? k : n - 1;
        const unsigned char *row = work->keys + (first + from) * work->row_bytes;
        int8_t *even = (int8_t *)work->bytes + k / TILE * HALVES * TILE_BYTES + k % TILE * TILE_ROW_BYTES;
        _mm_prefetch((const char *)row + AHEAD * work->row_bytes, _MM_HINT_T0);
        unpack_key(row, shifts + from * BLOCKS, even, even + TILE_BYTES);
    }
    return true;
}

/* scores */

/* Keys that meet one query: what is left to do when their dots are there. */
struct batch {
    const struct cpu_index_query *query; /* NULL: none */
    uint32_t n;
    float *scores; /* [n]: results */
    float units[CPU_INDEX_TILE];
    _Alignas(64) int32_t dots[MAX_HEADS / TILE][CPU_INDEX_TILE][TILE]; /* [tile of heads][key][head] */
};

LANE void
load_keys(const uint8_t *keys)
{
    _tile_loadd(KEYS_0_EVEN, keys, TILE_ROW_BYTES);
    _tile_loadd(KEYS_0_ODD, keys + TILE_BYTES, TILE_ROW_BYTES);
    _tile_loadd(KEYS_1_EVEN, keys + 2 * TILE_BYTES, TILE_ROW_BYTES);
    _tile_loadd(KEYS_1_ODD, keys + 3 * TILE_BYTES, TILE_ROW_BYTES);
}

/* heads: a tile of the even elements and one of the odd. */
LANE void
multiply_heads(const int8_t *heads, int32_t (*dots)[TILE])
{
    _tile_loadd(HEADS_EVEN, heads, TILE_ROW_BYTES);
    _tile_loadd(HEADS_ODD, heads + TILE_BYTES, TILE_ROW_BYTES);
    _tile_zero(SUMS_0);
    _tile_zero(SUMS_1);
    _tile_dpbssd(SUMS_0, KEYS_0_EVEN, HEADS_EVEN);
    _tile_dpbssd(SUMS_1, KEYS_1_EVEN, HEADS_EVEN);
    _tile_dpbssd(SUMS_0, KEYS_0_ODD, HEADS_ODD);
    _tile_dpbssd(SUMS_1, KEYS_1_ODD, HEADS_ODD);
    _tile_stored(SUMS_0, dots, TILE_ROW_BYTES);
    _tile_stored(SUMS_1, dots + TILE, TILE_ROW_BYTES);
}

/* Scores of keys k .. k+KEYS-1, their units not yet applied. */
LANE void
weigh_keys(const struct batch *batch, uint32_t k, float *scores)
{
    const uint64_t stride = batch->query->stride;
    vf sums[KEYS];
    UNROLL
    for (unsigned i = 0; i < KEYS; i++) {
        sums[i] = vf_zero();
    }
    ONE_BY_ONE
    for (uint64_t head = 0; head < stride; head += W) {
        UNROLL
        for (unsigned i = 0; i < KEYS; i++) {
            const vi dots = vi_load(batch->dots[head / TILE][k + i] + head % TILE);
            const vf dot = vf_from_int(vi_max(dots, vi_zero()));
            sums[i] = vf_add(sums[i], weigh(dot, batch->query->joint_factors + head));
        }
    }
    add_lanes(sums, scores);
}

/* The keys in the work space meet next's query, while the dots of the batch before are weighed. */
static void
step(const struct cpu_index *work, struct batch *next, const struct batch *before)
{
    const uint64_t n_tiles = next->query == NULL ? 0 : next->query->stride / TILE, n_steps = CPU_INDEX_TILE / KEYS;
    float scores[CPU_INDEX_TILE];
    uint64_t tile = 0;
    TILES_WRITTEN();
    if (n_tiles > 0) {
        load_keys(work->bytes);
    }
    for (uint32_t i = 0; i < n_steps; i++) {
        for (; tile < n_tiles * (i + 1) / n_steps; tile++) {
            multiply_heads(next->query->tiles + tile * HALVES * TILE_BYTES, next->dots[tile]);
        }
        if (before->query != NULL) {
            weigh_keys(before, i * KEYS, scores + i * KEYS);
        }
    }
    TILES_WRITTEN();
    if (before->query == NULL) {
        return;
    }
    for (uint32_t k = 0; k < CPU_INDEX_TILE; k += W) {
        vf_store(scores + k, vf_mul(vf_load(scores + k), vf_load(before->units + k)));
    }
    finish_scores(work->native, scores, before->n, before->scores);
}

static bool
are_tiled(const struct cpu_index *work)
{
    bool tiled = true;
    for (uint32_t t = 0; t < work->n_queries; t++) {
        tiled &= work->queries[t].is_tiled;
    }
    return tiled;
}

void
TIERED(k_tile_index)(const struct cpu_index *work, uint64_t begin, uint64_t end)
{
    struct batch batches[2];
    unsigned turn = 0;
    if (!are_tiled(work)) {
        TIERED(k_index)(work, begin, end);
        return;
    }
    batches[0].query = batches[1].query = NULL;
    shape_tiles(TILE);
    for (uint64_t first = begin; first < end; first += CPU_INDEX_TILE) {
        const uint32_t n = end - first < CPU_INDEX_TILE ? (uint32_t)(end - first) : CPU_INDEX_TILE;
        float units[CPU_INDEX_TILE];
        if (!unpack_keys(work, first, n, units)) {
            TIERED(k_index)(work, first, first + n);
            continue;
        }
        for (uint32_t t = 0; t < work->n_queries; t++, turn ^= 1) {
            struct batch *next = &batches[turn];
            next->query = &work->queries[t];
            next->n = n;
            next->scores = work->queries[t].scores + first;
            memcpy(next->units, units, sizeof units);
            step(work, next, &batches[turn ^ 1]);
        }
    }
    batches[turn].query = NULL;
    step(work, &batches[turn], &batches[turn ^ 1]);
    _tile_release(); /* a thread without tiles in use is cheaper to switch */
}
