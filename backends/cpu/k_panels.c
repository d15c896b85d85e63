/* k_panels.c - products with e2m1 weights kept as panels of 16 rows (cpu.h): one row is one lane.
 *
 * The contract (docs/numerics.md): a block of 32 is summed exactly, in units of 2^-10; the sum is rounded once to f32
 * and multiplied by the product of both scales; blocks ascend within a chunk of 512 columns, chunks ascend.
 *
 * The exact sum.  A weight's half h is read as u = h + 12, a byte from 0 to 24, by one table look-up on its four bits.
 * An activation is an integer of 18 bits; over a block it is x = 2^shift * (d0 + d1 b + d2 b^2) with balanced digits to
 * a base b, and as a rule two digits are enough.  sum h x = sum u x - 12 sum x, and sum u d is what the machine's dot
 * product of unsigned and signed bytes gives: with VNNI four products a lane in 32 bits (b = 256), without it pairs in
 * 16 bits, where 16 * 24 * 64 < 2^15 (b = 128). */
#include "backends/cpu/panels.h"

#define BATCH 48u /* tokens whose running sums are kept while a panel passes */

/* One panel for one token. */
LANE void
sum_panel(const unsigned char *panel, uint64_t n_blocks, const struct cpu_digits *x, unsigned kind, vf totals[PARTS])
{
    vf sums[PARTS];
    int is_free = 0;
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        sums[part] = totals[part] = vf_zero();
    }
    for (uint64_t block = 0; block < n_blocks; block++) {
        const uint8_t *scales = block_scales(panel, block);
        vi dots[PARTS];
        if (block % 4 == 0) { /* the activations of a group share a scale, too */
            is_free = kind == CPU_DIGITS_FREE && group_is_free(scales);
            fetch_ahead(scales);
        }
        if (x[block].n <= 2) {
            dot_raw(block_codes(panel, block), &x[block], 2, dots);
        } else {
            dot_raw(block_codes(panel, block), &x[block], 3, dots);
        }
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            /* the product is exact, so that adding it with one rounding is adding it */
            sums[part] =
                vf_fma(vf_from_int(dots[part]), block_worth(scales + part * W, &x[block], is_free), sums[part]);
        }
        if ((block + 1) % CHUNK_BLOCKS != 0 && block + 1 < n_blocks) {
            continue;
        }
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            totals[part] = vf_add(totals[part], sums[part]);
            sums[part] = vf_zero();
        }
    }
}

/* Several tokens: a chunk of as many panels as fill two words is looked up once for all of them, by the first of them
 * while they meet it: the look-up is done beside the products, on other units. */
#ifdef __AVX512VNNI__
#define PANELS CPU_PANELS_AT_ONCE
#define TOKENS 6u
#define STEPS ONE_BY_ONE /* laid out, they would not fit what caches decoded instructions */
#else
#define PANELS 1u
#define TOKENS (4u / PARTS)
#define STEPS UNROLL
#endif
#define WORDS (PANELS * PARTS)

struct chunk {
    _Alignas(64) uint8_t halves[CHUNK_BLOCKS][BLOCK / 4][WORDS][4 * W]; /* four columns of W rows a word */
    _Alignas(64) int32_t scales[CHUNK_BLOCKS][WORDS][W];                /* the bits of f32 */
    const unsigned char *panels[PANELS];
    const char *ahead[PANELS]; /* what is read next */
    uint64_t first;            /* block */
    unsigned n_panels, n_blocks;
    bool is_free;
    bool is_new; /* not yet looked up */
};

static void
open_chunk(const unsigned char *panel, uint64_t stride, unsigned n_panels, uint64_t first, uint64_t n_blocks,
           struct chunk *chunk)
{
    const bool is_last = n_blocks <= CHUNK_BLOCKS;
    const uint64_t next = is_last ? n_panels * stride : (first + CHUNK_BLOCKS) / 4 * CPU_GROUP_BYTES;
    chunk->first = first;
    chunk->n_panels = n_panels;
    chunk->n_blocks = is_last ? (unsigned)n_blocks : CHUNK_BLOCKS;
    chunk->is_free = true;
    chunk->is_new = true;
    for (unsigned p = 0; p < n_panels; p++, panel += stride) {
        chunk->panels[p] = panel;
        chunk->ahead[p] = (const char *)panel + next;
        for (unsigned block = 0; block < chunk->n_blocks; block += 4) {
            chunk->is_free &= group_is_free(block_scales(panel, first + block));
        }
    }
}

