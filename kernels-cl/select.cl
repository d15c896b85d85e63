/* select.cl - the choice of the indexer: of each token's entries the top_k best, ties towards the lower index.
 *
 * orders   [tokens][max_blocks * SCORE_BLOCK] of order_t (rows.cl): what the kernels that score left
 * maxima   [tokens][max_blocks] of order_t: the largest of each block
 * list     [tokens][max_blocks] u32: room
 * indices  [n][top_k] i32
 *
 * A work-group of GROUP items chooses for one token.  The top_k-th largest of the blocks' maxima is a bound that the
 * top_k best entries reach, so only blocks that reach it are looked into: about top_k of them, unless scores are alike.
 * Digits from the top down narrow the place of the last one chosen (radix select); then items mark what is better and
 * what is as good, a bit an entry, and each writes what is chosen of its blocks, in ascending order. */

#define BIN_BITS 11
#define BINS (1u << BIN_BITS)
#define ITEM_BINS (BINS / GROUP)
#define MARKED 1024u /* blocks that are marked at once */
#define ITEM_BLOCKS (MARKED / GROUP)

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

/* The order of the entry at place `wanted` from the best, and how many entries of that order are among the best.  No
 * order counts below floor, and none is 2^n_bits above it. */
static inline uint
find_last(const struct entries *entries, uint wanted, uint floor, uint n_bits, local uint *bins, local uint *parts,
          local uint *found, uint *ret_n_equal)
{
    uint last = 0;
    for (uint done = 0; done < n_bits;) {
        const uint step = min((uint)BIN_BITS, n_bits - done);
        const uint left = n_bits - done - step; /* bits below this digit */
        for (uint i = (uint)get_local_id(0); i < BINS; i += GROUP) {
            bins[i] = 0;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_LOADS
        for (uint i = (uint)get_local_id(0); i < entries->n_places; i += GROUP) {
            const uint order = entries->orders[entry_at(entries, i)], above = order - floor;
            if (order >= floor && (done == 0 || above >> (left + step) == last)) {
                atomic_inc(&bins[(above >> left) & ((1u << step) - 1)]);
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
    return floor + last;
}

/* Lists the blocks whose maxima reach floor, in ascending order; found: how many, and the largest of all. */
static inline void
list_blocks(const global order_t *maxima, uint n_blocks, uint floor, global uint *list, local uint *parts,
            local uint *found)
{
    const uint item = (uint)get_local_id(0);
    const uint share = (n_blocks + GROUP - 1) / GROUP;
    const uint begin = min(item * share, n_blocks), end = min(begin + share, n_blocks);
    uint n = 0, largest = 0;
    found[1] = 0; /* by all items alike */
    for (uint i = begin; i < end; i++) {
        n += maxima[i] >= floor ? 1 : 0;
        largest = max(largest, (uint)maxima[i]);
    }
    uint to = group_before(n, parts);
    atomic_max(&found[1], largest);
    if (item == GROUP - 1) {
        found[0] = to + n;
    }
    for (uint i = begin; i < end; i++) {
        if (maxima[i] >= floor) {
            list[to++] = i;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE);
}

/* What of the blocks is better than last, and what is as good, a bit an entry.  Blocks `first` of the list and on. */
static inline void
mark(const struct entries *entries, uint first, uint n_blocks, uint last, local uint *better, local uint *equal)
{
    for (uint i = (uint)get_local_id(0); i < MARKED; i += GROUP) {
        better[i] = 0;
        equal[i] = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_LOADS
    for (uint i = (uint)get_local_id(0); i < n_blocks * SCORE_BLOCK; i += GROUP) {
        const uint order = entries->orders[entry_at(entries, first * SCORE_BLOCK + i)];
        if (order >= last) {
            atomic_or(order > last ? &better[i / SCORE_BLOCK] : &equal[i / SCORE_BLOCK], 1u << i % SCORE_BLOCK);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* Writes the chosen entries of a block, of which n_equal may be no better than last. */
static inline void
write_block(uint better, uint equal, uint n_equal, uint first, global int *chosen)
{
    for (uint left = better | equal; left != 0; left &= left - 1) {
        const uint bit = left & -left;
        if ((better & bit) || n_equal > 0) {
            *chosen++ = (int)(first + 31 - clz(bit));
            n_equal -= (better & bit) ? 0 : 1;
        }
    }
}

/* Writes the top_k entries that are better than last or among the first n_equal of those as good. */
static inline void
write_chosen(const struct entries *entries, uint last, uint n_equal, global int *chosen, local uint *better,
             local uint *equal, local uint *parts, local uint *found)
{
    const uint item = (uint)get_local_id(0), n_blocks = entries->n_places / SCORE_BLOCK;
    uint all_better = 0, all_equal = 0; /* before the blocks at hand */
    for (uint first = 0; first < n_blocks; first += MARKED) {
        uint counts = 0; /* better ones in the upper half */
        mark(entries, first, min(MARKED, n_blocks - first), last, better, equal);
        for (uint i = item * ITEM_BLOCKS; i < (item + 1) * ITEM_BLOCKS; i++) {
            counts += popcount(better[i]) << 16 | popcount(equal[i]);
        }
        const uint before = group_before(counts, parts);
        uint better_before = all_better + (before >> 16), equal_before = all_equal + (before & 0xFFFFu);
        for (uint i = item * ITEM_BLOCKS; i < (item + 1) * ITEM_BLOCKS; i++) {
            const uint taken = min(equal_before, n_equal);
            if (better[i] | equal[i]) {
                write_block(better[i], equal[i], n_equal - taken, entries->list[first + i] * SCORE_BLOCK,
                            chosen + better_before + taken);
            }
            better_before += popcount(better[i]);
            equal_before += popcount(equal[i]);
        }
        if (item == GROUP - 1) {
            found[0] = better_before;
            found[1] = equal_before;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        all_better = found[0];
        all_equal = found[1];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
index_select(PLACE_CONST(orders), PLACE_CONST(maxima), PLACE(list), PLACE(indices), ulong position, uint ratio,
             uint top_k, uint max_blocks)
{
    local uint bins[BINS], parts[GROUP], found[2], better[MARKED], equal[MARKED];
    const ulong token = get_group_id(0);
    const uint n = (uint)((position + token + 1) / ratio), n_blocks = (n + SCORE_BLOCK - 1) / SCORE_BLOCK;
    const global order_t *largest = AT_CONST(order_t, maxima) + token * max_blocks;
    global uint *listed = AT(uint, list) + token * max_blocks;
    global int *chosen = AT(int, indices) + token * top_k;
    struct entries entries = {largest, 0, n_blocks};
    uint n_equal;
    if (n <= top_k) {
        for (uint i = (uint)get_local_id(0); i < top_k; i += GROUP) {
            chosen[i] = i < n ? (int)i : -1;
        }
        return;
    }
    const uint bound = find_last(&entries, min(top_k, n_blocks), 0, ORDER_BITS, bins, parts, found, &n_equal);
    const uint floor = n_blocks < top_k ? NO_ORDER + 1 : bound;
    list_blocks(largest, n_blocks, floor, listed, parts, found);
    const uint n_bits = 32 - clz(found[1] - floor);
    entries.n_places = found[0] * SCORE_BLOCK;
    entries.orders = AT_CONST(order_t, orders) + token * max_blocks * SCORE_BLOCK;
    entries.list = listed;
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint last = find_last(&entries, top_k, floor, n_bits, bins, parts, found, &n_equal);
    write_chosen(&entries, last, n_equal, chosen, better, equal, parts, found);
}
