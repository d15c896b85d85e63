/* chat_encode.c - messages to prompt text: specification, sections 11.1 and 11.2.
 *
 * Takes: messages of chat_messages.c, passages of chat_passages.c.  Gives: the text the tokenizer turns into tokens. */
#include "core/model/chat_internal.h"

#include <string.h>

#include "core/base/error.h"
#include "core/base/text.h"

struct writer {
    const struct chat_passages *passages;
    struct chat_conversation conversation;
    struct chat_arena arena;
    struct text out;
    const char *missing;
    bool thinking, drop;
    int effort; /* the passage that opens a thinking prompt, -1: none */
    ptrdiff_t last_user;
    struct hearth_error *err;
};

struct effort {
    uint32_t revision;
    const char *name;
    int passage;
};

static int
encode_effort(const struct hearth_chat_options *options, int *ret_passage, struct hearth_error *err)
{
    static const struct effort efforts[] = {{HEARTH_CHAT_APRIL, "high", -1},
                                            {HEARTH_CHAT_APRIL, "max", CHAT_PASSAGE_EFFORT},
                                            {HEARTH_CHAT_0731, "low", -1},
                                            {HEARTH_CHAT_0731, "high", CHAT_PASSAGE_EFFORT},
                                            {HEARTH_CHAT_0731, "max", CHAT_PASSAGE_EFFORT_MAX}};
    if (options->revision > HEARTH_CHAT_0731) {
        return error_set(err, HEARTH_EUSAGE, "chat: a revision of enum hearth_chat_revision wanted, %u found",
                         (unsigned)options->revision);
    }
    if (!options->effort) {
        *ret_passage = -1;
        return HEARTH_OK;
    }
    for (size_t i = 0; i < sizeof efforts / sizeof efforts[0]; i++) {
        if (efforts[i].revision == options->revision && strcmp(efforts[i].name, options->effort) == 0) {
            *ret_passage = efforts[i].passage;
            return HEARTH_OK;
        }
    }
    return error_set(err, HEARTH_EUSAGE, "chat: effort: %s wanted, \"%.40s\" found",
                     options->revision == HEARTH_CHAT_0731 ? "low, high or max" : "high or max", options->effort);
}

static void
write_text(struct writer *writer, struct chat_text text)
{
    text_append(&writer->out, text.bytes, text.length);
}

/* The passage, or NULL with its name kept for the caller. */
static const struct chat_passage *
write_passage(struct writer *writer, enum chat_passage_kind kind)
{
    static const char *const names[CHAT_N_PASSAGES] = {
        [CHAT_PASSAGE_TOOLS] = "the tools section",
        [CHAT_PASSAGE_FORMAT] = "the response format text",
        [CHAT_PASSAGE_EFFORT] = "the effort prefix",
        [CHAT_PASSAGE_EFFORT_MAX] = "the prefix of maximum effort",
    };
    if (writer->passages && writer->passages->at[kind].before) {
        return &writer->passages->at[kind];
    }
    if (!writer->missing) {
        writer->missing = names[kind];
    }
    return NULL;
}

static void
write_tools(struct writer *writer, const struct chat_message *message)
{
    const struct chat_passage *passage = message->tools ? write_passage(writer, CHAT_PASSAGE_TOOLS) : NULL;
    if (!passage) {
        return;
    }
    text_add(&writer->out, "\n\n");
    text_add(&writer->out, passage->before);
    for (const struct chat_value *tool = message->tools->first; tool; tool = tool->next) {
        chat_json_print(&writer->out, chat_json_member(tool, "function"));
        if (tool->next) {
            text_add(&writer->out, "\n");
        }
    }
    text_add(&writer->out, passage->after);
}

static void
write_format(struct writer *writer, const struct chat_message *message)
{
    const struct chat_passage *passage = message->response_format ? write_passage(writer, CHAT_PASSAGE_FORMAT) : NULL;
    if (!passage) {
        return;
    }
    text_add(&writer->out, "\n\n");
    text_add(&writer->out, passage->before);
    chat_json_print(&writer->out, message->response_format);
    text_add(&writer->out, passage->after);
}

