/* added_tokens.c - finding added tokens in raw text: leftmost first, the longest where several begin.
 *
 * The names are ordered, so those that share a beginning are neighbours: each further byte of the text narrows the
 * range by bisection until it is empty.  Nearly every position is left after one look at first[]. */
#include "core/model/tokenizer_internal.h"

#include <stdlib.h>
#include <string.h>

static int
name_compare(const struct token_table *table, uint32_t a, uint32_t b)
{
    size_t length_a, length_b;
    const char *name_a = token_table_name(table, a, &length_a);
    const char *name_b = token_table_name(table, b, &length_b);
    const int order = memcmp(name_a, name_b, length_a < length_b ? length_a : length_b);
    return order ? order : (length_a > length_b) - (length_a < length_b);
}

/* Heap sort: qsort has no room for the table, and qsort_r is no part of C11. */
static void
set_sift(struct added_set *set, const struct token_table *table, uint32_t root, uint32_t n)
{
    for (uint32_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && name_compare(table, set->ids[child], set->ids[child + 1]) < 0) {
            child++;
        }
        if (name_compare(table, set->ids[root], set->ids[child]) >= 0) {
            return;
        }
        const uint32_t id = set->ids[root];
        set->ids[root] = set->ids[child];
        set->ids[child] = id;
    }
}

void
added_set_index(struct added_set *set, const struct token_table *table)
{
    for (uint32_t root = set->n_ids / 2; root-- > 0;) {
        set_sift(set, table, root, set->n_ids);
    }
    for (uint32_t n = set->n_ids; n > 1; n--) {
        const uint32_t id = set->ids[0];
        set->ids[0] = set->ids[n - 1];
        set->ids[n - 1] = id;
        set_sift(set, table, 0, n - 1);
    }
    uint32_t at = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        size_t length;
        set->first[byte] = at;
        while (at < set->n_ids && (unsigned char)*token_table_name(table, set->ids[at], &length) == byte) {
            at++;
        }
    }
    set->first[256] = at;
}

/* The first name in [low, high) whose byte at depth is not below byte; all of them agree up to depth. */
static uint32_t
set_bisect(const struct added_set *set, const struct token_table *table, uint32_t low, uint32_t high, size_t depth,
           unsigned byte)
{
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        size_t length;
        const char *name = token_table_name(table, set->ids[middle], &length);
        if (length <= depth || (unsigned char)name[depth] < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest name that text begins with. */
static bool
set_match(const struct added_set *set, const struct token_table *table, const char *text, size_t length,
          uint32_t *ret_id)
{
    bool found = false;
    if (length == 0) {
        return false;
    }
    uint32_t low = set->first[(unsigned char)text[0]];
    uint32_t high = set->first[(unsigned char)text[0] + 1];
    for (size_t depth = 1; low < high; depth++) {
        size_t name_length;
        token_table_name(table, set->ids[low], &name_length);
        if (name_length == depth) {
            *ret_id = set->ids[low];
            found = true;
        }
        if (depth == length) {
            break;
        }
        const unsigned byte = (unsigned char)text[depth];
        low = set_bisect(set, table, low, high, depth, byte);
        high = set_bisect(set, table, low, high, depth, byte + 1);
    }
    return found;
}

bool
added_set_search(const struct added_set *set, const struct token_table *table, const char *text, size_t length,
                 size_t *ret_start, uint32_t *ret_id)
{
    for (size_t start = 0; start < length && set->n_ids; start++) {
        const unsigned byte = (unsigned char)text[start];
        if (set->first[byte] < set->first[byte + 1] && set_match(set, table, text + start, length - start, ret_id)) {
            *ret_start = start;
            return true;
        }
    }
    return false;
}
