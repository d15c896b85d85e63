/* ready.cl - all that attention and the indexer want of few new tokens, in one launch: query heads and new rows (kv.cl),
 * the indexer's queries (index.cl), what a layer's compressors make and keep (compress.cl).  None depends on another.
 * The text stands behind those three.
 *
 * A work-group of GROUP items is a compressor, which completes at most one entry; or a new row; or GROUP / HEAD_ITEMS
 * heads of queries; or one of the indexer's.  They come in this order, because compressors take longest.  One that the layer has not got
 * has a count of 0 here. */

#define HEADS (GROUP / HEAD_ITEMS) /* of a work-group */

/* hearth/command.h's own, laid out as op_ready.c does. */
struct ready_queries {
    uint n, n_heads, head_dim, rope_dim; /* n: heads of all tokens */
    float eps, hadamard;
};

struct ready_rows {
    uint n, head_dim, rope_dim, ring_slots, row_bytes, format;
    float eps;
};

struct ready_compressor {
    uint ratio, width, rope_dim, overlap, is_index, row_bytes, format, n_entries;
    float eps, hadamard;
};

struct ready {
    ulong position;
    uint n, native, n_compressors;
    struct ready_compressor compressors[2];
    struct ready_rows rows;
    struct ready_queries queries, index;
};

#define COMPRESSOR(x)                                                                                                  \
    PLACE_CONST(x##_values), PLACE_CONST(x##_gates), PLACE_CONST(x##_ape), PLACE(x##_state), PLACE(x##_entries),       \
        PLACE_CONST(x##_norm)

/* Where a compressor's numbers lie. */
struct compressor {
    struct history history;
    global float *state;
    global uchar *entry; /* the one that it may complete */
    const global float *norm;
};

/* is_here 0: nothing */
static inline void
make_compressed(const struct compressor *own, const struct ready_compressor *sizes, const global float *inv_freq,
                uint n, uint native, uint is_here, local float *parts, local float *row, local uint *maxima)
{
    const uint has_entry = is_here && sizes->n_entries > 0;
    make_entry(&own->history, own->history.group, own->entry, own->norm, inv_freq, has_entry ? sizes->width : 0,
               has_entry ? sizes->rope_dim : 0, sizes->is_index, has_entry ? sizes->row_bytes : 0, sizes->format,
               sizes->eps, sizes->hadamard, native, parts, row, maxima);
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* all have read the state as it was */
    const uint n_slots = has_entry && sizes->overlap ? sizes->ratio : min(n, sizes->ratio);
    for (uint i = 0; i < (is_here ? n_slots : 0); i++) { /* of tokens, the last one first: no others change */
        const uint slot = (uint)((own->history.position + n - 1 + sizes->ratio - i) % sizes->ratio);
        for (uint column = (uint)get_local_id(0); column < own->history.columns; column += GROUP) {
            keep_slot(&own->history, own->state, n, slot, column);
        }
    }
}

/* Two compressors' places, and which of them is meant. */
#define PLACE_OF(type, x) (is_second ? AT(type, second_##x) : AT(type, first_##x))
#define PLACE_CONST_OF(type, x) (is_second ? AT_CONST(type, second_##x) : AT_CONST(type, first_##x))

kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) WITH_SUBGROUPS void
make_ready(PLACE_CONST(inv_freq), PLACE(q), PLACE(index_q), PLACE_CONST(kv), PLACE(ring), PLACE_CONST(norm),
           COMPRESSOR(first), COMPRESSOR(second), struct ready all, local float *row, local uint *maxima)
{
    local float parts[GROUP];
    const uint group = (uint)get_group_id(0), is_second = group == 1u;
    const uint first_row = all.n_compressors, first_head = first_row + all.rows.n;
    const uint first_index = first_head + (all.queries.n + HEADS - 1) / HEADS;
    const uint is_compressor = group < first_row, is_row = !is_compressor && group < first_head;
    const uint is_head = !is_compressor && !is_row && group < first_index, is_index = group >= first_index;
    const global float *freqs = AT_CONST(float, inv_freq);

    const struct ready_compressor sizes = is_second ? all.compressors[1] : all.compressors[0];
    const uint ratio = max(sizes.ratio, 1u);
    const struct compressor own = {
        {PLACE_CONST_OF(float, values), PLACE_CONST_OF(float, gates), PLACE_CONST_OF(float, ape),
         PLACE_OF(float, state), all.position, all.position / ratio, ratio,
         sizes.overlap ? 2 * sizes.width : sizes.width, sizes.overlap},
        PLACE_OF(float, state),
        PLACE_OF(uchar, entries) + all.position / ratio * sizes.row_bytes,
        PLACE_CONST_OF(float, norm)};

    const uint token = is_row ? group - first_row : 0;
    const ulong at = all.position + token;
    const global float *raw = AT_CONST(float, kv) + (ulong)token * all.rows.head_dim;
    global uchar *stored = AT(uchar, ring) + at % max(all.rows.ring_slots, 1u) * all.rows.row_bytes;

    const uint wanted_head = (group - first_head) * HEADS + (uint)get_local_id(0) / HEAD_ITEMS;
    const uint has_head = is_head && wanted_head < all.queries.n, head = has_head ? wanted_head : 0;
    const uint index_head = is_index ? group - first_index : 0;
    const ulong head_at = all.position + head / max(all.queries.n_heads, 1u);
    const ulong index_at = all.position + index_head / max(all.index.n_heads, 1u);
    global float *query = AT(float, q) + (ulong)head * all.queries.head_dim;
    global float *index_query = AT(float, index_q) + (ulong)index_head * all.index.head_dim;

#ifdef OCL_CPU /* all but one are left out by counts of 0: group.cl says why */
    make_compressed(&own, &sizes, freqs, all.n, all.native, is_compressor, parts, row, maxima);
    append_row(raw, stored, AT_CONST(float, norm), freqs, at, is_row ? all.rows.head_dim : 0,
               is_row ? all.rows.rope_dim : 0, is_row ? all.rows.row_bytes : 0, all.rows.format, all.rows.eps,
               all.native, parts, row, maxima);
    turn_head(query, freqs, head_at, has_head ? all.queries.head_dim : 0, has_head ? all.queries.rope_dim : 0,
              all.queries.eps, all.native, parts);
    make_index_head(index_query, freqs, index_at, is_index ? all.index.head_dim : 0,
                    is_index ? all.index.rope_dim : 0, all.index.hadamard, all.native, row, maxima);
#else
    if (is_compressor) {
        make_compressed(&own, &sizes, freqs, all.n, all.native, 1, parts, row, maxima);
    } else if (is_row) {
        append_row(raw, stored, AT_CONST(float, norm), freqs, at, all.rows.head_dim, all.rows.rope_dim,
                   all.rows.row_bytes, all.rows.format, all.rows.eps, all.native, parts, row, maxima);
    } else if (is_head) {
        turn_head(query, freqs, head_at, has_head ? all.queries.head_dim : 0, has_head ? all.queries.rope_dim : 0,
                  all.queries.eps, all.native, parts);
    } else {
        make_index_head(index_query, freqs, index_at, all.index.head_dim, all.index.rope_dim, all.index.hadamard,
                        all.native, row, maxima);
    }
#endif
}
