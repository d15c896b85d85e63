/* text_stream.c - tokens to text as they come, whole characters only.
 *
 * A character may be spread over several tokens: its first bytes wait until it is complete.  Bytes that can never
 * become a character give one U+FFFD for each longest start of one, as HF tokenizers and most decoders count them.  A
 * NUL gives one too, since the text is handed out as a C string. */
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/model/tokenizer_internal.h"
#include "core/model/utf8.h"

struct text_stream {
    const struct tokenizer *tokenizer;
    struct text held; /* the start of a character */
    struct text ready;
};

int
text_stream_new(const struct tokenizer *tokenizer, struct text_stream **ret_stream, struct hearth_error *err)
{
    struct text_stream *stream = calloc(1, sizeof *stream);
    if (!stream) {
        return error_no_memory(err, "a text stream");
    }
    stream->tokenizer = tokenizer;
    *ret_stream = stream;
    return HEARTH_OK;
}

void
text_stream_free(struct text_stream *stream)
{
    if (!stream) {
        return;
    }
    text_free(&stream->held);
    text_free(&stream->ready);
    free(stream);
}

/* Moves what is certain from held to ready; last: nothing will follow. */
static void
stream_settle(struct text_stream *stream, bool last)
{
    const char *bytes = stream->held.bytes;
    const size_t length = stream->held.length;
    size_t done = 0;
    text_clear(&stream->ready);
    while (done < length) {
        const int size = utf8_scan((const unsigned char *)bytes + done, length - done);
        if (size == 0 && !last) {
            break;
        }
        if (size > 0 && bytes[done] != '\0') {
            text_append(&stream->ready, bytes + done, (size_t)size);
        } else {
            text_add(&stream->ready, UTF8_REPLACEMENT);
        }
        done += size > 0 ? (size_t)size : size < 0 ? (size_t)-size : length - done;
    }
    if (done > 0) {
        memmove(stream->held.bytes, bytes + done, length - done);
        stream->held.length = length - done;
    }
}

static int
stream_give(struct text_stream *stream, const char **ret_text, struct hearth_error *err)
{
    text_append(&stream->ready, "", 0); /* so that no text is "", not NULL */
    if (stream->held.failed || stream->ready.failed) {
        return error_no_memory(err, "the text of a token");
    }
    *ret_text = stream->ready.bytes;
    return HEARTH_OK;
}

int
text_stream_push(struct text_stream *stream, int32_t id, const char **ret_text, struct hearth_error *err)
{
    size_t length;
    const char *bytes = tokenizer_token(stream->tokenizer, id, &length);
    if (!bytes) {
        return error_set(err, HEARTH_EUSAGE, "a token id below %u wanted, %d found",
                         (unsigned)tokenizer_vocab_size(stream->tokenizer), (int)id);
    }
    text_append(&stream->held, bytes, length);
    stream_settle(stream, false);
    return stream_give(stream, ret_text, err);
}

int
text_stream_finish(struct text_stream *stream, const char **ret_text, struct hearth_error *err)
{
    stream_settle(stream, true);
    return stream_give(stream, ret_text, err);
}
