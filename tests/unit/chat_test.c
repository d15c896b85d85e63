/* chat_test.c - the chat encoding against the official encoder, and its parsers against the official parser.
 *
 * The cases are made by tools/chat-cases.  Their expected texts use the wording of tests/data/chat/own; with the
 * environment variable HEARTH_OFFICIAL_CHAT naming a checkpoint folder, the digests of the official texts are compared
 * as well. HEARTH_CHAT_CASES names another folder of cases, for a longer run. */
#include "config.h"

#include <check.h>
#include <json-c/json.h>
#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/text.h"
#include "core/model/chat.h"
#include "core/model/chat_internal.h"

#define MAX_CASES_BYTES ((uint64_t)64 * 1024 * 1024)

static char last_log[512];
static int n_logged;

static void
log_keep(void *context, int level, const char *text)
{
    (void)context;
    (void)level;
    snprintf(last_log, sizeof last_log, "%s", text);
    n_logged++;
}

static struct json_object *
cases_read(const char *name)
{
    const char *folder = getenv("HEARTH_CHAT_CASES");
    struct text path = {0};
    struct json_object *cases;
    struct hearth_error err = {0};
    text_printf(&path, "%s/%s", folder ? folder : CASES_FOLDER, name);
    ck_assert_msg(json_parse_file(path.bytes, MAX_CASES_BYTES, &cases, &err) == 0, "%s", err.text);
    text_free(&path);
    return cases;
}

static const char *
case_string(struct json_object *one, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(one, key, &value) ? json_object_get_string(value) : NULL;
}

static bool
case_bool(struct json_object *one, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(one, key, &value) && json_object_get_boolean(value);
}

static struct hearth_chat_options
case_options(struct json_object *one)
{
    const char *revision = case_string(one, "revision");
    return (struct hearth_chat_options){.revision = revision && strcmp(revision, "0731") == 0 ? HEARTH_CHAT_0731
                                                                                              : HEARTH_CHAT_APRIL,
                                        .thinking = case_bool(one, "thinking"),
                                        .effort = case_string(one, "effort"),
                                        .drop_thinking = case_bool(one, "drop"),
                                        .with_context = case_bool(one, "context")};
}

static struct chat_passages *
passages_open(const char *folder)
{
    struct chat_passages *passages;
    struct hearth_error err = {0};
    ck_assert_msg(chat_passages_load(folder, &passages, &err) == 0, "%s", err.text);
    return passages;
}

static void
digest(const char *text, char ret_digest[SHA256_DIGEST_STRING_LENGTH])
{
    ck_assert(SHA256Data((const uint8_t *)text, strlen(text), ret_digest) != NULL);
}

/* ---- the encoder against the official one ---------------------------------------------------- */

/* Encodes the case; *ret_missing tells of a passage that was not there. */
static char *
case_encode(struct json_object *one, const struct chat_passages *passages, const char **ret_missing)
{
    const struct hearth_chat_options options = case_options(one);
    struct hearth_error err = {0};
    char *text;
    const int status = chat_encode(passages, case_string(one, "messages"), &options, &text, ret_missing, &err);
    ck_assert_msg(status == 0, "%s: %s", case_string(one, "name"), err.text);
    return text;
}

START_TEST(encodes_as_the_official_encoder_with_our_wording)
{
    struct json_object *cases = cases_read("conversations.json");
    struct chat_passages *passages = passages_open(CASES_FOLDER "/own");
    const size_t n = json_object_array_length(cases);
    ck_assert_uint_ge(n, 200);
    for (size_t i = 0; i < n; i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const char *missing;
        char *text = case_encode(one, passages, &missing), found[SHA256_DIGEST_STRING_LENGTH];
        const char *wanted = case_string(one, "prompt");
        ck_assert_ptr_null(missing);
        if (wanted) {
            ck_assert_msg(strcmp(text, wanted) == 0, "%s:\n%s\nwanted:\n%s", case_string(one, "name"), text, wanted);
        } else {
            digest(text, found);
            ck_assert_msg(strcmp(found, case_string(one, "prompt_sha256")) == 0,
                          "%s: another text than the official:\n%s\n%s", case_string(one, "name"),
                          case_string(one, "messages"), text);
        }
        free(text);
    }
    chat_passages_free(passages);
    json_object_put(cases);
}
END_TEST

