/* tests/unit/chat_cases.h - the cases of tests/data/chat, made by tools/chat-cases from the official encoder and
 * parser.
 *
 * The environment variable HEARTH_CHAT_CASES names another folder of them, for a longer run. */
#ifndef TESTS_UNIT_CHAT_CASES_H
#define TESTS_UNIT_CHAT_CASES_H

#include <json-c/json.h>
#include <stdbool.h>

#include <hearth/engine.h>

#define CHAT_CASES_MAX_BYTES ((uint64_t)64 * 1024 * 1024)

/* An array of cases; the test fails if it cannot be read. */
struct json_object *chat_cases_read(const char *name);
/* Fields of a case; NULL and false where there is none. */
const char *chat_case_string(struct json_object *one, const char *key);
bool chat_case_bool(struct json_object *one, const char *key);
struct hearth_chat_options chat_case_options(struct json_object *one);

#endif
