/* talk.c - see talk.h.  A turn encodes the whole conversation; when the text the session has read
 * is a prefix of that, only the rest is fed.  It is compared as text and not as tokens: a model may
 * answer in tokens that its tokenizer would not have chosen, and those are kept as they came. */
#include "core/front/talk.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/front/talk_answer.h"

static int
talk_config_text(struct talk *talk, struct hearth_error *err)
{
    const char *system = hearth_config_get(talk->generator->front->config, "chat.system");
    if (system && *system) {
        text_add(&talk->system, system);
    }
    return talk->system.failed ? error_no_memory(err, "the system prompt") : HEARTH_OK;
}

int
talk_init(struct talk *talk, struct generator *generator, struct hearth_error *err)
{
    *talk = (struct talk){.generator = generator, .pending_id = -1};
    int status = hearth_chat_options_from_config(generator->front->config, &talk->options, err);
    if (status == HEARTH_OK) {
        status = talk_config_text(talk, err);
    }
    if (status == HEARTH_OK) {
        status = talk_reset(talk, err);
    }
    if (status < 0) {
        talk_done(talk);
    }
    return status;
}

static void
talk_forget_session(struct talk *talk)
{
    hearth_session_free(talk->session);
    talk->session = NULL;
    talk->pending_id = -1;
    text_clear(&talk->said);
}

void
talk_done(struct talk *talk)
{
    talk_forget_session(talk);
    json_object_put(talk->messages);
    text_free(&talk->system);
    text_free(&talk->base);
    text_free(&talk->said);
    *talk = (struct talk){.pending_id = -1};
}

int
talk_reset(struct talk *talk, struct hearth_error *err)
{
    struct json_object *messages = json_object_new_array();
    if (!messages) {
        return error_no_memory(err, "the conversation");
    }
    talk_forget_session(talk);
    text_clear(&talk->base);
    json_object_put(talk->messages);
    talk->messages = messages;
    return HEARTH_OK;
}

int
talk_think(struct talk *talk, const char *mode, struct hearth_error *err)
{
    static const char *const levels[] = {"low", "high", "max"};
    if (strcmp(mode, "off") == 0) {
        talk->options.thinking = false;
        return HEARTH_OK;
    }
    if (strcmp(mode, "on") == 0) {
        talk->options.thinking = true;
        talk->options.effort = NULL;
        return HEARTH_OK;
    }
    for (size_t i = talk->options.revision == HEARTH_CHAT_APRIL ? 1 : 0; i < 3; i++) {
        if (strcmp(mode, levels[i]) == 0) {
            talk->options.thinking = true;
            talk->options.effort = levels[i];
            return HEARTH_OK;
        }
    }
    return error_set(err, HEARTH_EUSAGE, "thinking: on, off, %shigh or max wanted, \"%.40s\" found",
                     talk->options.revision == HEARTH_CHAT_APRIL ? "" : "low, ", mode);
}

int
talk_system(struct talk *talk, const char *text, struct hearth_error *err)
{
    if (talk->base.length) {
        return error_set(
            err, HEARTH_EUSAGE,
            "the beginning of a loaded conversation is fixed; /reset starts a new one");
    }
    text_clear(&talk->system);
    text_add(&talk->system, text);
    return talk->system.failed ? error_no_memory(err, "the system prompt") : HEARTH_OK;
}

static int
message_add(struct json_object *messages, const char *role, const char *content, size_t length,
            struct hearth_error *err)
{
    struct json_object *message = json_object_new_object();
    struct json_object *text = json_object_new_string_len(content, (int)length);
    if (!message || !text) {
        json_object_put(message);
        json_object_put(text);
        return error_no_memory(err, "a message");
    }
    json_object_object_add(message, "role", json_object_new_string(role));
    json_object_object_add(message, "content", text);
    json_object_array_add(messages, message);
    return HEARTH_OK;
}

