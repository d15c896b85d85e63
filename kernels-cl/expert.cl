/* expert.cl - products with E2M1X2 matrices of the routed experts for few routes: one route a tile, bits as the
 * contract has them (docs/numerics.md), for devices that multiply bytes in fours.
 *
 * A sub-group of WARP lanes makes ROWS rows at a time, n_steps times; a work-group has WARPS such.  A lane takes every
 * WARP-th unit of 32 weights, 16 bytes of each row, and has asked for the next ones before it multiplies.  A block is a
 * unit: its sum times its factor waits in local memory until a lane adds the 16 blocks of a piece of 512, ascending,
 * and then another one the pieces of a row.
 *
 * Weights become bytes by a table of eight, chosen by each code's three low bits: one look-up gives w - 64 where the
 * code is positive and 255 where it is negative, a second one, with the signs turned, -w - 64 and 255 the other way
 * round; both together are the byte.  w is twice the value.  What 64 times the sum of x took away, x brings along: the
 * fourth word of each quad that prepare.cl makes with DIGITS.
 *
 * With LATE a work-group makes x ready itself, while its first weights are on their way: x is f32 as it came, in rows of whole
 * blocks of 128, with SWIGLU the gates, whose partners are at x_scales.  It takes local memory for COLS columns.
 *
 * The host sets ROWS, WARPS, and ROUND when y is bf16; rows are whole units at multiples of 16 bytes. */

#define WARP 32u
#define LANES (WARPS * WARP)
#define UNIT 32u
#define QUADS 8u
#define PIECE 16u /* units */
#define TURNS 4u
#define STRETCH (TURNS * WARP) /* units between two additions */
#define PIECES (STRETCH / PIECE)
#define STRIDE                                                                                                         \
    (PIECE + 4u) /* four free places after each piece: lanes that add pieces side by side meet no bank twice */

/* The bytes of `high` and `low` that the four low nibbles of codes choose by their three low bits; a nibble's highest
 * bit makes it eight copies of that byte's sign. */
static inline uint
look_up(uint low, uint high, uint codes)
{
#ifdef OCL_NVIDIA
    uint bytes;
    __asm__("prmt.b32 %0, %1, %2, %3;" : "=r"(bytes) : "r"(low), "r"(high), "r"(codes));
    return bytes;
#else
    uint bytes = 0u;
    for (uint i = 0; i < 4u; i++) {
        const uint code = codes >> 4u * i, from = code & 4u ? high : low;
        const uint byte = from >> 8u * (code & 3u) & 0xFFu;
        bytes |= (code & 8u ? (byte & 0x80u ? 0xFFu : 0u) : byte) << 8u * i;
    }
    return bytes;
#endif
}

/* 16 bytes that nobody will read again. */
static inline uint4
load_once(const global uint4 *from)
{
#ifdef OCL_NVIDIA
    uint4 all;
    __asm__ volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(all.x), "=r"(all.y), "=r"(all.z), "=r"(all.w)
                     : "l"(from));
    return all;
#else
    return *from;
#endif
}

/* A barrier of a sub-group's lanes for local memory that is theirs alone. */
static inline void
meet_warp(void)
{
#ifdef OCL_NVIDIA
    __asm__ volatile("bar.warp.sync 0xffffffff;" ::: "memory");
#else
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
}

struct matrix {
    const global uchar *data, *scales;
    uint n_rows, n_units;
};

#ifdef LATE
#define X_PLACE local
#else
#define X_PLACE global
#endif

struct input {
    const X_PLACE uint4 *quads; /* [QUADS][stride], units up to whole 128 elements */
    const X_PLACE uchar *scales;
    uint stride;
};

/* What a lane has asked for of a turn. */
struct turn {
    uint4 words[ROWS];
    uint scales[ROWS];
};

/* The unit to be asked for next: of rows first_row .. + ROWS - 1, up to end. */
struct place {
    uint first_row, end, unit;
};