static void
write_block(struct writer *writer, const struct chat_block *block)
{
    switch (block->kind) {
    case CHAT_BLOCK_TEXT:
        write_text(writer, block->text);
        return;
    case CHAT_BLOCK_OTHER:
        text_add(&writer->out, "[Unsupported ");
        write_text(writer, block->text);
        text_add(&writer->out, "]");
        return;
    case CHAT_BLOCK_RESULT:
        break;
    }
    text_add(&writer->out, "<tool_result>");
    write_text(writer, block->text);
    for (const struct chat_block *part = block->parts; part; part = part->next) {
        write_block(writer, part); /* a part is a text or unsupported, never a result: one level */
        text_add(&writer->out, part->next ? "\n\n" : "");
    }
    text_add(&writer->out, "</tool_result>");
}

static int
write_assistant(struct writer *writer, size_t i)
{
    const struct chat_message *message = &writer->conversation.messages[i];
    const bool answers_task = i > 0 && writer->conversation.messages[i - 1].task.bytes;
    if (writer->thinking && !answers_task && (!writer->drop || (ptrdiff_t)i > writer->last_user)) {
        write_text(writer, message->reasoning);
        text_add(&writer->out, CHAT_THINK_END);
    }
    write_text(writer, message->content);
    if (message->n_calls) {
        const int status = chat_dsml_write(&writer->out, message, &writer->arena, writer->err);
        if (status < 0) {
            return status;
        }
    }
    text_add(&writer->out, message->wo_eos ? "" : CHAT_EOS);
    return HEARTH_OK;
}

static int
write_body(struct writer *writer, size_t i)
{
    const struct chat_message *message = &writer->conversation.messages[i];
    switch (message->role) {
    case CHAT_ROLE_DEVELOPER:
        if (message->content.length == 0) {
            return error_set(writer->err, HEARTH_EFORMAT,
                             "chat: message %zu: content: a text wanted, an empty one found", message->index);
        }
        text_add(&writer->out, CHAT_USER);
        /* fall through */
    case CHAT_ROLE_SYSTEM:
        write_text(writer, message->content);
        write_tools(writer, message);
        write_format(writer, message);
        return HEARTH_OK;
    case CHAT_ROLE_USER:
        text_add(&writer->out, CHAT_USER);
        for (const struct chat_block *block = message->blocks; block; block = block->next) {
            write_block(writer, block);
            text_add(&writer->out, block->next ? "\n\n" : "");
        }
        return HEARTH_OK;
    case CHAT_ROLE_REMINDER:
        text_add(&writer->out, CHAT_REMINDER);
        write_text(writer, message->content);
        return HEARTH_OK;
    case CHAT_ROLE_ASSISTANT:
        return write_assistant(writer, i);
    case CHAT_ROLE_TOOL:
    case CHAT_ROLE_OTHER:
        break;
    }
    return error_set(
        writer->err, HEARTH_EFORMAT,
        "chat: message %zu: role: system, developer, user, latest_reminder, assistant or tool wanted, \"%.*s\" found",
        message->index, message->role_name.length < 40 ? (int)message->role_name.length : 40, message->role_name.bytes);
}

static int
write_task(struct writer *writer, const struct chat_message *message)
{
    static const char *const tasks[] = {"action", "query", "authority", "domain", "title", "read_url"};
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        if (!chat_text_is(message->task, tasks[i])) {
            continue;
        }
        if (i == 0) {
            text_add(&writer->out, CHAT_ASSISTANT);
            text_add(&writer->out, writer->thinking ? CHAT_THINK : CHAT_THINK_END);
        }
        text_printf(&writer->out, "<｜%s｜>", tasks[i]);
        return HEARTH_OK;
    }
    return error_set(
        writer->err, HEARTH_EFORMAT,
        "chat: message %zu: task: action, query, authority, domain, title or read_url wanted, \"%.*s\" found",
        message->index, message->task.length < 40 ? (int)message->task.length : 40, message->task.bytes);
}

