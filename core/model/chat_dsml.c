/* chat_dsml.c - tool calls of an assistant message in the markup of the format (specification, section 11.5).
 *
 * An argument that is a JSON string is written raw and marked string="true"; everything else is JSON. */
#include "core/model/chat_internal.h"

#include "core/base/error.h"
#include "core/base/text.h"

static void
dsml_parameter(struct text *out, struct chat_text key, const struct chat_value *value)
{
    const bool is_string = value->kind == CHAT_STRING;
    text_add(out, "<" CHAT_DSML "parameter name=\"");
    text_append(out, key.bytes, key.length);
    text_add(out, is_string ? "\" string=\"true\">" : "\" string=\"false\">");
    if (is_string) {
        text_append(out, value->text.bytes, value->text.length);
    } else {
        chat_json_print(out, value);
    }
    text_add(out, "</" CHAT_DSML "parameter>");
}

/* The arguments as a JSON object; *ret_object stays NULL where they are no valid JSON. */
static int
dsml_arguments(const struct chat_message *message, size_t i, struct chat_arena *arena, struct chat_value **ret_object,
               struct hearth_error *err)
{
    const struct chat_value *arguments = message->calls[i].arguments;
    struct chat_value *object = NULL;
    bool unpaired = false;
    if (arguments->kind != CHAT_STRING) {
        return HEARTH_OK;
    }
    const int status = chat_json_parse("arguments", arguments->text, arena, &object, &unpaired, NULL);
    if (status == HEARTH_EFORMAT) {
        return HEARTH_OK;
    }
    if (status < 0) {
        return error_no_memory(err, "the arguments of a tool call");
    }
    if (unpaired) {
        return error_set(err, HEARTH_EFORMAT,
                         "chat: message %zu: tool_calls[%zu].function.arguments: whole characters wanted, half a "
                         "surrogate pair found",
                         message->index, i);
    }
    if (object->kind != CHAT_OBJECT) {
        return error_set(err, HEARTH_EFORMAT,
                         "chat: message %zu: tool_calls[%zu].function.arguments: a JSON object wanted, %s found",
                         message->index, i, chat_json_kind(object));
    }
    *ret_object = object;
    return HEARTH_OK;
}

int
chat_dsml_write(struct text *out, const struct chat_message *message, struct chat_arena *arena,
                struct hearth_error *err)
{
    text_add(out, "\n\n<" CHAT_DSML "tool_calls>\n");
    for (size_t i = 0; i < message->n_calls; i++) {
        const struct chat_call *call = &message->calls[i];
        struct chat_value *object = NULL;
        const int status = dsml_arguments(message, i, arena, &object, err);
        if (status < 0) {
            return status;
        }
        text_add(out, "<" CHAT_DSML "invoke name=\"");
        text_append(out, call->name.bytes, call->name.length);
        text_add(out, "\">\n");
        if (!object) {
            /* no JSON text: the whole of it becomes the one parameter "arguments" */
            dsml_parameter(out, (struct chat_text){"arguments", 9}, call->arguments);
        }
        for (const struct chat_value *member = object ? object->first : NULL; member; member = member->next) {
            dsml_parameter(out, member->key, member);
            if (member->next) {
                text_add(out, "\n");
            }
        }
        text_add(out, "\n</" CHAT_DSML "invoke>\n");
    }
    text_add(out, "</" CHAT_DSML "tool_calls>");
    return HEARTH_OK;
}