START_TEST(encodes_as_the_official_encoder_with_its_passages)
{
    const char *folder = getenv("HEARTH_OFFICIAL_CHAT");
    if (!folder) {
        return;
    }
    n_logged = 0;
    hearth_log_set(log_keep, NULL);
    struct json_object *cases = cases_read("conversations.json");
    struct chat_passages *passages = passages_open(folder);
    ck_assert_msg(n_logged == 0, "%s", last_log);
    size_t n_compared = 0;
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const char *missing, *wanted = case_string(one, "official_sha256");
        char *text = case_encode(one, passages, &missing), found[SHA256_DIGEST_STRING_LENGTH];
        digest(text, found);
        if (wanted && !missing) {
            ck_assert_msg(strcmp(found, wanted) == 0, "%s: another text than the official:\n%s",
                          case_string(one, "name"), text);
            n_compared++;
        }
        free(text);
    }
    printf("official passages: %zu prompts compared\n", n_compared);
    ck_assert_uint_ge(n_compared, 200);
    chat_passages_free(passages);
    json_object_put(cases);
}
END_TEST

/* A property of the cases, not of the code: that they reach everything the format has. */
START_TEST(cases_cover_every_feature)
{
    static const char *const features[] = {"april",
                                           "0731",
                                           "thinking",
                                           "chat",
                                           "drop",
                                           "keep",
                                           "context",
                                           "effort None",
                                           "effort low",
                                           "effort high",
                                           "effort max",
                                           "role system",
                                           "role developer",
                                           "role user",
                                           "role latest_reminder",
                                           "role assistant",
                                           "role tool",
                                           "tools on system",
                                           "tools on developer",
                                           "response_format",
                                           "reasoning, old",
                                           "reasoning, last turn",
                                           "tool call",
                                           "string argument",
                                           "JSON argument",
                                           "no arguments",
                                           "arguments that are no JSON text",
                                           "several results",
                                           "content list",
                                           "users in a row",
                                           "wo_eos",
                                           "task action",
                                           "task query",
                                           "task authority",
                                           "task domain",
                                           "task title",
                                           "task read_url",
                                           "content_blocks"};
    struct json_object *cases = cases_read("conversations.json");
    for (size_t f = 0; f < sizeof features / sizeof features[0]; f++) {
        int n = 0;
        for (size_t i = 0; i < json_object_array_length(cases); i++) {
            struct json_object *tags;
            ck_assert(json_object_object_get_ex(json_object_array_get_idx(cases, i), "tags", &tags));
            for (size_t t = 0; t < json_object_array_length(tags); t++) {
                n += strcmp(json_object_get_string(json_object_array_get_idx(tags, t)), features[f]) == 0;
            }
        }
        ck_assert_msg(n >= 4, "only %d cases with %s", n, features[f]);
    }
    json_object_put(cases);
}
END_TEST

START_TEST(refuses_what_the_official_encoder_refuses)
{
    struct json_object *cases = cases_read("refused.json");
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const struct hearth_chat_options options = {.revision = HEARTH_CHAT_APRIL, .drop_thinking = true};
        struct hearth_error err = {0};
        char *text = NULL;
        const int status = chat_encode(NULL, case_string(one, "messages"), &options, &text, NULL, &err);
        ck_assert_msg(status == HEARTH_EFORMAT, "%s: taken", case_string(one, "messages"));
        ck_assert_ptr_null(text);
        ck_assert_msg(strstr(err.text, case_string(one, "error")) != NULL, "%s: %s", case_string(one, "messages"),
                      err.text);
    }
    json_object_put(cases);
}
END_TEST

