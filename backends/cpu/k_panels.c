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
#include "backends/cpu/kernels_tiered.h"

#define BLOCK 32u
#define PARTS (CPU_PANEL_ROWS / W) /* words that hold a lane for each row */
#define TOKENS (4u / PARTS)              /* that meet a panel at once */
#define BATCH 32u                        /* tokens whose running sums are kept while a panel passes */
#define CHUNK_BLOCKS (HEARTH_EXPERT_CHUNK / BLOCK)
/* How far ahead of a lone token its weights are asked for: into the second cache, and from there into the first. */
#define FAR_BYTES (8u * CPU_GROUP_BYTES)
#define NEAR_BYTES (2u * CPU_GROUP_BYTES)

/* Bytes of a panel, and the scales and codes of its block. */
LANE uint64_t
panel_bytes(const struct host_matrix *weight)
{
    return cpu_padded(weight->cols) / CPU_GROUP_COLS * CPU_GROUP_BYTES;
}

LANE const uint8_t *
block_scales(const unsigned char *panel, uint64_t block)
{
    return panel + block / 4 * CPU_GROUP_BYTES + block % 4 * CPU_PANEL_ROWS;
}

LANE const uint8_t *
block_codes(const unsigned char *panel, uint64_t block)
{
    return panel + block / 4 * CPU_GROUP_BYTES + 4 * CPU_PANEL_ROWS + block % 4 * (BLOCK / 2 * CPU_PANEL_ROWS);
}

#ifdef __AVX512F__

LANE vi
look_up(vi codes)
{
    const vi table = _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    return _mm512_shuffle_epi8(table, codes);
}

LANE vi
low_halves(vi raw)
{
    return _mm512_and_si512(raw, _mm512_set1_epi8(15));
}
LANE vi
high_halves(vi raw)
{
    return _mm512_and_si512(_mm512_srli_epi16(raw, 4), _mm512_set1_epi8(15));
}

#ifdef __AVX512VNNI__
LANE vi
add_products(vi sum, vi u, vi digits)
{
    return _mm512_dpbusd_epi32(sum, u, digits);
}
LANE vi
digit_sum(vi sum, unsigned digit)
{
    return digit == 0 ? sum : (digit == 1 ? vi_sll(sum, DIGIT_BITS) : vi_sll(sum, 2 * DIGIT_BITS));
}
#else
LANE vi
add_products(vi sum, vi u, vi digits)
{
    return _mm512_add_epi16(sum, _mm512_maddubs_epi16(u, digits));
}

LANE vi
digit_sum(vi sum, unsigned digit)
{
    return _mm512_madd_epi16(sum, _mm512_set1_epi16((short)(1 << DIGIT_BITS * digit)));
}
#endif

#else

LANE vi
look_up(vi codes)
{
    const vi table = _mm256_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0, 12, 13, 14, 15, 16, 18,
                                      20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return _mm256_shuffle_epi8(table, codes);
}

LANE vi
low_halves(vi raw)
{
    return _mm256_and_si256(raw, _mm256_set1_epi8(15));
}
LANE vi
high_halves(vi raw)
{
    return _mm256_and_si256(_mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
}

LANE vi
add_products(vi sum, vi u, vi digits)
{
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(u, digits));
}

LANE vi
digit_sum(vi sum, unsigned digit)
{
    return _mm256_madd_epi16(sum, _mm256_set1_epi16((short)(1 << DIGIT_BITS * digit)));
}

#endif

/* Four digits, in every lane. */
LANE vi
four_digits(const int8_t *digits)
{
    int32_t word;
    memcpy(&word, digits, sizeof word);
    return vi_set1(word);
}

/* Scales within these codes multiply without meeting a limit of the contract: 150 <= e_x + e_w <= 350. */
#define FREE_LEAST 75u
#define FREE_MOST 175u