static inline void
ask(const struct matrix *matrix, struct place *place, struct turn *turn)
{
    const uint at = min(place->unit, matrix->n_units - 1u);
    if (place->first_row < place->end) {
        for (uint r = 0; r < ROWS; r++) {
            const ulong from = (ulong)min(place->first_row + r, matrix->n_rows - 1u) * matrix->n_units + at;
            turn->words[r] = load_once((const global uint4 *)matrix->data + from);
            turn->scales[r] = matrix->scales[from];
        }
    }
    place->unit += WARP;
    if (place->unit >= (matrix->n_units + WARP - 1u) / WARP * WARP) {
        place->unit -= (matrix->n_units + WARP - 1u) / WARP * WARP;
        place->first_row += ROWS;
    }
}

/* A unit's scales as factors of sums in units of 2^-10.  x's code is at least 105 (prepare.cl has a floor), so that a
 * weight's NaN lies beyond the limits of the sum, as x's own is put there; what lies beyond goes the long way. */
static inline void
make_factors(uint x_code, const uint *codes, float *factors)
{
    const uint x = x_code == E8M0_NAN ? 1024u : x_code;
    uint most = 0u;
    for (uint r = 0; r < ROWS; r++) {
        most = max(most, codes[r] + x - 150u);                /* 254 - 104 */
        factors[r] = as_float((codes[r] + (x - 137u)) << 23); /* 254 - 127 + 10 */
    }
    if (most > 200u) {
        for (uint r = 0; r < ROWS; r++) {
            factors[r] = scale_product(x_code, codes[r], -10);
        }
    }
}

/* The products of a unit, each with its factor. */
static inline void
multiply(const struct input *input, uint unit, const struct turn *turn, const uint2 table, float *products)
{
    int sums[ROWS][3];
    uint taken = 0u;
    float factors[ROWS];
    for (uint r = 0; r < ROWS; r++) {
        sums[r][0] = sums[r][1] = sums[r][2] = 0;
    }
#pragma unroll
    for (uint q = 0; q < QUADS; q++) {
        const uint4 x = input->quads[q * input->stride + unit];
        taken += x.w;
        for (uint r = 0; r < ROWS; r++) {
            const uint words[4] = {turn->words[r].x, turn->words[r].y, turn->words[r].z, turn->words[r].w};
            const uint codes = words[q / 2u] >> 16u * (q & 1u);
            const uint turned = (words[q / 2u] ^ 0x88888888u) >> 16u * (q & 1u);
            const uint bytes = look_up(table.x, 0xCCC8C6C4u, codes) & look_up(table.y, 0xB4B8BABCu, turned);
            sums[r][0] = dot_bytes(x.x, bytes, sums[r][0]);
            sums[r][1] = dot_bytes(x.y, bytes, sums[r][1]);
            sums[r][2] = dot_bytes(x.z, bytes, sums[r][2]);
        }
    }
    make_factors(input->scales[unit / 4u], turn->scales, factors);
    for (uint r = 0; r < ROWS; r++) {
        const uint high = (uint)sums[r][2] * 256u + (uint)sums[r][1]; /* the whole is below 2^27 */
        const int exact = (int)(high * 256u + (uint)sums[r][0] + taken);
        products[r] = (float)exact * factors[r];
    }
}

/* Adds the pieces that n_turns turns left, ascending.  Lane r < ROWS of a sub-group has the total of row r. */
static inline float
add_pieces(local float *parts, uint n_turns, float total)
{
    const uint lane = get_local_id(0) % WARP, n_pieces = n_turns * (WARP / PIECE);
    meet_warp();
    for (uint piece = lane; piece < ROWS * PIECES; piece += WARP) {
        float sum = 0.0f;
        for (uint i = 0; i < PIECE && piece % PIECES < n_pieces; i += 4u) {
            const float4 four = *(const local float4 *)(parts + piece * STRIDE + i);
            sum = (((sum + four.x) + four.y) + four.z) + four.w;
        }
        parts[piece * STRIDE] = sum;
    }
    meet_warp();
    for (uint i = 0; i < n_pieces && lane < ROWS; i++) {
        total += parts[(lane * PIECES + i) * STRIDE];
    }
    meet_warp();
    return total;
}

