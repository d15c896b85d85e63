/* text.c - the model's tokenizer and chat format, seen through the engine. */
#include <config.h>

#include "core/engine/engine_internal.h"

#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/model/chat.h"
#include "core/model/tokenizer.h"

struct hearth_text_stream {
    struct text_stream *stream;
};

static int
find_tokenizer(const struct hearth_engine *engine, const struct tokenizer **ret_tokenizer,
               struct hearth_error *err)
{
    const struct tokenizer *tokenizer = model_tokenizer(engine->rooms.model);
    if (!tokenizer) {
        return error_set(err, HEARTH_EUNSUPPORTED, "%s: a tokenizer.json wanted for text, none found",
                         model_path(engine->rooms.model));
    }
    *ret_tokenizer = tokenizer;
    return HEARTH_OK;
}

int
hearth_encode(const struct hearth_engine *engine, const char *text, size_t length, bool special,
              int32_t **ret_ids, size_t *ret_n, struct hearth_error *err)
{
    const struct tokenizer *tokenizer = NULL;
    const int status = find_tokenizer(engine, &tokenizer, err);
    return status < 0 ? status
                      : tokenizer_encode(tokenizer, text, length, special, ret_ids, ret_n, err);
}

int
hearth_decode(const struct hearth_engine *engine, const int32_t *ids, size_t n, char **ret_text,
              size_t *ret_length, struct hearth_error *err)
{
    const struct tokenizer *tokenizer = NULL;
    struct text text = {0};
    const int status = find_tokenizer(engine, &tokenizer, err);
    if (status < 0) {
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        size_t length = 0;
        const char *bytes = tokenizer_token(tokenizer, ids[i], &length);
        if (bytes) {
            text_append(&text, bytes, length);
        }
    }
    const size_t length = text.length;
    char *bytes = text_take(&text);
    if (!bytes) {
        return error_no_memory(err, "decoded text");
    }
    *ret_text = bytes;
    if (ret_length) {
        *ret_length = length;
    }
    return HEARTH_OK;
}

int32_t
hearth_token_id(const struct hearth_engine *engine, const char *name)
{
    const struct tokenizer *tokenizer = model_tokenizer(engine->rooms.model);
    return tokenizer ? tokenizer_find(tokenizer, name) : -1;
}

int
hearth_text_stream_new(const struct hearth_engine *engine, struct hearth_text_stream **ret_stream,
                       struct hearth_error *err)
{
    const struct tokenizer *tokenizer = NULL;
    int status = find_tokenizer(engine, &tokenizer, err);
    if (status < 0) {
        return status;
    }
    struct hearth_text_stream *stream = calloc(1, sizeof *stream);
    if (!stream) {
        return error_no_memory(err, "a text stream");
    }
    status = text_stream_new(tokenizer, &stream->stream, err);
    if (status < 0) {
        free(stream);
        return status;
    }
    *ret_stream = stream;
    return HEARTH_OK;
}

void
hearth_text_stream_free(struct hearth_text_stream *stream)
{
    if (stream) {
        text_stream_free(stream->stream);
        free(stream);
    }
}

int
hearth_text_stream_push(struct hearth_text_stream *stream, int32_t id, const char **ret_text,
                        struct hearth_error *err)
{
    return text_stream_push(stream->stream, id, ret_text, err);
}

int
hearth_text_stream_finish(struct hearth_text_stream *stream, const char **ret_text,
                          struct hearth_error *err)
{
    return text_stream_finish(stream->stream, ret_text, err);
}

int
hearth_chat_encode(const struct hearth_engine *engine, const char *messages,
                   const struct hearth_chat_options *options, char **ret_text,
                   const char **ret_missing, struct hearth_error *err)
{
    return chat_encode(model_passages(engine->rooms.model), messages, options, ret_text, ret_missing,
                       err);
}
