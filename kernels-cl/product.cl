/* product.cl - y = x W^T: the inner loops of linear, output_groups, the router's gate and, with routed.cl, the experts.
 *
 * A work-group makes one tile of y, ROWS rows of the weight by TOKENS rows of x; each of its LANES work items takes
 * every LANES-th unit, 16 bytes of each of the tile's weight rows, so that lanes read memory side by side, and meets it
 * with all of the tile's tokens.  A unit is 4 elements of F32, 8 of BF16, 16 of E4M3, 32 of E2M1X2; a quad is 4 of
 * them.
 * What an output is summed of, and in which order, does not depend on ROWS and TOKENS: decode and prefill give the same
 * bits.
 *
 * Two ways to add.  Without BLOCKS: in f32, each lane its own units ascending, then the lanes as a tree (tolerance).
 * With BLOCKS: the contract's quantised product in integers, blocks ascending in pieces of 512 (bits).
 *
 * x is, without X_QUADS, f32 [rows][cols].  With X_QUADS it comes from prepare.cl: quads (float4, or with BLOCKS int4
 * in units of 2^-9) at [row][quad of a unit][unit], units up to a whole 128 elements, and scales, e8m0 [row][blocks of
 * 128].  With DIGITS too (E2M1X2 alone) a quad is the digits d0, d1, d2 of four integers d0 + 2^8 d1 + 2^16 d2, each digit
 * as four signed bytes, and 4 bytes unused.
 *
 * The host sets DTYPE (enum hearth_dtype), ROWS, TOKENS, LANES (a multiple of 32, at least ROWS * TOKENS), ALIGNED when
 * units begin at multiples of 16 bytes and rows are whole units, DENORMALS when the device keeps subnormal f32, ROUND
 * when y is bf16. */

#define OUTPUTS (ROWS * TOKENS)
#define ACT_BLOCK 128u
#define CHUNK 512u

#if DTYPE == DTYPE_F32
#define UNIT 4u
#elif DTYPE == DTYPE_BF16
#define UNIT 8u
#elif DTYPE == DTYPE_E4M3
#define UNIT 16u
#define HAS_SCALES
#elif DTYPE == DTYPE_E2M1X2
#define UNIT 32u
#define HAS_SCALES
#endif
#define QUADS (UNIT / 4u)

/* Rows [rows][cols] and their scales, both at row 0. */
struct matrix {
    const global uchar *data, *scales;
    uint rows, cols;
};

struct input {
    const global float *values; /* floats or ints */
    const global uchar *scales;
    uint rows[TOKENS]; /* the rows of x that the tile meets */
};

/* ---- weights ---- */

/* The 16 bytes of a unit; what is beyond the row is 0. */
static inline void
load_unit(const struct matrix *matrix, uint row, uint unit, uint *words)
{
    const ulong row_bytes = (ulong)matrix->cols * 16u / UNIT;
    const global uchar *from = matrix->data + row * row_bytes + (ulong)unit * 16u;
#ifdef ALIGNED
    const uint4 all = *(const global uint4 *)from;
    words[0] = all.x;
    words[1] = all.y;
    words[2] = all.z;
    words[3] = all.w;
#else
    const ulong left = row_bytes - (ulong)unit * 16u;
    for (uint i = 0; i < 4u; i++) {
        words[i] = 0u;
        for (uint j = 0; j < 4u; j++) {
            words[i] |= i * 4u + j < left ? (uint)from[i * 4u + j] << (8u * j) : 0u;
        }
    }
#endif
}

#ifdef HAS_SCALES
/* The code of the scale of a row's unit. */
static inline uint
weight_scale(const struct matrix *matrix, uint row, uint unit)
{
#if DTYPE == DTYPE_E4M3
    return matrix->scales[(ulong)(row / ACT_BLOCK) * ((matrix->cols + ACT_BLOCK - 1u) / ACT_BLOCK) + unit / 8u];
#else
    return matrix->scales[(ulong)row * ((matrix->cols + UNIT - 1u) / UNIT) + unit];
#endif
}
#endif

