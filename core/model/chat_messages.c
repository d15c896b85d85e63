/* chat_messages.c - from the caller's JSON to the messages that are written: read, merge, sort, drop.
 *
 * Takes: values of chat_json.h.  Gives: struct chat_conversation to chat_encode.c.
 * The rules are those of the specification, sections 11.3 and 11.4.  One is wider than the official encoder's: a user
 * message may bring content blocks of its own, which the official merge pass forgets. */
#include "core/model/chat_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/error.h"

struct reader {
    struct chat_arena *arena;
    struct chat_conversation *conversation;
    size_t index; /* of the message at hand */
    struct hearth_error *err;
};

static int
read_refuse(const struct reader *reader, const char *field, const char *wanted, const struct chat_value *found)
{
    return error_set(reader->err, HEARTH_EFORMAT, "chat: message %zu: %s: %s wanted, %s found", reader->index, field,
                     wanted, chat_json_kind(found));
}

static void *
read_alloc(const struct reader *reader, size_t n, size_t size)
{
    uint64_t bytes;
    return mul_size(n, size, &bytes) ? chat_arena_alloc(reader->arena, bytes) : NULL;
}

static int
read_no_memory(const struct reader *reader)
{
    return error_no_memory(reader->err, "the chat messages");
}

/* What a text field may be besides a string. */
enum absence { ABSENT_REFUSED, ABSENT_EMPTY, NULL_EMPTY };

