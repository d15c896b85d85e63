/* core/model/tokenizer.h - byte-level BPE from a tokenizer.json, with the pre-tokenisation of DeepSeek-V3/V4.
 *
 * Text is any bytes.  HF tokenizers sees only valid UTF-8; here invalid bytes encode byte by byte, so that
 * decode(encode(x)) == x always holds.  Thread: read-only once open, any thread. */
#ifndef CORE_MODEL_TOKENIZER_H
#define CORE_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hearth/status.h>

struct tokenizer;

/* Reads tokenizer.json.  Errors: EIO, EFORMAT, EUNSUPPORTED (another kind of tokenizer), EMEMORY. */
int tokenizer_open(const char *path, struct tokenizer **ret_tokenizer, struct hearth_error *err);
/* The same from memory; name opens error lines. */
int tokenizer_parse(const char *name, const char *json, size_t length, struct tokenizer **ret_tokenizer,
                    struct hearth_error *err);
void tokenizer_free(struct tokenizer *tokenizer); /* NULL allowed */

uint32_t tokenizer_vocab_size(const struct tokenizer *tokenizer); /* highest id + 1 */
/* special: names of added tokens inside the text become those tokens; otherwise they are ordinary text. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t length, bool special,
                     int32_t **ret_ids, size_t *ret_n, struct hearth_error *err);
/* The bytes of one token, borrowed; NULL (length 0) for an id without a token. */
const char *tokenizer_token(const struct tokenizer *tokenizer, int32_t id, size_t *ret_length);
/* An added token by its text, else a vocabulary token by its name in the file (byte alphabet); -1: none. */
int32_t tokenizer_find(const struct tokenizer *tokenizer, const char *name);

/* Tokens to text, whole characters only (see hearth_text_stream). */
struct text_stream;
int text_stream_new(const struct tokenizer *tokenizer, struct text_stream **ret_stream, struct hearth_error *err);
void text_stream_free(struct text_stream *stream);
int text_stream_push(struct text_stream *stream, int32_t id, const char **ret_text, struct hearth_error *err);
int text_stream_finish(struct text_stream *stream, const char **ret_text, struct hearth_error *err);

#endif
