/* run.c - hearth run: one answer to one prompt, or one completion of a raw text. */
#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/error.h"
#include "core/front/out.h"
#include "core/front/show.h"

#define RUN_MAX_PROMPT_BYTES (UINT64_C(1) << 30)

struct run_values {
    const char *prompt, *file, *think, *system;
    bool raw;
};

#define RUN(field) offsetof(struct run_values, field)

static const struct args_option run_options[] = {
    {.name = "prompt", .letter = 'p', .kind = ARGS_TEXT, .value = "TEXT", .offset = RUN(prompt),
     .help = "the prompt"},
    {.name = "file", .letter = 'f', .kind = ARGS_TEXT, .value = "FILE", .offset = RUN(file),
     .help = "read the prompt from FILE; - is standard input"},
    {.name = "raw", .kind = ARGS_FLAG, .offset = RUN(raw),
     .help = "continue the prompt as text instead of answering it; names of special tokens in it "
             "become those tokens"},
    {.name = "think", .kind = ARGS_TEXT, .value = "MODE", .offset = RUN(think),
     .help = "reason before the answer: on, off, low, high or max"},
    {.name = "system", .kind = ARGS_CONFIG, .value = "TEXT", .key = "chat.system",
     .help = "the system prompt"},
    GENERATE_OPTIONS,
};

/* What a run made, whatever way it was made. */
struct run_result {
    struct generation generation;
    struct text content, reasoning;
    struct json_object *calls;
};

static void
run_result_done(struct run_result *result)
{
    generation_done(&result->generation);
    text_free(&result->content);
    text_free(&result->reasoning);
    json_object_put(result->calls);
}

static int
run_read_prompt(const struct run_values *wanted, struct text *prompt, struct hearth_error *err)
{
    if (wanted->prompt && wanted->file) {
        return error_set(err, HEARTH_EUSAGE,
                         "run: one of --prompt and --file wanted, both found");
    }
    if (wanted->prompt) {
        text_add(prompt, wanted->prompt);
        return prompt->failed ? error_no_memory(err, "the prompt") : HEARTH_OK;
    }
    if (!wanted->file && isatty(STDIN_FILENO) == 1) {
        return error_set(
            err, HEARTH_EUSAGE,
            "run: a prompt wanted: -p TEXT, -f FILE, or text on standard input");
    }
    const int status =
        file_read(wanted->file ? wanted->file : "-", RUN_MAX_PROMPT_BYTES, prompt, err);
    if (status == HEARTH_OK && memchr(prompt->bytes, '\0', prompt->length)) {
        return error_set(err, HEARTH_EFORMAT, "the prompt: text wanted, a NUL byte found");
    }
    return status;
}

static int
run_chat_turn(struct generator *generator, const struct run_values *wanted, const char *prompt,
              struct show *show, struct run_result *result, struct hearth_error *err)
{
    struct talk talk;
    struct talk_answer answer = {0};
    int status = talk_init(&talk, generator, err);
    if (status < 0) {
        return status;
    }
    if (wanted->think) {
        status = talk_think(&talk, wanted->think, err);
    }
    if (status == HEARTH_OK) {
        status = talk_turn(&talk, prompt, &show->talk, &answer, err);
    }
    if (status == HEARTH_OK) {
        if (answer.malformed) {
            front_note(generator->front,
                       "the model went on with what no answer can hold; it was cut there");
        }
        *result =
            (struct run_result){answer.generation, answer.content, answer.reasoning, answer.calls};
    }
    talk_done(&talk);
    return status;
}

struct run_raw_sink {
    struct show *show;
    struct text *content;
};

static int
run_raw_text(void *context, const char *text, size_t length, struct hearth_error *err)
{
    struct run_raw_sink *sink = context;
    text_append(sink->content, text, length);
    if (sink->content->failed) {
        return error_no_memory(err, "the text");
    }
    return sink->show->talk.piece(sink->show, false, text, length, err);
}

/* The tokens of a raw prompt, begun with the model's begin-of-sentence token unless the text brings
 * it. */
static int
run_raw_ids(struct generator *generator, const struct text *prompt, int32_t **ret_ids,
            size_t *ret_n, struct hearth_error *err)
{
    const int32_t bos_id = generator->facts.bos_id;
    int32_t *ids;
    size_t n;
    const int status =
        hearth_encode(generator->engine, prompt->bytes, prompt->length, true, &ids, &n, err);
    if (status < 0) {
        return status;
    }
    if (bos_id >= 0 && (n == 0 || ids[0] != bos_id)) {
        int32_t *more = realloc(ids, (n + 1) * sizeof more[0]);
        if (!more) {
            free(ids);
            return error_no_memory(err, "the prompt");
        }
        memmove(more + 1, more, n * sizeof more[0]);
        more[0] = bos_id;
        ids = more;
        n++;
    }
    if (n == 0) {
        free(ids);
        return error_set(err, HEARTH_EUSAGE, "run: a prompt of at least one token wanted");
    }
    *ret_ids = ids;
    *ret_n = n;
    return HEARTH_OK;
}

