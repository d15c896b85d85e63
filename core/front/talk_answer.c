/* talk_answer.c - see talk_answer.h. */
#include "core/front/talk_answer.h"

#include <stdio.h>
#include <string.h>

#include "core/base/error.h"

static void
answer_fail(struct answer_stream *stream, int status)
{
    if (status < 0 && stream->status == HEARTH_OK) {
        stream->status = status;
    }
}

static void
answer_show(struct answer_stream *stream, bool reasoning, const char *text, size_t length)
{
    if (stream->status == HEARTH_OK) {
        answer_fail(stream, stream->show->piece(stream->show->context, reasoning, text, length,
                                                &stream->failure));
    }
}

static void
answer_call_begin(struct answer_stream *stream, uint32_t index, const char *name, size_t length)
{
    char id[24];
    struct talk_answer *answer = stream->answer;
    struct json_object *call = json_object_new_object(), *function = json_object_new_object();
    answer->calls = answer->calls ? answer->calls : json_object_new_array();
    if (!call || !function || !answer->calls) {
        json_object_put(call);
        json_object_put(function);
        answer_fail(stream, error_no_memory(&stream->failure, "a tool call"));
        return;
    }
    snprintf(id, sizeof id, "call_%u", (unsigned)index);
    json_object_object_add(function, "name", json_object_new_string_len(name, (int)length));
    json_object_object_add(call, "id", json_object_new_string(id));
    json_object_object_add(call, "type", json_object_new_string("function"));
    json_object_object_add(call, "function", function);
    json_object_array_add(answer->calls, call);
    text_clear(&stream->arguments);
    answer_show(stream, false, "\n", 1);
    answer_show(stream, false, name, length);
    answer_show(stream, false, "(", 1);
}

static void
answer_call_end(struct answer_stream *stream)
{
    struct json_object *function = NULL;
    struct json_object *calls = stream->answer->calls;
    const size_t n = calls ? json_object_array_length(calls) : 0;
    if (n
        && json_object_object_get_ex(json_object_array_get_idx(calls, n - 1), "function",
                                     &function)) {
        const char *arguments = stream->arguments.bytes ? stream->arguments.bytes : "";
        json_object_object_add(
            function, "arguments",
            json_object_new_string_len(arguments, (int)stream->arguments.length));
    }
    answer_show(stream, false, ")\n", 2);
}

static void
answer_event(void *context, enum hearth_chat_event_kind kind, uint32_t call_index, const char *text,
             size_t length)
{
    struct answer_stream *stream = context;
    switch (kind) {
    case HEARTH_CHAT_REASONING:
        text_append(&stream->answer->reasoning, text, length);
        answer_show(stream, true, text, length);
        return;
    case HEARTH_CHAT_CONTENT:
        text_append(&stream->answer->content, text, length);
        answer_show(stream, false, text, length);
        return;
    case HEARTH_CHAT_CALL:
        answer_call_begin(stream, call_index, text, length);
        return;
    case HEARTH_CHAT_ARGUMENTS:
        text_append(&stream->arguments, text, length);
        answer_show(stream, false, text, length);
        return;
    case HEARTH_CHAT_CALL_END:
        answer_call_end(stream);
        return;
    case HEARTH_CHAT_END:
        return;
    }
}

int
answer_stream_open(struct answer_stream *stream, const struct hearth_chat_options *options,
                   const struct talk_show *show, struct text *said, struct talk_answer *answer,
                   struct hearth_error *err)
{
    *stream = (struct answer_stream){.show = show, .said = said, .answer = answer};
    const struct hearth_chat_sink sink = {.event = answer_event, .context = stream};
    return hearth_chat_stream_new(options, &sink, &stream->stream, err);
}

static int
answer_stream_status(struct answer_stream *stream, int status, struct hearth_error *err)
{
    if (stream->status < 0) {
        if (err) {
            *err = stream->failure;
        }
        return stream->status;
    }
    if (status < 0) {
        return status;
    }
    const bool failed = stream->answer->content.failed || stream->answer->reasoning.failed
                        || stream->arguments.failed;
    return failed ? error_no_memory(err, "the answer") : HEARTH_OK;
}

int
answer_stream_text(void *context, const char *text, size_t length, struct hearth_error *err)
{
    struct answer_stream *stream = context;
    text_append(stream->said, text, length);
    const int status = hearth_chat_stream_push(stream->stream, text, length, err);
    if (status == HEARTH_EFORMAT) {
        stream->answer->malformed = true;
        return GENERATE_ENOUGH;
    }
    return answer_stream_status(stream, status, err);
}

int
answer_stream_finish(struct answer_stream *stream, struct hearth_error *err)
{
    return answer_stream_status(stream, hearth_chat_stream_finish(stream->stream, err), err);
}

void
answer_stream_close(struct answer_stream *stream)
{
    hearth_chat_stream_free(stream->stream);
    text_free(&stream->arguments);
}

int
talk_answer_message(const struct talk_answer *answer, struct json_object *messages,
                    struct hearth_error *err)
{
    struct json_object *message = json_object_new_object();
    if (!message) {
        return error_no_memory(err, "a message");
    }
    const char *content = answer->content.bytes ? answer->content.bytes : "";
    json_object_object_add(message, "role", json_object_new_string("assistant"));
    json_object_object_add(message, "content",
                           json_object_new_string_len(content, (int)answer->content.length));
    if (answer->reasoning.length) {
        json_object_object_add(
            message, "reasoning_content",
            json_object_new_string_len(answer->reasoning.bytes, (int)answer->reasoning.length));
    }
    if (answer->calls) {
        json_object_object_add(message, "tool_calls", json_object_get(answer->calls));
    }
    json_object_array_add(messages, message);
    return HEARTH_OK;
}