/* The products of rows first_row .. end - 1, ROWS at a time; y[row].  next: their first turn, asked for.  parts: the sub-group's, [ROWS][PIECES][STRIDE] */
static inline void
make_rows(const struct input *input, const struct matrix *matrix, struct place place, struct turn next, uint first_row,
          uint end, local float *parts, global float *y)
{
    const uint lane = get_local_id(0) % WARP;
    /* Nothing is added: `taken` is 64 times a number.  What the compiler does not know to be a constant, it keeps in a
     * register instead of making it anew for every look-up. */
    const uint2 table = (uint2)(0xC3C2C1C0u, 0xBDBEBFC0u) + (input->quads[min(lane, matrix->n_units - 1u)].w & 63u);
    for (uint rows = first_row; rows < end; rows += ROWS) {
        float total = 0.0f;
        for (uint first = 0; first < matrix->n_units; first += STRETCH) {
            const uint n_turns = min(TURNS, (matrix->n_units - first + WARP - 1u) / WARP);
#pragma unroll 1
            for (uint t = 0; t < n_turns; t++) {
                const uint unit = first + t * WARP + lane;
                const struct turn now = next;
                float products[ROWS];
                ask(matrix, &place, &next);
                multiply(input, min(unit, matrix->n_units - 1u), &now, table, products);
                for (uint r = 0; r < ROWS; r++) {
                    parts[(r * PIECES + (t * WARP + lane) / PIECE) * STRIDE + lane % PIECE] =
                        unit < matrix->n_units ? products[r] : 0.0f;
                }
            }
            total = add_pieces(parts, n_turns, total);
        }
        if (lane < ROWS && rows + lane < matrix->n_rows) {
#ifdef ROUND
            y[rows + lane] = round_bf16(total);
#else
            y[rows + lane] = total;
#endif
        }
    }
}

#ifdef LATE
#define ACT_BLOCK 128u
#define LEAST 1e-4f /* act_quant's floor */

/* The largest of a sub-group's numbers.  words: the sub-group's, [WARP] */
static inline uint
warp_max(uint value, local uint *words)
{
#ifdef OCL_NVIDIA
    for (uint reach = WARP / 2u; reach > 0u; reach /= 2u) {
        uint other;
        __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(value), "r"(reach));
        value = max(value, other);
    }
    return value;
#else
    meet_warp();
    words[get_local_id(0) % WARP] = value;
    meet_warp();
    for (uint i = 0; i < WARP; i++) {
        value = max(value, words[i]);
    }
    return value;
#endif
}

/* Elements at .. + 3 of a row of x, or of the gated activation. */
static inline float4
input_quad(const global float *x, const global float *up, float weight, float limit, uint at)
{
    const float4 value = vload4(0, x + at);
#ifdef SWIGLU
    const float4 other = vload4(0, up + at);
    return (float4)(round_bf16(exact_swiglu(value.x, other.x, limit) * weight),
                    round_bf16(exact_swiglu(value.y, other.y, limit) * weight),
                    round_bf16(exact_swiglu(value.z, other.z, limit) * weight),
                    round_bf16(exact_swiglu(value.w, other.w, limit) * weight));
#else
    return value;
#endif
}

static inline float
quantised(float value, float reciprocal)
{
    return e4m3_to_f32(e4m3_from_f32(value * reciprocal));
}

/* What prepare.cl does with DIGITS, of one row: quads [QUADS][stride], scales [n_blocks].  A sub-group makes a block at a
 * time; all make as many, the last one again and again. */