static int
run_raw(struct generator *generator, const struct text *prompt, struct show *show,
        struct run_result *result, struct hearth_error *err)
{
    int32_t *ids = NULL;
    size_t n = 0;
    struct hearth_session *session;
    int status = run_raw_ids(generator, prompt, &ids, &n, err);
    if (status < 0) {
        return status;
    }
    status = hearth_session_new(generator->engine, 0, &session, err);
    if (status < 0) {
        goto fail_session;
    }
    struct run_raw_sink context = {.show = show, .content = &result->content};
    const struct generate_sink sink = {.text = run_raw_text, .context = &context};
    status = generate(generator, session, ids, n, &sink, &result->generation, err);
    hearth_session_free(session);
fail_session:
    free(ids);
    return status;
}

/* Devices that failed on the way, if any. */
static void
run_add_takeovers(const struct generator *generator, struct json_object *object)
{
    struct json_object *lines = NULL;
    const char *line = hearth_engine_takeover(generator->engine, 0);
    for (size_t i = 0; line; line = hearth_engine_takeover(generator->engine, ++i)) {
        lines = lines ? lines : json_object_new_array();
        json_object_array_add(lines, json_object_new_string(line));
    }
    if (lines) {
        json_object_object_add(object, "takeovers", lines);
    }
}

static int
run_print_json(const struct generator *generator, const struct run_result *result,
               struct hearth_error *err)
{
    const struct generation *made = &result->generation;
    struct json_object *object = json_object_new_object(), *ids = json_object_new_array();
    for (size_t i = 0; i < made->n; i++) {
        json_object_array_add(ids, json_object_new_int(made->ids[i]));
    }
    const char *text = result->content.bytes ? result->content.bytes : "";
    json_object_object_add(object, "model", json_object_new_string(generator->facts.name));
    json_object_object_add(object, "text",
                           json_object_new_string_len(text, (int)result->content.length));
    if (result->reasoning.length) {
        json_object_object_add(
            object, "reasoning",
            json_object_new_string_len(result->reasoning.bytes, (int)result->reasoning.length));
    }
    if (result->calls) {
        json_object_object_add(object, "tool_calls", json_object_get(result->calls));
    }
    json_object_object_add(object, "ids", ids);
    json_object_object_add(object, "finish_reason",
                           json_object_new_string(finish_name(made->finish)));
    run_add_takeovers(generator, object);
    json_object_object_add(object, "seed", json_object_new_uint64(generator->sampling.seed));
    json_object_object_add(object, "timings", generation_timings(generator, made));
    return out_json(object, err);
}

static int
run_with(struct front *front, const struct run_values *wanted, const struct text *prompt,
         struct hearth_error *err)
{
    struct generator generator;
    struct run_result result = {0};
    struct show show;
    int status = generator_open(front, &generator, err);
    if (status < 0) {
        return status;
    }
    show_init(&show, front);
    if (wanted->raw) {
        status = run_raw(&generator, prompt, &show, &result, err);
    } else {
        status = run_chat_turn(&generator, wanted, prompt->bytes, &show, &result, err);
    }
    if (status == HEARTH_OK) {
        status = front->json ? run_print_json(&generator, &result, err) : show_end(&show, err);
    } else {
        show_end(&show, NULL);
    }
    if (status == HEARTH_OK && result.generation.finish == FINISH_CONTEXT) {
        front_note(front, "the context is full; -C N makes it larger");
    }
    if (status == HEARTH_OK && result.generation.finish == FINISH_INTERRUPTED) {
        status = HEARTH_EINTERRUPTED; /* shown by the text that ends; no line of its own */
    }
    run_result_done(&result);
    generator_close(&generator);
    return status;
}

static int
run_run(struct front *front, const void *values, const struct args_operands *operands,
        struct hearth_error *err)
{
    (void)operands;
    struct text prompt = {0};
    int status = run_read_prompt(values, &prompt, err);
    if (status == HEARTH_OK) {
        status = run_with(front, values, &prompt, err);
    }
    text_free(&prompt);
    return status;
}

const struct command command_run = {
    .name = "run",
    .summary = "Answer one prompt.",
    .notes = "The prompt comes from --prompt, --file or standard input. The answer goes to "
             "standard output as it is made, the "
             "reasoning, if there is any, to standard error. With --json one object holds the "
             "text, the token ids, why it "
             "ended (stop, length, context, interrupted), takeovers if devices failed, the seed and the timings.",
    .options = run_options,
    .n_options = sizeof run_options / sizeof run_options[0],
    .values_size = sizeof(struct run_values),
    .run = run_run,
};
