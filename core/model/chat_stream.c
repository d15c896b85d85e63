/* chat_stream.c - a completion to events while its text is still coming.
 *
 * The grammar is that of chat_parse.c.  Bytes that may turn out to be the start of a mark, or of a character, are held
 * back; every decision depends on the bytes alone, never on how they were cut, so that any cutting gives the same
 * events. */
#include "core/model/chat_internal.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/model/chat_grammar.h"

enum stream_state {
    IN_REASONING,
    IN_CONTENT,
    IN_BLOCK, /* between calls */
    IN_NAME,  /* behind "<DSML invoke" */
    IN_HEAD,  /* behind "<DSML parameter" */
    IN_VALUE,
    IN_CALL, /* between parameters */
    AFTER_BLOCK,
    AT_END, /* the end-of-sentence mark, or text that no completion can hold */
    N_STATES
};

#define MAX_MARKS 6

/* The marks that end a state, and the state each leads to; N_STATES: no completion holds it there.  A state with
 * `exact` holds nothing but one of its marks. */
struct stream_rule {
    const char *marks[MAX_MARKS];
    enum stream_state next[MAX_MARKS];
    bool exact;
    const char *wanted;
};

#define TOOLS_MARK "\n\n<" CHAT_DSML "tool_calls"
#define PLAIN_MARKS CHAT_EOS, TOOLS_MARK, CHAT_BOS, CHAT_THINK, CHAT_THINK_END, CHAT_DSML

static const struct stream_rule rules[N_STATES] = {
    [IN_REASONING] = {{PLAIN_MARKS},
                      {AT_END, N_STATES, N_STATES, N_STATES, IN_CONTENT, N_STATES},
                      false,
                      "reasoning up to " CHAT_THINK_END},
    [IN_CONTENT] = {{PLAIN_MARKS},
                    {AT_END, IN_BLOCK, N_STATES, N_STATES, N_STATES, N_STATES},
                    false,
                    "content up to tool calls or " CHAT_EOS},
    [IN_BLOCK] = {{">\n<" CHAT_DSML "invoke", ">\n</" CHAT_DSML "tool_calls>"},
                  {IN_NAME, AFTER_BLOCK},
                  true,
                  "a tool call or the end of the tool calls"},
    [IN_NAME] = {{"<" CHAT_DSML "parameter", "</" CHAT_DSML "invoke"},
                 {IN_HEAD, IN_BLOCK},
                 false,
                 "a call of the form name=\"...\"> and a newline"},
    [IN_HEAD] = {{"\" string=\"true\">", "\" string=\"false\">", "/" CHAT_DSML "parameter"},
                 {IN_VALUE, IN_VALUE, N_STATES},
                 false,
                 "a parameter of the form  name=\"...\" string=\"true|false\">"},
    [IN_VALUE] = {{"</" CHAT_DSML "parameter", "<\n/" CHAT_DSML "parameter", "/" CHAT_DSML "parameter"},
                  {IN_CALL, IN_CALL, N_STATES},
                  false,
                  "a value up to </" CHAT_DSML "parameter>"},
    [IN_CALL] = {{">\n<" CHAT_DSML "parameter", ">\n</" CHAT_DSML "invoke"},
                 {IN_HEAD, IN_BLOCK},
                 true,
                 "a parameter or the end of the call"},
    [AFTER_BLOCK] = {{CHAT_EOS}, {AT_END}, true, CHAT_EOS " behind the tool calls"},
    [AT_END] = {{NULL}, {0}, true, "nothing behind the end"},
};

static const char head_start[] = " name=\"";

struct seen_key {
    struct seen_key *next;
    size_t length;
    char bytes[];
};

struct hearth_chat_stream {
    struct hearth_chat_sink sink;
    enum stream_state state;
    bool failed;
    struct text held;      /* bytes not decided yet are held.bytes[start..] */
    size_t start, scanned; /* of those, `scanned` hold no whole mark */
    uint32_t call_index;
    bool value_is_string;
    struct seen_key *keys; /* of the call at hand */
    struct text scratch;
};

static void
stream_event(const struct hearth_chat_stream *stream, enum hearth_chat_event_kind kind, const char *bytes,
             size_t length)
{
    const bool of_call = kind == HEARTH_CHAT_CALL || kind == HEARTH_CHAT_ARGUMENTS || kind == HEARTH_CHAT_CALL_END;
    stream->sink.event(stream->sink.context, kind, of_call ? stream->call_index : 0, bytes, length);
}

static int
stream_no_memory(struct hearth_error *err)
{
    return error_no_memory(err, "the stream of a completion");
}

/* Sends what scratch holds as arguments. */
static int
stream_arguments(struct hearth_chat_stream *stream, struct hearth_error *err)
{
    if (stream->scratch.failed) {
        return stream_no_memory(err);
    }
    if (stream->scratch.length) {
        stream_event(stream, HEARTH_CHAT_ARGUMENTS, stream->scratch.bytes, stream->scratch.length);
    }
    text_clear(&stream->scratch);
    return HEARTH_OK;
}

