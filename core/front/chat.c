/* chat.c - hearth chat: turns typed at a prompt, and commands that begin with a slash. */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/front/chat_line.h"
#include "core/front/human.h"
#include "core/front/interrupt.h"
#include "core/front/out.h"
#include "core/front/show.h"

struct chat_values {
    const char *think, *load;
};

#define CHAT(field) offsetof(struct chat_values, field)

static const struct args_option chat_options[] = {
    {.name = "think", .kind = ARGS_TEXT, .value = "MODE", .offset = CHAT(think),
     .help = "reason before each answer: on, off, low, high or max"},
    {.name = "system", .kind = ARGS_CONFIG, .value = "TEXT", .key = "chat.system",
     .help = "the system prompt"},
    {.name = "load", .kind = ARGS_TEXT, .value = "FILE", .offset = CHAT(load),
     .help = "go on with a conversation kept by /save"},
    GENERATE_OPTIONS,
};

struct chat {
    struct front *front;
    struct generator generator;
    struct talk talk;
    struct show show;
    struct chat_line *line;
    bool leave;
    uint64_t n_turns, n_prompt, n_generated;
    double prefill_seconds, decode_seconds;
};

/* A command's word, what follows it, and what it does with that. */
struct chat_command {
    const char *name, *argument, *help;
    int (*run)(struct chat *chat, const char *argument, struct hearth_error *err);
};

static int chat_help(struct chat *chat, const char *argument, struct hearth_error *err);

static int
chat_reset(struct chat *chat, const char *argument, struct hearth_error *err)
{
    (void)argument;
    return talk_reset(&chat->talk, err);
}

static int
chat_save(struct chat *chat, const char *argument, struct hearth_error *err)
{
    if (!*argument) {
        return error_set(err, HEARTH_EUSAGE, "/save: a file wanted");
    }
    const int status = talk_save(&chat->talk, argument, err);
    if (status == HEARTH_OK) {
        front_note(chat->front, "%llu tokens saved to %s",
                   (unsigned long long)hearth_session_length(chat->talk.session), argument);
    }
    return status;
}

static int
chat_load(struct chat *chat, const char *argument, struct hearth_error *err)
{
    if (!*argument) {
        return error_set(err, HEARTH_EUSAGE, "/load: a file wanted");
    }
    const int status = talk_load(&chat->talk, argument, err);
    if (status == HEARTH_OK) {
        front_note(chat->front, "%llu tokens loaded from %s",
                   (unsigned long long)hearth_session_length(chat->talk.session), argument);
    }
    return status;
}

static int
chat_think(struct chat *chat, const char *argument, struct hearth_error *err)
{
    return talk_think(&chat->talk, argument, err);
}

static int
chat_system(struct chat *chat, const char *argument, struct hearth_error *err)
{
    return talk_system(&chat->talk, argument, err);
}

static int
chat_stats(struct chat *chat, const char *argument, struct hearth_error *err)
{
    (void)argument;
    (void)err;
    char a[HUMAN_BYTES], b[HUMAN_BYTES];
    const uint64_t length = chat->talk.session ? hearth_session_length(chat->talk.session) : 0;
    fprintf(stderr, "hearth: %s: %llu turns, %llu tokens in the context\n",
            chat->generator.facts.name, (unsigned long long)chat->n_turns,
            (unsigned long long)length);
    fprintf(stderr, "hearth: read %llu tokens in %s, wrote %llu in %s (%.1f tokens/s); seed %llu\n",
            (unsigned long long)chat->n_prompt, human_duration(chat->prefill_seconds, a),
            (unsigned long long)chat->n_generated, human_duration(chat->decode_seconds, b),
            chat->decode_seconds > 0 ? (double)chat->n_generated / chat->decode_seconds : 0.0,
            (unsigned long long)chat->generator.sampling.seed);
    return HEARTH_OK;
}

