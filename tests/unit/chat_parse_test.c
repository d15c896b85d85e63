/* chat_parse_test.c - completions: the parser against the official one, the stream against the parser. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/model/chat_internal.h"
#include "tests/unit/chat_cases.h"

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
    struct json_object *cases = chat_cases_read("completions.json");
    size_t n_taken = 0, n_refused = 0;
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const struct hearth_chat_options options = chat_case_options(one);
        const char *text = chat_case_string(one, "text"), *wanted = chat_case_string(one, "message");
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
    struct json_object *cases = chat_cases_read("completions.json");
    srand(731);
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const char *text = chat_case_string(one, "text"), *wanted = chat_case_string(one, "message");
        const bool thinking = chat_case_bool(one, "thinking");
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
            /* what was refused is refused here too, but for an answer that ends inside its reasoning */
            ck_assert_msg(status < 0 || !whole.ended || (thinking && !strstr(text, CHAT_THINK_END)), "%s", text);
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
    struct json_object *cases = chat_cases_read("completions.json");
    size_t n = 0;
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        if (!chat_case_bool(one, "again")) {
            continue;
        }
        const struct hearth_chat_options options = chat_case_options(one);
        struct text messages = {0};
        char *text;
        text_printf(&messages, "[{\"role\": \"user\", \"content\": \"\"}, %s]", chat_case_string(one, "message"));
        ck_assert_int_eq(chat_encode(NULL, messages.bytes, &options, &text, NULL, NULL), 0);
        const char *opening = CHAT_BOS CHAT_USER CHAT_ASSISTANT;
        const char *thought = options.thinking ? CHAT_THINK : CHAT_THINK_END;
        ck_assert_uint_gt(strlen(text), strlen(opening) + strlen(thought));
        ck_assert_str_eq(text + strlen(opening) + strlen(thought), chat_case_string(one, "text"));
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
    Suite *suite = suite_create("chat_parse");
    TCase *tests = tcase_create("chat_parse");
    tcase_set_timeout(tests, 120);
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
