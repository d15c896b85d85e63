/* measure_mma.cl - the roof of mma.cl's instructions: sums of products whose operands are in registers.
 *
 * add_mma: every one of a work-group's WARPS warps multiplies n_rounds * CHAINS pairs of matrices, to as many sums side by
 * side.  As in measure.cl, what they make is written only where it equals what it never equals. */

#define CHAINS 16u

kernel __attribute__((reqd_work_group_size(WARPS * WARP, 1, 1))) void
add_mma(PLACE(never), uint n_rounds, float seed)
{
    local uint words[MMA_WORDS(WARPS)];
    const uint one = 0x3C003C00u + warp_lane(); /* halves near 1 */
    const uint4 a = (uint4)(one, one + 1u, one + 2u, one + 3u);
    const uint2 b = (uint2)(one + 4u, one + 5u) ^ 0x80000000u; /* the pairs' products nearly cancel */
    float4 sums[CHAINS];
    for (uint i = 0; i < CHAINS; i++) {
        sums[i] = (float4)(seed);
    }
    for (uint round = 0; round < n_rounds; round++) {
        UNROLL
        for (uint i = 0; i < CHAINS; i++) {
            sums[i] = mma_f16(a, b, sums[i], words);
        }
    }
    float4 total = (float4)(0.0f);
    for (uint i = 0; i < CHAINS; i++) {
        total += sums[i];
    }
    if (total.x + total.y + total.z + total.w == 12345.678f) {
        AT(float, never)[0] = total.x;
    }
}
