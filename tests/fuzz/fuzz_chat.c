/* fuzz_chat.c - the chat encoding.  The first byte picks what the rest is: a completion for the parser and the stream,
 * messages for the encoder, or the source of an encoding file. */
#include <config.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/model/chat_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

/* What a stream told; runs of one kind are joined. */
struct told {
    struct text log;
    int kind;
    bool ended;
    struct text content;
};

static void
told_event(void *context, enum hearth_chat_event_kind kind, uint32_t call_index, const char *text, size_t length)
{
    struct told *told = context;
    if (told->kind != (int)kind || kind == HEARTH_CHAT_CALL) {
        text_printf(&told->log, "[%d %u]", kind, call_index);
    }
    told->kind = (int)kind;
    told->ended |= kind == HEARTH_CHAT_END;
    text_append(&told->log, text, length);
    if (kind == HEARTH_CHAT_CONTENT) {
        text_append(&told->content, text, length);
    }
}

/* seed 0: in one piece */
static int
told_stream(const char *bytes, size_t length, const struct hearth_chat_options *options, unsigned seed,
            struct told *ret_told)
{
    const struct hearth_chat_sink sink = {told_event, ret_told};
    struct hearth_chat_stream *stream;
    int status = 0;
    *ret_told = (struct told){.kind = -1};
    if (hearth_chat_stream_new(options, &sink, &stream, NULL) < 0) {
        return 0;
    }
    for (size_t at = 0; at < length && status == 0;) {
        size_t n = length;
        if (seed) {
            seed = (seed * 1103515245u + 12345u) | 1;
            n = 1 + (seed >> 16) % 7;
        }
        n = n < length - at ? n : length - at;
        status = hearth_chat_stream_push(stream, bytes + at, n, NULL);
        at += n;
    }
    hearth_chat_stream_finish(stream, NULL);
    hearth_chat_stream_free(stream);
    return status;
}

static void
told_free(struct told *told)
{
    text_free(&told->log);
    text_free(&told->content);
}

/* A parsed message with an end is what the stream told, and any cutting tells the same. */
static void
fuzz_completion(const char *bytes, size_t length, bool thinking, unsigned seed)
{
    const struct hearth_chat_options options = {.thinking = thinking};
    struct told whole, cut;
    struct hearth_error err = {0};
    char *json = NULL;
    const int parsed = hearth_chat_parse(bytes, length, &options, &json, &err);
    const int status = told_stream(bytes, length, &options, 0, &whole);
    const int cut_status = told_stream(bytes, length, &options, seed + 1, &cut);
    if (status != cut_status || whole.log.length != cut.log.length ||
        (whole.log.length && memcmp(whole.log.bytes, cut.log.bytes, whole.log.length) != 0)) {
        __builtin_trap();
    }
    if (parsed < 0 && (err.text[0] == '\0' || strchr(err.text, '\n'))) {
        __builtin_trap(); /* an error is exactly one line */
    }
    const size_t n = strlen(CHAT_EOS);
    if (parsed == 0 && length >= n && memcmp(bytes + length - n, CHAT_EOS, n) == 0) {
        struct text content = {0};
        text_add(&content, "{\"role\": \"assistant\", \"content\": \"");
        chat_json_print_escaped(&content, whole.content.bytes ? whole.content.bytes : "", whole.content.length);
        text_add(&content, "\", ");
        if (status < 0 || !whole.ended || strncmp(json, content.bytes, content.length) != 0) {
            __builtin_trap();
        }
        text_free(&content);
    }
    free(json);
    told_free(&whole);
    told_free(&cut);
}

static void
fuzz_messages(const char *bytes, size_t length, unsigned flags)
{
    static const char *const efforts[] = {NULL, "low", "high", "max"};
    static char before[] = "<", after[] = ">";
    const struct chat_passages passages = {{{before, after}, {before, after}, {before, after}, {before, after}}};
    const struct hearth_chat_options options = {.revision = flags & 1,
                                                .thinking = flags & 2,
                                                .drop_thinking = flags & 4,
                                                .with_context = flags & 8,
                                                .effort = efforts[flags >> 4 & 3]};
    char *messages = malloc(length + 1), *text = NULL;
    struct hearth_error err = {0};
    if (!messages) {
        return;
    }
    memcpy(messages, bytes, length);
    messages[length] = '\0';
    const int status = chat_encode(&passages, messages, &options, &text, NULL, &err);
    if (status < 0 ? text != NULL || err.text[0] == '\0' : !options.with_context && strncmp(text, CHAT_BOS, 3) != 0) {
        __builtin_trap();
    }
    free(text);
    free(messages);
}

/* Constants lie inside the source or are made of it: none is longer. */
static int
constant_check(void *context, const struct chat_constant *constant, struct hearth_error *err)
{
    (void)err;
    if (constant->value.length > *(const size_t *)context || constant->target.length > *(const size_t *)context) {
        __builtin_trap();
    }
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < 2) {
        return 0;
    }
    const char *rest = (const char *)bytes + 2;
    const size_t n = length - 2;
    switch (bytes[0]) {
    case 'c':
    case 't':
        fuzz_completion(rest, n, bytes[0] == 't', bytes[1]);
        break;
    case 'm':
        fuzz_messages(rest, n, bytes[1]);
        break;
    case 'p': {
        size_t longest = n;
        const struct chat_constant_sink sink = {constant_check, &longest};
        chat_python_scan("fuzz.py", (struct chat_text){rest, n}, &sink, NULL);
        break;
    }
    default:
        return -1; /* not worth keeping */
    }
    return 0;
}