/* Whether all scales of a group of four blocks are free. */
LANE int
group_is_free(const uint8_t *scales)
{
    const __m256i least = _mm256_set1_epi8((char)FREE_LEAST);
    const __m256i range = _mm256_set1_epi8((char)(FREE_MOST - FREE_LEAST));
    const __m256i first = _mm256_sub_epi8(_mm256_loadu_si256((const void *)scales), least);
    const __m256i last = _mm256_sub_epi8(_mm256_loadu_si256((const void *)(scales + 32)), least);
    const __m256i most = _mm256_max_epu8(_mm256_max_epu8(first, last), range);
    return _mm256_movemask_epi8(_mm256_cmpeq_epi8(most, range)) == -1;
}

LANE int
digits_are_free(const struct cpu_digits *x)
{
    return (unsigned)x->scale - FREE_LEAST <= FREE_MOST - FREE_LEAST;
}

/* What an exact sum of a block is worth: the product of both scales, of 2^-10 and of the digits' shift. */
LANE vf
block_worth(const uint8_t *scales, const struct cpu_digits *x, int is_free)
{
    const vi code = vi_load_u8(scales);
    if (is_free) {
        return vf_mul(vf_from_bits(vi_sll(code, 23)), vf_set1(hearth_f32_from_bits((x->scale + x->shift - 10u) << 23)));
    }
    const vi nan = vi_and(vi_equal(code, vi_set1(HEARTH_E8M0_NAN)), vi_set1(0x7FC00000));
    vi exponent = vi_add(code, vi_set1((int)x->scale - 254));
    exponent = vi_max(vi_set1(HEARTH_SCALE_MIN_EXPONENT), vi_min(vi_set1(HEARTH_SCALE_MAX_EXPONENT), exponent));
    return vf_from_bits(vi_or(vi_sll(vi_add(exponent, vi_set1(127 - 10 + (int)x->shift)), 23), nan));
}

/* A block's sum from those of its digits. */
LANE vi
join_digits(const vi *exact, const unsigned n_digits, const struct cpu_digits *x)
{
    vi sum = vi_sub(digit_sum(exact[0], 0), vi_set1(x->correction));
    UNROLL
    for (unsigned d = 1; d < n_digits; d++) {
        sum = vi_add(sum, digit_sum(exact[d], d));
    }
    return sum;
}

/* A processor's own prefetch sees too little of the road while so much is computed for each line.  Beyond the weight's
 * end nothing that matters is asked for. */
LANE void
fetch_ahead(const uint8_t *line)
{
    _mm_prefetch((const char *)line + FAR_BYTES, _MM_HINT_T1);
    _mm_prefetch((const char *)line + NEAR_BYTES, _MM_HINT_T0);
}

/* One token: weights are looked up as they come.  The loop stays one: laid out in full, gcc adds the products as a
 * tree, whose leaves no machine has registers for. */
LANE void
dot_raw(const uint8_t *codes, const struct cpu_digits *x, const unsigned n_digits, vi sums[PARTS])
{
    vi exact[PARTS][3];
    UNROLL
    for (unsigned i = 0; i < 3 * PARTS; i++) {
        exact[i / 3][i % 3] = vi_zero();
    }
    ONE_BY_ONE
    for (unsigned j = 0; j < BLOCK / 8; j++) {
        fetch_ahead(codes + 4 * CPU_PANEL_ROWS * j);
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            const vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j + part * 4 * W);
            const vi low = look_up(low_halves(raw));
            const vi high = look_up(high_halves(raw));
            UNROLL
            for (unsigned d = 0; d < n_digits; d++) {
                exact[part][d] = add_products(exact[part][d], low, four_digits(x->digits[d] + 8 * j));
                exact[part][d] = add_products(exact[part][d], high, four_digits(x->digits[d] + 8 * j + 4));
                KEEP(exact[part][d]);
            }
        }
    }
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        sums[part] = join_digits(exact[part], n_digits, x);
    }
}

/* One panel for one token. */
LANE void
sum_panel(const unsigned char *panel, uint64_t n_blocks, const struct cpu_digits *x, vf totals[PARTS])
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
            is_free = group_is_free(scales) && digits_are_free(&x[block]);
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