/* What stands between a message and the answer to it. */
static int
write_transition(struct writer *writer, size_t i)
{
    const struct chat_message *message = &writer->conversation.messages[i];
    if (i + 1 < writer->conversation.n) {
        const enum chat_role next = message[1].role;
        if (next != CHAT_ROLE_ASSISTANT && next != CHAT_ROLE_REMINDER) {
            return HEARTH_OK;
        }
    }
    if (message->task.bytes) {
        return write_task(writer, message);
    }
    if (message->role == CHAT_ROLE_USER || message->role == CHAT_ROLE_DEVELOPER) {
        const bool think = writer->thinking && (!writer->drop || (ptrdiff_t)i >= writer->last_user);
        text_add(&writer->out, CHAT_ASSISTANT);
        text_add(&writer->out, think ? CHAT_THINK : CHAT_THINK_END);
    }
    return HEARTH_OK;
}

static int
write_message(struct writer *writer, size_t i)
{
    const size_t start = writer->out.length;
    int status = write_body(writer, i);
    if (status == HEARTH_OK) {
        status = write_transition(writer, i);
    }
    if (status < 0) {
        return status;
    }
    if (writer->out.failed) {
        return error_no_memory(writer->err, "the prompt text");
    }
    if (memchr(writer->out.bytes + start, '\0', writer->out.length - start)) {
        return error_set(writer->err, HEARTH_EFORMAT, "chat: message %zu: text without U+0000 wanted, U+0000 found",
                         writer->conversation.messages[i].index);
    }
    return HEARTH_OK;
}

static int
write_conversation(struct writer *writer, bool with_context)
{
    text_add(&writer->out, with_context ? "" : CHAT_BOS);
    if (writer->effort >= 0 && writer->thinking && !with_context && writer->conversation.n) {
        const struct chat_passage *passage = write_passage(writer, (enum chat_passage_kind)writer->effort);
        text_add(&writer->out, passage ? passage->before : "");
    }
    for (size_t i = 0; i < writer->conversation.n; i++) {
        const int status = write_message(writer, i);
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

static int
encode_read(struct writer *writer, const char *messages, const struct hearth_chat_options *options)
{
    struct chat_value *array = NULL;
    bool unpaired = false;
    int status = chat_json_parse("chat: messages", (struct chat_text){messages, strlen(messages)}, &writer->arena,
                                 &array, &unpaired, writer->err);
    if (status == HEARTH_OK && unpaired) {
        status = error_set(writer->err, HEARTH_EFORMAT,
                           "chat: messages: whole characters wanted, half a surrogate pair found");
    }
    if (status == HEARTH_OK) {
        status = chat_messages_read(array, &writer->arena, &writer->conversation, writer->err);
    }
    if (status < 0) {
        return status;
    }
    writer->thinking = options->thinking;
    writer->drop = options->drop_thinking && !writer->conversation.has_tools;
    if (writer->thinking && writer->drop) {
        chat_messages_drop(&writer->conversation);
    }
    writer->last_user = chat_messages_last_user(&writer->conversation);
    return HEARTH_OK;
}

int
chat_encode(const struct chat_passages *passages, const char *messages, const struct hearth_chat_options *options,
            char **ret_text, const char **ret_missing, struct hearth_error *err)
{
    struct writer writer = {.passages = passages, .err = err};
    int status = encode_effort(options, &writer.effort, err);
    if (status == HEARTH_OK) {
        status = encode_read(&writer, messages, options);
    }
    if (status == HEARTH_OK) {
        status = write_conversation(&writer, options->with_context);
    }
    if (status == HEARTH_OK) {
        char *text = text_take(&writer.out);
        if (!text) {
            status = error_no_memory(err, "the prompt text");
        } else {
            *ret_text = text;
            if (ret_missing) {
                *ret_missing = writer.missing;
            }
        }
    }
    text_free(&writer.out);
    chat_arena_free(&writer.arena);
    return status;
}