static int
read_text(const struct reader *reader, const struct chat_value *object, const char *key, const char *field,
          enum absence absence, struct chat_text *ret_text)
{
    const struct chat_value *value = chat_json_member(object, key);
    if (value && value->kind == CHAT_STRING) {
        *ret_text = value->text;
        return HEARTH_OK;
    }
    if ((!value && absence != ABSENT_REFUSED) || (value && value->kind == CHAT_NULL && absence == NULL_EMPTY)) {
        *ret_text = (struct chat_text){"", 0};
        return HEARTH_OK;
    }
    return read_refuse(reader, field, "a string", value);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static int read_blocks(const struct reader *reader, const struct chat_value *array, const char *field, bool nested,
                       struct chat_block **ret_first, struct chat_block **ret_last, size_t *ret_n_results);

/* The content of a tool result: a string or a list of parts. */
static int
read_result(const struct reader *reader, const struct chat_value *object, const char *id_key, const char *field,
            struct chat_block *block)
{
    char name[64];
    const struct chat_value *content = chat_json_member(object, "content");
    block->kind = CHAT_BLOCK_RESULT;
    snprintf(name, sizeof name, "%s%s", field, id_key);
    int status = read_text(reader, object, id_key, name, NULL_EMPTY, &block->id);
    if (status < 0) {
        return status;
    }
    snprintf(name, sizeof name, "%scontent", field);
    if (content && content->kind == CHAT_ARRAY) {
        struct chat_block *last;
        size_t n_results;
        block->is_list = true;
        return read_blocks(reader, content, name, true, &block->parts, &last, &n_results);
    }
    if (content && content->kind != CHAT_STRING) {
        return read_refuse(reader, name, "a string or an array", content);
    }
    return read_text(reader, object, "content", name, ABSENT_EMPTY, &block->text);
}

static int
read_block(const struct reader *reader, const struct chat_value *value, const char *field, bool nested,
           struct chat_block *block)
{
    char name[64];
    if (value->kind != CHAT_OBJECT) {
        return read_refuse(reader, field, "an object", value);
    }
    const struct chat_value *type = chat_json_member(value, "type");
    if (type && type->kind != CHAT_STRING && type->kind != CHAT_NULL) {
        snprintf(name, sizeof name, "%s.type", field);
        return read_refuse(reader, name, "a string", type);
    }
    if (!type || type->kind == CHAT_NULL) {
        block->kind = CHAT_BLOCK_OTHER;
        block->text = (struct chat_text){"None", 4}; /* as Python prints it */
        return HEARTH_OK;
    }
    if (chat_text_is(type->text, "text")) {
        snprintf(name, sizeof name, "%s.text", field);
        block->kind = CHAT_BLOCK_TEXT;
        return read_text(reader, value, "text", name, ABSENT_EMPTY, &block->text);
    }
    if (!nested && chat_text_is(type->text, "tool_result")) {
        snprintf(name, sizeof name, "%s.", field);
        return read_result(reader, value, "tool_use_id", name, block);
    }
    block->kind = CHAT_BLOCK_OTHER;
    block->text = type->text;
    return HEARTH_OK;
}

static int
read_blocks(const struct reader *reader, const struct chat_value *array, const char *field, bool nested,
            struct chat_block **ret_first, struct chat_block **ret_last, size_t *ret_n_results)
{
    struct chat_block *first = NULL, *last = NULL;
    size_t n_results = 0, i = 0;
    for (const struct chat_value *value = array->first; value; value = value->next, i++) {
        char name[48];
        struct chat_block *block = read_alloc(reader, 1, sizeof *block);
        if (!block) {
            return read_no_memory(reader);
        }
        snprintf(name, sizeof name, "%s[%zu]", field, i);
        const int status = read_block(reader, value, name, nested, block);
        if (status < 0) {
            return status;
        }
        n_results += block->kind == CHAT_BLOCK_RESULT;
        *(last ? &last->next : &first) = block;
        last = block;
    }
    *ret_first = first;
    *ret_last = last;
    *ret_n_results = n_results;
    return HEARTH_OK;
}

/* ---- fields of a message --------------------------------------------------------------------- */

static int
read_tools(const struct reader *reader, const struct chat_value *object, struct chat_message *message)
{
    const struct chat_value *tools = chat_json_member(object, "tools");
    if (!chat_json_truth(tools)) {
        return HEARTH_OK;
    }
    if (tools->kind != CHAT_ARRAY) {
        return read_refuse(reader, "tools", "an array", tools);
    }
    size_t i = 0;
    for (const struct chat_value *tool = tools->first; tool; tool = tool->next, i++) {
        if (!chat_json_member(tool, "function")) {
            char name[48];
            snprintf(name, sizeof name, "tools[%zu].function", i);
            return read_refuse(reader, name, "a tool's description", NULL);
        }
    }
    message->tools = tools;
    return HEARTH_OK;
}

static int
read_call(const struct reader *reader, const struct chat_value *value, size_t i, struct chat_call *call)
{
    char name[64];
    const struct chat_value *function = chat_json_member(value, "function");
    const struct chat_value *id = chat_json_member(value, "id");
    if (!function || function->kind != CHAT_OBJECT) {
        snprintf(name, sizeof name, "tool_calls[%zu].function", i);
        return read_refuse(reader, name, "an object", function);
    }
    snprintf(name, sizeof name, "tool_calls[%zu].function.name", i);
    const int status = read_text(reader, function, "name", name, ABSENT_REFUSED, &call->name);
    if (status < 0) {
        return status;
    }
    call->arguments = chat_json_member(function, "arguments");
    if (!call->arguments) {
        snprintf(name, sizeof name, "tool_calls[%zu].function.arguments", i);
        return read_refuse(reader, name, "a JSON text", NULL);
    }
    snprintf(name, sizeof name, "tool_calls[%zu].id", i);
    return read_text(reader, chat_json_truth(id) ? value : function, "id", name, NULL_EMPTY, &call->id);
}

static int
read_calls(const struct reader *reader, const struct chat_value *object, struct chat_message *message)
{
    const struct chat_value *calls = chat_json_member(object, "tool_calls");
    if (!chat_json_truth(calls)) {
        return HEARTH_OK;
    }
    if (calls->kind != CHAT_ARRAY) {
        return read_refuse(reader, "tool_calls", "an array", calls);
    }
    message->calls = read_alloc(reader, calls->n, sizeof *message->calls);
    if (!message->calls) {
        return read_no_memory(reader);
    }
    for (const struct chat_value *call = calls->first; call; call = call->next) {
        const int status = read_call(reader, call, message->n_calls, &message->calls[message->n_calls]);
        if (status < 0) {
            return status;
        }
        message->n_calls++;
    }
    return HEARTH_OK;
}

static int
read_task(const struct reader *reader, const struct chat_value *object, struct chat_message *message)
{
    const struct chat_value *task = chat_json_member(object, "task");
    if (!task || task->kind == CHAT_NULL) {
        return HEARTH_OK;
    }
    return read_text(reader, object, "task", "task", ABSENT_REFUSED, &message->task);
}

static void
read_role(const struct chat_value *object, struct chat_message *message)
{
    static const char *const names[] = {[CHAT_ROLE_SYSTEM] = "system",       [CHAT_ROLE_DEVELOPER] = "developer",
                                        [CHAT_ROLE_USER] = "user",           [CHAT_ROLE_REMINDER] = "latest_reminder",
                                        [CHAT_ROLE_ASSISTANT] = "assistant", [CHAT_ROLE_TOOL] = "tool"};
    const struct chat_value *role = chat_json_member(object, "role");
    message->role_name = role && role->kind == CHAT_STRING ? role->text : (struct chat_text){"", 0};
    for (enum chat_role r = CHAT_ROLE_SYSTEM; r <= CHAT_ROLE_TOOL; r++) {
        if (chat_text_is(message->role_name, names[r])) {
            message->role = r;
        }
    }
}

/* A user message as blocks: those it brings, or its content as the only one. */
static int
read_user_blocks(const struct reader *reader, const struct chat_value *object, struct chat_message *message)
{
    const struct chat_value *blocks = chat_json_member(object, "content_blocks");
    const struct chat_value *content = chat_json_member(object, "content");
    const bool named = chat_json_truth(blocks);
    if (!named && content && content->kind == CHAT_ARRAY) {
        blocks = content;
    } else if (named && blocks->kind != CHAT_ARRAY) {
        return read_refuse(reader, "content_blocks", "an array", blocks);
    } else if (!named) {
        struct chat_block *block = read_alloc(reader, 1, sizeof *block);
        if (!block) {
            return read_no_memory(reader);
        }
        message->blocks = message->last_block = block;
        return read_text(reader, object, "content", "content", ABSENT_EMPTY, &block->text);
    }
    return read_blocks(reader, blocks, named ? "content_blocks" : "content", false, &message->blocks,
                       &message->last_block, &message->n_results);
}

static int
read_tool_blocks(const struct reader *reader, const struct chat_value *object, struct chat_message *message)
{
    struct chat_block *block = read_alloc(reader, 1, sizeof *block);
    if (!block) {
        return read_no_memory(reader);
    }
    message->blocks = message->last_block = block;
    message->n_results = 1;
    return read_result(reader, object, "tool_call_id", "", block);
}

static int
read_plain(const struct reader *reader, const struct chat_value *object, struct chat_message *message)
{
    const bool needed = message->role == CHAT_ROLE_DEVELOPER || message->role == CHAT_ROLE_REMINDER;
    int status = read_tools(reader, object, message);
    if (status == HEARTH_OK && message->role != CHAT_ROLE_OTHER) {
        status =
            read_text(reader, object, "content", "content", needed ? ABSENT_REFUSED : NULL_EMPTY, &message->content);
    }
    if (status == HEARTH_OK && message->role == CHAT_ROLE_ASSISTANT) {
        status = read_text(reader, object, "reasoning_content", "reasoning_content", NULL_EMPTY, &message->reasoning);
        if (status == HEARTH_OK) {
            status = read_calls(reader, object, message);
        }
    }
    const struct chat_value *format = chat_json_member(object, "response_format");
    message->response_format = chat_json_truth(format) ? format : NULL;
    message->wo_eos = chat_json_truth(chat_json_member(object, "wo_eos"));
    return status;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* The user message that takes this one in, or NULL. */
static struct chat_message *
merge_target(const struct chat_conversation *conversation, const struct chat_message *message)
{
    struct chat_message *last = conversation->n ? &conversation->messages[conversation->n - 1] : NULL;
    if (!last || last->role != CHAT_ROLE_USER) {
        return NULL;
    }
    return message->role == CHAT_ROLE_TOOL || (message->role == CHAT_ROLE_USER && !last->task.bytes) ? last : NULL;
}

static void
merge_blocks(struct chat_message *target, const struct chat_message *message)
{
    if (!message->blocks) {
        return;
    }
    *(target->last_block ? &target->last_block->next : &target->blocks) = message->blocks;
    target->last_block = message->last_block;
    target->n_results += message->n_results;
}

static int
read_message(struct reader *reader, const struct chat_value *object)
{
    struct chat_message message = {.index = reader->index};
    if (object->kind != CHAT_OBJECT) {
        return error_set(reader->err, HEARTH_EFORMAT, "chat: message %zu: an object wanted, %s found", reader->index,
                         chat_json_kind(object));
    }
    read_role(object, &message);
    int status;
    if (message.role == CHAT_ROLE_TOOL) {
        status = read_tool_blocks(reader, object, &message);
    } else {
        status = message.role == CHAT_ROLE_USER ? read_user_blocks(reader, object, &message)
                                                : read_plain(reader, object, &message);
        if (status == HEARTH_OK) {
            status = read_task(reader, object, &message);
        }
    }
    if (status < 0) {
        return status;
    }
    struct chat_conversation *conversation = reader->conversation;
    struct chat_message *target = merge_target(conversation, &message);
    if (target) {
        merge_blocks(target, &message);
        return HEARTH_OK;
    }
    if (message.role == CHAT_ROLE_TOOL) {
        message.role = CHAT_ROLE_USER;
    }
    conversation->has_tools |= message.tools != NULL;
    conversation->messages[conversation->n++] = message;
    return HEARTH_OK;
}

/* ---- sorting --------------------------------------------------------------------------------- */

struct result_place {
    struct chat_block block;
    size_t call, place;
};

static int
result_compare(const void *a, const void *b)
{
    const struct result_place *left = a, *right = b;
    if (left->call != right->call) {
        return left->call < right->call ? -1 : 1;
    }
    return left->place < right->place ? -1 : left->place > right->place;
}

/* The place of the call a result answers: the last with that id; 0 if there is none. */
static size_t
result_call(const struct chat_message *assistant, struct chat_text id)
{
    for (size_t i = assistant->n_calls; i > 0 && id.length; i--) {
        if (chat_text_equal(assistant->calls[i - 1].id, id)) {
            return i - 1;
        }
    }
    return 0;
}

/* Results change places among themselves; texts stay where they are. */
static int
sort_results(const struct reader *reader, const struct chat_message *assistant, struct chat_message *user)
{
    struct result_place *places = read_alloc(reader, user->n_results, sizeof *places);
    if (!places) {
        return read_no_memory(reader);
    }
    size_t n = 0;
    for (struct chat_block *block = user->blocks; block; block = block->next) {
        if (block->kind == CHAT_BLOCK_RESULT) {
            places[n] = (struct result_place){*block, result_call(assistant, block->id), n};
            n++;
        }
    }
    qsort(places, n, sizeof *places, result_compare);
    n = 0;
    for (struct chat_block *block = user->blocks; block; block = block->next) {
        if (block->kind == CHAT_BLOCK_RESULT) {
            struct chat_block *next = block->next;
            *block = places[n++].block;
            block->next = next;
        }
    }
    return HEARTH_OK;
}

static int
sort_conversation(const struct reader *reader)
{
    const struct chat_message *assistant = NULL;
    for (size_t i = 0; i < reader->conversation->n; i++) {
        struct chat_message *message = &reader->conversation->messages[i];
        if (message->role == CHAT_ROLE_ASSISTANT && message->n_calls) {
            assistant = message;
        } else if (message->role == CHAT_ROLE_USER && message->n_results > 1 && assistant) {
            const int status = sort_results(reader, assistant, message);
            if (status < 0) {
                return status;
            }
        }
    }
    return HEARTH_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

int
chat_messages_read(const struct chat_value *array, struct chat_arena *arena, struct chat_conversation *ret_conversation,
                   struct hearth_error *err)
{
    struct chat_conversation conversation = {0};
    struct reader reader = {.arena = arena, .conversation = &conversation, .err = err};
    if (array->kind != CHAT_ARRAY) {
        return error_set(err, HEARTH_EFORMAT, "chat: an array of messages wanted, %s found", chat_json_kind(array));
    }
    conversation.messages = read_alloc(&reader, array->n, sizeof *conversation.messages);
    if (!conversation.messages) {
        return read_no_memory(&reader);
    }
    for (const struct chat_value *object = array->first; object; object = object->next) {
        const int status = read_message(&reader, object);
        if (status < 0) {
            return status;
        }
        reader.index++;
    }
    const int status = sort_conversation(&reader);
    if (status < 0) {
        return status;
    }
    *ret_conversation = conversation;
    return HEARTH_OK;
}

ptrdiff_t
chat_messages_last_user(const struct chat_conversation *conversation)
{
    for (size_t i = conversation->n; i > 0; i--) {
        const enum chat_role role = conversation->messages[i - 1].role;
        if (role == CHAT_ROLE_USER || role == CHAT_ROLE_DEVELOPER) {
            return (ptrdiff_t)(i - 1);
        }
    }
    return -1;
}

void
chat_messages_drop(struct chat_conversation *conversation)
{
    const ptrdiff_t last_user = chat_messages_last_user(conversation);
    size_t kept = 0;
    for (size_t i = 0; i < conversation->n; i++) {
        const struct chat_message message = conversation->messages[i];
        if ((ptrdiff_t)i >= last_user || (message.role != CHAT_ROLE_DEVELOPER && message.role != CHAT_ROLE_OTHER)) {
            conversation->messages[kept++] = message;
        }
    }
    conversation->n = kept;
}