/* Asks the second cache for a block of the next chunk, or of the next panels, while this one is looked up: all at once
 * it would be waited for.  Beyond the weight's end it asks for nothing that matters. */
LANE void
fetch_next(const struct chunk *chunk, unsigned block, const unsigned n_panels)
{
    UNROLL
    for (unsigned p = 0; p < n_panels; p++) {
        UNROLL
        for (unsigned i = 0; i < CPU_GROUP_BYTES / 4; i += 64) {
            _mm_prefetch(chunk->ahead[p] + block * (CPU_GROUP_BYTES / 4) + i, _MM_HINT_T1);
        }
    }
}

LANE void
look_up_scales(struct chunk *chunk, unsigned block, const unsigned n_words)
{
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        const uint8_t *scales = block_scales(chunk->panels[i / PARTS], chunk->first + block);
        vi_store(chunk->scales[block][i], vi_sll(vi_load_u8(scales + i % PARTS * W), 23));
    }
}

/* Four columns, of two times four that lie together: the first of them, or the second. */
LANE vi
look_up_four(const uint8_t *codes, unsigned pair, unsigned second)
{
    const vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * pair);
    return look_up(second ? high_halves(raw) : low_halves(raw));
}

LANE void
look_up_blocks(struct chunk *chunk, const unsigned n_words)
{
    for (unsigned block = 0; block < chunk->n_blocks; block++) {
        fetch_next(chunk, block, n_words / PARTS);
        look_up_scales(chunk, block, n_words);
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            const uint8_t *codes = block_codes(chunk->panels[i / PARTS], chunk->first + block) + i % PARTS * 4 * W;
            UNROLL
            for (unsigned j = 0; j < BLOCK / 4; j++) {
                vi_store(chunk->halves[block][j][i], look_up_four(codes, j / 2, j % 2));
            }
        }
    }
}

static void
look_up_chunk(struct chunk *chunk)
{
    if (chunk->n_panels == PANELS) {
        look_up_blocks(chunk, WORDS);
    } else {
        look_up_blocks(chunk, PARTS);
    }
    chunk->is_new = false;
}

/* A block of several tokens, two digits of it.  With VNNI the greater digit goes first, and its sum is shifted under
 * the lesser one's; else there are two sums, and with AVX2 eight of them, two words of weights and what a step needs
 * make 13 of 16 registers. */
LANE void
dot_tokens(struct chunk *chunk, unsigned block, const struct cpu_digits *const *x, const unsigned n_tokens,
           const unsigned n_words, const bool is_new, vi sums[TOKENS][WORDS])
{
#ifdef __AVX512VNNI__
    const unsigned n_sums = 1;
#else
    const unsigned n_sums = 2;
#endif
    vi exact[TOKENS][WORDS][2];
    const uint8_t *codes[WORDS];
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        codes[i] = block_codes(chunk->panels[i / PARTS], chunk->first + block) + i % PARTS * 4 * W;
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            exact[t][i][0] = vi_zero();
            exact[t][i][1] = vi_zero();
        }
    }
    UNROLL
    for (unsigned pass = 0; pass < 3 - n_sums; pass++) {
        STEPS
        for (unsigned j = 0; j < BLOCK / 4; j += 2) {
            UNROLL
            for (unsigned second = 0; second < 2; second++) {
                vi u[WORDS];
                UNROLL
                for (unsigned i = 0; i < n_words; i++) {
                    uint8_t *halves = chunk->halves[block][j + second][i];
                    u[i] = is_new && pass == 0 ? look_up_four(codes[i], j / 2, second) : vi_load(halves);
                    if (is_new && pass == 0) {
                        vi_store(halves, u[i]);
                    }
                }
                UNROLL
                for (unsigned t = 0; t < n_tokens; t++) {
                    UNROLL
                    for (unsigned d = 0; d < n_sums; d++) {
                        const vi digits = vi_set4(x[t]->digits[n_sums == 1 ? 1 - pass : d] + 4 * (j + second));
                        UNROLL
                        for (unsigned i = 0; i < n_words; i++) {
                            exact[t][i][d] = vi_add_dots(exact[t][i][d], u[i], digits);
                            KEEP(exact[t][i][d]);
                        }
                    }
                }
            }
        }
        UNROLL
        for (unsigned t = 0; t < n_tokens && n_sums == 1 && pass == 0; t++) {
            UNROLL
            for (unsigned i = 0; i < n_words; i++) {
                exact[t][i][0] = vi_sub(vi_sll(exact[t][i][0], DIGIT_BITS), vi_set1(x[t]->correction));
            }
        }
    }
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            sums[t][i] = n_sums == 1 ? exact[t][i][0] : join_digits(exact[t][i], 2, x[t]);
        }
    }
}