struct refusal {
    const char *messages, *error;
};

/* Where the official encoder writes "None", or a text that cannot be handed on as a C string. */
START_TEST(refuses_what_makes_no_prompt)
{
    static const struct refusal refusals[] = {
        {"[{\"role\": \"latest_reminder\"}]", "chat: message 0: content: a string wanted, nothing found"},
        {"[{\"role\": \"tool\", \"content\": null}]",
         "chat: message 0: content: a string or an array wanted, null found"},
        {"[{\"role\": \"system\", \"content\": [1]}]", "chat: message 0: content: a string wanted, an array found"},
        {"[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"user\", \"content\": \"a\\u0000b\"}]",
         "chat: message 0: text without U+0000 wanted, U+0000 found"},
        {"[{\"role\": \"user\", \"content\": \"\xC3(\"}]",
         "chat: messages: byte 30: valid UTF-8 wanted, byte 0xC3 found"}};
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        const struct hearth_chat_options options = {.revision = HEARTH_CHAT_APRIL};
        struct hearth_error err = {0};
        char *text = NULL;
        ck_assert_int_eq(chat_encode(NULL, refusals[i].messages, &options, &text, NULL, &err), HEARTH_EFORMAT);
        ck_assert_str_eq(err.text, refusals[i].error);
    }
}
END_TEST

START_TEST(refuses_efforts_of_another_revision)
{
    struct hearth_chat_options options = {.revision = HEARTH_CHAT_APRIL, .thinking = true, .effort = "low"};
    struct hearth_error err = {0};
    char *text;
    ck_assert_int_eq(chat_encode(NULL, "[]", &options, &text, NULL, &err), HEARTH_EUSAGE);
    ck_assert_str_eq(err.text, "chat: effort: high or max wanted, \"low\" found");
    options.revision = HEARTH_CHAT_0731;
    options.effort = "medium";
    ck_assert_int_eq(chat_encode(NULL, "[]", &options, &text, NULL, &err), HEARTH_EUSAGE);
    ck_assert_str_eq(err.text, "chat: effort: low, high or max wanted, \"medium\" found");
    options.revision = 7;
    ck_assert_int_eq(chat_encode(NULL, "[]", &options, &text, NULL, &err), HEARTH_EUSAGE);
}
END_TEST

START_TEST(names_a_passage_that_is_missing)
{
    const struct hearth_chat_options options = {.revision = HEARTH_CHAT_0731, .thinking = true, .effort = "max"};
    const char *messages = "[{\"role\": \"system\", \"content\": \"s\", \"tools\": [{\"function\": {}}]}]";
    const char *missing = NULL;
    char *text;
    ck_assert_int_eq(chat_encode(NULL, messages, &options, &text, &missing, NULL), 0);
    ck_assert_str_eq(text, CHAT_BOS "s");
    ck_assert_str_eq(missing, "the prefix of maximum effort");
    free(text);
    const struct hearth_chat_options plain = {.revision = HEARTH_CHAT_APRIL};
    ck_assert_int_eq(chat_encode(NULL, messages, &plain, &text, &missing, NULL), 0);
    ck_assert_str_eq(missing, "the tools section");
    free(text);
    ck_assert_int_eq(chat_encode(NULL, "[{\"role\": \"user\", \"content\": \"q\"}]", &plain, &text, &missing, NULL), 0);
    ck_assert_ptr_null(missing);
    free(text);
}
END_TEST

/* ---- the parsers ----------------------------------------------------------------------------- */

/* What a stream told, as one text: runs of the same kind joined, so that no cutting shows. */
struct told {
    struct text log;
    enum hearth_chat_event_kind kind;
    uint32_t call;
    bool any;
    struct text reasoning, content, calls;
    size_t n_calls;
    bool ended;
};

