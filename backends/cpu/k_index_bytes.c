/* k_index_bytes.c - the indexer's scores in integers: queries and keys are e2m1 in blocks of 32, so a dot product of a
 * block is exact in bytes.
 *
 * A key's element is its half h, -12 .. 12.  A key whose scales lie within KEY_SPREAD doublings of each other is
 * brought to the smallest of them, h << shift, and read as u = (h << shift) + OFFSET, a byte without sign; a table for
 * each shift does both.  A head's query is brought to its own smallest scale likewise: by VNNI in its bytes, which
 * leaves one running sum of 32 bits for all of a dot product; without VNNI a block is summed in 16 bits (16 * 96 * 12 <
 * 2^15), and the multiplication that widens it does the shift.  sum q h = sum q u - OFFSET sum q, and that is known
 * before.
 *
 * So a dot product becomes an f32 once, the power of two of the head goes into its factor, that of the key waits until
 * all heads are added.  Where scales lie farther apart, each block's sum is converted and scaled by itself.
 *
 * What a key costs at 64 heads of 128: 128 dot products of 64 bytes, 16 words of dots to round, weigh, round and add in
 * 10 operations each (4 words of 16 heads: 40), some 20 to unpack and add up; about 190 instructions, two a cycle. */
#include "backends/cpu/index.h"

#define BLOCK HOST_INDEX_BLOCK
#define BLOCK_WORDS (BLOCK / 4u) /* of 32 bits */
#define UNIT_LIMIT 60            /* exponents of scales beyond which the f32 form does it */

#ifdef __AVX512VNNI__
#define KEY_SPREAD 3u
#define QUERY_SPREAD 3
#define WORDS 4u /* of heads that meet a key at once */
#else
#define KEY_SPREAD 2u
#define QUERY_SPREAD 10
#define WORDS 2u
#endif
#define OFFSET (12 << KEY_SPREAD)

_Static_assert(CPU_INDEX_TILE % KEYS == 0, "a tile is whole steps of keys");

LANE vi
add_widened(vi sum, vi pairs, vi multipliers)
{
    return vi_add(sum, vi_madd16(pairs, multipliers));
}

/* queries */

/* The exponent of the unit in which a block's greatest magnitude is above 6 and at most 12. */
static int
unit_exponent(float greatest)
{
    const uint32_t bits = hearth_f32_bits(greatest);
    return (int)(bits >> 23) - 127 - ((bits & 0x7FFFFFu) <= 0x400000u ? 3 : 2);
}

static float
power_of_two(int exponent)
{
    return hearth_f32_from_bits((uint32_t)(exponent + 127) << 23);
}

static float
greatest_of_block(const float *x)
{
    vf greatest = vf_zero();
    for (uint32_t i = 0; i < BLOCK; i += W) {
        greatest = vf_max(greatest, vf_abs(vf_load(x + i)));
    }
    return vf_greatest(greatest);
}

/* One block of one head: its elements over 2^exponent as bytes, even ones first, spread over the lanes.  False: they
 * are no integers. */
static bool
put_block(const float *x, int exponent, const struct cpu_index_query *query, uint64_t block, uint32_t head)
{
    const vf reciprocal = vf_set1(power_of_two(-exponent));
    _Alignas(64) uint8_t codes[BLOCK];
    uint8_t ordered[BLOCK];
    int is_exact = 1;
    for (uint32_t i = 0; i < BLOCK; i += W) {
        const vf value = vf_add(vf_mul(vf_load(x + i), reciprocal), vf_zero()); /* -0 becomes 0 */
        const vi code = vf_to_int(value);
        is_exact &= vi_all_bits(vi_xor(vf_to_bits(value), vf_to_bits(vf_from_int(code)))) == 0;
        vi_store_bytes(codes + i, code);
    }
    for (uint32_t i = 0; i < BLOCK / 2; i++) {
        ordered[i] = codes[2 * i];
        ordered[BLOCK / 2 + i] = codes[2 * i + 1];
    }
    int32_t total = 0;
    for (uint32_t i = 0; i < BLOCK; i++) {
        total += (int8_t)ordered[i];
    }
    for (uint32_t j = 0; j < BLOCK_WORDS; j++) {
        memcpy(query->codes + ((block * BLOCK_WORDS + j) * query->stride + head) * 4, ordered + 4 * j, 4);
    }
    query->corrections[block * query->stride + head] = -OFFSET * total;
    return is_exact;
}