/* Several tokens: a chunk of a panel is looked up once for all of them.  [block][four columns][16 rows of 4 bytes] */
struct chunk {
    _Alignas(64) uint8_t halves[CHUNK_BLOCKS][BLOCK / 4][4 * CPU_PANEL_ROWS];
    const uint8_t *scales[CHUNK_BLOCKS];
    bool is_free[CHUNK_BLOCKS];
    unsigned n_blocks;
};

static void
look_up_chunk(const unsigned char *panel, uint64_t first, uint64_t n_blocks, struct chunk *chunk)
{
    chunk->n_blocks = n_blocks < CHUNK_BLOCKS ? (unsigned)n_blocks : CHUNK_BLOCKS;
    for (unsigned block = 0; block < chunk->n_blocks; block++) {
        const uint8_t *codes = block_codes(panel, first + block);
        chunk->scales[block] = block_scales(panel, first + block);
        chunk->is_free[block] = group_is_free(chunk->scales[block - block % 4]);
        for (unsigned j = 0; j < BLOCK / 8; j++) {
            UNROLL
            for (unsigned part = 0; part < PARTS; part++) {
                const vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j + part * 4 * W);
                vi_store(chunk->halves[block][2 * j] + part * 4 * W, look_up(low_halves(raw)));
                vi_store(chunk->halves[block][2 * j + 1] + part * 4 * W, look_up(high_halves(raw)));
            }
        }
    }
}

/* A block of TOKENS tokens, two digits of it.  With AVX2 eight sums, two words of weights and what a step needs make 13
 * of 16 registers. */
LANE void
dot_tokens(const uint8_t (*halves)[4 * CPU_PANEL_ROWS], const struct cpu_digits *const x[TOKENS],
           vi sums[TOKENS][PARTS])
{
    vi exact[TOKENS][PARTS][2];
    UNROLL
    for (unsigned i = 0; i < 2 * PARTS * TOKENS; i++) {
        exact[i / (2 * PARTS)][i / 2 % PARTS][i % 2] = vi_zero();
    }
    UNROLL
    for (unsigned i = 0; i < BLOCK / 4; i++) {
        vi u[PARTS];
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            u[part] = vi_load(halves[i] + part * 4 * W);
        }
        UNROLL
        for (unsigned t = 0; t < TOKENS; t++) {
            UNROLL
            for (unsigned d = 0; d < 2; d++) {
                const vi digits = four_digits(x[t]->digits[d] + 4 * i);
                UNROLL
                for (unsigned part = 0; part < PARTS; part++) {
                    exact[t][part][d] = add_products(exact[t][part][d], u[part], digits);
                    KEEP(exact[t][part][d]);
                }
            }
        }
    }
    UNROLL
    for (unsigned i = 0; i < TOKENS * PARTS; i++) {
        sums[i / PARTS][i % PARTS] = join_digits(exact[i / PARTS][i % PARTS], 2, x[i / PARTS]);
    }
}

/* What few blocks need, one token at a time. */
LANE void
add_third_digit(const uint8_t (*halves)[4 * CPU_PANEL_ROWS], const struct cpu_digits *x, vi sums[PARTS])
{
    vi exact[PARTS];
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        exact[part] = vi_zero();
    }
    ONE_BY_ONE
    for (unsigned i = 0; i < BLOCK / 4; i++) {
        const vi digits = four_digits(x->digits[2] + 4 * i);
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            exact[part] = add_products(exact[part], vi_load(halves[i] + part * 4 * W), digits);
            KEEP(exact[part]);
        }
    }
    UNROLL
    for (unsigned part = 0; part < PARTS; part++) {
        sums[part] = vi_add(sums[part], digit_sum(exact[part], 2));
    }
}

