/* tokenizer_encode.c - text to tokens: added tokens, valid stretches, pieces, merges, in that order.
 *
 * Bytes that are no UTF-8 become the tokens of single bytes; the valid text before and after them is encoded as if it
 * stood alone, as HF tokenizers encodes it. */
#include <stdlib.h>

#include "core/base/error.h"
#include "core/model/tokenizer_internal.h"
#include "core/model/utf8.h"

struct encoding {
    const struct tokenizer *tokenizer;
    struct splitter *splitter;
    struct bpe_work work;
    struct id_list list;
    struct text name; /* a piece in the byte alphabet, for ignore_merges */
};

/* The vocabulary token that a piece is as a whole; -1: none */
static int32_t
piece_whole(struct encoding *encoding, const char *piece, size_t length)
{
    text_clear(&encoding->name);
    for (size_t i = 0; i < length; i++) {
        char letter[2];
        text_append(&encoding->name, letter, byte_alphabet_letter((unsigned char)piece[i], letter));
    }
    return encoding->name.failed
               ? -1
               : token_table_find(&encoding->tokenizer->table, encoding->name.bytes, encoding->name.length);
}

static int
encode_piece(void *context, const char *piece, size_t length, struct hearth_error *err)
{
    struct encoding *encoding = context;
    const struct tokenizer *tokenizer = encoding->tokenizer;
    if (tokenizer->ignore_merges) {
        const int32_t id = piece_whole(encoding, piece, length);
        if (encoding->name.failed) {
            return error_no_memory(err, "a piece of text");
        }
        if (id >= 0) {
            return id_list_append(&encoding->list, &id, 1, err);
        }
    }
    return bpe_encode(&tokenizer->merges, tokenizer->byte_ids, &encoding->work, piece, length, &encoding->list, err);
}

static int
encode_plain(struct encoding *encoding, const char *text, size_t length, struct hearth_error *err)
{
    const unsigned char *bytes = (const unsigned char *)text;
    for (size_t i = 0; i < length;) {
        const size_t start = i;
        for (int size; i < length && (size = utf8_scan(bytes + i, length - i)) > 0;) {
            i += (size_t)size;
        }
        int status = splitter_split(encoding->splitter, text + start, i - start, encode_piece, encoding, err);
        if (status == HEARTH_OK && i < length) {
            status = id_list_append(&encoding->list, &encoding->tokenizer->byte_ids[bytes[i]], 1, err);
            i++;
        }
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* set: which added tokens to look for; 2: none */
static int
encode_added(struct encoding *encoding, int set, const char *text, size_t length, struct hearth_error *err)
{
    const struct tokenizer *tokenizer = encoding->tokenizer;
    size_t start = 0;
    uint32_t id = 0;
    if (set == 2) {
        return encode_plain(encoding, text, length, err);
    }
    while (added_set_search(&tokenizer->added[set], &tokenizer->table, text, length, &start, &id)) {
        int status = encode_added(encoding, set + 1, text, start, err);
        if (status == HEARTH_OK) {
            status = id_list_append(&encoding->list, &(int32_t){(int32_t)id}, 1, err);
        }
        if (status < 0) {
            return status;
        }
        const size_t end = start + tokenizer->table.tokens[id].name_length;
        text += end;
        length -= end;
    }
    return encode_added(encoding, set + 1, text, length, err);
}

int
tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool special, int32_t **ret_ids,
                 size_t *ret_n, struct hearth_error *err)
{
    struct encoding encoding = {.tokenizer = tokenizer};
    if (length > TOKENIZER_MAX_TEXT_BYTES) {
        return error_set(err, HEARTH_EUNSUPPORTED, "at most %zu bytes of text for one encoding wanted, %zu found",
                         TOKENIZER_MAX_TEXT_BYTES, length);
    }
    int status = id_list_reserve(&encoding.list, length / 8 + 1, err);
    if (status == HEARTH_OK) {
        status = splitter_new(tokenizer->pretokenizer, length, &encoding.splitter, err);
    }
    if (status == HEARTH_OK) {
        status = encode_added(&encoding, special ? 0 : 2, text, length, err);
    }
    splitter_free(encoding.splitter);
    bpe_work_done(&encoding.work);
    text_free(&encoding.name);
    if (status < 0) {
        free(encoding.list.ids);
        return status;
    }
    *ret_ids = encoding.list.ids;
    *ret_n = encoding.list.n_ids;
    return HEARTH_OK;
}
