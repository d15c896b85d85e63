/* k_pack.c - weights into the layouts of cpu.h, once when they are loaded: whole panels of an e2m1 weight, and rows;
 * and panels back to rows, for a device that borrows an expert.
 *
 * A block of 32 columns is 16 bytes of a row, four words; piece j of the panel is word j of each of 16 rows, each word
 * with its nibbles reordered: n0 n1 .. n7 become n0 n4 n1 n5 n2 n6 n3 n7.  Roof: the memory's, two bytes moved for each
 * one packed, three where the destination is not in a cache. */

#include "backends/cpu/kernels_tiered.h"

#define BLOCK_BYTES (HOST_E2M1_BLOCK / 2)
#define GROUP_BLOCKS (CPU_GROUP_COLS / HOST_E2M1_BLOCK)
#define PIECE_BYTES (4 * CPU_PANEL_ROWS)

/* The nibbles of each word: those of its first half between those of its second. */
static inline __m256i
interleave(__m256i x)
{
    const __m256i firsts = _mm256_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13, 0, 0, 1, 1, 4, 4, 5, 5,
                                            8, 8, 9, 9, 12, 12, 13, 13);
    const __m256i seconds = _mm256_add_epi8(firsts, _mm256_set1_epi8(2));
    const __m256i even = _mm256_set1_epi16(0x00FF);
    const __m256i low = _mm256_set1_epi8(0x0F);
    const __m256i a = _mm256_shuffle_epi8(x, firsts), b = _mm256_shuffle_epi8(x, seconds);
    const __m256i a_low = _mm256_blendv_epi8(_mm256_srli_epi16(a, 4), a, even);
    const __m256i b_high = _mm256_blendv_epi8(b, _mm256_slli_epi16(b, 4), even);
    return _mm256_or_si256(_mm256_and_si256(a_low, low), _mm256_andnot_si256(low, b_high));
}

/* Words of four rows a, b, c, d become four words of each column; the same in both halves. */
struct four {
    __m256i a, b, c, d;
};

static inline struct four
transpose(struct four x)
{
    const __m256i ab0 = _mm256_unpacklo_epi32(x.a, x.b), ab2 = _mm256_unpackhi_epi32(x.a, x.b);
    const __m256i cd0 = _mm256_unpacklo_epi32(x.c, x.d), cd2 = _mm256_unpackhi_epi32(x.c, x.d);
    return (struct four){_mm256_unpacklo_epi64(ab0, cd0), _mm256_unpackhi_epi64(ab0, cd0),
                         _mm256_unpacklo_epi64(ab2, cd2), _mm256_unpackhi_epi64(ab2, cd2)};
}

/* interleave, undone. */
static inline __m256i
separate(__m256i x)
{
    const __m256i evens = _mm256_setr_epi8(0, 2, 0, 2, 4, 6, 4, 6, 8, 10, 8, 10, 12, 14, 12, 14, 0, 2, 0, 2, 4, 6, 4, 6,
                                           8, 10, 8, 10, 12, 14, 12, 14);
    const __m256i odds = _mm256_add_epi8(evens, _mm256_set1_epi8(1));
    const __m256i low = _mm256_set1_epi8(0x0F);
    const __m256i even = _mm256_shuffle_epi8(x, evens), odd = _mm256_shuffle_epi8(x, odds);
    const __m256i firsts = _mm256_or_si256(_mm256_and_si256(even, low),
                                           _mm256_andnot_si256(low, _mm256_slli_epi16(odd, 4)));
    const __m256i seconds = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(even, 4), low),
                                            _mm256_andnot_si256(low, odd));
    return _mm256_blend_epi16(firsts, seconds, 0xAA);
}

/* Rows `at` and at + 4 rows. */
static inline __m256i
load_pair(const unsigned char *at, uint64_t row_bytes)
{
    const __m128i low = _mm_loadu_si128((const void *)at);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), _mm_loadu_si128((const void *)(at + 4 * row_bytes)), 1);
}

/* One block's codes of 16 rows. */
static inline void
pack_block(const unsigned char *from, uint64_t row_bytes, unsigned char *out)
{
    for (unsigned half = 0; half < 2; half++) {
        const unsigned char *rows = from + 8 * half * row_bytes;
        const struct four x = transpose((struct four){interleave(load_pair(rows, row_bytes)),
                                                      interleave(load_pair(rows + row_bytes, row_bytes)),
                                                      interleave(load_pair(rows + 2 * row_bytes, row_bytes)),
                                                      interleave(load_pair(rows + 3 * row_bytes, row_bytes))});
        _mm256_storeu_si256((void *)(out + 32 * half), x.a);
        _mm256_storeu_si256((void *)(out + PIECE_BYTES + 32 * half), x.b);
        _mm256_storeu_si256((void *)(out + 2 * PIECE_BYTES + 32 * half), x.c);
        _mm256_storeu_si256((void *)(out + 3 * PIECE_BYTES + 32 * half), x.d);
    }
}

/* One group's scales: four bytes of each of 16 rows become 16 of each block. */
static inline void
pack_scales(const unsigned char *from, uint64_t row_bytes, unsigned char *out)
{
    const __m128i by_block = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i rows[4];
    for (unsigned i = 0; i < 4; i++) {
        int words[4];
        for (unsigned k = 0; k < 4; k++) {
            memcpy(&words[k], from + (4 * i + k) * row_bytes, sizeof words[k]);
        }
        rows[i] = _mm_shuffle_epi8(_mm_setr_epi32(words[0], words[1], words[2], words[3]), by_block);
    }
    const __m128i ab0 = _mm_unpacklo_epi32(rows[0], rows[1]), ab2 = _mm_unpackhi_epi32(rows[0], rows[1]);
    const __m128i cd0 = _mm_unpacklo_epi32(rows[2], rows[3]), cd2 = _mm_unpackhi_epi32(rows[2], rows[3]);
    _mm_storeu_si128((void *)out, _mm_unpacklo_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(out + 16), _mm_unpackhi_epi64(ab0, cd0));
    _mm_storeu_si128((void *)(out + 32), _mm_unpacklo_epi64(ab2, cd2));
    _mm_storeu_si128((void *)(out + 48), _mm_unpackhi_epi64(ab2, cd2));
}