/* totals: [TOKENS][CPU_PANEL_ROWS] */
LANE void
sum_chunk(const struct chunk *chunk, const struct cpu_digits *const first[TOKENS], float *totals)
{
    vf sums[TOKENS][PARTS];
    UNROLL
    for (unsigned i = 0; i < TOKENS * PARTS; i++) {
        sums[i / PARTS][i % PARTS] = vf_zero();
    }
    for (unsigned block = 0; block < chunk->n_blocks; block++) {
        const struct cpu_digits *x[TOKENS];
        vi dots[TOKENS][PARTS];
        UNROLL
        for (unsigned t = 0; t < TOKENS; t++) {
            x[t] = first[t] + block;
        }
        dot_tokens(chunk->halves[block], x, dots);
        UNROLL
        for (unsigned t = 0; t < TOKENS; t++) {
            if (x[t]->n > 2) {
                add_third_digit(chunk->halves[block], x[t], dots[t]);
            }
        }
        UNROLL
        for (unsigned i = 0; i < TOKENS * PARTS; i++) {
            const unsigned t = i / PARTS, part = i % PARTS;
            const int is_free = chunk->is_free[block] && digits_are_free(x[t]);
            sums[t][part] = vf_fma(vf_from_int(dots[t][part]),
                                   block_worth(chunk->scales[block] + part * W, x[t], is_free), sums[t][part]);
        }
    }
    UNROLL
    for (unsigned i = 0; i < TOKENS * PARTS; i++) {
        vf_store(totals + i * W, vf_add(vf_load(totals + i * W), sums[i / PARTS][i % PARTS]));
    }
}

LANE int
any_nan(const struct cpu_digits *x, uint64_t n_blocks)
{
    int found = 0;
    for (uint64_t block = 0; block < n_blocks; block += HOST_ACT_BLOCK / BLOCK) {
        found |= x[block].is_nan;
    }
    return found;
}

LANE void
put_panel(const struct cpu_product *product, uint64_t i, uint64_t panel, const vf totals[PARTS])
{
    const uint64_t row = panel * CPU_PANEL_ROWS;
    float *y = product->y + cpu_slot_of(product, i) * product->y_stride + row;
    for (unsigned part = 0; part < PARTS && row + part * W < product->weight->rows; part++) {
        const vf value = vf_round(totals[part], product->round);
        vf_store_tail(y + part * W, value, product->weight->rows - row - part * W);
    }
}

/* The same for digits: a token that holds a NaN gets NaN. */
LANE void
put_digits(const struct cpu_product *product, uint64_t i, uint64_t panel, const struct cpu_digits *x, vf totals[PARTS])
{
    if (any_nan(x, product->input->n_padded / BLOCK)) {
        UNROLL
        for (unsigned part = 0; part < PARTS; part++) {
            totals[part] = vf_set1(hearth_f32_from_bits(0x7FC00000u));
        }
    }
    put_panel(product, i, panel, totals);
}

LANE const struct cpu_digits *
token_digits(const struct cpu_product *product, uint64_t i)
{
    return product->input->digits + cpu_token_of(product, i) * (product->input->n_padded / BLOCK);
}

static void
panel_token(const struct cpu_product *product, uint64_t panel)
{
    const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
    const struct cpu_digits *x = token_digits(product, 0);
    vf totals[PARTS];
    sum_panel(codes, product->input->n_padded / BLOCK, x, totals);
    put_digits(product, 0, panel, x, totals);
}