/* The smallest unit of a head's blocks, and how many doublings above it the largest lies; 0 and 0 for zeros.  False:
 * beyond what integers are used for. */
static bool
find_units(const float *q, uint32_t n_blocks, int *ret_least, int *ret_spread)
{
    int least = UNIT_LIMIT + 1, most = -UNIT_LIMIT - 1;
    for (uint32_t block = 0; block < n_blocks; block++) {
        const float greatest = greatest_of_block(q + block * BLOCK);
        if (greatest == 0.0f) {
            continue;
        }
        const int exponent = unit_exponent(greatest);
        if (!(greatest < INFINITY) || exponent < -UNIT_LIMIT || exponent > UNIT_LIMIT) {
            return false;
        }
        least = exponent < least ? exponent : least;
        most = exponent > most ? exponent : most;
    }
    *ret_least = least > most ? 0 : least;
    *ret_spread = least > most ? 0 : most - least;
    return true;
}

static bool
put_head(const float *q, uint32_t n_blocks, const struct cpu_index_query *query, uint32_t head, int least)
{
    for (uint32_t block = 0; block < n_blocks; block++) {
        const uint64_t at = block * query->stride + head;
        const float greatest = greatest_of_block(q + block * BLOCK);
        const int own = greatest == 0.0f ? least : unit_exponent(greatest);
        const int unit = query->is_joint ? least : own;
        int in_bytes = unit; /* the unit of the bytes; multipliers do the rest */
#ifndef __AVX512VNNI__
        in_bytes = own;
#endif
        if (!put_block(q + block * BLOCK, in_bytes, query, block, head)) {
            return false;
        }
        query->units[at] = power_of_two(unit);
        query->multipliers[at] = 0x10001 << (in_bytes - unit);
        query->corrections[at] *= 1 << (in_bytes - unit);
        query->totals[head] += query->corrections[at];
    }
    query->joint_factors[head] = query->factors[head] * power_of_two(least);
    return true;
}

/* Heads beyond n_heads weigh nothing. */
static void
clear_query(const struct cpu_index_query *query, uint32_t n_blocks)
{
    const uint64_t n = n_blocks * query->stride;
    memset(query->codes, 0, (size_t)(n * BLOCK));
    memset(query->corrections, 0, (size_t)n * sizeof *query->corrections);
    memset(query->units, 0, (size_t)n * sizeof *query->units);
    memset(query->multipliers, 0, (size_t)n * sizeof *query->multipliers);
    memset(query->totals, 0, (size_t)query->stride * sizeof *query->totals);
    memset(query->joint_factors, 0, (size_t)query->stride * sizeof *query->joint_factors);
}

bool
TIERED(k_index_query)(const float *q, uint32_t n_heads, uint32_t width, struct cpu_index_query *query)
{
    const uint32_t n_blocks = width / BLOCK;
    int least, spread;
    query->is_joint = true;
    for (uint32_t head = 0; head < n_heads; head++) {
        const float factor = fabsf(query->factors[head]);
        if (!find_units(q + (uint64_t)head * width, n_blocks, &least, &spread) || !(factor < 0x1p60f) ||
            (factor != 0.0f && factor < 0x1p-60f)) {
            return false;
        }
        query->is_joint = query->is_joint && spread <= QUERY_SPREAD;
    }
    clear_query(query, n_blocks);
    for (uint32_t head = 0; head < n_heads; head++) {
        find_units(q + (uint64_t)head * width, n_blocks, &least, &spread);
        if (!put_head(q + (uint64_t)head * width, n_blocks, query, head, least)) {
            return false;
        }
    }
    return true;
}

/* keys */

/* (h << shift) + OFFSET for the 16 codes, twice */
#define TABLE(s)                                                                                                       \
    {                                                                                                                  \
        ENTRY(s, 0), ENTRY(s, 1), ENTRY(s, 2), ENTRY(s, 3), ENTRY(s, 4), ENTRY(s, 6), ENTRY(s, 8), ENTRY(s, 12),       \
            ENTRY(s, 0), ENTRY(s, -1), ENTRY(s, -2), ENTRY(s, -3), ENTRY(s, -4), ENTRY(s, -6), ENTRY(s, -8),           \
            ENTRY(s, -12)                                                                                              \
    }
