/* bpe.c - merging the bytes of one piece into tokens.
 *
 * The rule: of all neighbours that form a known pair, merge the one of lowest rank, the leftmost among equals, until
 * none is left.  Short pieces (nearly all) look through their few pairs each time; long ones keep the pairs in a heap,
 * so that n bytes cost n log n steps. */
#include "core/model/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

#define NO_RANK TOKEN_ABSENT
#define SHORT_PIECE 40 /* bytes; the two ways cost about the same there */

int
merge_table_init(struct merge_table *table, uint32_t n_merges, struct hearth_error *err)
{
    uint32_t n_slots = 16;
    while (n_slots < 2 * (uint64_t)n_merges) {
        n_slots *= 2;
    }
    table->slots = malloc((size_t)n_slots * sizeof *table->slots);
    table->ids = malloc(((size_t)n_merges + 1) * sizeof *table->ids);
    if (!table->slots || !table->ids) {
        return error_no_memory(err, "the merges");
    }
    for (uint32_t slot = 0; slot < n_slots; slot++) {
        table->slots[slot].rank = NO_RANK;
    }
    table->slot_mask = n_slots - 1;
    return HEARTH_OK;
}

void
merge_table_done(struct merge_table *table)
{
    free(table->slots);
    free(table->ids);
}

/* The slot of a pair, or the free one where it would go */
static struct merge *
merge_slot(const struct merge_table *table, uint32_t left, uint32_t right)
{
    const uint64_t hash = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    uint32_t slot = (uint32_t)(hash >> 32) & table->slot_mask;
    for (;; slot = (slot + 1) & table->slot_mask) {
        struct merge *merge = &table->slots[slot];
        if (merge->rank == NO_RANK || (merge->left == left && merge->right == right)) {
            return merge;
        }
    }
}

bool
merge_table_add(struct merge_table *table, uint32_t left, uint32_t right, int32_t id)
{
    struct merge *merge = merge_slot(table, left, right);
    if (merge->rank != NO_RANK) {
        return false;
    }
    *merge = (struct merge){.left = left, .right = right, .rank = table->n_merges};
    table->ids[table->n_merges++] = id;
    return true;
}

int
id_list_reserve(struct id_list *list, size_t extra, struct hearth_error *err)
{
    if (extra <= list->capacity - list->n_ids) {
        return HEARTH_OK;
    }
    const size_t capacity = (list->n_ids + extra) * 2;
    int32_t *grown = realloc(list->ids, capacity * sizeof *grown);
    if (!grown) {
        return error_no_memory(err, "the tokens of a text");
    }
    list->ids = grown;
    list->capacity = capacity;
    return HEARTH_OK;
}

int
id_list_append(struct id_list *list, const int32_t *ids, size_t n_ids, struct hearth_error *err)
{
    const int status = id_list_reserve(list, n_ids, err);
    if (status == HEARTH_OK) {
        memcpy(list->ids + list->n_ids, ids, n_ids * sizeof *ids);
        list->n_ids += n_ids;
    }
    return status;
}

/* ids: [n] tokens, merged in place; returns how many are left */
static size_t
short_merge(const struct merge_table *merges, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_PIECE]; /* of (ids[i], ids[i + 1]) */
    for (size_t i = 0; i + 1 < n; i++) {
        ranks[i] = merge_slot(merges, (uint32_t)ids[i], (uint32_t)ids[i + 1])->rank;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            if (ranks[i] < ranks[best]) {
                best = i;
            }
        }
        if (ranks[best] == NO_RANK) {
            break;
        }
        ids[best] = merges->ids[ranks[best]];
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        if (best + 1 < n) {
            memmove(ranks + best + 1, ranks + best + 2, (n - best - 2) * sizeof *ranks);
            ranks[best] = merge_slot(merges, (uint32_t)ids[best], (uint32_t)ids[best + 1])->rank;
        }
        if (best > 0) {
            ranks[best - 1] = merge_slot(merges, (uint32_t)ids[best - 1], (uint32_t)ids[best])->rank;
        }
    }
    return n;
}

/* A long piece: tokens in a linked list, the candidate pairs in a heap.  The key of a pair is rank << 32 | position, so
 * the order of keys is the order of merging; a pair that has changed since it was pushed is known by ranks[position].
 */
struct long_piece {
    int32_t *ids;
    uint32_t *ranks, *next, *previous;
    uint64_t *heap;
    size_t n_heap;
    uint32_t n;
};