static inline void
quantise_row(const global float *x, const global float *up, float weight, float limit, uint n_blocks, uint stride,
             local uint4 *quads, local uchar *scales, local uint *words)
{
    const uint lane = get_local_id(0) % WARP, warp = get_local_id(0) / WARP;
    for (uint first = 0; first < n_blocks; first += WARPS) {
        const uint block = min(first + warp, n_blocks - 1u);
        const float4 value = input_quad(x, up, weight, limit, block * ACT_BLOCK + lane * 4u);
        const uint4 bits = as_uint4(fabs(value));
        const uint own = max(max(max(bits.x, bits.y), max(bits.z, bits.w)), as_uint(LEAST));
        const uint code = block_code(warp_max(own, words + warp * WARP), E4M3_RECIPROCAL);
        const float reciprocal = as_float((254u - min(code, 254u)) << 23);
        const float4 all = (float4)(quantised(value.x, reciprocal), quantised(value.y, reciprocal),
                                    quantised(value.z, reciprocal), quantised(value.w, reciprocal));
        quads[lane % QUADS * stride + block * (ACT_BLOCK / UNIT) + lane / QUADS] =
            code == E8M0_NAN ? (uint4)(0u) : digits_of(all);
        scales[block] = (uchar)code;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}
#endif

/* As `routed` of product.cl without TILES: tile get_group_id(1) is the route of that number; but of four slabs, from
 * number first_slab on. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
routed_few(PLACE_CONST(x), PLACE_CONST(x_scales), SLABS, PLACE_CONST(experts), PLACE_CONST(routes), PLACE(y),
           uint first_slab, uint first_matrix, uint cols, uint n_rows, uint n, uint n_slots, uint n_experts,
           ulong y_step, uint n_steps, float limit)
{
    local float4 parts[WARPS * ROWS * PIECES * STRIDE / 4u];
    const uint warp = get_local_id(0) / WARP, first_row = (get_group_id(0) * WARPS + warp) * n_steps * ROWS;
    const uint which = first_matrix + get_group_id(2), n_blocks = (cols + 127u) / 128u;
    const struct route route = AT_CONST(struct route, routes)[get_group_id(1)];
    const global struct expert *expert = AT_CONST(struct expert, experts) + min(route.expert, n_experts - 1u);
    const global uchar *data = SLAB(expert->slab - first_slab);
#ifdef X_TOKENS
    const uint x_row = min(route.token, n - 1u), to = get_group_id(1), n_to = to + 1u;
#else
    const uint x_row = get_group_id(1), to = route.slot, n_to = n_slots;
#endif
    if (route.expert >= n_experts || expert->dtypes[which] != DTYPE_E2M1X2 || data == 0 || to >= n_to) {
        return;
    }
    const struct matrix matrix = {data + expert->data[which], data + expert->scales[which], n_rows, cols / UNIT};
    const uint end = first_row + n_steps * ROWS;
    struct place place = {first_row, end, get_local_id(0) % WARP};
    struct turn next;
    ask(&matrix, &place, &next);
#ifdef LATE
    local uint4 quads[QUADS * (COLS / UNIT + 1u)]; /* one place more: a block's quads meet no bank twice */
    local uchar scales[COLS / ACT_BLOCK];
    local uint words[WARPS * WARP];
    const struct input input = {quads, scales, COLS / UNIT + 1u};
    quantise_row(AT_CONST(float, x) + (ulong)x_row * cols, AT_CONST(float, x_scales) + (ulong)x_row * cols, route.weight,
                 limit, n_blocks, input.stride, quads, scales, words);
#else
    const struct input input = {AT_CONST(uint4, x) + (ulong)x_row * QUADS * n_blocks * 4u,
                                AT_CONST(uchar, x_scales) + (ulong)x_row * n_blocks, n_blocks * 4u};
#endif
    make_rows(&input, &matrix, place, next, first_row, end, (local float *)parts + warp * (ROWS * PIECES * STRIDE),
              AT(float, y) + get_group_id(2) * y_step + (ulong)to * n_rows);
}