static void
told_event(void *context, enum hearth_chat_event_kind kind, uint32_t call_index, const char *text, size_t length)
{
    struct told *told = context;
    const bool joins = told->any && kind == told->kind && call_index == told->call &&
                       (kind == HEARTH_CHAT_REASONING || kind == HEARTH_CHAT_CONTENT || kind == HEARTH_CHAT_ARGUMENTS);
    if (!joins) {
        text_printf(&told->log, "\n[%d %u]", kind, call_index);
    }
    text_append(&told->log, text, length);
    told->any = true;
    told->kind = kind;
    told->call = call_index;
    switch (kind) {
    case HEARTH_CHAT_REASONING:
        text_append(&told->reasoning, text, length);
        break;
    case HEARTH_CHAT_CONTENT:
        text_append(&told->content, text, length);
        break;
    case HEARTH_CHAT_CALL:
        ck_assert_uint_eq(call_index, told->n_calls);
        text_printf(&told->calls, "%s{\"type\": \"function\", \"function\": {\"name\": ", call_index ? ", " : "");
        chat_json_print_string(&told->calls, (struct chat_text){text, length});
        text_add(&told->calls, ", \"arguments\": \"");
        break;
    case HEARTH_CHAT_ARGUMENTS:
        chat_json_print_escaped(&told->calls, text, length);
        break;
    case HEARTH_CHAT_CALL_END:
        text_add(&told->calls, "\"}}");
        told->n_calls++;
        break;
    case HEARTH_CHAT_END:
        told->ended = true;
        break;
    }
}

static void
told_free(struct told *told)
{
    text_free(&told->log);
    text_free(&told->reasoning);
    text_free(&told->content);
    text_free(&told->calls);
}

/* Streams the text in pieces of at most max_piece bytes (0: one piece). */
static int
told_stream(const char *bytes, size_t length, bool thinking, size_t max_piece, struct told *ret_told)
{
    const struct hearth_chat_options options = {.thinking = thinking};
    struct told told = {0};
    const struct hearth_chat_sink sink = {told_event, ret_told};
    struct hearth_chat_stream *stream;
    struct hearth_error err = {0};
    int status = 0;
    *ret_told = told;
    ck_assert_int_eq(hearth_chat_stream_new(&options, &sink, &stream, NULL), 0);
    for (size_t at = 0; at < length && status == 0;) {
        size_t n = max_piece ? 1 + (size_t)rand() % max_piece : length;
        n = n < length - at ? n : length - at;
        char *piece = malloc(n); /* of its exact size: a sanitizer sees every byte read beyond it */
        ck_assert_ptr_nonnull(piece);
        memcpy(piece, bytes + at, n);
        status = hearth_chat_stream_push(stream, piece, n, &err);
        free(piece);
        at += n;
    }
    if (status < 0) {
        ck_assert_int_eq(status, HEARTH_EFORMAT);
        ck_assert_int_eq(hearth_chat_stream_push(stream, "x", 1, NULL), HEARTH_EFORMAT);
    }
    ck_assert_int_eq(hearth_chat_stream_finish(stream, NULL), 0);
    hearth_chat_stream_free(stream);
    return status;
}

static char *
told_message(const struct told *told)
{
    struct text out = {0};
    text_add(&out, "{\"role\": \"assistant\", \"content\": ");
    chat_json_print_string(&out,
                           (struct chat_text){told->content.bytes ? told->content.bytes : "", told->content.length});
    text_add(&out, ", \"reasoning_content\": ");
    chat_json_print_string(
        &out, (struct chat_text){told->reasoning.bytes ? told->reasoning.bytes : "", told->reasoning.length});
    text_printf(&out, ", \"tool_calls\": [%s]}", told->calls.bytes ? told->calls.bytes : "");
    return text_take(&out);
}