/* Decided text of a plain state or of a value. */
static int
stream_text(struct hearth_chat_stream *stream, const char *bytes, size_t length, struct hearth_error *err)
{
    if (length == 0) {
        return HEARTH_OK;
    }
    if (stream->state != IN_VALUE) {
        stream_event(stream, stream->state == IN_REASONING ? HEARTH_CHAT_REASONING : HEARTH_CHAT_CONTENT, bytes,
                     length);
        return HEARTH_OK;
    }
    if (stream->value_is_string) {
        chat_json_print_escaped(&stream->scratch, bytes, length);
    } else {
        text_append(&stream->scratch, bytes, length);
    }
    return stream_arguments(stream, err);
}

static int
stream_refuse(struct hearth_chat_stream *stream, struct hearth_error *err)
{
    const struct text *held = &stream->held;
    const size_t length = held->length - stream->start;
    stream->failed = true;
    return error_set(err, HEARTH_EFORMAT, "chat: completion: %s wanted, \"%.*s\" found", rules[stream->state].wanted,
                     (int)(length < 40 ? length : 40), held->bytes + stream->start);
}

static void
stream_forget_keys(struct hearth_chat_stream *stream)
{
    while (stream->keys) {
        struct seen_key *next = stream->keys->next;
        free(stream->keys);
        stream->keys = next;
    }
}

/* The end of a call whose name was sent. */
static int
stream_call_end(struct hearth_chat_stream *stream, struct hearth_error *err)
{
    text_add(&stream->scratch, stream->keys ? "}" : "{}");
    const int status = stream_arguments(stream, err);
    if (status == HEARTH_OK) {
        stream_event(stream, HEARTH_CHAT_CALL_END, "", 0);
        stream->call_index++;
        stream_forget_keys(stream);
    }
    return status;
}

static int
stream_key(struct hearth_chat_stream *stream, struct chat_text header, struct hearth_error *err)
{
    struct chat_text key;
    size_t length;
    if (!chat_grammar_key(header, &key, &stream->value_is_string, &length)) {
        return stream_refuse(stream, err);
    }
    for (const struct seen_key *seen = stream->keys; seen; seen = seen->next) {
        if (chat_text_equal(key, (struct chat_text){seen->bytes, seen->length})) {
            return stream_refuse(stream, err);
        }
    }
    struct seen_key *seen = malloc(sizeof *seen + key.length);
    if (!seen) {
        return stream_no_memory(err);
    }
    seen->length = key.length;
    seen->next = stream->keys;
    memcpy(seen->bytes, key.bytes, key.length);
    text_add(&stream->scratch, stream->keys ? ", " : "{");
    stream->keys = seen;
    chat_json_print_string(&stream->scratch, key);
    text_add(&stream->scratch, stream->value_is_string ? ": \"" : ": ");
    return stream_arguments(stream, err);
}

/* A mark was met: `before` stands before it, `with` is both. */
static int
stream_leave(struct hearth_chat_stream *stream, enum stream_state next, struct chat_text before, struct chat_text with,
             struct hearth_error *err)
{
    int status = HEARTH_OK;
    struct chat_text name;
    switch (stream->state) {
    case IN_NAME:
        if (!chat_grammar_name(before, &name)) {
            return stream_refuse(stream, err);
        }
        stream_event(stream, HEARTH_CHAT_CALL, name.bytes, name.length);
        status = next == IN_BLOCK ? stream_call_end(stream, err) : HEARTH_OK;
        break;
    case IN_HEAD:
        status = stream_key(stream, with, err);
        break;
    case IN_VALUE:
        text_add(&stream->scratch, stream->value_is_string ? "\"" : "");
        status = stream_arguments(stream, err);
        break;
    case IN_CALL:
        status = next == IN_BLOCK ? stream_call_end(stream, err) : HEARTH_OK;
        break;
    default:
        break;
    }
    if (status == HEARTH_OK && next == AT_END) {
        stream_event(stream, HEARTH_CHAT_END, "", 0);
    }
    return status;
}

/* The mark at the start of rest, or -1; *ret_partial: rest may become one. */
static int
mark_at(const struct stream_rule *rule, struct chat_text rest, bool *ret_partial)
{
    *ret_partial = false;
    for (int i = 0; i < MAX_MARKS && rule->marks[i]; i++) {
        const size_t wanted = strlen(rule->marks[i]);
        const size_t n = rest.length < wanted ? rest.length : wanted;
        if (*rest.bytes != *rule->marks[i] || memcmp(rest.bytes, rule->marks[i], n) != 0) {
            continue;
        }
        if (n == wanted) {
            return i;
        }
        *ret_partial = true;
    }
    return -1;
}