#define ENTRY(s, h) (uint8_t)(OFFSET + (h) * (1 << (s)))
static const _Alignas(16) uint8_t tables[KEY_SPREAD + 1][16] = {
    TABLE(0),
    TABLE(1),
    TABLE(2),
#if KEY_SPREAD > 2
    TABLE(3),
#endif
};

/* The 32 elements of a block become bytes, even ones first. */
LANE void
unpack_block(const unsigned char *packed, const uint8_t *table, uint8_t *out)
{
    const __m256i raw = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)packed));
    const __m256i codes = _mm256_and_si256(_mm256_srlv_epi32(raw, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)),
                                           _mm256_set1_epi8(15)); /* bits of neighbours are masked */
    const __m256i both = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)table));
    _mm256_storeu_si256((void *)out, _mm256_shuffle_epi8(both, codes));
}

static float
half_scale(uint8_t code)
{
    return 0.5f * hearth_e8m0_to_f32(code);
}

/* Scales of a joint tile are within these codes. */
#define LEAST_CODE (127 - UNIT_LIMIT)
#define MOST_CODE (127 + UNIT_LIMIT)

/* One key: whether its scales are near each other; the smallest, and how far the others lie above it. */
static bool
join_scales(const uint8_t *scales, uint32_t n_blocks, uint8_t *shifts, float *ret_unit)
{
    uint8_t least = scales[0], most = scales[0];
    for (uint32_t i = 1; i < n_blocks; i++) {
        least = scales[i] < least ? scales[i] : least;
        most = scales[i] > most ? scales[i] : most;
    }
    for (uint32_t i = 0; i < n_blocks; i++) {
        shifts[i] = scales[i] - least;
    }
    *ret_unit = half_scale(least);
    return most - least <= (int)KEY_SPREAD && most <= MOST_CODE && least >= LEAST_CODE;
}

/* The same for eight keys of four blocks; words: their scales, which the shifts replace. */
LANE bool
join_eight(uint32_t *words, float *units)
{
    const __m256i one_on = _mm256_set_epi8(12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11,
                                           10, 9, 4, 7, 6, 5, 0, 3, 2, 1);
    const __m256i scales = _mm256_loadu_si256((const void *)words);
    const __m256i other = _mm256_shuffle_epi8(scales, one_on);
    __m256i least = _mm256_min_epu8(scales, other), most = _mm256_max_epu8(scales, other);
    least = _mm256_min_epu8(least, _mm256_or_si256(_mm256_srli_epi32(least, 16), _mm256_slli_epi32(least, 16)));
    most = _mm256_max_epu8(most, _mm256_or_si256(_mm256_srli_epi32(most, 16), _mm256_slli_epi32(most, 16)));
    const __m256i spread = _mm256_sub_epi8(most, least);
    __m256i good =
        _mm256_cmpeq_epi8(_mm256_max_epu8(spread, _mm256_set1_epi8(KEY_SPREAD)), _mm256_set1_epi8(KEY_SPREAD));
    good = _mm256_and_si256(good, _mm256_cmpeq_epi8(_mm256_max_epu8(least, _mm256_set1_epi8(LEAST_CODE)), least));
    good = _mm256_and_si256(good, _mm256_cmpeq_epi8(_mm256_min_epu8(most, _mm256_set1_epi8((char)MOST_CODE)), most));
    _mm256_storeu_si256((void *)words, _mm256_sub_epi8(scales, least));
    const __m256 unit = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_srli_epi32(least, 24), 23));
    _mm256_storeu_ps(units, _mm256_mul_ps(unit, _mm256_set1_ps(0.5f)));
    return _mm256_movemask_epi8(good) == -1;
}

