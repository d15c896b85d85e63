/* k_choose.c - the top_k best of many scores in one pass, without a sort.
 *
 * Entries come in ascending order and are kept in it, each with its rank: its score as an integer of the same order.
 * Whoever is better than the limit is kept; when there is no more room, the top_k best stay and the worst of them is
 * the new limit.  An entry that is no better than the limit is a worse choice than all that are kept, for of equal
 * scores the lower entry wins.  Scores in random order pass the limit some top_k * log(n / top_k) times; in ascending
 * order all do, and each costs its share of a search in 2 top_k ranks. */
#include "backends/cpu/kernels_tiered.h"

#define STEP (4 * W)

#ifdef __AVX512F__
LANE unsigned
lanes_greater(vi a, vi b)
{
    return _mm512_cmpgt_epi32_mask(a, b);
}
LANE unsigned
lanes_equal(vi a, vi b)
{
    return _mm512_cmpeq_epi32_mask(a, b);
}
/* The lanes come together at the beginning; what follows is not used. */
LANE vi
gather_lanes(vi x, unsigned lanes)
{
    return _mm512_maskz_compress_epi32((__mmask16)lanes, x);
}
#else
LANE unsigned
lanes_greater(vi a, vi b)
{
    return (unsigned)_mm256_movemask_ps(vf_from_bits(vi_greater(a, b)));
}
LANE unsigned
lanes_equal(vi a, vi b)
{
    return (unsigned)_mm256_movemask_ps(vf_from_bits(vi_equal(a, b)));
}
LANE vi
gather_lanes(vi x, unsigned lanes)
{
    const uint64_t bytes = _pdep_u64(lanes, UINT64_C(0x0101010101010101)) * 255;
    const uint64_t numbers = _pext_u64(UINT64_C(0x0706050403020100), bytes);
    return _mm256_permutevar8x32_epi32(x, _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)numbers)));
}
#endif

/* The entries that are kept, in their order, and their ranks.  There is room for W more to be written. */
struct kept {
    int32_t *entries, *ranks;
    uint64_t n;
};

LANE vi
ranks_of(vf scores)
{
    const vi bits = vf_to_bits(scores);
    return vi_xor(bits, vi_and(vi_greater(vi_zero(), bits), vi_set1(INT32_MAX)));
}

static float
score_of(int32_t rank)
{
    return hearth_f32_from_bits((uint32_t)(rank < 0 ? rank ^ INT32_MAX : rank));
}

LANE vi
numbers_from(uint64_t first)
{
    static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return vi_add(vi_load(lanes), vi_set1((int32_t)first));
}

LANE void
keep_lanes(struct kept *kept, vi entries, vi ranks, unsigned lanes)
{
    vi_store(kept->entries + kept->n, gather_lanes(entries, lanes));
    vi_store(kept->ranks + kept->n, gather_lanes(ranks, lanes));
    kept->n += (unsigned)__builtin_popcount(lanes);
}

/* ranks: [n rounded up to W], INT32_MIN beyond n */
static uint64_t
count_greater(const int32_t *ranks, uint64_t n, int32_t than)
{
    vi count = vi_zero();
    for (uint64_t i = 0; i < n; i += W) {
        count = vi_sub(count, vi_greater(vi_load(ranks + i), vi_set1(than)));
    }
    return (uint64_t)vi_total(count);
}

/* The rank of the worst of the top_k best, bit by bit: the greatest that top_k ranks reach. */
static int32_t
find_worst(const int32_t *ranks, uint64_t n, uint64_t top_k)
{
    uint32_t worst = 0; /* 2^31 above the rank */
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        const uint32_t reached = worst | bit;
        if (count_greater(ranks, n, (int32_t)((reached - 1) ^ (1u << 31))) >= top_k) {
            worst = reached;
        }
    }
    return (int32_t)(worst ^ (1u << 31));
}

/* Only the top_k best stay; returns the worst of their scores. */
static float
keep_best(struct kept *kept, uint64_t top_k)
{
    const uint64_t n = kept->n;
    for (uint64_t i = n; i % W != 0; i++) {
        kept->ranks[i] = INT32_MIN;
    }
    const int32_t worst = find_worst(kept->ranks, n, top_k);
    uint64_t n_equal = top_k - count_greater(kept->ranks, n, worst); /* that stay: the lowest */
    kept->n = 0;
    for (uint64_t i = 0; i < n; i += W) {
        const vi entries = vi_load(kept->entries + i), ranks = vi_load(kept->ranks + i);
        const unsigned first = n_equal < W ? (1u << n_equal) - 1 : (1u << W) - 1;
        const unsigned equal = _pdep_u32(first, lanes_equal(ranks, vi_set1(worst)));
        n_equal -= (unsigned)__builtin_popcount(equal);
        keep_lanes(kept, entries, ranks, lanes_greater(ranks, vi_set1(worst)) | equal);
    }
    return score_of(worst);
}

/* Scores from *next on that are greater than limit are added, while there is room for a step's. */
static void
collect(const float *scores, uint64_t n_scores, float limit, uint64_t room, struct kept *kept, uint64_t *next)
{
    const vf limits = vf_set1(limit);
    uint64_t i = *next;
    for (; i + STEP <= n_scores && kept->n + STEP <= room; i += STEP) {
        const float *from = scores + i;
        const vf most =
            vf_max(vf_max(vf_load(from), vf_load(from + W)), vf_max(vf_load(from + 2 * W), vf_load(from + 3 * W)));
        if (vf_any_greater(most, limits) == 0) {
            continue;
        }
        UNROLL
        for (unsigned word = 0; word < 4; word++) {
            const vf part = vf_load(from + word * W);
            keep_lanes(kept, numbers_from(i + word * W), ranks_of(part), (unsigned)vf_any_greater(part, limits));
        }
    }
    for (; i < n_scores && kept->n + STEP <= room; i += W) { /* fewer than a step's */
        const unsigned n = n_scores - i < W ? (unsigned)(n_scores - i) : W;
        const vf part = vf_load_tail(scores + i, n);
        keep_lanes(kept, numbers_from(i), ranks_of(part), (unsigned)vf_any_greater(part, limits) & ((1u << n) - 1));
    }
    *next = i;
}

void
TIERED(k_choose)(const float *scores, uint64_t n, uint32_t top_k, int32_t *work, int32_t *indices)
{
    const uint64_t room = CPU_CHOOSE_ROOM(top_k);
    struct kept kept = {.entries = work, .ranks = work + room, .n = n < room - W ? n : room - W};
    uint64_t next = kept.n;
    if (n <= top_k) { /* no choice, and maybe no scores */
        for (uint64_t i = 0; i < top_k; i++) {
            indices[i] = i < n ? (int32_t)i : -1;
        }
        return;
    }
    for (uint64_t i = 0; i < kept.n; i += W) {
        vi_store(kept.entries + i, numbers_from(i));
        vi_store(kept.ranks + i, ranks_of(vf_load_tail(scores + i, kept.n - i)));
    }
    while (kept.n > top_k) {
        const float limit = keep_best(&kept, top_k);
        collect(scores, n, limit, room, &kept, &next);
    }
    memcpy(indices, kept.entries, top_k * sizeof *indices);
}