void
TIERED(k_pack_panel)(const unsigned char *data, const unsigned char *scales, uint64_t n_groups, unsigned char *out)
{
    const uint64_t row_bytes = n_groups * GROUP_BLOCKS * BLOCK_BYTES, n_blocks = n_groups * GROUP_BLOCKS;
    for (uint64_t group = 0; group < n_groups; group++, out += CPU_GROUP_BYTES) {
        for (uint64_t row = CPU_PANEL_ROWS; row < 2 * CPU_PANEL_ROWS; row++) { /* of the next panel, most likely */
            _mm_prefetch((const char *)(data + row * row_bytes + group * GROUP_BLOCKS * BLOCK_BYTES), _MM_HINT_T0);
        }
        pack_scales(scales + group * GROUP_BLOCKS, n_blocks, out);
        for (unsigned block = 0; block < GROUP_BLOCKS; block++) {
            pack_block(data + (group * GROUP_BLOCKS + block) * BLOCK_BYTES, row_bytes,
                       out + GROUP_BLOCKS * CPU_PANEL_ROWS + block * 4 * PIECE_BYTES);
        }
    }
}

/* One block's codes of 16 rows, back to where pack_block took them from.  Stores that pass the caches are slower where
 * the last one holds an expert: the device that fetches it then finds it there. */
static inline void
unpack_block(const unsigned char *from, uint64_t row_bytes, unsigned char *out)
{
    for (unsigned half = 0; half < 2; half++) {
        const unsigned char *words = from + 32 * half;
        const struct four x = transpose((struct four){_mm256_loadu_si256((const void *)words),
                                                      _mm256_loadu_si256((const void *)(words + PIECE_BYTES)),
                                                      _mm256_loadu_si256((const void *)(words + 2 * PIECE_BYTES)),
                                                      _mm256_loadu_si256((const void *)(words + 3 * PIECE_BYTES))});
        const __m256i rows[4] = {separate(x.a), separate(x.b), separate(x.c), separate(x.d)};
        for (unsigned r = 0; r < 4; r++) {
            unsigned char *row = out + (8 * half + r) * row_bytes;
            _mm_storeu_si128((void *)row, _mm256_castsi256_si128(rows[r]));
            _mm_storeu_si128((void *)(row + 4 * row_bytes), _mm256_extracti128_si256(rows[r], 1));
        }
    }
}

static inline void
unpack_scales(const unsigned char *from, uint64_t row_bytes, unsigned char *out)
{
    const __m128i a = _mm_loadu_si128((const void *)from), b = _mm_loadu_si128((const void *)(from + 16));
    const __m128i c = _mm_loadu_si128((const void *)(from + 32)), d = _mm_loadu_si128((const void *)(from + 48));
    const __m128i ab0 = _mm_unpacklo_epi8(a, b), ab8 = _mm_unpackhi_epi8(a, b);
    const __m128i cd0 = _mm_unpacklo_epi8(c, d), cd8 = _mm_unpackhi_epi8(c, d);
    unsigned char words[4 * CPU_PANEL_ROWS];
    _mm_storeu_si128((void *)words, _mm_unpacklo_epi16(ab0, cd0));
    _mm_storeu_si128((void *)(words + 16), _mm_unpackhi_epi16(ab0, cd0));
    _mm_storeu_si128((void *)(words + 32), _mm_unpacklo_epi16(ab8, cd8));
    _mm_storeu_si128((void *)(words + 48), _mm_unpackhi_epi16(ab8, cd8));
    for (unsigned row = 0; row < CPU_PANEL_ROWS; row++) {
        memcpy(out + row * row_bytes, words + 4 * row, 4);
    }
}

void
TIERED(k_unpack_panel)(const unsigned char *from, uint64_t n_groups, unsigned char *data, unsigned char *scales)
{
    const uint64_t row_bytes = n_groups * GROUP_BLOCKS * BLOCK_BYTES, n_blocks = n_groups * GROUP_BLOCKS;
    for (uint64_t group = 0; group < n_groups; group++, from += CPU_GROUP_BYTES) {
        unpack_scales(from, n_blocks, scales + group * GROUP_BLOCKS);
        for (unsigned block = 0; block < GROUP_BLOCKS; block++) {
            unpack_block(from + GROUP_BLOCKS * CPU_PANEL_ROWS + block * 4 * PIECE_BYTES, row_bytes,
                         data + (group * GROUP_BLOCKS + block) * BLOCK_BYTES);
        }
    }
}

bool
TIERED(k_pack_e4m3)(const unsigned char *from, uint64_t n, unsigned char *out)
{
    const __m256i magnitude = _mm256_set1_epi8(0x7F);
    __m256i found = _mm256_setzero_si256();
    bool has_nan = false;
    uint64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256i codes = _mm256_loadu_si256((const void *)(from + i));
        found = _mm256_or_si256(found, _mm256_cmpeq_epi8(_mm256_and_si256(codes, magnitude), magnitude));
        _mm256_storeu_si256((void *)(out + i), codes);
    }
    for (; i < n; i++) {
        out[i] = from[i];
        has_nan |= (from[i] & 0x7Fu) == 0x7Fu;
    }
    return has_nan || !_mm256_testz_si256(found, found);
}