/* Tokens first .. first + n_tokens - 1, at most BATCH, through one panel; what the last group lacks repeats a token. */
static void
panel_tokens(const struct cpu_product *product, uint64_t panel, uint64_t first, uint64_t n_tokens)
{
    const uint64_t n_blocks = product->input->n_padded / BLOCK;
    const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
    _Alignas(64) float totals[BATCH * CPU_PANEL_ROWS];
    struct chunk chunk;
    memset(totals, 0, sizeof totals);
    for (uint64_t block = 0; block < n_blocks; block += CHUNK_BLOCKS) {
        look_up_chunk(codes, block, n_blocks - block, &chunk);
        for (uint64_t t = 0; t < n_tokens; t += TOKENS) {
            const struct cpu_digits *x[TOKENS];
            for (unsigned i = 0; i < TOKENS; i++) {
                x[i] = token_digits(product, first + (t + i < n_tokens ? t + i : n_tokens - 1)) + block;
            }
            sum_chunk(&chunk, x, totals + t * CPU_PANEL_ROWS);
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
TIERED(k_panels)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    for (uint64_t panel = begin / CPU_PANEL_ROWS; panel * CPU_PANEL_ROWS < end; panel++) {
        if (product->n_tokens == 1) {
            panel_token(product, panel);
            continue;
        }
        for (uint64_t t = 0; t < product->n_tokens; t += BATCH) {
            const uint64_t left = product->n_tokens - t;
            panel_tokens(product, panel, t, left < BATCH ? left : BATCH);
        }
    }
}

/* f32 activations: a weight's exact value times x, summed in f32.  x: [n_padded] */
LANE void
sum_panel_exact(const unsigned char *panel, uint64_t n_blocks, const float *x, vf totals[PARTS])
{
    for (unsigned part = 0; part < PARTS; part++) {
        totals[part] = vf_zero();
        for (uint64_t block = 0; block < n_blocks; block++) {
            const uint8_t *codes = block_codes(panel, block) + part * 4 * W;
            const vi code = vi_load_u8(block_scales(panel, block) + part * W);
            /* half of a scale: e8m0 code 0 is 2^-127, its half and that of 2^-126 are subnormal */
            const vf scale =
                vf_mul(vf_from_bits(vi_or(vi_sll(code, 23), vi_and(vi_equal(code, vi_zero()), vi_set1(0x400000)))),
                       vf_set1(0.5f));
            const vi nan = vi_and(vi_equal(code, vi_set1(HEARTH_E8M0_NAN)), vi_set1(0x7FC00000));
            vf sum = vf_zero();
            for (unsigned j = 0; j < BLOCK / 8; j++) {
                vi raw = vi_load(codes + 4 * CPU_PANEL_ROWS * j);
                const float *values = x + block * BLOCK + 8 * j;
                for (unsigned b = 0; b < 4; b++) {
                    sum = vf_fma(vf_twice_e2m1(raw), vf_set1(values[b]), sum);
                    sum = vf_fma(vf_twice_e2m1(vi_srl(raw, 4)), vf_set1(values[4 + b]), sum);
                    raw = vi_srl(raw, 8);
                }
            }
            totals[part] = vf_fma(sum, vf_from_bits(vi_or(vf_to_bits(scale), nan)), totals[part]);
        }
    }
}

void
TIERED(k_panels_exact)(const struct cpu_product *product, uint64_t begin, uint64_t end)
{
    const struct cpu_input *input = product->input;
    for (uint64_t panel = begin / CPU_PANEL_ROWS; panel * CPU_PANEL_ROWS < end; panel++) {
        const unsigned char *codes = product->weight->data + panel * panel_bytes(product->weight);
        for (uint64_t i = 0; i < product->n_tokens; i++) {
            vf totals[PARTS];
            sum_panel_exact(codes, input->n_padded / BLOCK, input->plain + cpu_token_of(product, i) * input->n_padded,
                            totals);
            put_panel(product, i, panel, totals);
        }
    }
}

/* gates: the activation replaces the gate (hearth_swiglu, the same operations).  Exact numerics: not rounded. */
void
TIERED(k_swiglu)(float *gates, const float *ups, uint64_t n, float limit, const float *weight, bool native)
{
    const vf one = vf_set1(1.0f);
    const vf most = vf_set1(limit);
    for (uint64_t i = 0; i < n; i += W) {
        const vf g = vf_min(most, vf_load_tail(gates + i, n - i));
        const vf u = vf_max(vf_set1(-limit), vf_min(most, vf_load_tail(ups + i, n - i)));
        const vf sigmoid = vf_div(one, vf_add(one, vf_exp(vf_negative(g))));
        vf value = vf_mul(vf_mul(g, sigmoid), u);
        value = weight == NULL ? value : vf_mul(value, vf_set1(*weight));
        vf_store_tail(gates + i, vf_round(value, native), n - i);
    }
}
