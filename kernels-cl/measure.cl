/* measure.cl - the roofs: reading memory, and sums of products whose operands are in registers.
 *
 * read_all: work-group g reads the g-th share of x, [n_groups][share] units of 16 bytes, work items side by side.
 * add_int, add_float: every work item makes n_rounds * STEPS * 8 multiplications, each with an addition.
 * What the loops make is written only where it equals an argument that it never equals: the compiler must make it. */

#define STEPS 16

kernel void
read_all(PLACE_CONST(x), PLACE(never), ulong share)
{
    const global uint4 *from = AT_CONST(uint4, x) + get_group_id(0) * share;
    const uint step = get_local_size(0);
    uint4 a = (uint4)(0u), b = a, c = a, d = a;
    ulong at = get_local_id(0);
    for (; at + 3 * step < share; at += 4 * step) {
        a ^= from[at];
        b ^= from[at + step];
        c ^= from[at + 2 * step];
        d ^= from[at + 3 * step];
    }
    a ^= b ^ c ^ d;
    if ((a.x ^ a.y ^ a.z ^ a.w) == 0x5BD1E995u) {
        AT(uint, never)[0] = a.x;
    }
}

kernel void
add_int(PLACE(never), uint n_rounds, int seed)
{
    const int one = seed + (int)get_global_id(0);
    int4 a = (int4)(one, one + 1, one + 2, one + 3), b = a + 4;
    const int4 by = a * 3 + 1;
    for (uint i = 0; i < n_rounds; i++) {
        for (uint j = 0; j < STEPS; j++) {
            a = a * by + b;
            b = b * by + a;
        }
    }
    a ^= b;
    if ((a.x ^ a.y ^ a.z ^ a.w) == 0x5BD1E995) {
        AT(int, never)[0] = a.x;
    }
}

kernel void
add_float(PLACE(never), uint n_rounds, float seed)
{
    const float one = seed + 1e-6f * (float)get_global_id(0);
    float4 a = (float4)(one, one + 1.0f, one + 2.0f, one + 3.0f), b = a + 4.0f;
    const float4 by = (float4)(0.5f) + seed;
    for (uint i = 0; i < n_rounds; i++) {
        for (uint j = 0; j < STEPS; j++) {
            a = fma(a, by, b);
            b = fma(b, by, -a);
        }
    }
    a += b;
    if (a.x + a.y + a.z + a.w == 12345.678f) {
        AT(float, never)[0] = a.x;
    }
}
