/* select.cl - the choice of the indexer: of each token's entries the top_k best, ties towards the lower index.
 *
 * orders   [tokens][max_blocks * SCORE_BLOCK] of order_t (common.cl): what the kernels that score left
 * maxima   [tokens][max_blocks] of order_t: the largest of each block
 * list     [tokens][max_blocks] u32: room
 * indices  [n][top_k] i32
 *
 * A work-group of GROUP items chooses for one token.  The top_k-th largest of the blocks' maxima is a bound that the
 * top_k best entries reach, so only blocks that reach it are looked into: about top_k of them, unless scores are alike.
 * Digits from the top down narrow the place of the last one chosen (radix select), then every item writes what is
 * chosen of its share of those blocks, in ascending order. */

#define BIN_BITS 11
#define BINS (1u << BIN_BITS)
#define ITEM_BINS (BINS / GROUP)

/* A token's orders, or those of the blocks that a list names. */
struct entries {
    const global order_t *orders;
    const global uint *list; /* 0: all */
    uint n_places;           /* to look at */
};

/* The entry at a place, of which there is none if its order is NO_ORDER. */
static inline uint
entry_at(const struct entries *entries, uint place)
{
    return entries->list == 0 ? place : entries->list[place / SCORE_BLOCK] * SCORE_BLOCK + place % SCORE_BLOCK;
}

/* Sums of all items' values before this one's.  parts: [GROUP] */
static inline uint
group_before(uint value, local uint *parts)
{
    const uint item = (uint)get_local_id(0);
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
}

/* The bin in which the entry at place `wanted` (from 1) from the top lies, and its place there; found: these two. */
static inline void
find_bin(const local uint *bins, uint wanted, local uint *parts, local uint *found)
{
    const uint first = (uint)get_local_id(0) * ITEM_BINS; /* bins from the top */
    uint sum = 0;
    for (uint i = 0; i < ITEM_BINS; i++) {
        sum += bins[BINS - 1 - (first + i)];
    }
    uint before = group_before(sum, parts);
    if (before < wanted && wanted <= before + sum) {
        uint bin = BINS - 1 - first;
        for (; before + bins[bin] < wanted; bin--) {
            before += bins[bin];
        }
        found[0] = bin;
        found[1] = wanted - before;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* The order of the entry at place `wanted` from the best, which is floor or more, and how many entries of that order
 * are among the best. */
static inline uint
find_last(const struct entries *entries, uint wanted, uint floor, local uint *bins, local uint *parts,
          local uint *found, uint *ret_n_equal)
{
    uint last = 0;
    for (uint done = 0; done < ORDER_BITS;) {
        const uint step = min((uint)BIN_BITS, ORDER_BITS - done);
        const uint left = ORDER_BITS - done - step; /* bits below this digit */
        for (uint i = (uint)get_local_id(0); i < BINS; i += GROUP) {
            bins[i] = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (uint i = (uint)get_local_id(0); i < entries->n_places; i += GROUP) {
            const uint order = entries->orders[entry_at(entries, i)];
            if (order >= floor && (done == 0 || order >> (left + step) == last)) {
                atomic_inc(&bins[(order >> left) & ((1u << step) - 1)]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        find_bin(bins, wanted, parts, found);
        last = last << step | found[0];
        wanted = found[1];
        done += step;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    *ret_n_equal = wanted;
    return last;
}

/* Lists the blocks whose maxima reach floor, in ascending order; returns how many. */
static inline uint
list_blocks(const global order_t *maxima, uint n_blocks, uint floor, global uint *list, local uint *parts)
{
    const uint item = (uint)get_local_id(0);
    const uint share = (n_blocks + GROUP - 1) / GROUP;
    const uint begin = min(item * share, n_blocks), end = min(begin + share, n_blocks);
    uint n = 0;
    for (uint i = begin; i < end; i++) {
        n += maxima[i] >= floor ? 1 : 0;
    }
    uint to = group_before(n, parts);
    if (item == GROUP - 1) {
        parts[0] = to + n;
    }
    for (uint i = begin; i < end; i++) {
        if (maxima[i] >= floor) {
            list[to++] = i;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
    const uint n_listed = parts[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return n_listed;
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void
index_select(PLACE_CONST(orders), PLACE_CONST(maxima), PLACE(list), PLACE(indices), ulong position, uint ratio,
             uint top_k, uint max_blocks)
{
    local uint bins[BINS], parts[GROUP], found[2];
    const uint item = (uint)get_local_id(0);
    const ulong token = get_group_id(0);
    const uint n = (uint)((position + token + 1) / ratio), n_blocks = (n + SCORE_BLOCK - 1) / SCORE_BLOCK;
    const global order_t *largest = AT_CONST(order_t, maxima) + token * max_blocks;
    global uint *listed = AT(uint, list) + token * max_blocks;
    global int *chosen = AT(int, indices) + token * top_k;
    struct entries entries = {largest, 0, n_blocks};
    uint n_equal;
    if (n <= top_k) {
        for (uint i = item; i < top_k; i += GROUP) {
            chosen[i] = i < n ? (int)i : -1;
        }
        return;
    }
    const uint bound = find_last(&entries, min(top_k, n_blocks), 0, bins, parts, found, &n_equal);
    const uint floor = n_blocks < top_k ? NO_ORDER + 1 : bound;
    entries.n_places = list_blocks(largest, n_blocks, floor, listed, parts) * SCORE_BLOCK;
    entries.orders = AT_CONST(order_t, orders) + token * max_blocks * SCORE_BLOCK;
    entries.list = listed;
    const uint last = find_last(&entries, top_k, floor, bins, parts, found, &n_equal);
    const uint share = (entries.n_places + GROUP - 1) / GROUP;
    const uint begin = min(item * share, entries.n_places), end = min(begin + share, entries.n_places);
    uint better = 0, equal = 0;
    for (uint i = begin; i < end; i++) {
        const uint order = entries.orders[entry_at(&entries, i)];
        better += order > last ? 1 : 0;
        equal += order == last ? 1 : 0;
    }
    uint equal_before = group_before(equal, parts);
    uint to = group_before(better, parts) + min(equal_before, n_equal);
    for (uint i = begin; i < end; i++) {
        const uint entry = entry_at(&entries, i);
        const uint order = entries.orders[entry];
        if (order > last || (order == last && equal_before < n_equal)) {
            chosen[to++] = (int)entry;
        }
        equal_before += order == last ? 1 : 0;
    }
}