/* Bytes at the end of text that only begin a character. */
static size_t
unfinished_bytes(struct chat_text text)
{
    for (size_t n = 1; n <= 3 && n <= text.length; n++) {
        const unsigned char byte = (unsigned char)text.bytes[text.length - n];
        if (byte >= 0xC0) {
            return n < (byte >= 0xF0 ? 4u : byte >= 0xE0 ? 3u : 2u) ? n : 0;
        }
        if (byte < 0x80) {
            break;
        }
    }
    return 0;
}

/* Where the search in the held bytes begins: the opening quote of a parameter's name is not the closing one. */
static bool
stream_search_start(const struct hearth_chat_stream *stream, struct chat_text held, size_t *ret_at)
{
    const size_t skipped = strlen(head_start);
    *ret_at = stream->scanned;
    if (stream->state == IN_HEAD) {
        const size_t n = held.length < skipped ? held.length : skipped;
        *ret_at = stream->scanned < n ? n : stream->scanned;
        return memcmp(held.bytes, head_start, n) == 0;
    }
    return true;
}

/* One state's worth of the held bytes.  *ret_more: another state follows. */
static int
stream_step(struct hearth_chat_stream *stream, bool *ret_more, struct hearth_error *err)
{
    const struct stream_rule *rule = &rules[stream->state];
    const struct chat_text held = {stream->held.bytes + stream->start, stream->held.length - stream->start};
    const bool plain = stream->state == IN_REASONING || stream->state == IN_CONTENT || stream->state == IN_VALUE;
    size_t at;
    int mark = -1;
    bool partial = false;
    *ret_more = false;
    if (held.length == 0) {
        return HEARTH_OK;
    }
    if (!stream_search_start(stream, held, &at)) {
        return stream_refuse(stream, err);
    }
    for (; at < held.length; at++) {
        mark = mark_at(rule, (struct chat_text){held.bytes + at, held.length - at}, &partial);
        if (mark >= 0 || partial || rule->exact) {
            break;
        }
    }
    if (rule->exact && mark < 0 && !partial) {
        return stream_refuse(stream, err);
    }
    size_t decided = at;
    if (plain) {
        decided -= at == held.length ? unfinished_bytes(held) : 0;
        const int status = stream_text(stream, held.bytes, decided, err);
        if (status < 0) {
            return status;
        }
        stream->start += decided;
        at -= decided;
    }
    stream->scanned = at;
    if (mark < 0) {
        return HEARTH_OK;
    }
    if (rule->next[mark] == N_STATES) {
        return stream_refuse(stream, err);
    }
    const char *bytes = stream->held.bytes + stream->start;
    const struct chat_text before = {bytes, at}, with = {bytes, at + strlen(rule->marks[mark])};
    const int status = stream_leave(stream, rule->next[mark], before, with, err);
    if (status < 0) {
        return status;
    }
    stream->start += with.length;
    stream->scanned = 0;
    stream->state = rule->next[mark];
    *ret_more = true;
    return HEARTH_OK;
}

int
hearth_chat_stream_new(const struct hearth_chat_options *options, const struct hearth_chat_sink *sink,
                       struct hearth_chat_stream **ret_stream, struct hearth_error *err)
{
    struct hearth_chat_stream *stream = calloc(1, sizeof *stream);
    if (!stream) {
        return stream_no_memory(err);
    }
    stream->sink = *sink;
    stream->state = options->thinking ? IN_REASONING : IN_CONTENT;
    *ret_stream = stream;
    return HEARTH_OK;
}

void
hearth_chat_stream_free(struct hearth_chat_stream *stream)
{
    if (!stream) {
        return;
    }
    stream_forget_keys(stream);
    text_free(&stream->held);
    text_free(&stream->scratch);
    free(stream);
}

int
hearth_chat_stream_push(struct hearth_chat_stream *stream, const char *text, size_t length, struct hearth_error *err)
{
    if (stream->failed) {
        return error_set(err, HEARTH_EFORMAT,
                         "chat: completion: nothing wanted behind text that no completion can hold");
    }
    if (stream->start) {
        memmove(stream->held.bytes, stream->held.bytes + stream->start, stream->held.length - stream->start);
        stream->held.length -= stream->start;
        stream->start = 0;
    }
    text_append(&stream->held, text, length);
    int status = stream->held.failed ? stream_no_memory(err) : HEARTH_OK;
    bool more = true;
    while (status == HEARTH_OK && more) {
        status = stream_step(stream, &more, err);
    }
    stream->failed |= status < 0;
    return status;
}

int
hearth_chat_stream_finish(struct hearth_chat_stream *stream, struct hearth_error *err)
{
    int status = HEARTH_OK;
    const bool plain = stream->state == IN_REASONING || stream->state == IN_CONTENT || stream->state == IN_VALUE;
    if (!stream->failed && plain && stream->held.length > stream->start) {
        status = stream_text(stream, stream->held.bytes + stream->start, stream->held.length - stream->start, err);
    }
    stream->failed = true; /* finished: nothing may follow */
    return status;
}