/* Quad `quad` of a unit, without its scale. */
static inline float4
decode_quad(const uint *words, uint quad)
{
#if DTYPE == DTYPE_F32
    return (float4)(as_float(words[0]), as_float(words[1]), as_float(words[2]), as_float(words[3]));
#elif DTYPE == DTYPE_BF16
    const uint low = words[quad * 2u], high = words[quad * 2u + 1u];
    return as_float4((uint4)(low << 16, low & 0xFFFF0000u, high << 16, high & 0xFFFF0000u));
#elif DTYPE == DTYPE_E4M3
    const uint word = words[quad];
#ifdef DENORMALS
    /* sign, then exponent and mantissa where f32 has them: the value times 2^-120 */
    const int4 high = as_int4((uint4)(word << 24, word << 16, word << 8, word));
    return as_float4((high >> 4) & (int4)(int)0x87F00000u) * 0x1p120f;
#else
    return (float4)(e4m3_to_f32(word & 0xFFu), e4m3_to_f32(word >> 8 & 0xFFu), e4m3_to_f32(word >> 16 & 0xFFu),
                    e4m3_to_f32(word >> 24));
#endif
#else
    const uint word = words[quad / 2u] >> (quad % 2u * 16u);
    return (float4)(e2m1_to_f32(word & 0xFu), e2m1_to_f32(word >> 4 & 0xFu), e2m1_to_f32(word >> 8 & 0xFu),
                    e2m1_to_f32(word >> 12 & 0xFu));
#endif
}

#ifdef BLOCKS
/* Four weights. */
#ifdef DIGITS
#define WEIGHTS uint
#else
#define WEIGHTS int4
#endif

/* Drops a unit's first quad. */
static inline void
next_quad(uint *words)
{
#if DTYPE == DTYPE_E4M3
    words[0] = words[1];
    words[1] = words[2];
    words[2] = words[3];
#else
    words[0] = words[0] >> 16 | words[1] << 16;
    words[1] = words[1] >> 16 | words[2] << 16;
    words[2] = words[2] >> 16 | words[3] << 16;
    words[3] >>= 16;
#endif
}

/* A unit's first quad as integers: halves of E2M1X2 (with DIGITS as signed bytes), units of 2^-9 of E4M3. */
static inline WEIGHTS
decode_quad_int(const uint *words)
{
#if DTYPE == DTYPE_E4M3
    return convert_int4(decode_quad(words, 0) * 512.0f);
#elif defined(DIGITS)
    return e2m1_to_bytes(words[0] & 0xFFFFu);
#else
    const uint4 codes = (uint4)(words[0], words[0] >> 4, words[0] >> 8, words[0] >> 12);
    const int4 halves = as_int4((uint4)0xC8643210u >> ((codes & 7u) << 2) & 0xFu);
    const int4 signs = as_int4(codes << 28) >> 31;
    return (halves ^ signs) - signs;
#endif
}
#endif

/* ---- activations ---- */

/* Where quad `quad` of a unit of x begins. */
static inline ulong
quad_at(const struct matrix *matrix, uint row, uint unit, uint quad)
{
#ifdef X_QUADS
    const uint n_units = (matrix->cols + ACT_BLOCK - 1u) / ACT_BLOCK * (ACT_BLOCK / UNIT);
    return (((ulong)row * QUADS + quad) * n_units + unit) * 4u;
#else
    return (ulong)row * matrix->cols + (ulong)unit * UNIT + quad * 4u;
#endif
}

