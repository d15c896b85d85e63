/* chat_parse.c - a finished completion to a message, as strict as the official parser and in the same places lax.
 *
 * Specification, section 11.6.  The stream of chat_stream.c reads the same grammar piece by piece. */
#include "core/model/chat_internal.h"

#include <string.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/model/chat_grammar.h"
#include "core/model/utf8.h"

struct completion {
    const char *bytes;
    size_t length, at;
    struct chat_arena arena;
    struct text calls; /* the JSON array of tool calls */
    struct hearth_error *err;
};

/* The text up to the first of n stops; at moves behind that stop.  *ret_stop: which, -1 if the text ended first. */
static struct chat_text
read_until(struct completion *completion, const char *const *stops, int n, int *ret_stop)
{
    const size_t start = completion->at;
    const char *const end = completion->bytes + completion->length;
    for (size_t at = start; at < completion->length; at++) {
        for (int i = 0; i < n; i++) {
            const char *c = completion->bytes + at;
            const size_t wanted = strlen(stops[i]);
            if (*c == *stops[i] && (size_t)(end - c) >= wanted && memcmp(c, stops[i], wanted) == 0) {
                completion->at = at + wanted;
                *ret_stop = i;
                return (struct chat_text){completion->bytes + start, at - start};
            }
        }
    }
    completion->at = completion->length;
    *ret_stop = -1;
    return (struct chat_text){completion->bytes + start, completion->length - start};
}

static int
refuse(const struct completion *completion, const char *wanted, struct chat_text found)
{
    return error_set(completion->err, HEARTH_EFORMAT, "chat: completion: before byte %zu: %s wanted, \"%.*s\" found",
                     completion->at, wanted, (int)(found.length < 60 ? found.length : 60), found.bytes);
}

struct seen_key {
    struct chat_text key;
    struct seen_key *next;
};

/* One parameter into the arguments; at stands behind its opening mark. */
static int
parse_parameter(struct completion *completion, struct text *arguments, struct seen_key **seen)
{
    static const char *const stops[] = {"/" CHAT_DSML "parameter"};
    int stop;
    struct chat_text key, value;
    bool is_string;
    const struct chat_text header = read_until(completion, stops, 1, &stop);
    if (!chat_grammar_parameter(header, &key, &is_string, &value)) {
        return refuse(completion, "a parameter of the form  name=\"...\" string=\"true|false\">...<", header);
    }
    for (const struct seen_key *other = *seen; other; other = other->next) {
        if (chat_text_equal(other->key, key)) {
            return refuse(completion, "parameters of different names", key);
        }
    }
    struct seen_key *entry = chat_arena_alloc(&completion->arena, sizeof *entry);
    if (!entry) {
        return error_no_memory(completion->err, "a parameter");
    }
    text_add(arguments, *seen ? ", " : "");
    *entry = (struct seen_key){key, *seen};
    *seen = entry;
    chat_json_print_string(arguments, key);
    text_add(arguments, ": ");
    if (is_string) {
        chat_json_print_string(arguments, value);
    } else {
        text_append(arguments, value.bytes, value.length);
    }
    return HEARTH_OK;
}

/* One call; at stands behind "<DSML invoke". */
static int
parse_call(struct completion *completion, bool first)
{
    static const char *const stops[] = {"<" CHAT_DSML "parameter", "</" CHAT_DSML "invoke"};
    struct text arguments = {0};
    struct seen_key *seen = NULL;
    struct chat_text name;
    int stop, status = HEARTH_OK;
    const struct chat_text header = read_until(completion, stops, 2, &stop);
    if (!chat_grammar_name(header, &name)) {
        return refuse(completion, "a call of the form name=\"...\"> and a newline", header);
    }
    text_add(&arguments, "{");
    while (stop == 0) {
        status = parse_parameter(completion, &arguments, &seen);
        if (status < 0) {
            goto out;
        }
        const struct chat_text between = read_until(completion, stops, 2, &stop);
        if (!chat_text_is(between, ">\n")) {
            status = refuse(completion, "'>' and a newline behind a parameter", between);
            goto out;
        }
    }
    text_add(&arguments, "}");
    text_add(&completion->calls, first ? "" : ", ");
    text_add(&completion->calls, "{\"type\": \"function\", \"function\": {\"name\": ");
    chat_json_print_string(&completion->calls, name);
    text_add(&completion->calls, ", \"arguments\": ");
    chat_json_print_string(&completion->calls, (struct chat_text){arguments.bytes, arguments.length});
    text_add(&completion->calls, "}}");
    if (arguments.failed) {
        status = error_no_memory(completion->err, "a tool call");
    }
out:
    text_free(&arguments);
    return status;
}