/* What few blocks need, one token at a time. */
LANE void
add_third_digit(const uint8_t (*halves)[WORDS][4 * W], const struct cpu_digits *x, const unsigned n_words, vi *sums)
{
    vi exact[WORDS];
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        exact[i] = vi_zero();
    }
    ONE_BY_ONE
    for (unsigned j = 0; j < BLOCK / 4; j++) {
        const vi digits = vi_set4(x->digits[2] + 4 * j);
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            exact[i] = vi_add_dots(exact[i], vi_load(halves[j][i]), digits);
            KEEP(exact[i]);
        }
    }
    UNROLL
    for (unsigned i = 0; i < n_words; i++) {
        sums[i] = vi_add(sums[i], digit_sum(exact[i], 2));
    }
}

/* totals: [n_tokens][PANELS * CPU_PANEL_ROWS] */
LANE void
sum_chunk(struct chunk *chunk, const struct cpu_digits *const *first, const unsigned n_tokens, const unsigned n_words,
          const bool is_free, const bool is_new, float *totals)
{
    vf sums[TOKENS][WORDS];
    const struct cpu_digits *x[TOKENS];
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        x[t] = first[t];
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            sums[t][i] = vf_zero();
        }
    }
    for (unsigned block = 0; block < chunk->n_blocks; block++) {
        vi dots[TOKENS][WORDS];
        if (is_new) {
            fetch_next(chunk, block, n_words / PARTS);
            look_up_scales(chunk, block, n_words);
        }
        dot_tokens(chunk, block, x, n_tokens, n_words, is_new, dots);
        UNROLL
        for (unsigned t = 0; t < n_tokens; t++) {
            if (x[t]->n > 2) {
                add_third_digit(chunk->halves[block], x[t], n_words, dots[t]);
            }
            UNROLL
            for (unsigned i = 0; i < n_words; i++) {
                const uint8_t *codes = block_scales(chunk->panels[i / PARTS], chunk->first + block) + i % PARTS * W;
                const vf worth = is_free ? vf_from_bits(vi_add(vi_load(chunk->scales[block][i]), vi_set1(x[t]->worth)))
                                         : block_worth(codes, x[t], false);
                /* the product is exact, so that adding it with one rounding is adding it */
                sums[t][i] = vf_fma(vf_from_int(dots[t][i]), worth, sums[t][i]);
            }
            x[t]++;
        }
    }
    UNROLL
    for (unsigned t = 0; t < n_tokens; t++) {
        UNROLL
        for (unsigned i = 0; i < n_words; i++) {
            float *total = totals + (t * WORDS + i) * W;
            vf_store(total, vf_add(vf_load(total), sums[t][i]));
        }
    }
}

/* Functions of their own: what is inlined together has no registers left. */
#define SUM_CHUNK(name, n_tokens, n_words, is_free, is_new)                                                            \
    static NOT_INLINED void name(struct chunk *chunk, const struct cpu_digits *const *x, float *totals)                \
    {                                                                                                                  \
        sum_chunk(chunk, x, n_tokens, n_words, is_free, is_new, totals);                                               \
    }
SUM_CHUNK(sum_most, TOKENS, WORDS, true, false)
SUM_CHUNK(sum_most_new, TOKENS, WORDS, true, true)
SUM_CHUNK(sum_two, 2, WORDS, true, false)
SUM_CHUNK(sum_two_new, 2, WORDS, true, true)
SUM_CHUNK(sum_two_limited, 2, WORDS, false, false)
#if PANELS > 1
SUM_CHUNK(sum_four, 4, WORDS, true, false)
SUM_CHUNK(sum_four_new, 4, WORDS, true, true)
SUM_CHUNK(sum_most_last, TOKENS, PARTS, true, false) /* of one panel */
SUM_CHUNK(sum_two_last, 2, PARTS, true, false)
SUM_CHUNK(sum_two_limited_last, 2, PARTS, false, false)
#endif