static int
chat_exit(struct chat *chat, const char *argument, struct hearth_error *err)
{
    (void)argument;
    (void)err;
    chat->leave = true;
    return HEARTH_OK;
}

static const struct chat_command chat_commands[] = {
    {"/help", "", "show this list", chat_help},
    {"/reset", "", "forget the conversation", chat_reset},
    {"/save", "FILE", "keep the conversation in a file", chat_save},
    {"/load", "FILE", "go on with a kept conversation", chat_load},
    {"/think", "MODE", "reason before answers: on, off, low, high or max", chat_think},
    {"/system", "TEXT", "set the system prompt; without TEXT: none", chat_system},
    {"/stats", "", "show token counts and speeds", chat_stats},
    {"/exit", "", "leave; Ctrl-D does the same", chat_exit},
};
#define N_CHAT_COMMANDS (sizeof chat_commands / sizeof chat_commands[0])

static int
chat_help(struct chat *chat, const char *argument, struct hearth_error *err)
{
    (void)chat;
    (void)argument;
    (void)err;
    for (size_t i = 0; i < N_CHAT_COMMANDS; i++) {
        fprintf(stderr, "  %-8s %-6s %s\n", chat_commands[i].name, chat_commands[i].argument,
                chat_commands[i].help);
    }
    fputs("Ctrl-C stops an answer; a line that ends in \\ goes on in the next one.\n", stderr);
    return HEARTH_OK;
}

static int
chat_obey(struct chat *chat, const char *line, struct hearth_error *err)
{
    char name[32];
    const size_t length = strcspn(line, " \t");
    const char *words[N_CHAT_COMMANDS];
    const char *argument = line + length + strspn(line + length, " \t");
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1),
             line);
    for (size_t i = 0; i < N_CHAT_COMMANDS; i++) {
        words[i] = chat_commands[i].name;
        if (strcmp(name, words[i]) == 0) {
            return chat_commands[i].run(chat, argument, err);
        }
    }
    const char *nearest = nearest_word(name, N_CHAT_COMMANDS, words);
    return error_set(err, HEARTH_EUSAGE, "there is no command %s; did you mean %s?", name,
                     nearest ? nearest : "/help");
}

static int
chat_say(struct chat *chat, const char *message, struct hearth_error *err)
{
    struct talk_answer answer;
    int status = talk_turn(&chat->talk, message, &chat->show.talk, &answer, err);
    if (status < 0) {
        show_end(&chat->show, NULL);
        return status;
    }
    status = show_end(&chat->show, err);
    chat->n_turns++;
    chat->n_prompt += answer.generation.n_prompt;
    chat->n_generated += answer.generation.n;
    chat->prefill_seconds += answer.generation.prefill_seconds;
    chat->decode_seconds += answer.generation.decode_seconds;
    if (answer.malformed) {
        front_note(chat->front, "the model went on with what no answer can hold; it was cut there");
    } else if (answer.generation.finish == FINISH_INTERRUPTED) {
        front_note(chat->front, "answer stopped");
    } else if (answer.generation.finish == FINISH_CONTEXT) {
        front_note(chat->front, "the context is full; /reset starts anew");
    } else if (answer.generation.finish == FINISH_LENGTH) {
        front_note(chat->front, "the answer was cut after %zu tokens (generate.max_tokens)",
                   answer.generation.n);
    }
    talk_answer_done(&answer);
    return status;
}

/* One message: a line, and the next ones while each ends in a backslash. */
static int
chat_read(struct chat *chat, struct text *message, bool *ret_more, struct hearth_error *err)
{
    struct text line = {0};
    bool more = false, goes_on = true;
    int status = HEARTH_OK;
    text_clear(message);
    text_append(message, "", 0);
    *ret_more = false;
    while (goes_on) {
        status = chat_line_read(chat->line, &line, &more, err);
        if (status < 0 || !more) {
            break;
        }
        *ret_more = true;
        goes_on = line.length && line.bytes[line.length - 1] == '\\';
        text_append(message, line.bytes, line.length - goes_on);
        text_add(message, goes_on ? "\n" : "");
    }
    text_free(&line);
    return status < 0 ? status : message->failed ? error_no_memory(err, "a message") : HEARTH_OK;
}

