/* group.cl - the second part of what every family begins with: how the items of a work-group make one number of theirs.
 *
 * A device that lets some lanes of a work-group, a sub-group, exchange values without local memory gets OCL_SUBGROUP,
 * how many they are, from the host.  Then a sum is made in the sub-group first, and local memory sees one value of
 * each.  Three ways to exchange: OpenCL's sub-groups, AMD's wavefronts and NVIDIA's warps; OCL_EMULATE_SUBGROUPS is a
 * fourth, through local memory, so that what stands on them is tested on any device.  Without OCL_SUBGROUP local memory
 * alone serves.
 *
 * SUBGROUP is set where sub-groups are used.  Sub-group i has the items i * SUBGROUP .. of the work-group, counted
 * along the first dimension first, and all of its lanes: what asks for them sees to it that they fill the work-group.
 * Every order of additions follows from sizes alone, so that a row's sum does not depend on the rows made beside it.
 *
 * What is called `words` is local memory, an item of the work-group a word, that nothing else uses between two
 * barriers; only the emulation touches it.  Functions here hold barriers or meet in other ways, so no caller puts them
 * in a branch, even one that all items take alike: PoCL then miscompiles the loops around them. */

#if defined(OCL_SUBGROUP)
#if defined(OCL_EMULATE_SUBGROUPS) || defined(OCL_NVIDIA)
#define SUBGROUP OCL_SUBGROUP
#elif defined(__AMDGCN__)
#if defined(__AMDGCN_WAVEFRONT_SIZE) && __has_builtin(__builtin_amdgcn_ds_bpermute)
#define SUBGROUP __AMDGCN_WAVEFRONT_SIZE
#endif
#else
#define SUBGROUP OCL_SUBGROUP
#define OCL_HAS_REQUIRED_SIZE
#endif
#endif

/* Before the name of a kernel that uses them: a compiler that has a choice of sizes takes this one. */
#ifdef OCL_HAS_REQUIRED_SIZE
#define WITH_SUBGROUPS __attribute__((intel_reqd_sub_group_size(SUBGROUP)))
#else
#define WITH_SUBGROUPS
#endif

/* Lanes that exchange values in sums of a whole work-group: on NVIDIA's always. */
#ifdef SUBGROUP
#define TEAM SUBGROUP
#elif defined(OCL_NVIDIA)
#define TEAM 32
#endif

static inline uint
item_number(void)
{
    return (uint)(get_local_id(1) * get_local_size(0) + get_local_id(0));
}

#ifdef TEAM
/* The value of lane (own lane ^ mask) of the sub-group. */
static inline uint
lanes_swap(uint value, uint mask, local void *words)
{
#ifdef OCL_EMULATE_SUBGROUPS
    local uint *all = words;
    barrier(CLK_LOCAL_MEM_FENCE);
    all[item_number()] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint other = all[item_number() ^ mask];
    barrier(CLK_LOCAL_MEM_FENCE);
    return other;
#elif defined(OCL_NVIDIA)
    uint other;
    __asm__ volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(other) : "r"(value), "r"(mask));
    return other;
#elif defined(__AMDGCN__)
    return as_uint(__builtin_amdgcn_ds_bpermute((int)((item_number() ^ mask) % TEAM * 4u), as_int(value)));
#elif defined(cl_khr_subgroup_shuffle)
    return sub_group_shuffle_xor(value, mask);
#else
    return intel_sub_group_shuffle_xor(value, mask);
#endif
}

/* The sum of a sub-group's values, for all of its lanes. */
static inline float
lanes_sum(float value, local void *words)
{
#pragma unroll
    for (uint reach = TEAM / 2u; reach > 0u; reach /= 2u) {
        value += as_float(lanes_swap(as_uint(value), reach, words));
    }
    return value;
}
#endif

#ifdef SUBGROUP
/* The largest of the values of n lanes side by side, a power of two and at most SUBGROUP, for these lanes. */
static inline uint
lanes_max(uint value, uint n, local void *words)
{
#pragma unroll
    for (uint reach = n / 2u; reach > 0u; reach /= 2u) {
        value = max(value, lanes_swap(value, reach, words));
    }
    return value;
}
#endif

#ifdef TEAM
/* Of n sums (a power of two, or whole times TEAM) the sub-group's, shared out: of a lane's half of them it gives one
 * away at each reach, until it has the sums from first_sum(n) on, n / TEAM of them, or one.  Takes as many exchanges as
 * there are sums, not one for each sum and reach. */
static inline void
lanes_sums(float *sums, uint n, local void *words)
{
    uint n_left = n;
#pragma unroll
    for (uint reach = TEAM / 2u; reach > 0u; reach /= 2u) {
        /* by bits, since compilers make an index of a choice between two elements, and no register has one */
        const uint turned = item_number() & reach ? ~0u : 0u;
        const bool is_shared = n_left > 1u;
        n_left = is_shared ? n_left / 2u : 1u;
#pragma unroll
        for (uint i = 0; i < n_left; i++) {
            const uint other = is_shared ? i + n_left : i;
            const uint low = as_uint(sums[i]), high = as_uint(sums[other]), changed = (low ^ high) & turned;
            sums[i] = as_float(low ^ changed) + as_float(lanes_swap(high ^ changed, reach, words));
        }
    }
}

static inline uint
first_sum(uint n)
{
    const uint lane = item_number() % TEAM;
    return n >= TEAM ? lane * (n / TEAM) : lane / (TEAM / n);
}