/* As many of n_left tokens as go together; returns how many.  x: one more than there are. */
LANE unsigned
sum_some(struct chunk *chunk, const struct cpu_digits *const *x, const bool *is_free, uint64_t n_left, float *totals)
{
    const unsigned n_most = n_left < TOKENS ? (unsigned)n_left : TOKENS;
    bool are_free = chunk->is_free;
    for (unsigned t = 0; t < n_most; t++) {
        are_free &= is_free[t];
    }
    if (chunk->is_new && (!are_free || chunk->n_panels < PANELS)) {
        look_up_chunk(chunk);
    }
    const bool is_full = n_most == TOKENS && are_free, is_new = chunk->is_new;
    chunk->is_new = false;
#if PANELS > 1
    if (chunk->n_panels == 1) {
        (is_full ? sum_most_last : (are_free ? sum_two_last : sum_two_limited_last))(chunk, x, totals);
        return is_full ? TOKENS : 2;
    }
    if (are_free && n_most >= 3 && n_most < TOKENS) {
        (is_new ? sum_four_new : sum_four)(chunk, x, totals);
        return 4;
    }
#endif
    if (is_full) {
        (is_new ? sum_most_new : sum_most)(chunk, x, totals);
        return TOKENS;
    }
    (is_new ? sum_two_new : (are_free ? sum_two : sum_two_limited))(chunk, x, totals);
    return 2;
}

static void
panel_token(const struct cpu_product *product, uint64_t panel)
{
    const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
    const struct cpu_digits *x = token_digits(product, 0);
    vf totals[PARTS];
    sum_panel(codes, product->input->n_padded / BLOCK, x, token_kind(product, 0), totals);
    put_digits(product, 0, panel, totals);
}

/* Tokens first .. first + n_tokens - 1, at most BATCH, through a panel or two; totals are kept while chunks pass. */
static void
panels_tokens(const struct cpu_product *product, uint64_t panel, unsigned n_panels, uint64_t first, uint64_t n_tokens)
{
    const uint64_t n_blocks = product->input->n_padded / BLOCK;
    const uint64_t stride = panel_bytes(product->weight);
    const unsigned char *codes = product->weight->data + panel * stride;
    _Alignas(64) float totals[(BATCH + 1) * WORDS * W];
    bool is_free[BATCH];
    struct chunk chunk;
    for (uint64_t t = 0; t < n_tokens; t++) {
        is_free[t] = token_kind(product, first + t) == CPU_DIGITS_FREE;
    }
    memset(totals, 0, (size_t)(n_tokens + 1) * WORDS * W * sizeof *totals);
    for (uint64_t block = 0; block < n_blocks; block += CHUNK_BLOCKS) {
        const struct cpu_digits *x[BATCH + 1];
        for (uint64_t t = 0; t <= n_tokens; t++) { /* one more than there are: an odd one has a partner */
            x[t] = token_digits(product, first + (t < n_tokens ? t : n_tokens - 1)) + block;
        }
        open_chunk(codes, stride, n_panels, block, n_blocks - block, &chunk);
        for (uint64_t t = 0; t < n_tokens;) {
            t += sum_some(&chunk, x + t, is_free + t, n_tokens - t, totals + t * WORDS * W);
        }
    }
    for (uint64_t i = 0; i < n_tokens * n_panels; i++) {
        const uint64_t t = i / n_panels, p = i % n_panels;
        vf words[PARTS];
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            words[part] = vf_load(totals + (t * WORDS + p * PARTS + part) * W);
        }
        put_digits(product, first + t, panel + p, words);
    }
}

void
TIERED(k_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const uint64_t first = begin / CPU_PANEL_ROWS, last = (end + CPU_PANEL_ROWS - 1) / CPU_PANEL_ROWS;
    for (uint64_t panel = first; panel < last && product->n_tokens == 1; panel++) {
        panel_token(product, panel);
    }
    for (uint64_t t = 0; t < product->n_tokens && product->n_tokens > 1; t += BATCH) {
        const uint64_t left = product->n_tokens - t;
        for (uint64_t panel = first; panel < last; panel += PANELS) {
            const unsigned n_panels = last - panel < PANELS ? 1 : PANELS;
            panels_tokens(product, panel, n_panels, t, left < BATCH ? left : BATCH);
        }
    }
}
