/* tokenizer_internal.h - what the files of the tokenizer share; nobody else includes it.
 *
 *   tokenizer_open.c      tokenizer.json -> struct tokenizer
 *   token_table.c         names and bytes of all tokens, and the search by name
 *   added_tokens.c        finding added tokens in raw text
 *   pretokenize.c         cutting text into pieces with the file's own patterns
 *   pretokenize_dialect.c which of those patterns mean the same to PCRE2
 *   unicode_standin.c     characters that PCRE2 is too old for
 *   bpe.c                 merging the bytes of one piece into tokens
 *   tokenizer_encode.c    the four steps in order
 *   text_stream.c         tokens to text as they come */
#ifndef CORE_MODEL_TOKENIZER_INTERNAL_H
#define CORE_MODEL_TOKENIZER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/model/tokenizer.h"

#define TOKENIZER_MAX_TOKENS (UINT32_C(4) << 20)
#define TOKENIZER_MAX_TEXT_BYTES ((size_t)INT32_MAX)
#define ADDED_TOKEN_MAX_BYTES 1024 /* bounds the search at each position of the text */
#define TOKEN_ABSENT UINT32_MAX

/* ---- token_table.c ---------------------------------------------------------------------------------------------- */

struct token {
    uint32_t name, name_length;   /* offsets into the arena; name is TOKEN_ABSENT while the id is free */
    uint32_t bytes, bytes_length; /* what the token stands for */
};

struct token_table {
    struct token *tokens; /* by id */
    uint32_t n_tokens;
    struct text arena;
    int32_t *slots; /* hash of the names: ids, -1 where free */
    uint32_t slot_mask;
};

/* Room for ids 0 .. n_tokens - 1.  Zero-initialised before; token_table_done also after failure. */
int token_table_init(struct token_table *table, uint32_t n_tokens, struct hearth_error *err);
void token_table_done(struct token_table *table);
/* The caller has checked that id is free and the name new.  verbatim: the name is the bytes; otherwise it is spelt in
 * the byte alphabet of GPT-2 (and, like in HF tokenizers, is taken verbatim if it holds a character outside of it). */
int token_table_add(struct token_table *table, uint32_t id, const char *name, size_t length, bool verbatim,
                    struct hearth_error *err);
int32_t token_table_find(const struct token_table *table, const char *name, size_t length); /* -1: none */
const char *token_table_name(const struct token_table *table, uint32_t id, size_t *ret_length);

/* The letter of a byte in the byte alphabet, as UTF-8 (1 or 2 bytes); returns its length. */
size_t byte_alphabet_letter(unsigned char byte, char letter[2]);
/* Bytes of a name in that alphabet; false if it holds another character.  bytes: room for length. */
bool byte_alphabet_decode(const char *name, size_t length, char *bytes, size_t *ret_length);

/* ---- added_tokens.c --------------------------------------------------------------------------------------------- */

/* Some added tokens, ordered by name. */
struct added_set {
    uint32_t *ids;
    uint32_t n_ids;
    uint32_t first[257]; /* those whose name begins with byte b: ids[first[b]] .. ids[first[b + 1] - 1] */
};

/* Orders set->ids and fills first; the names are not empty. */
void added_set_index(struct added_set *set, const struct token_table *table);
/* The first place of text where an added token begins, and the longest that does.  False if there is none. */
bool added_set_search(const struct added_set *set, const struct token_table *table, const char *text, size_t length,
                      size_t *ret_start, uint32_t *ret_id);

/* ---- bpe.c ------------------------------------------------------------------------------------------------------ */

struct merge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* position in the list of merges; TOKEN_ABSENT where the slot is free */
};

struct merge_table {
    struct merge *slots;
    uint32_t slot_mask;
    int32_t *ids; /* by rank: the token that the merge makes */
    uint32_t n_merges;
};

int merge_table_init(struct merge_table *table, uint32_t n_merges, struct hearth_error *err);
void merge_table_done(struct merge_table *table);
/* Merges are added in the order of their rank.  False if the pair is there already. */
bool merge_table_add(struct merge_table *table, uint32_t left, uint32_t right, int32_t id);

struct id_list {
    int32_t *ids;
    size_t n_ids, capacity;
};

int id_list_reserve(struct id_list *list, size_t extra,
                    struct hearth_error *err); /* ids is not NULL then if extra > 0 */
int id_list_append(struct id_list *list, const int32_t *ids, size_t n_ids, struct hearth_error *err);

/* Memory for long pieces, kept between the pieces of one text; zero-initialise it. */
struct bpe_work {
    uint32_t *memory;
    size_t capacity; /* bytes of a piece that fit */
};

void bpe_work_done(struct bpe_work *work);
/* Appends the tokens of one piece.  byte_ids: the token of each byte. */
int bpe_encode(const struct merge_table *merges, const int32_t byte_ids[256], struct bpe_work *work, const char *piece,
               size_t length, struct id_list *list, struct hearth_error *err);

/* ---- pretokenize.c ---------------------------------------------------------------------------------------------- */

struct pretokenizer;

/* definition: field pre_tokenizer of the file called name. */
int pretokenizer_new(const char *name, struct json_object *definition, struct pretokenizer **ret_pretokenizer,
                     struct hearth_error *err);
void pretokenizer_free(struct pretokenizer *pretokenizer);

/* Scratch of one encoding; the pretokenizer outlives it.  n_bytes of text in all set the limit on matching steps. */
struct splitter;
int splitter_new(const struct pretokenizer *pretokenizer, size_t n_bytes, struct splitter **ret_splitter,
                 struct hearth_error *err);
void splitter_free(struct splitter *splitter);

/* Gets the pieces in the order of the text; a negative return ends the splitting. */
typedef int (*splitter_piece_fn)(void *context, const char *piece, size_t length, struct hearth_error *err);
/* text: valid UTF-8.  Errors: EUNSUPPORTED (a pattern needs too many steps), EMEMORY, those of take. */
int splitter_split(struct splitter *splitter, const char *text, size_t length, splitter_piece_fn take, void *context,
                   struct hearth_error *err);

/* Why a pattern written for Oniguruma could mean something else to PCRE2; NULL if it means the same. */
const char *pretokenize_dialect_problem(const char *pattern, size_t length);

/* ---- unicode_standin.c ------------------------------------------------------------------------------------------ */

/* The code point that PCRE2 shall see instead of point; the same length in UTF-8.  Only points above U+07FF change. */
uint32_t unicode_standin(uint32_t point);

/* ---- the tokenizer ---------------------------------------------------------------------------------------------- */

struct tokenizer {
    struct token_table table;
    struct merge_table merges;
    int32_t byte_ids[256];
    /* HF tokenizers looks for the added tokens with "normalized": false in the whole text first, and for the others in
     * what is left between them. */
    struct added_set added[2];
    struct pretokenizer *pretokenizer;
    bool ignore_merges; /* a piece that is a vocabulary token becomes that token, whatever the merges say */
};

#endif