bool
TIERED(k_index_join)(const struct cpu_index *work, uint64_t first, uint32_t n, uint8_t *shifts, float *units)
{
    const uint32_t n_blocks = work->width / BLOCK;
    const unsigned char *scales = work->keys + first * work->row_bytes + work->width / 2;
    bool is_joint = true;
    if (n_blocks != 4) {
        for (uint32_t k = 0; k < n; k++) {
            is_joint &= join_scales(scales + k * work->row_bytes, n_blocks, shifts + k * n_blocks, &units[k]);
        }
        return is_joint;
    }
    uint32_t words[CPU_INDEX_TILE];
    for (uint32_t k = 0; k < (n + 7) / 8 * 8; k++) {
        memcpy(&words[k], scales + (k < n ? k : n - 1) * work->row_bytes, sizeof words[k]);
    }
    for (uint32_t k = 0; k < n; k += 8) {
        is_joint &= join_eight(words + k, units + k);
    }
    memcpy(shifts, words, (n + 7) / 8 * 8 * sizeof words[0]);
    return is_joint;
}

/* n_blocks is a constant where it matters. */
LANE void
unpack_key(const unsigned char *row, const uint8_t *shifts, const uint32_t n_blocks, uint8_t *out)
{
    for (uint32_t block = 0; block < n_blocks; block++) {
        unpack_block(row + block * (BLOCK / 2), tables[shifts[block]], out + block * BLOCK);
    }
}

/* Without shifts, beside the scales. */
static void
unpack_apart(const struct cpu_index *work, const unsigned char *row, uint32_t k)
{
    const uint32_t n_blocks = work->width / BLOCK;
    for (uint32_t block = 0; block < n_blocks; block++) {
        unpack_block(row + block * (BLOCK / 2), tables[0], work->bytes + (k * n_blocks + block) * BLOCK);
        work->block_units[k * n_blocks + block] = half_scale(row[work->width / 2 + block]);
    }
}

void
TIERED(k_index_tile)(const struct cpu_index *work, uint64_t first, uint32_t n, struct cpu_index_tile *tile)
{
    const uint32_t n_blocks = work->width / BLOCK;
    const unsigned char *rows = work->keys + first * work->row_bytes;
    const uint64_t row_bytes = work->row_bytes;
    uint8_t *const shifts = (uint8_t *)work->block_units; /* one or the other */
    uint8_t *const bytes = work->bytes;
    bool is_joint = TIERED(k_index_join)(work, first, n, shifts, tile->units);
    for (uint32_t t = 0; t < work->n_queries; t++) { /* one that has scales for each block wants them of keys too */
        is_joint &= !work->queries[t].is_in_bytes || work->queries[t].is_joint;
    }
    for (uint32_t k = 0; k < (n + KEYS - 1) / KEYS * KEYS; k++) { /* the last one fills the step */
        const uint32_t from = k < n ? k : n - 1;
        if (!is_joint) {
            unpack_apart(work, rows + from * row_bytes, k);
        } else if (n_blocks == 4) {
            unpack_key(rows + from * row_bytes, shifts + from * 4, 4, bytes + k * (4 * BLOCK));
        } else {
            unpack_key(rows + from * row_bytes, shifts + from * n_blocks, n_blocks, bytes + k * n_blocks * BLOCK);
        }
    }
    tile->n = n;
    tile->is_joint = is_joint;
}

/* scores */

/* What a block adds to running sums of 32 bits. */
LANE void
add_block(const struct cpu_index_query *query, const uint8_t *keys, uint64_t width, uint32_t block, uint64_t head,
          const unsigned n_words, vi sums[KEYS][WORDS])
{
    const int8_t *codes = query->codes + (block * BLOCK_WORDS * query->stride + head) * 4;
    vi pairs[KEYS][WORDS];
    UNROLL
    for (unsigned i = 0; i < KEYS * n_words; i++) {
#ifdef __AVX512VNNI__
        pairs[i / n_words][i % n_words] = sums[i / n_words][i % n_words];
#else
        pairs[i / n_words][i % n_words] = vi_zero();
#endif
    }
    UNROLL
    for (unsigned j = 0; j < BLOCK_WORDS; j++) {
        vi q[WORDS];
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            q[i] = vi_load(codes + (j * query->stride + i * W) * 4);
        }
        UNROLL
        for (unsigned k = 0; k < KEYS; k++) {
            const vi u = vi_set4(keys + k * width + block * BLOCK + 4 * j);
            UNROLL
            for (unsigned i = 0; i < n_words; i++) {
                pairs[k][i] = vi_add_dots(pairs[k][i], u, q[i]);
                KEEP(pairs[k][i]);
            }
        }
    }
    UNROLL
    for (unsigned i = 0; i < KEYS * n_words; i++) {
#ifdef __AVX512VNNI__
        sums[i / n_words][i % n_words] = pairs[i / n_words][i % n_words];
#else
        const vi multipliers = vi_load(query->multipliers + block * query->stride + head + i % n_words * W);
        sums[i / n_words][i % n_words] =
            add_widened(sums[i / n_words][i % n_words], pairs[i / n_words][i % n_words], multipliers);
#endif
    }
}

