/* fuzz_tokenizer.c - libFuzzer target: a tokenizer.json, a NUL, a text.
 *
 * Whatever the file says, an accepted tokenizer gives back the bytes of any text, and streams valid UTF-8 only. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/model/tokenizer.h"
#include "core/model/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void
stream_check(const struct tokenizer *tokenizer, const int32_t *ids, size_t n)
{
    struct text_stream *stream = NULL;
    const char *piece;
    if (text_stream_new(tokenizer, &stream, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i <= n; i++) {
        const int status =
            i < n ? text_stream_push(stream, ids[i], &piece, NULL) : text_stream_finish(stream, &piece, NULL);
        if (status < 0) {
            abort();
        }
        for (size_t at = 0, left = strlen(piece); left > 0;) {
            const int size = utf8_scan((const unsigned char *)piece + at, left);
            if (size <= 0) {
                abort();
            }
            at += (size_t)size;
            left -= (size_t)size;
        }
    }
    text_stream_free(stream);
}

static void
text_check(const struct tokenizer *tokenizer, const char *text, size_t length, bool special)
{
    int32_t *ids = NULL;
    size_t n = 0, done = 0;
    /* a pattern that needs too many steps is refused */
    if (tokenizer_encode(tokenizer, text, length, special, &ids, &n, NULL) < 0) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t size;
        const char *token = tokenizer_token(tokenizer, ids[i], &size);
        if (!token || size > length - done || memcmp(token, text + done, size) != 0) {
            abort();
        }
        done += size;
    }
    if (done != length) {
        abort();
    }
    stream_check(tokenizer, ids, n);
    free(ids);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct tokenizer *tokenizer = NULL;
    struct hearth_error err;
    const uint8_t *nul = length ? memchr(bytes, 0, length) : NULL;
    const size_t json_length = nul ? (size_t)(nul - bytes) : length;
    if (tokenizer_parse("fuzz.json", (const char *)bytes, json_length, &tokenizer, &err) < 0) {
        return 0;
    }
    const char *text = nul ? (const char *)nul + 1 : "";
    const size_t text_length = nul ? length - json_length - 1 : 0;
    text_check(tokenizer, text, text_length, false);
    text_check(tokenizer, text, text_length, true);
    tokenizer_free(tokenizer);
    return 0;
}
