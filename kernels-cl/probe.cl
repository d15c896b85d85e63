/* probe.cl - whether sums of 16 products of a matrix instruction are exact where many.cl depends on it. */

static inline uint
noise(uint i)
{
    const uint a = (i + 1u) * 0x9E3779B1u, b = (a ^ a >> 15) * 0x85EBCA77u;
    return b ^ b >> 13;
}

/* Weights: loud ones alike, so that sums come near their limits; loud ones of both signs, so that they cancel; any. */
static inline uint
probe_weight(uint round, uint row, uint k)
{
    const uint bits = noise((round * 16u + row) * 16u + k);
    return round % 4u == 0u ? 7u - bits % 2u : round % 4u == 1u ? 7u | (bits & 8u) : bits & 0xFu;
}

/* Codes of x that prepare.cl lets meet: loud ones with few at SPLIT; any from SPLIT on; any whose magnitudes add up to
 * little, subnormals too. */
static inline uint
probe_x(uint round, uint column, uint k)
{
    const uint bits = noise(0x10000u + (round * 8u + column) * 16u + k), sign = bits & 0x80u;
    return round % 4u == 0u  ? (bits % 8u == 0u ? 0x21u : 0x7Eu - (bits >> 8) % 2u)
           : round % 4u < 3u ? (0x20u + (bits >> 8) % 0x5Fu) | sign
                             : (bits >> 8) % 0x70u | sign;
}

/* The exact sum of an output's 16 products, in units of 2^-10. */
static inline int
probe_sum(uint round, uint row, uint column)
{
    int sum = 0;
    for (uint k = 0; k < 16u; k++) {
        sum += e2m1_to_int(probe_weight(round, row, k)) * (int)(e4m3_to_f32(probe_x(round, column, k)) * 512.0f);
    }
    return sum;
}

static inline uint
probe_weights(uint round, uint row, uint k)
{
    const uint low = probe_weight(round, row, k), high = probe_weight(round, row, k + 1u);
    return (low & 8u) << 12 | (low & 7u) << 9 | (high & 8u) << 28 | (high & 7u) << 25;
}

/* Counts the sums of 16 products that the instruction does not give exactly. */
kernel __attribute__((reqd_work_group_size(WARP, 1, 1))) void
probe(PLACE(n_wrong))
{
    local uint words[MMA_WORDS(1)];
    const uint g = warp_lane() / 4u, t = warp_lane() % 4u * 2u, round = get_group_id(0);
    const uint4 a = (uint4)(probe_weights(round, g, t), probe_weights(round, g + 8u, t),
                            probe_weights(round, g, t + 8u), probe_weights(round, g + 8u, t + 8u));
    const uint2 b = (uint2)(e4m3_to_half(probe_x(round, g, t)) | e4m3_to_half(probe_x(round, g, t + 1u)) << 16,
                            e4m3_to_half(probe_x(round, g, t + 8u)) | e4m3_to_half(probe_x(round, g, t + 9u)) << 16);
    const float4 found = mma_f16(a, b, (float4)(0.0f), words) * 0x1p32f;
    const float4 wanted = (float4)((float)probe_sum(round, g, t), (float)probe_sum(round, g, t + 1u),
                                   (float)probe_sum(round, g + 8u, t), (float)probe_sum(round, g + 8u, t + 1u));
    const uint wrong = (found.x != wanted.x) + (found.y != wanted.y) + (found.z != wanted.z) + (found.w != wanted.w);
    atomic_add(AT(uint, n_wrong), wrong);
}