/* The text of the whole conversation as the model is to read it. */
static int
talk_encode(struct talk *talk, struct text *whole, struct hearth_error *err)
{
    struct hearth_chat_options options = talk->options;
    options.with_context = talk->base.length > 0;
    struct json_object *all = json_object_new_array();
    int status = all ? HEARTH_OK : error_no_memory(err, "the conversation");
    if (status == HEARTH_OK && talk->system.length && !options.with_context) {
        status = message_add(all, "system", talk->system.bytes, talk->system.length, err);
    }
    for (size_t i = 0; status == HEARTH_OK && i < json_object_array_length(talk->messages); i++) {
        json_object_array_add(all, json_object_get(json_object_array_get_idx(talk->messages, i)));
    }
    char *text = NULL;
    const char *missing = NULL;
    if (status == HEARTH_OK) {
        const char *json = json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN);
        status = hearth_chat_encode(talk->generator->engine, json ? json : "[]", &options, &text,
                                    &missing, err);
    }
    if (status == HEARTH_OK) {
        text_append(whole, talk->base.bytes ? talk->base.bytes : "", talk->base.length);
        text_add(whole, text);
        status = whole->failed ? error_no_memory(err, "the prompt") : HEARTH_OK;
    }
    if (missing && !talk->missing_said) {
        front_note(talk->generator->front,
                   "this checkpoint does not carry %s; the conversation goes on without it",
                   missing);
        talk->missing_said = true;
    }
    free(text);
    json_object_put(all);
    return status;
}

/* The tokens still to be fed so that the session has read `whole`; makes or remakes the session as
 * needed. */
static int
talk_continue(struct talk *talk, const struct text *whole, int32_t **ret_ids, size_t *ret_n,
              struct hearth_error *err)
{
    const bool extends = talk->session && talk->said.length < whole->length
                         && memcmp(talk->said.bytes, whole->bytes, talk->said.length) == 0;
    if (!extends) {
        talk_forget_session(talk);
        const int status = hearth_session_new(talk->generator->engine, 0, &talk->session, err);
        if (status < 0) {
            return status;
        }
    }
    int32_t *ids = NULL;
    size_t n = 0;
    const char *rest = whole->bytes + talk->said.length;
    int status = hearth_encode(talk->generator->engine, rest, whole->length - talk->said.length,
                               true, &ids, &n, err);
    if (status < 0 || talk->pending_id < 0) {
        *ret_ids = ids;
        *ret_n = n;
        return status;
    }
    int32_t *more = realloc(ids, (n + 1) * sizeof more[0]);
    if (!more) {
        free(ids);
        return error_no_memory(err, "the prompt");
    }
    memmove(more + 1, more, n * sizeof more[0]);
    more[0] = talk->pending_id;
    *ret_ids = more;
    *ret_n = n + 1;
    return HEARTH_OK;
}

/* Reads `whole` and answers; what the session has read afterwards stands in said. */
static int
talk_answer_make(struct talk *talk, const struct text *whole, const struct talk_show *show,
                 struct talk_answer *answer, struct hearth_error *err)
{
    struct answer_stream stream;
    int32_t *ids = NULL;
    size_t n = 0;
    int status = talk_continue(talk, whole, &ids, &n, err);
    if (status < 0) {
        return status;
    }
    if (n == 0) {
        status = error_set(err, HEARTH_EFORMAT, "a message of at least one token wanted");
        goto fail_empty;
    }
    text_clear(&talk->said);
    text_append(&talk->said, whole->bytes, whole->length);
    status = answer_stream_open(&stream, &talk->options, show, &talk->said, answer, err);
    if (status < 0) {
        goto fail_empty;
    }
    const struct generate_sink sink = {.text = answer_stream_text, .context = &stream};
    status = generate(talk->generator, talk->session, ids, n, &sink, &answer->generation, err);
    if (status == HEARTH_OK) {
        status = answer_stream_finish(&stream, err);
    }
    answer_stream_close(&stream);
    if (status == HEARTH_OK && talk->said.failed) {
        status = error_no_memory(err, "the conversation");
    }
    if (status == HEARTH_OK) {
        const struct generation *made = &answer->generation;
        talk->pending_id = made->n_fed < made->n ? made->ids[made->n - 1] : -1;
    }
fail_empty:
    free(ids);
    return status;
}

