/* chat_test.c - the chat encoding against the official encoder.
 *
 * The cases are made by tools/chat-cases.  Their expected texts use the wording of tests/data/chat/own; with the
 * environment variable HEARTH_OFFICIAL_CHAT naming a checkpoint folder, the digests of the official texts are compared
 * as well, and the official test files in encoding/tests. */
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
#include "tests/unit/chat_cases.h"

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
    const struct hearth_chat_options options = chat_case_options(one);
    struct hearth_error err = {0};
    char *text;
    const int status = chat_encode(passages, chat_case_string(one, "messages"), &options, &text, ret_missing, &err);
    ck_assert_msg(status == 0, "%s: %s", chat_case_string(one, "name"), err.text);
    return text;
}

START_TEST(encodes_as_the_official_encoder_with_our_wording)
{
    struct json_object *cases = chat_cases_read("conversations.json");
    struct chat_passages *passages = passages_open(CASES_FOLDER "/own");
    const size_t n = json_object_array_length(cases);
    ck_assert_uint_ge(n, 200);
    for (size_t i = 0; i < n; i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const char *missing;
        char *text = case_encode(one, passages, &missing), found[SHA256_DIGEST_STRING_LENGTH];
        const char *wanted = chat_case_string(one, "prompt");
        ck_assert_ptr_null(missing);
        if (wanted) {
            ck_assert_msg(strcmp(text, wanted) == 0, "%s:\n%s\nwanted:\n%s", chat_case_string(one, "name"), text,
                          wanted);
        } else {
            digest(text, found);
            ck_assert_msg(strcmp(found, chat_case_string(one, "prompt_sha256")) == 0,
                          "%s: another text than the official:\n%s\n%s", chat_case_string(one, "name"),
                          chat_case_string(one, "messages"), text);
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
    struct json_object *cases = chat_cases_read("conversations.json");
    struct chat_passages *passages = passages_open(folder);
    ck_assert_msg(n_logged == 0, "%s", last_log);
    size_t n_compared = 0;
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const char *missing, *wanted = chat_case_string(one, "official_sha256");
        char *text = case_encode(one, passages, &missing), found[SHA256_DIGEST_STRING_LENGTH];
        digest(text, found);
        if (wanted && !missing) {
            ck_assert_msg(strcmp(found, wanted) == 0, "%s: another text than the official:\n%s",
                          chat_case_string(one, "name"), text);
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

/* The conversation of an official test file: an array of messages, or an object whose tools belong to the first one. */
static char *
golden_messages(const char *path)
{
    struct json_object *input, *messages, *tools;
    struct hearth_error err = {0};
    ck_assert_msg(json_parse_file(path, CHAT_CASES_MAX_BYTES, &input, &err) == 0, "%s", err.text);
    if (json_object_is_type(input, json_type_array)) {
        messages = input;
    } else {
        ck_assert(json_object_object_get_ex(input, "messages", &messages));
        if (json_object_object_get_ex(input, "tools", &tools)) {
            json_object_object_add(json_object_array_get_idx(messages, 0), "tools", json_object_get(tools));
        }
    }
    char *text = strdup(json_object_to_json_string_ext(messages, JSON_C_TO_STRING_PLAIN));
    ck_assert_ptr_nonnull(text);
    json_object_put(input);
    return text;
}

START_TEST(encodes_the_official_test_files)
{
    const char *folder = getenv("HEARTH_OFFICIAL_CHAT");
    for (int i = 1; i <= 4 && folder; i++) {
        /* the last of them is the one in chat mode: specification, section 16.1 */
        const struct hearth_chat_options options = {.thinking = i != 4, .drop_thinking = true};
        struct chat_passages *passages = passages_open(folder);
        struct text path = {0};
        struct hearth_error err = {0};
        char *text, wanted[8192];
        text_printf(&path, "%s/encoding/tests/test_input_%d.json", folder, i);
        char *messages = golden_messages(path.bytes);
        ck_assert_msg(chat_encode(passages, messages, &options, &text, NULL, &err) == 0, "%s", err.text);
        text_clear(&path);
        text_printf(&path, "%s/encoding/tests/test_output_%d.txt", folder, i);
        FILE *file = fopen(path.bytes, "rb");
        ck_assert_msg(file != NULL, "%s", path.bytes);
        const size_t n = fread(wanted, 1, sizeof wanted, file);
        fclose(file);
        ck_assert_uint_eq(strlen(text), n);
        ck_assert_mem_eq(text, wanted, n);
        free(text);
        free(messages);
        text_free(&path);
        chat_passages_free(passages);
    }
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
    struct json_object *cases = chat_cases_read("conversations.json");
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
    struct json_object *cases = chat_cases_read("refused.json");
    for (size_t i = 0; i < json_object_array_length(cases); i++) {
        struct json_object *one = json_object_array_get_idx(cases, i);
        const struct hearth_chat_options options = {.revision = HEARTH_CHAT_APRIL, .drop_thinking = true};
        struct hearth_error err = {0};
        char *text = NULL;
        const int status = chat_encode(NULL, chat_case_string(one, "messages"), &options, &text, NULL, &err);
        ck_assert_msg(status == HEARTH_EFORMAT, "%s: taken", chat_case_string(one, "messages"));
        ck_assert_ptr_null(text);
        ck_assert_msg(strstr(err.text, chat_case_string(one, "error")) != NULL, "%s: %s",
                      chat_case_string(one, "messages"), err.text);
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

int
main(void)
{
    Suite *suite = suite_create("chat");
    TCase *tests = tcase_create("chat");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, encodes_as_the_official_encoder_with_our_wording);
    tcase_add_test(tests, encodes_as_the_official_encoder_with_its_passages);
    tcase_add_test(tests, encodes_the_official_test_files);
    tcase_add_test(tests, cases_cover_every_feature);
    tcase_add_test(tests, refuses_what_the_official_encoder_refuses);
    tcase_add_test(tests, refuses_what_makes_no_prompt);
    tcase_add_test(tests, refuses_efforts_of_another_revision);
    tcase_add_test(tests, names_a_passage_that_is_missing);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