static inline float4
load_quad(const struct input *input, const struct matrix *matrix, uint row, uint unit, uint quad)
{
    const global float *from = input->values + quad_at(matrix, row, unit, quad);
#if defined(ALIGNED) || defined(X_QUADS)
    return *(const global float4 *)from;
#else
    const uint left = matrix->cols - min(matrix->cols, unit * UNIT + quad * 4u);
    return (float4)(left > 0u ? from[0] : 0.0f, left > 1u ? from[1] : 0.0f, left > 2u ? from[2] : 0.0f,
                    left > 3u ? from[3] : 0.0f);
#endif
}

#ifdef HAS_SCALES
/* What a sum of products of codes is multiplied with, times 2^shift. */
static inline float
unit_factor(const struct input *input, const struct matrix *matrix, uint x_row, uint row, uint unit, int shift)
{
    const uint weight = weight_scale(matrix, row, unit);
#ifdef X_QUADS
    const uint n_blocks = (matrix->cols + ACT_BLOCK - 1u) / ACT_BLOCK;
    return scale_product(input->scales[(ulong)x_row * n_blocks + unit / (ACT_BLOCK / UNIT)], weight, shift);
#else
    return e8m0_to_f32(weight);
#endif
}
#endif

#ifndef BLOCKS

/* ---- f32 sums ---- */

#if defined(SUBGROUP) && LANES % SUBGROUP == 0 && (ROWS * TOKENS & (ROWS * TOKENS - 1)) == 0
#define HAS_GROUP_SUMS
#define PARTS_BYTES (SUMS_ROOM(OUTPUTS, LANES) * 4u)
#else
#define PARTS_BYTES (OUTPUTS * LANES * 4u)
#endif

/* One way on one device, so that every tile adds alike. */
#if defined(FP_FAST_FMAF) && !defined(OCL_CPU)
#define ADD_PRODUCT(a, b, sum) fma(a, b, sum)
#else
#define ADD_PRODUCT(a, b, sum) ((a) * (b) + (sum))
#endif

/* The dot products of one unit, whose weights are in words, added to sums[row * TOKENS + token]. */
static inline void
add_unit(const struct input *input, const struct matrix *matrix, uint unit, uint (*words)[4], float *sums)
{
#pragma unroll
    for (uint q = 0; q < QUADS; q++) {
        float4 w[ROWS];
        for (uint r = 0; r < ROWS; r++) {
            w[r] = decode_quad(words[r], q);
        }
        for (uint t = 0; t < TOKENS; t++) {
            const float4 x = load_quad(input, matrix, input->rows[t], unit, q);
            for (uint r = 0; r < ROWS; r++) {
                float sum = sums[r * TOKENS + t];
                sum = ADD_PRODUCT(w[r].x, x.x, sum);
                sum = ADD_PRODUCT(w[r].y, x.y, sum);
                sum = ADD_PRODUCT(w[r].z, x.z, sum);
                sums[r * TOKENS + t] = ADD_PRODUCT(w[r].w, x.w, sum);
            }
        }
    }
}

/* Units that a lane asks for before it uses the first of them: a lone token's time is that of reading the weights. */
#if TOKENS == 1 && ROWS < 8 && defined(ALIGNED) && !defined(OCL_CPU)
#define AHEAD (8u / ROWS)
#else
#define AHEAD 1u
#endif

/* As add_unit, with the unit's scales. */
static inline void
add_unit_scaled(const struct input *input, const struct matrix *matrix, const uint *rows, uint unit, uint (*words)[4],
                float *sums)
{
#ifdef HAS_SCALES
    float dots[OUTPUTS];
    for (uint i = 0; i < OUTPUTS; i++) {
        dots[i] = 0.0f;
    }
    add_unit(input, matrix, unit, words, dots);
    for (uint i = 0; i < OUTPUTS; i++) {
        const float factor = unit_factor(input, matrix, input->rows[i % TOKENS], rows[i / TOKENS], unit, 0);
        sums[i] = ADD_PRODUCT(dots[i], factor, sums[i]);
    }
#else
    add_unit(input, matrix, unit, words, sums);
#endif
}