/* Some words of heads for KEYS keys. */
LANE void
score_joint(const struct cpu_index_query *query, const uint8_t *keys, uint64_t width, uint64_t head,
            const unsigned n_words, vf scores[KEYS])
{
    vi sums[KEYS][WORDS];
    UNROLL
    for (unsigned i = 0; i < KEYS * n_words; i++) {
        sums[i / n_words][i % n_words] = vi_load(query->totals + head + i % n_words * W);
    }
    ONE_BY_ONE
    for (uint32_t block = 0; block < width / BLOCK; block++) {
        add_block(query, keys, width, block, head, n_words, sums);
    }
    UNROLL
    for (unsigned i = 0; i < KEYS * n_words; i++) {
        const vf dot = vf_from_int(vi_max(sums[i / n_words][i % n_words], vi_zero()));
        scores[i / n_words] = vf_add(scores[i / n_words], weigh(dot, query->joint_factors + head + i % n_words * W));
    }
}

/* The same, each block with its own scales. */
LANE void
score_blocks(const struct cpu_index_query *query, const uint8_t *keys, const float *units, uint64_t width,
             uint64_t head, vf scores[KEYS])
{
    const uint32_t n_blocks = (uint32_t)width / BLOCK;
    vf dots[KEYS];
    UNROLL
    for (unsigned k = 0; k < KEYS; k++) {
        dots[k] = vf_zero();
    }
    ONE_BY_ONE
    for (uint32_t block = 0; block < n_blocks; block++) {
        const uint64_t at = block * query->stride + head;
        vi sums[KEYS][WORDS];
        UNROLL
        for (unsigned k = 0; k < KEYS; k++) {
            sums[k][0] = vi_load(query->corrections + at);
        }
        add_block(query, keys, width, block, head, 1, sums);
        UNROLL
        for (unsigned k = 0; k < KEYS; k++) {
            const vf unit = vf_mul(vf_load(query->units + at), vf_set1(units[k * n_blocks + block]));
            dots[k] = vf_fma(vf_from_int(sums[k][0]), unit, dots[k]);
        }
    }
    UNROLL
    for (unsigned k = 0; k < KEYS; k++) { /* a NaN counts as 0 */
        scores[k] = vf_add(scores[k], weigh(vf_max(dots[k], vf_zero()), query->factors + head));
    }
}

void
TIERED(k_index_score)(const struct cpu_index *work, const struct cpu_index_query *query,
                      const struct cpu_index_tile *tile, float *scores)
{
    const bool is_joint = query->is_joint && tile->is_joint;
    const uint32_t n_blocks = work->width / BLOCK;
    for (uint32_t k = 0; k < tile->n; k += KEYS) {
        const uint8_t *keys = work->bytes + k * (uint64_t)work->width;
        vf sums[KEYS];
        UNROLL
        for (unsigned i = 0; i < KEYS; i++) {
            sums[i] = vf_zero();
        }
        uint64_t head = 0;
        for (; is_joint && head + WORDS * W <= query->stride; head += WORDS * W) {
            score_joint(query, keys, work->width, head, WORDS, sums);
        }
        for (; is_joint && head < query->stride; head += W) {
            score_joint(query, keys, work->width, head, 1, sums);
        }
        for (; head < query->stride; head += W) {
            score_blocks(query, keys, work->block_units + (uint64_t)k * n_blocks, work->width, head, sums);
        }
        add_lanes(sums, scores + k);
    }
    for (uint32_t k = 0; is_joint && k < tile->n; k += W) {
        vf_store(scores + k, vf_mul(vf_load(scores + k), vf_load(tile->units + k)));
    }
}