/* What ends the program: a broken output or device; a script also by its first mistake. */
static bool
chat_is_fatal(const struct chat *chat, int status)
{
    if (status == HEARTH_EINTERRUPTED) {
        return false;
    }
    return !chat_line_is_terminal(chat->line) || hearth_status_exit(status) >= HEARTH_EXIT_DEVICE;
}

static int
chat_loop(struct chat *chat, struct hearth_error *err)
{
    struct text message = {0};
    struct hearth_error failure = {0};
    int status = HEARTH_OK;
    while (!chat->leave) {
        bool more = false;
        interrupt_clear();
        status = chat_read(chat, &message, &more, &failure);
        if (status == HEARTH_EINTERRUPTED) {
            front_note(chat->front, "/exit or Ctrl-D leaves");
            status = HEARTH_OK;
            continue;
        }
        if (status == HEARTH_OK && !more) {
            break;
        }
        if (status == HEARTH_OK && message.bytes[strspn(message.bytes, " \t\r\n")] != '\0') {
            const bool command = message.bytes[0] == '/';
            status = command ? chat_obey(chat, message.bytes, &failure)
                             : chat_say(chat, message.bytes, &failure);
        }
        if (status < 0 && chat_is_fatal(chat, status)) {
            break;
        }
        if (status < 0) {
            front_note(chat->front, "%s", failure.text);
            status = HEARTH_OK;
        }
    }
    text_free(&message);
    if (status < 0 && err) {
        *err = failure;
    }
    return status;
}

static int
chat_begin(struct chat *chat, const struct chat_values *wanted, struct hearth_error *err)
{
    int status = wanted->think ? talk_think(&chat->talk, wanted->think, err) : HEARTH_OK;
    if (status == HEARTH_OK && wanted->load) {
        status = chat_load(chat, wanted->load, err);
    }
    if (status == HEARTH_OK && chat_line_is_terminal(chat->line)) {
        front_note(chat->front, "%s; /help lists the commands, Ctrl-D leaves",
                   chat->generator.facts.name);
    }
    return status;
}

static int
chat_run(struct front *front, const void *values, const struct args_operands *operands,
         struct hearth_error *err)
{
    (void)operands;
    struct chat chat = {.front = front};
    if (front->json) {
        return error_set(err, HEARTH_EUSAGE,
                         "chat: text only; hearth run --json answers one prompt as JSON");
    }
    int status = generator_open(front, &chat.generator, err);
    if (status < 0) {
        return status;
    }
    status = talk_init(&chat.talk, &chat.generator, err);
    if (status < 0) {
        goto fail_talk;
    }
    status = chat_line_open(hearth_config_get(front->config, "chat.history"), &chat.line, err);
    if (status < 0) {
        goto fail_line;
    }
    show_init(&chat.show, front);
    status = chat_begin(&chat, values, err);
    if (status == HEARTH_OK) {
        status = chat_loop(&chat, err);
    }
    chat_line_close(chat.line);
fail_line:
    talk_done(&chat.talk);
fail_talk:
    generator_close(&chat.generator);
    return status;
}

const struct command command_chat = {
    .name = "chat",
    .summary = "Talk with the model.",
    .notes = "Lines are edited and kept as history on a terminal. Ctrl-C stops an answer, Ctrl-D "
             "leaves; /help lists the "
             "commands. Reasoning is shown dim, on standard error. When the input is not a "
             "terminal each line is one turn and "
             "the first mistake ends the program.",
    .options = chat_options,
    .n_options = sizeof chat_options / sizeof chat_options[0],
    .values_size = sizeof(struct chat_values),
    .run = chat_run,
};