/* Work item i < OUTPUTS gets output i of the tile: row i / TOKENS, token i % TOKENS. */
static float
tile_product(const struct input *input, const struct matrix *matrix, const uint *rows, local float *parts)
{
    const uint lane = get_local_id(0);
    const uint n_units = (matrix->cols + UNIT - 1u) / UNIT;
    float sums[OUTPUTS];
    for (uint i = 0; i < OUTPUTS; i++) {
        sums[i] = 0.0f;
    }
    for (uint first = lane; first < n_units; first += AHEAD * LANES) {
        uint words[AHEAD][ROWS][4];
#pragma unroll
        for (uint i = 0; i < AHEAD; i++) {
            for (uint r = 0; r < ROWS; r++) {
                load_unit(matrix, rows[r], min(first + i * LANES, n_units - 1u), words[i][r]);
            }
        }
#pragma unroll
        for (uint i = 0; i < AHEAD; i++) {
            if (first + i * LANES < n_units) {
                add_unit_scaled(input, matrix, rows, first + i * LANES, words[i], sums);
            }
        }
    }
#ifdef HAS_GROUP_SUMS
    group_sums(sums, OUTPUTS, parts);
    return lane < OUTPUTS ? group_sum_of(parts, OUTPUTS, LANES, lane) : 0.0f;
#else
    for (uint i = 0; i < OUTPUTS; i++) {
        parts[i * LANES + lane] = sums[i];
    }
    for (uint half_lanes = LANES / 2u; half_lanes > 0u; half_lanes /= 2u) {
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint at = lane; at < OUTPUTS * half_lanes; at += LANES) {
            const uint i = at / half_lanes, from = i * LANES + at % half_lanes;
            parts[from] += parts[from + half_lanes];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return lane < OUTPUTS ? parts[lane * LANES] : 0.0f;
#endif
}

#else

/* ---- sums of the contract: integers in a block, then f32 in pieces of 512 ---- */

/* What a lane leaves for its piece: of E2M1X2, whose blocks are units, the block's sum times its factor; of E4M3 the
 * unit's exact sum. */
#if DTYPE == DTYPE_E4M3
#define SUM long
#define PART long
#elif defined(DIGITS)
#define SUM int3 /* of each digit */
#define PART float
#else
#define SUM int
#define PART float
#endif
#define CHUNK_UNITS (CHUNK / UNIT)
#define CHUNKS (LANES / CHUNK_UNITS) /* of a pass of all lanes */
/* One free place after each 16: lanes that add pieces side by side meet no bank twice. */
#define PARTS_STRIDE (LANES + LANES / 16u)
#define PART_AT(output, lane) ((output) * PARTS_STRIDE + (lane) + (lane) / 16u)
#define PARTS_BYTES (OUTPUTS * PARTS_STRIDE * sizeof(PART) + OUTPUTS * CHUNKS * 4u)

static inline int4
load_quad_int(const struct input *input, const struct matrix *matrix, uint row, uint unit, uint quad)
{
    return *(const global int4 *)(input->values + quad_at(matrix, row, unit, quad));
}

/* x has 18 bits and a sign, an E2M1X2 weight 4: their product fits what mad24 multiplies, and 32 of them an int. */
static inline SUM
add_products(int4 x, WEIGHTS w, SUM sum)
{
#ifdef DIGITS
    return (int3)(dot_bytes(as_uint(x.x), w, sum.x), dot_bytes(as_uint(x.y), w, sum.y),
                  dot_bytes(as_uint(x.z), w, sum.z));
#elif DTYPE == DTYPE_E4M3
    const long4 products = convert_long4(x) * convert_long4(w);
    return sum + ((products.x + products.y) + (products.z + products.w));
#elif defined(OCL_NVIDIA) || defined(OCL_CPU) /* whose 32-bit multiply-and-add is the faster one */
    return x.w * w.w + (x.z * w.z + (x.y * w.y + (x.x * w.x + sum)));
#else
    return mad24(x.w, w.w, mad24(x.z, w.z, mad24(x.y, w.y, mad24(x.x, w.x, sum))));
#endif
}

/* The exact sums of one unit, quad by quad: all of its decoded weights at once would fill the registers. */
static inline void
sum_unit(const struct input *input, const struct matrix *matrix, const uint *rows, uint unit, SUM *sums)
{
    uint words[ROWS][4];
    for (uint r = 0; r < ROWS; r++) {
        load_unit(matrix, rows[r], unit, words[r]);
    }
#pragma unroll 1
    for (uint q = 0; q < QUADS; q++) {
        WEIGHTS w[ROWS];
        for (uint r = 0; r < ROWS; r++) {
            w[r] = decode_quad_int(words[r]);
            next_quad(words[r]);
        }
        for (uint t = 0; t < TOKENS; t++) {
            const int4 x = load_quad_int(input, matrix, input->rows[t], unit, q);
            for (uint r = 0; r < ROWS; r++) {
                sums[r * TOKENS + t] = add_products(x, w[r], sums[r * TOKENS + t]);
            }
        }
    }
}

#if DTYPE == DTYPE_E4M3

#define BLOCK_UNITS (ACT_BLOCK / UNIT)

static inline PART
part_of(const struct input *input, const struct matrix *matrix, uint x_row, uint row, uint unit, SUM sum)
{
    return sum;
}

/* The f32 sum of the piece whose first unit is lane `first` of this pass. */
static inline float
sum_chunk(const struct input *input, const struct matrix *matrix, const uint *rows, uint pass, uint output, uint first,
          const local PART *parts)
{
    float sum = 0.0f;
    for (uint block = first; block < first + CHUNK_UNITS; block += BLOCK_UNITS) {
        if ((pass + block) * UNIT >= matrix->cols) {
            break;
        }
        SUM exact = 0;
        for (uint lane = block; lane < block + BLOCK_UNITS; lane++) {
            exact += parts[PART_AT(output, lane)];
        }
        const uint x_row = input->rows[output % TOKENS];
        sum += (float)exact * unit_factor(input, matrix, x_row, rows[output / TOKENS], pass + block, -18);
    }
    return sum;
}

#else

static inline PART
part_of(const struct input *input, const struct matrix *matrix, uint x_row, uint row, uint unit, SUM sum)
{
#ifdef DIGITS
    const int exact = (sum.z * 256 + sum.y) * 256 + sum.x;
#else
    const int exact = sum;
#endif
    return (float)exact * unit_factor(input, matrix, x_row, row, unit, -10);
}

static inline float
sum_chunk(const struct input *input, const struct matrix *matrix, const uint *rows, uint pass, uint output, uint first,
          const local PART *parts)
{
    float sum = 0.0f;
    for (uint lane = first; lane < first + CHUNK_UNITS; lane++) {
        sum += parts[PART_AT(output, lane)];
    }
    return sum;
}

#endif

/* As above. */
static float
tile_product(const struct input *input, const struct matrix *matrix, const uint *rows, local PART *parts)
{
    const uint lane = get_local_id(0);
    const uint n_units = (matrix->cols + UNIT - 1u) / UNIT;
    local float *chunks = (local float *)(parts + OUTPUTS * PARTS_STRIDE);
    float total = 0.0f;
    for (uint pass = 0; pass < n_units; pass += LANES) {
        const uint unit = pass + lane;
        SUM sums[OUTPUTS];
        for (uint i = 0; i < OUTPUTS; i++) {
            sums[i] = 0;
        }
        if (unit < n_units) {
            sum_unit(input, matrix, rows, unit, sums);
        }
        for (uint i = 0; i < OUTPUTS; i++) {
            const uint x_row = input->rows[i % TOKENS], row = rows[i / TOKENS];
            parts[PART_AT(i, lane)] = unit < n_units ? part_of(input, matrix, x_row, row, unit, sums[i]) : 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint at = lane; at < OUTPUTS * CHUNKS; at += LANES) {
            chunks[at] = sum_chunk(input, matrix, rows, pass, at / CHUNKS, at % CHUNKS * CHUNK_UNITS, parts);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint c = 0; c < CHUNKS && lane < OUTPUTS; c++) {
            total += chunks[lane * CHUNKS + c];
        }
    }
    return total;
}

#endif

/* ---- kernels ---- */

#define LOCAL_WORDS ((PARTS_BYTES + 7u) / 8u)
#ifdef BLOCKS
#define PARTS_OF(words) ((local PART *)(words))
#else
#define PARTS_OF(words) ((local float *)(words))
#endif

static inline void
tile_rows(uint first, uint end, uint *rows)
{
    for (uint r = 0; r < ROWS; r++) {
        rows[r] = min(first + r, end - 1u); /* rows beyond the end are made again and not stored */
    }
}

/* Group g of get_num_groups(2) makes rows g * row_step .. + n_rows - 1 of the matrix at data + g * data_step,
 * scales + g * scales_step, from rows t * x_step + g * x_next of x.
 * y[t * y_stride + g * y_step + row] for the n tokens t.  matrix_rows: of the matrix, all groups' rows. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) WITH_SUBGROUPS void
dense(PLACE_CONST(x), PLACE_CONST(x_scales), PLACE_CONST(data), PLACE_CONST(scales), PLACE(y), uint n, uint cols,
      uint n_rows, uint row_step, ulong data_step, ulong scales_step, uint x_step, uint x_next, uint y_stride,
      uint y_step)
{
    local long words[LOCAL_WORDS];
    const uint g = get_group_id(2), lane = get_local_id(0);
    const uint first_row = get_group_id(0) * ROWS, first_token = get_group_id(1) * TOKENS;
    const uint end = g * row_step + n_rows;
    const struct matrix matrix = {AT_CONST(uchar, data) + g * data_step, AT_CONST(uchar, scales) + g * scales_step,
                                  end, cols};
    struct input input = {AT_CONST(float, x), AT_CONST(uchar, x_scales), {0}};
    uint rows[ROWS];
    tile_rows(g * row_step + first_row, end, rows);
    for (uint t = 0; t < TOKENS; t++) {
        input.rows[t] = min(first_token + t, n - 1u) * x_step + g * x_next;
    }
    const float value = tile_product(&input, &matrix, rows, PARTS_OF(words));
    const uint row = first_row + lane / TOKENS, token = first_token + lane % TOKENS;
    if (lane < OUTPUTS && row < n_rows && token < n) {
        AT(float, y)[(ulong)token * y_stride + g * y_step + row] = finished(value);
    }
}

#ifndef HAS_SCALES
/* Tiles of several matrices, as several.cl has them. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) WITH_SUBGROUPS void
dense_several(PLACE_CONST(x), SEVERAL)
{
    local long words[LOCAL_WORDS];
    const uint lane = get_local_id(0), first_token = get_group_id(1) * TOKENS;
    FIND_TILE(one, ROWS, get_group_id(0))
    const struct matrix matrix = {one.data, 0, one.n_rows, cols};
    struct input input = {AT_CONST(float, x), 0, {0}};
    uint rows[ROWS];
    tile_rows(one.tile * ROWS, one.n_rows, rows);
    for (uint t = 0; t < TOKENS; t++) {
        input.rows[t] = min(first_token + t, n - 1u);
    }
    const float value = tile_product(&input, &matrix, rows, PARTS_OF(words));
    const uint row = one.tile * ROWS + lane / TOKENS, token = first_token + lane % TOKENS;
    if (lane < OUTPUTS && row < one.n_rows && token < n) {
        one.y[(ulong)token * one.n_rows + row] = rounded >> one.which & 1u ? round_bf16(value) : value;
    }
}
#endif
