/* core/front/talk_answer.h - an answer while it comes: its raw text is split by hearth_chat_stream
 * into reasoning, content and tool calls, shown, and collected. */
#ifndef CORE_FRONT_TALK_ANSWER_H
#define CORE_FRONT_TALK_ANSWER_H

#include "core/front/talk.h"

struct answer_stream {
    struct hearth_chat_stream *stream;
    const struct talk_show *show;
    struct text *said; /* grows by the raw text */
    struct talk_answer *answer;
    struct text arguments;
    int status; /* the first failure inside an event */
    struct hearth_error failure;
};

/* options, show, said and answer are borrowed until answer_stream_close. */
int answer_stream_open(struct answer_stream *stream, const struct hearth_chat_options *options,
                       const struct talk_show *show, struct text *said, struct talk_answer *answer,
                       struct hearth_error *err);
/* A generate_sink's text; context is the struct answer_stream. */
int answer_stream_text(void *context, const char *text, size_t length, struct hearth_error *err);
int answer_stream_finish(struct answer_stream *stream, struct hearth_error *err);
void answer_stream_close(struct answer_stream *stream);

/* Adds the answer to messages as the assistant's. */
int talk_answer_message(const struct talk_answer *answer, struct json_object *messages,
                        struct hearth_error *err);

#endif