START_TEST(parses_as_the_official_parser)
{
    struct json_object *cases = cases_read("completions.json");
    size_t n_taken = 0, n_refused = 0;
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const struct hearth_chat_options options = case_options(one);
        const char *text = case_string(one, "text"), *wanted = case_string(one, "message");
        struct hearth_error err = {0};
        char *found = NULL;
        const int status = hearth_chat_parse(text, strlen(text), &options, &found, &err);
        if (wanted) {
            ck_assert_msg(status == 0, "%s\n%s", text, err.text);
            ck_assert_msg(strcmp(found, wanted) == 0, "%s\nfound  %s\nwanted %s", text, found, wanted);
            n_taken++;
        } else {
            ck_assert_msg(status == HEARTH_EFORMAT, "taken: %s\n%s", text, found);
            ck_assert_ptr_null(found);
            ck_assert_msg(strncmp(err.text, "chat: completion: ", 18) == 0, "%s", err.text);
            n_refused++;
        }
        free(found);
    }
    ck_assert_uint_ge(n_taken, 50);
    ck_assert_uint_ge(n_refused, 50);
    json_object_put(cases);
}
END_TEST

START_TEST(streams_what_it_parses_however_it_is_cut)
{
    struct json_object *cases = cases_read("completions.json");
    srand(731);
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const char *text = case_string(one, "text"), *wanted = case_string(one, "message");
        const bool thinking = case_bool(one, "thinking");
        struct told whole;
        const int status = told_stream(text, strlen(text), thinking, 0, &whole);
        /* The official parser also takes some texts without their end; the stream tells of those only what is certain.
         */
        if (wanted && strlen(text) >= strlen(CHAT_EOS) &&
            strcmp(text + strlen(text) - strlen(CHAT_EOS), CHAT_EOS) == 0) {
            char *message = told_message(&whole);
            ck_assert_int_eq(status, 0);
            ck_assert(whole.ended);
            ck_assert_msg(strcmp(message, wanted) == 0, "%s\nfound  %s\nwanted %s", text, message, wanted);
            free(message);
        } else {
            ck_assert_msg(status < 0 || !wanted || !whole.ended, "%s", text);
        }
        for (size_t max_piece = 1; max_piece <= 64; max_piece *= 2) {
            struct told cut;
            const int cut_status = told_stream(text, strlen(text), thinking, max_piece, &cut);
            ck_assert_msg(cut_status == status, "pieces of up to %zu: %s", max_piece, text);
            ck_assert_uint_eq(cut.log.length, whole.log.length);
            ck_assert_msg(whole.log.length == 0 || memcmp(cut.log.bytes, whole.log.bytes, cut.log.length) == 0,
                          "%s\n%s\n%s", text, cut.log.bytes, whole.log.bytes);
            told_free(&cut);
        }
        told_free(&whole);
    }
    json_object_put(cases);
}
END_TEST

START_TEST(encodes_again_what_it_parsed)
{
    struct json_object *cases = cases_read("completions.json");
    size_t n = 0;
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        if (!case_bool(one, "again")) {
            continue;
        }
        const struct hearth_chat_options options = case_options(one);
        struct text messages = {0};
        char *text;
        text_printf(&messages, "[{\"role\": \"user\", \"content\": \"\"}, %s]", case_string(one, "message"));
        ck_assert_int_eq(chat_encode(NULL, messages.bytes, &options, &text, NULL, NULL), 0);
        const char *opening = CHAT_BOS CHAT_USER CHAT_ASSISTANT;
        const char *thought = options.thinking ? CHAT_THINK : CHAT_THINK_END;
        ck_assert_uint_gt(strlen(text), strlen(opening) + strlen(thought));
        ck_assert_str_eq(text + strlen(opening) + strlen(thought), case_string(one, "text"));
        free(text);
        text_free(&messages);
        n++;
    }
    ck_assert_uint_ge(n, 50);
    json_object_put(cases);
}
END_TEST