/* The block behind "\n\n<DSML tool_calls".  A text that ends between two calls, or with the opening mark itself,
 * passes: the official parser's loop ends there too. */
static int
parse_calls(struct completion *completion)
{
    static const char *const stops[] = {"<" CHAT_DSML "invoke", "</" CHAT_DSML "tool_calls>"};
    bool first = true;
    while (completion->at < completion->length) {
        int stop;
        const struct chat_text between = read_until(completion, stops, 2, &stop);
        if (!chat_text_is(between, ">\n")) {
            return refuse(completion, "'>' and a newline", between);
        }
        if (stop == 1) {
            break;
        }
        if (stop < 0) {
            return refuse(completion, "a call or the end of the tool calls", between);
        }
        const int status = parse_call(completion, first);
        if (status < 0) {
            return status;
        }
        first = false;
    }
    return HEARTH_OK;
}

static int
check_plain(const struct completion *completion, struct chat_text text, const char *field)
{
    static const char *const forbidden[] = {CHAT_BOS, CHAT_EOS, CHAT_THINK, CHAT_THINK_END, CHAT_DSML};
    struct completion inside = {.bytes = text.bytes, .length = text.length};
    int stop;
    read_until(&inside, forbidden, sizeof forbidden / sizeof forbidden[0], &stop);
    if (stop >= 0) {
        return error_set(completion->err, HEARTH_EFORMAT, "chat: completion: %s: no special token wanted, \"%s\" found",
                         field, forbidden[stop]);
    }
    return HEARTH_OK;
}

static int
parse_whole(struct completion *completion, bool thinking, struct chat_text *ret_reasoning,
            struct chat_text *ret_content)
{
    static const char *const thought_stops[] = {CHAT_THINK_END, "\n\n<" CHAT_DSML "tool_calls"};
    static const char *const content_stops[] = {CHAT_EOS, "\n\n<" CHAT_DSML "tool_calls"};
    int stop, status = HEARTH_OK;
    *ret_reasoning = (struct chat_text){"", 0};
    if (thinking) {
        *ret_reasoning = read_until(completion, thought_stops, 2, &stop);
        if (stop != 0) {
            return refuse(completion, CHAT_THINK_END, (struct chat_text){"", 0});
        }
    }
    *ret_content = read_until(completion, content_stops, 2, &stop);
    if (stop < 0) {
        return refuse(completion, CHAT_EOS, (struct chat_text){"", 0});
    }
    if (stop == 1) {
        status = parse_calls(completion);
        if (status < 0) {
            return status;
        }
        const struct chat_text behind = read_until(completion, content_stops, 1, &stop);
        if (behind.length) {
            return refuse(completion, "nothing behind the tool calls", behind);
        }
    }
    if (completion->at != completion->length) {
        return refuse(completion, "nothing behind " CHAT_EOS,
                      (struct chat_text){completion->bytes + completion->at, completion->length - completion->at});
    }
    status = check_plain(completion, *ret_content, "content");
    return status < 0 ? status : check_plain(completion, *ret_reasoning, "reasoning");
}

static int
check_utf8(const struct completion *completion)
{
    for (size_t at = 0; at < completion->length;) {
        const int n = utf8_scan((const unsigned char *)completion->bytes + at, completion->length - at);
        if (n <= 0) {
            return error_set(completion->err, HEARTH_EFORMAT,
                             "chat: completion: byte %zu: valid UTF-8 wanted, byte 0x%02X found", at,
                             (unsigned char)completion->bytes[at]);
        }
        at += (size_t)n;
    }
    return HEARTH_OK;
}

int
hearth_chat_parse(const char *completion_text, size_t length, const struct hearth_chat_options *options,
                  char **ret_json, struct hearth_error *err)
{
    struct completion completion = {.bytes = completion_text, .length = length, .err = err};
    struct chat_text reasoning, content;
    struct text out = {0};
    int status = check_utf8(&completion);
    if (status == HEARTH_OK) {
        status = parse_whole(&completion, options->thinking, &reasoning, &content);
    }
    if (status == HEARTH_OK) {
        text_add(&out, "{\"role\": \"assistant\", \"content\": ");
        chat_json_print_string(&out, content);
        text_add(&out, ", \"reasoning_content\": ");
        chat_json_print_string(&out, reasoning);
        text_add(&out, ", \"tool_calls\": [");
        text_append(&out, completion.calls.bytes ? completion.calls.bytes : "", completion.calls.length);
        text_add(&out, "]}");
        char *json = completion.calls.failed ? NULL : text_take(&out);
        if (json) {
            *ret_json = json;
        } else {
            status = error_no_memory(err, "the message of a completion");
        }
    }
    text_free(&out);
    text_free(&completion.calls);
    chat_arena_free(&completion.arena);
    return status;
}
