/* chat_cases.c - see chat_cases.h. */
#include "tests/unit/chat_cases.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/text.h"

struct json_object *
chat_cases_read(const char *name)
{
    const char *folder = getenv("HEARTH_CHAT_CASES");
    struct text path = {0};
    struct json_object *cases;
    struct hearth_error err = {0};
    text_printf(&path, "%s/%s", folder ? folder : CASES_FOLDER, name);
    ck_assert_msg(json_parse_file(path.bytes, CHAT_CASES_MAX_BYTES, &cases, &err) == 0, "%s", err.text);
    text_free(&path);
    return cases;
}

const char *
chat_case_string(struct json_object *one, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(one, key, &value) ? json_object_get_string(value) : NULL;
}

bool
chat_case_bool(struct json_object *one, const char *key)
{
    struct json_object *value;
    return json_object_object_get_ex(one, key, &value) && json_object_get_boolean(value);
}

struct hearth_chat_options
chat_case_options(struct json_object *one)
{
    const char *revision = chat_case_string(one, "revision");
    return (struct hearth_chat_options){.revision = revision && strcmp(revision, "0731") == 0 ? HEARTH_CHAT_0731
                                                                                              : HEARTH_CHAT_APRIL,
                                        .thinking = chat_case_bool(one, "thinking"),
                                        .effort = chat_case_string(one, "effort"),
                                        .drop_thinking = chat_case_bool(one, "drop"),
                                        .with_context = chat_case_bool(one, "context")};
}