START_TEST(streams_a_truncated_answer_as_what_it_is)
{
    static const char answer[] = "why</think>be\xC3\xA4"
                                 "cause\n\n<" CHAT_DSML "tool_calls>\n<" CHAT_DSML "invoke name=\"f\">\n<" CHAT_DSML
                                 "parameter name=\"a\" string=\"true\">\xC3\xA4\n\"</" CHAT_DSML
                                 "parameter>\n</" CHAT_DSML "invoke>\n</" CHAT_DSML "tool_calls>" CHAT_EOS;
    struct text whole = {0};
    for (size_t length = 0; length <= strlen(answer); length++) {
        struct told told;
        ck_assert_int_eq(told_stream(answer, length, true, 5, &told), 0);
        text_clear(&whole);
        text_append(&whole, told.log.bytes ? told.log.bytes : "", told.log.length);
        ck_assert_uint_eq(told.ended, length == strlen(answer));
        told_free(&told);
    }
    ck_assert_str_eq(whole.bytes, "\n[0 0]why\n[1 0]be\xC3\xA4"
                                  "cause\n[2 0]f\n[3 0]{\"a\": \"\xC3\xA4\\n\\\"\"}\n[4 0]\n[5 0]");
    text_free(&whole);
}
END_TEST

static void
whole_characters(void *context, enum hearth_chat_event_kind kind, uint32_t call_index, const char *text, size_t length)
{
    (void)context;
    (void)kind;
    (void)call_index;
    if (length) {
        ck_assert_msg((text[0] & 0xC0) != 0x80, "an event begins inside a character");
        ck_assert_msg((text[length - 1] & 0x80) == 0 || (text[length - 1] & 0xC0) == 0x80,
                      "an event ends inside a character");
    }
}

START_TEST(streams_whole_characters)
{
    const struct hearth_chat_options options = {.thinking = false};
    const struct hearth_chat_sink sink = {whole_characters, NULL};
    const char *text = "\xC3\xA4\xE6\x95\xB0\xF0\x9F\x99\x82<\xEF\xBD\x9C";
    struct hearth_chat_stream *stream;
    ck_assert_int_eq(hearth_chat_stream_new(&options, &sink, &stream, NULL), 0);
    for (const char *c = text; *c; c++) {
        ck_assert_int_eq(hearth_chat_stream_push(stream, c, 1, NULL), 0);
    }
    ck_assert_int_eq(hearth_chat_stream_finish(stream, NULL), 0);
    hearth_chat_stream_free(stream);
}
END_TEST

START_TEST(parser_refuses_invalid_utf8)
{
    const struct hearth_chat_options options = {.thinking = false};
    struct hearth_error err = {0};
    char *json = NULL;
    ck_assert_int_eq(hearth_chat_parse("a\xFF" CHAT_EOS, 2 + strlen(CHAT_EOS), &options, &json, &err), HEARTH_EFORMAT);
    ck_assert_str_eq(err.text, "chat: completion: byte 1: valid UTF-8 wanted, byte 0xFF found");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("chat");
    TCase *tests = tcase_create("chat");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, encodes_as_the_official_encoder_with_our_wording);
    tcase_add_test(tests, encodes_as_the_official_encoder_with_its_passages);
    tcase_add_test(tests, cases_cover_every_feature);
    tcase_add_test(tests, refuses_what_the_official_encoder_refuses);
    tcase_add_test(tests, refuses_what_makes_no_prompt);
    tcase_add_test(tests, refuses_efforts_of_another_revision);
    tcase_add_test(tests, names_a_passage_that_is_missing);
    tcase_add_test(tests, parses_as_the_official_parser);
    tcase_add_test(tests, streams_what_it_parses_however_it_is_cut);
    tcase_add_test(tests, encodes_again_what_it_parsed);
    tcase_add_test(tests, streams_a_truncated_answer_as_what_it_is);
    tcase_add_test(tests, streams_whole_characters);
    tcase_add_test(tests, parser_refuses_invalid_utf8);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