static void
heap_push(struct long_piece *piece, uint64_t key)
{
    size_t at = piece->n_heap++;
    for (; at > 0 && piece->heap[(at - 1) / 2] > key; at = (at - 1) / 2) {
        piece->heap[at] = piece->heap[(at - 1) / 2];
    }
    piece->heap[at] = key;
}

static uint64_t
heap_pop(struct long_piece *piece)
{
    uint64_t *heap = piece->heap;
    const uint64_t top = heap[0], key = heap[--piece->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < piece->n_heap; at = child) {
        if (child + 1 < piece->n_heap && heap[child + 1] < heap[child]) {
            child++;
        }
        if (heap[child] >= key) {
            break;
        }
        heap[at] = heap[child];
    }
    heap[at] = key;
    return top;
}

/* Looks at the pair that begins at position, after one of its tokens has changed. */
static void
pair_renew(struct long_piece *piece, const struct merge_table *merges, uint32_t position)
{
    const uint32_t next = piece->next[position];
    piece->ranks[position] = NO_RANK;
    if (next < piece->n) {
        piece->ranks[position] = merge_slot(merges, (uint32_t)piece->ids[position], (uint32_t)piece->ids[next])->rank;
    }
    if (piece->ranks[position] != NO_RANK) {
        heap_push(piece, (uint64_t)piece->ranks[position] << 32 | position);
    }
}

static void
long_merge(struct long_piece *piece, const struct merge_table *merges)
{
    for (uint32_t i = 0; i < piece->n; i++) {
        piece->next[i] = i + 1;
        piece->previous[i] = i - 1;
    }
    for (uint32_t i = 0; i < piece->n; i++) {
        pair_renew(piece, merges, i);
    }
    while (piece->n_heap > 0) {
        const uint64_t key = heap_pop(piece);
        const uint32_t position = (uint32_t)key, rank = (uint32_t)(key >> 32);
        if (piece->ranks[position] != rank) {
            continue;
        }
        const uint32_t gone = piece->next[position], after = piece->next[gone];
        piece->ids[position] = merges->ids[rank];
        piece->ranks[gone] = NO_RANK;
        piece->next[position] = after;
        if (after < piece->n) {
            piece->previous[after] = position;
        }
        pair_renew(piece, merges, position);
        if (position > 0) {
            pair_renew(piece, merges, piece->previous[position]);
        }
    }
}

/* Lays the arrays of a piece of length bytes into work.  A merge takes one key and pushes at most two, so the heap
 * never holds more than 2 * length keys. */
static int
work_lay_out(struct bpe_work *work, size_t length, struct long_piece *piece, struct hearth_error *err)
{
    if (length > work->capacity) {
        const size_t capacity = length + length / 2;
        free(work->memory);
        work->capacity = 0;
        work->memory = malloc(capacity * (2 * sizeof(uint64_t) + 4 * sizeof(uint32_t)));
        if (!work->memory) {
            return error_no_memory(err, "merging a long piece of text");
        }
        work->capacity = capacity;
    }
    uint32_t *after_heap = work->memory + length * 2 * (sizeof(uint64_t) / sizeof(uint32_t));
    *piece = (struct long_piece){
        .heap = (uint64_t *)(void *)work->memory,
        .ids = (int32_t *)after_heap,
        .ranks = after_heap + length,
        .next = after_heap + 2 * length,
        .previous = after_heap + 3 * length,
        .n = (uint32_t)length,
    };
    return HEARTH_OK;
}

void
bpe_work_done(struct bpe_work *work)
{
    free(work->memory);
}

int
bpe_encode(const struct merge_table *merges, const int32_t byte_ids[256], struct bpe_work *work, const char *piece,
           size_t length, struct id_list *list, struct hearth_error *err)
{
    if (length <= SHORT_PIECE) {
        int32_t ids[SHORT_PIECE];
        for (size_t i = 0; i < length; i++) {
            ids[i] = byte_ids[(unsigned char)piece[i]];
        }
        return id_list_append(list, ids, short_merge(merges, ids, length), err);
    }
    struct long_piece pairs = {0};
    const int status = work_lay_out(work, length, &pairs, err);
    if (status < 0) {
        return status;
    }
    for (size_t i = 0; i < length; i++) {
        pairs.ids[i] = byte_ids[(unsigned char)piece[i]];
    }
    long_merge(&pairs, merges);
    size_t n = 0;
    for (uint32_t i = 0; i < pairs.n; i = pairs.next[i]) {
        pairs.ids[n++] = pairs.ids[i]; /* n never passes i */
    }
    return id_list_append(list, pairs.ids, n, err);
}