/* Floats that group_sums takes for n sums of n_items items. */
#define SUMS_ROOM(n, n_items) ((n) > TEAM ? (n) * ((n_items) / TEAM) : (n_items))

/* Of n sums (as lanes_sums has them) those of all n_items items of a work-group, so far that group_sum_of ends one. */
static inline void
group_sums(float *sums, uint n, local float *parts)
{
    const uint item = item_number(), n_own = n > TEAM ? n / TEAM : 1u;
    lanes_sums(sums, n, parts);
    if (n >= TEAM || item % (TEAM / min(n, (uint)TEAM)) == 0u) {
#pragma unroll
        for (uint i = 0; i < n_own; i++) {
            parts[item / TEAM * n + first_sum(n) + i] = sums[i];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

static inline float
group_sum_of(const local float *parts, uint n, uint n_items, uint which)
{
    float sum = parts[which];
    for (uint i = 1; i < n_items / TEAM; i++) {
        sum += parts[i * n + which];
    }
    return sum;
}
#endif

/* A barrier for local memory of which each n_items side by side have touched their own alone since the last one. */
static inline void
meet_few(uint n_items)
{
#ifdef OCL_NVIDIA
    if (n_items <= 32u) {
        __asm__ volatile("bar.warp.sync 0xffffffff;" ::: "memory");
        return;
    }
#elif defined(SUBGROUP) && !defined(OCL_EMULATE_SUBGROUPS)
    if (n_items <= SUBGROUP) {
#ifdef __AMDGCN__
        __builtin_amdgcn_fence(__ATOMIC_ACQ_REL, "wavefront");
        __builtin_amdgcn_wave_barrier();
#else
        sub_group_barrier(CLK_LOCAL_MEM_FENCE);
#endif
        return;
    }
#endif
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Loads above have been asked for before loads below.  NVIDIA's compiler else puts a load where it is used, to save
 * registers, and they wait for each other; it does so across any barrier where a place is `const restrict`.  All lanes
 * come here. */
static inline void
ask_first(void)
{
#ifdef OCL_NVIDIA
    __asm__ volatile("bar.warp.sync 0xffffffff;" ::: "memory");
#endif
}

/* As that, and what starts with the result, 0, cannot come between the loads.  place: the item's own */
static inline float
zero_when_asked(local float *place)
{
#ifdef OCL_NVIDIA
    *place = 0.0f;
    ask_first();
    return *place;
#else
    return 0.0f;
#endif
}

/* What an item wrote to global memory is seen by all that come after it, of any work-group. */
static inline void
publish(void)
{
#ifdef OCL_NVIDIA
    __asm__ volatile("membar.gl;" ::: "memory");
#else
    mem_fence(CLK_GLOBAL_MEM_FENCE);
#endif
}

/* 1 in the last of n work-groups that come here, if this is one of them; it sees then what the others wrote.  counter:
 * 0 before and after.  OpenCL 1.2 promises nothing of this: the host asks for it where it holds (tuning.h). */
static inline uint
is_last_group(bool is_one, global uint *counter, uint n, local uint *flag)
{
    publish();
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    if (get_local_id(0) == 0) {
        *flag = is_one && atomic_inc(counter) + 1u == n ? 1u : 0u;
        if (*flag != 0u) {
            *counter = 0u;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    publish();
    return *flag;
}

/* The sum of the values of n_items side by side, a power of two of which the group is whole times, in an order that
 * n_items alone fixes.  parts: an item's each */
static inline float
team_sum(float value, local float *parts, uint n_items)
{
    const uint item = item_number();
#if defined(TEAM) && defined(GROUP) && GROUP >= TEAM
    const local float *own = parts + item / n_items * (n_items / TEAM);
    float sum = 0.0f;
    value = lanes_sum(value, parts);
    if (item % TEAM == 0u) {
        parts[item / TEAM] = value;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item % TEAM; i < n_items / TEAM; i += TEAM) {
        sum += own[i];
    }
    sum = lanes_sum(sum, parts);
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
#else
    parts[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint reach = n_items / 2; reach > 0; reach /= 2) {
        if (item % n_items < reach) {
            parts[item] += parts[item + reach];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const float sum = parts[item - item % n_items];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
#endif
}

/* The sum of all items' values.  parts: [GROUP], the group's size */
static inline float
group_sum(float value, local float *parts)
{
#ifdef GROUP
    return team_sum(value, parts, GROUP);
#else
    return team_sum(value, parts, (uint)get_local_size(0));
#endif
}

#ifdef GROUP
/* Sums of all items' values before this one's.  parts: [GROUP] */
static inline uint
group_before(uint value, local uint *parts)
{
    const uint item = (uint)get_local_id(0);
#if defined(SUBGROUP) && GROUP >= SUBGROUP
    uint before = 0, all = value;
#pragma unroll
    for (uint reach = 1; reach < SUBGROUP; reach *= 2) { /* all: of the lanes that differ in lower bits alone */
        const uint other = lanes_swap(all, reach, parts);
        before += item & reach ? other : 0u;
        all += other;
    }
    if (item % SUBGROUP == 0u) {
        parts[item / SUBGROUP] = all;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = 0; i < item / SUBGROUP; i++) {
        before += parts[i];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return before;
#else
    parts[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint reach = 1; reach < GROUP; reach *= 2) {
        const uint add = item >= reach ? parts[item - reach] : 0u;
        barrier(CLK_LOCAL_MEM_FENCE);
        parts[item] += add;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    const uint before = parts[item] - value;
    barrier(CLK_LOCAL_MEM_FENCE);
    return before;
#endif
}
#endif