int
talk_turn(struct talk *talk, const char *message, const struct talk_show *show,
          struct talk_answer *ret_answer, struct hearth_error *err)
{
    struct talk_answer answer = {0};
    struct text whole = {0};
    const size_t n_messages = json_object_array_length(talk->messages);
    int status = message_add(talk->messages, "user", message, strlen(message), err);
    if (status < 0) {
        return status;
    }
    status = talk_encode(talk, &whole, err);
    if (status == HEARTH_OK) {
        status = talk_answer_make(talk, &whole, show, &answer, err);
    }
    if (status == HEARTH_OK) {
        status = talk_answer_message(&answer, talk->messages, err);
    }
    text_free(&whole);
    if (status < 0) {
        json_object_array_del_idx(talk->messages, n_messages,
                                  json_object_array_length(talk->messages) - n_messages);
        talk_forget_session(talk); /* it may have read a part of what was taken back */
        talk_answer_done(&answer);
        return status;
    }
    *ret_answer = answer;
    return HEARTH_OK;
}

void
talk_answer_done(struct talk_answer *answer)
{
    generation_done(&answer->generation);
    text_free(&answer->content);
    text_free(&answer->reasoning);
    json_object_put(answer->calls);
    *answer = (struct talk_answer){0};
}

/* Feeds the pending token and the end of sentence: a saved conversation ends with a whole answer.
 */
static int
talk_close_answer(struct talk *talk, struct hearth_error *err)
{
    const int32_t eos_id = talk->generator->facts.eos_id;
    int32_t ids[2];
    size_t n = 0;
    if (talk->pending_id >= 0) {
        ids[n++] = talk->pending_id;
    }
    if (eos_id >= 0) {
        ids[n++] = eos_id;
    }
    char *text = NULL;
    int status = n ? hearth_session_feed(talk->session, ids, n, NULL, 0, NULL, err) : HEARTH_OK;
    if (status < 0) {
        return status;
    }
    talk->pending_id = -1;
    status = eos_id >= 0 ? hearth_decode(talk->generator->engine, &eos_id, 1, &text, NULL, err)
                         : HEARTH_OK;
    if (status == HEARTH_OK && text) {
        text_add(&talk->said, text);
    }
    free(text);
    return status < 0          ? status
           : talk->said.failed ? error_no_memory(err, "the conversation")
                               : HEARTH_OK;
}

int
talk_save(struct talk *talk, const char *path, struct hearth_error *err)
{
    if (!talk->session) {
        return error_set(err, HEARTH_EUSAGE, "there is no conversation to save yet");
    }
    const int32_t *ids = hearth_session_ids(talk->session);
    const uint64_t length = hearth_session_length(talk->session);
    const bool closed =
        talk->pending_id < 0 && length && ids[length - 1] == talk->generator->facts.eos_id;
    const int status = closed ? HEARTH_OK : talk_close_answer(talk, err);
    return status < 0 ? status : hearth_session_save(talk->session, path, err);
}

int
talk_load(struct talk *talk, const char *path, struct hearth_error *err)
{
    struct hearth_session *session;
    char *text = NULL;
    int status = hearth_session_load(talk->generator->engine, path, 0, &session, err);
    if (status < 0) {
        return status;
    }
    size_t length = 0;
    status = hearth_decode(talk->generator->engine, hearth_session_ids(session),
                           (size_t)hearth_session_length(session), &text, &length, err);
    if (status == HEARTH_OK) {
        status = talk_reset(talk, err);
    }
    if (status < 0) {
        goto fail_decode;
    }
    text_append(&talk->base, text, length);
    text_append(&talk->said, text, length);
    free(text);
    talk->session = session;
    return talk->base.failed || talk->said.failed ? error_no_memory(err, "the conversation")
                                                  : HEARTH_OK;
fail_decode:
    free(text);
    hearth_session_free(session);
    return status;
}
