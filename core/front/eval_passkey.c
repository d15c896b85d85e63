/* eval_passkey.c - hearth eval passkey: does the model find a value by its key anywhere in its
 * context? */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/front/eval.h"
#include "core/front/human.h"
#include "core/front/interrupt.h"
#include "core/front/out.h"
#include "core/front/passkey.h"

#define PASSKEY_DEPTHS 10
#define PASSKEY_ANSWER_TOKENS 16 /* " 123456" and a line feed take fewer with any tokenizer */
#define PASSKEY_QUERY_TOKENS 8   /* about what a query feeds; for the progress only */
#define PASSKEY_MAX_WORD_BYTES (UINT64_C(1) << 20)

struct passkey_values {
    struct args_list contexts;
    uint64_t records, queries, trials, seed;
    const char *text, *words, *csv;
};

#define PASSKEY(field) offsetof(struct passkey_values, field)

static const struct args_option passkey_options[] = {
    {.name = "context", .letter = 'C', .kind = ARGS_LIST, .value = "N[,N]...",
     .offset = PASSKEY(contexts), .min = 32,
     .max = UINT64_C(1) << 30, .fallback = "1024,4096,16384",
     .help = "lengths of the context, in tokens"},
    {.name = "records", .kind = ARGS_U64, .value = "N", .offset = PASSKEY(records), .min = 1,
     .max = 100000, .fallback = "32",
     .help = "`key: value` lines in each context"},
    {.name = "queries", .kind = ARGS_U64, .value = "N", .offset = PASSKEY(queries), .min = 1,
     .max = 100000, .fallback = "32",
     .help = "of them asked for, at most all"},
    {.name = "trials", .kind = ARGS_U64, .value = "N", .offset = PASSKEY(trials), .min = 1,
     .max = 100000, .fallback = "4",
     .help = "contexts of each length"},
    {.name = "seed", .kind = ARGS_U64, .value = "N", .offset = PASSKEY(seed), .max = UINT64_MAX,
     .fallback = "1",
     .help = "the same seed gives the same contexts"},
    {.name = "text", .kind = ARGS_TEXT, .value = "FILE", .offset = PASSKEY(text),
     .help = "the filler text; by default heldout.txt of the model folder"},
    {.name = "words", .kind = ARGS_TEXT, .value = "FILE", .offset = PASSKEY(words),
     .help = "the words of the keys; by default passkey-words.txt of the model folder, else a "
             "small list of our own"},
    {.name = "csv", .kind = ARGS_TEXT, .value = "FILE", .offset = PASSKEY(csv),
     .help = "also write every query to FILE"},
};

struct passkey_tally {
    uint64_t n, n_right;
};

/* One context length's result. */
struct passkey_result {
    uint64_t context;
    struct passkey_tally all, depths[PASSKEY_DEPTHS];
    double seconds;
};

struct passkey {
    struct front *front;
    const struct passkey_values *wanted;
    struct hearth_engine *engine;
    struct hearth_model_facts facts;
    struct passkey_source source;
    struct hearth_sampler *sampler;
    float *logits; /* [vocab_size] */
    struct text csv;
    uint64_t n_fed; /* for the progress */
};

/* The answer's text, until it is longer than any right one or the model ends it. */
static int
passkey_decode(struct passkey *passkey, struct hearth_session *session, size_t longest,
               struct text *answer, struct hearth_error *err)
{
    int32_t ids[PASSKEY_ANSWER_TOKENS];
    for (size_t n = 0; n < PASSKEY_ANSWER_TOKENS; n++) {
        char *text;
        size_t length;
        int status = hearth_sampler_pick(passkey->sampler, passkey->logits,
                                         passkey->facts.vocab_size, &ids[n], err);
        if (status < 0 || ids[n] == passkey->facts.eos_id) {
            return status;
        }
        status = hearth_decode(passkey->engine, ids, n + 1, &text, &length, err);
        if (status < 0) {
            return status;
        }
        text_clear(answer);
        text_append(answer, text, length);
        free(text);
        if (answer->failed) {
            return error_no_memory(err, "an answer");
        }
        if (answer->length > longest) {
            return HEARTH_OK;
        }
        status = hearth_session_feed(session, &ids[n], 1, passkey->logits, 1, NULL, err);
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

/* " 123456", then the end of the answer or of the line. */
static bool
passkey_is_right(const struct text *answer, const char *value)
{
    const size_t length = strlen(value);
    return answer->length >= length + 1 && answer->bytes[0] == ' '
           && memcmp(answer->bytes + 1, value, length) == 0
           && (answer->length == length + 1 || answer->bytes[length + 1] == '\n'
               || answer->bytes[length + 1] == '\r');
}

static int
passkey_ask(struct passkey *passkey, const struct hearth_session *read,
            const struct passkey_record *record, bool new_line, bool *ret_right,
            struct hearth_error *err)
{
    char query[112];
    struct hearth_session *session;
    struct text answer = {0};
    int32_t *ids;
    size_t n;
    const int length = snprintf(query, sizeof query, "%s%s:", new_line ? "\n" : "", record->key);
    int status = hearth_encode(passkey->engine, query, (size_t)length, false, &ids, &n, err);
    if (status < 0) {
        return status;
    }
    status = hearth_session_fork(read, &session, err);
    if (status < 0) {
        goto fail_fork;
    }
    status = hearth_session_feed(session, ids, n, passkey->logits, 1, NULL, err);
    text_append(&answer, "", 0);
    if (status == HEARTH_OK) {
        status = passkey_decode(passkey, session, strlen(record->value) + 1, &answer, err);
    }
    if (status == HEARTH_OK) {
        *ret_right = passkey_is_right(&answer, record->value);
    }
    text_free(&answer);
    hearth_session_free(session);
fail_fork:
    free(ids);
    return status;
}

static int
passkey_count(struct passkey *passkey, const struct passkey_context *context,
              const struct passkey_record *record, bool right, uint64_t trial,
              struct passkey_result *result, struct hearth_error *err)
{
    const size_t decile = record->at * PASSKEY_DEPTHS / context->n;
    result->all.n++;
    result->all.n_right += right;
    result->depths[decile].n++;
    result->depths[decile].n_right += right;
    text_printf(&passkey->csv, "%zu,%llu,%s,%s,%zu,%.4f,%d\n", context->n,
                (unsigned long long)trial, record->key, record->value, record->at,
                (double)record->at / (double)context->n, right);
    return passkey->csv.failed ? error_no_memory(err, "the table of queries") : HEARTH_OK;
}

/* The context was cut in the middle of a line. */
static int
passkey_is_cut(struct passkey *passkey, const struct passkey_context *context, bool *ret_cut,
               struct hearth_error *err)
{
    char *text;
    size_t length;
    const int status =
        hearth_decode(passkey->engine, context->ids + context->n - 1, 1, &text, &length, err);
    if (status == HEARTH_OK) {
        *ret_cut = length == 0 || text[length - 1] != '\n';
        free(text);
    }
    return status;
}

/* Asks for n of the records, drawn without repetition: the first n of a shuffle. */
static int
passkey_ask_all(struct passkey *passkey, const struct hearth_session *read,
                struct passkey_context *context, uint64_t *state, uint64_t trial,
                struct passkey_result *result, struct hearth_error *err)
{
    bool cut = true;
    int status = passkey_is_cut(passkey, context, &cut, err);
    if (status < 0) {
        return status;
    }
    const size_t n = passkey->wanted->queries < context->n_records
                         ? (size_t)passkey->wanted->queries
                         : context->n_records;
    for (size_t i = 0; i < n; i++) {
        const size_t other = i + (size_t)passkey_random(state, context->n_records - i);
        const struct passkey_record record = context->records[other];
        bool right = false;
        context->records[other] = context->records[i];
        context->records[i] = record;
        if (!progress_at(&passkey->front->progress, passkey->n_fed)) {
            return error_set(err, HEARTH_EINTERRUPTED, "interrupted");
        }
        status = passkey_ask(passkey, read, &record, cut, &right, err);
        passkey->n_fed += PASSKEY_QUERY_TOKENS;
        if (status == HEARTH_OK) {
            status = passkey_count(passkey, context, &record, right, trial, result, err);
        }
        if (status < 0) {
            return status;
        }
    }
    return HEARTH_OK;
}

static int
passkey_trial(struct passkey *passkey, uint64_t trial, uint64_t *state,
              struct passkey_result *result, struct hearth_error *err)
{
    struct progress *progress = &passkey->front->progress;
    struct passkey_context context;
    struct hearth_session *session;
    const size_t n = (size_t)result->context;
    int status = passkey_context_make(&passkey->source, n, (size_t)passkey->wanted->records, state,
                                      &context, err);
    if (status < 0) {
        return status;
    }
    /* the query and the answer follow the context */
    status = hearth_session_new(passkey->engine, n + 128, &session, err);
    if (status < 0) {
        goto fail_session;
    }
    progress_part(progress, passkey->n_fed, n);
    status = hearth_session_feed(session, context.ids, n, NULL, 0, &progress->callback, err);
    passkey->n_fed += n;
    if (status == HEARTH_OK) {
        status = passkey_ask_all(passkey, session, &context, state, trial, result, err);
    }
    hearth_session_free(session);
fail_session:
    passkey_context_done(&context);
    return status;
}

static int
passkey_run_all(struct passkey *passkey, struct passkey_result *results, struct hearth_error *err)
{
    const struct args_list *contexts = &passkey->wanted->contexts;
    uint64_t total = 0;
    int status = HEARTH_OK;
    const uint64_t n_queries = passkey->wanted->queries < passkey->wanted->records
                                   ? passkey->wanted->queries
                                   : passkey->wanted->records;
    for (size_t i = 0; i < contexts->n; i++) {
        total += (contexts->values[i] + n_queries * PASSKEY_QUERY_TOKENS) * passkey->wanted->trials;
    }
    text_add(&passkey->csv, "context,trial,key,value,token,depth,right\n");
    progress_task(&passkey->front->progress, "passkey", total, "tokens");
    for (size_t i = 0; i < contexts->n && status == HEARTH_OK; i++) {
        const double start = clock_seconds();
        results[i] = (struct passkey_result){.context = contexts->values[i]};
        for (uint64_t trial = 0; trial < passkey->wanted->trials && status == HEARTH_OK; trial++) {
            /* each context has its own numbers, whatever other contexts are asked for */
            uint64_t state = passkey->wanted->seed
                             ^ (contexts->values[i] * UINT64_C(0xD1B54A32D192ED03)) ^ (trial << 40);
            status = passkey_trial(passkey, trial, &state, &results[i], err);
        }
        results[i].seconds = clock_seconds() - start;
    }
    progress_task_end(&passkey->front->progress);
    return status;
}

static double
tally_share(const struct passkey_tally *tally)
{
    return tally->n ? (double)tally->n_right / (double)tally->n : 0;
}

static struct json_object *
passkey_json(const struct passkey *passkey, const struct passkey_result *results)
{
    struct json_object *object = json_object_new_object(), *list = json_object_new_array();
    json_object_object_add(object, "model", json_object_new_string(passkey->facts.name));
    json_object_object_add(object, "records", json_object_new_uint64(passkey->wanted->records));
    json_object_object_add(object, "trials", json_object_new_uint64(passkey->wanted->trials));
    json_object_object_add(object, "seed", json_object_new_uint64(passkey->wanted->seed));
    for (size_t i = 0; i < passkey->wanted->contexts.n; i++) {
        struct json_object *row = json_object_new_object(), *depths = json_object_new_array();
        for (size_t depth = 0; depth < PASSKEY_DEPTHS; depth++) {
            const struct passkey_tally *tally = &results[i].depths[depth];
            json_object_array_add(depths,
                                  tally->n ? json_object_new_double(tally_share(tally)) : NULL);
        }
        json_object_object_add(row, "context", json_object_new_uint64(results[i].context));
        json_object_object_add(row, "accuracy",
                               json_object_new_double(tally_share(&results[i].all)));
        json_object_object_add(row, "right", json_object_new_uint64(results[i].all.n_right));
        json_object_object_add(row, "asked", json_object_new_uint64(results[i].all.n));
        json_object_object_add(row, "accuracy_by_depth", depths);
        json_object_object_add(row, "seconds", json_object_new_double(results[i].seconds));
        json_object_array_add(list, row);
    }
    json_object_object_add(object, "contexts", list);
    return object;
}

static int
passkey_print(const struct passkey *passkey, const struct passkey_result *results,
              struct hearth_error *err)
{
    struct text text = {0};
    char human[HUMAN_BYTES];
    if (passkey->front->json) {
        return out_json(passkey_json(passkey, results), err);
    }
    text_add(
        &text,
        " context     right  accuracy       time  by depth, from the beginning in tenths (%)\n");
    for (size_t i = 0; i < passkey->wanted->contexts.n; i++) {
        const struct passkey_result *result = &results[i];
        text_printf(&text, "%8llu %5llu/%-5llu %6.1f %% %9s ", (unsigned long long)result->context,
                    (unsigned long long)result->all.n_right, (unsigned long long)result->all.n,
                    100 * tally_share(&result->all), human_duration(result->seconds, human));
        for (size_t depth = 0; depth < PASSKEY_DEPTHS; depth++) {
            if (result->depths[depth].n) {
                text_printf(&text, " %3.0f", 100 * tally_share(&result->depths[depth]));
            } else {
                text_add(&text, "   -");
            }
        }
        text_add(&text, "\n");
    }
    return out_text(&text, err);
}

/* The words named, or the model's; *ret_found: false means neither is there and our own are to be
 * taken. */
static int
passkey_read_words(struct passkey *passkey, struct text *words, bool *ret_found,
                   struct hearth_error *err)
{
    struct text path = {0};
    *ret_found = true;
    if (passkey->wanted->words) {
        return file_read(passkey->wanted->words, PASSKEY_MAX_WORD_BYTES, words, err);
    }
    int status = front_model_file(passkey->front, "passkey-words.txt", &path, err);
    if (status == HEARTH_OK) {
        status = file_read(path.bytes, PASSKEY_MAX_WORD_BYTES, words, err);
    }
    if (status == HEARTH_EIO) {
        *ret_found = false;
        status = HEARTH_OK;
    }
    text_free(&path);
    return status;
}

static int
passkey_prepare(struct passkey *passkey, struct hearth_error *err)
{
    const struct hearth_sampling greedy = {.temperature = 0, .top_p = 1, .seed = 1};
    struct text filler = {0}, words = {0};
    bool found = false;
    int status = eval_read_text(passkey->front, passkey->wanted->text, &filler, err);
    if (status == HEARTH_OK) {
        status = passkey_read_words(passkey, &words, &found, err);
    }
    if (status == HEARTH_OK) {
        status = front_engine_open(passkey->front, &passkey->engine, &passkey->facts, err);
    }
    if (status == HEARTH_OK) {
        status = passkey_source_open(passkey->engine, passkey->facts.bos_id, &filler,
                                     found ? &words : NULL, &passkey->source, err);
    }
    if (status == HEARTH_OK) {
        status = hearth_sampler_new(&greedy, &passkey->sampler, err);
    }
    if (status == HEARTH_OK) {
        passkey->logits = calloc(passkey->facts.vocab_size, sizeof passkey->logits[0]);
        status = passkey->logits ? HEARTH_OK : error_no_memory(err, "the logits");
    }
    text_free(&filler);
    text_free(&words);
    return status;
}

static int
passkey_run(struct front *front, const void *values, const struct args_operands *operands,
            struct hearth_error *err)
{
    (void)operands;
    struct passkey passkey = {.front = front, .wanted = values};
    struct passkey_result results[ARGS_MAX_LIST] = {0};
    uint64_t longest = 0;
    for (size_t i = 0; i < passkey.wanted->contexts.n; i++) {
        const uint64_t context = passkey.wanted->contexts.values[i];
        longest = context > longest ? context : longest;
    }
    int status = eval_set_context(front, longest + 128, err);
    if (status == HEARTH_OK) {
        status = passkey_prepare(&passkey, err);
    }
    if (status == HEARTH_OK) {
        status = passkey_run_all(&passkey, results, err);
    }
    if (status == HEARTH_OK && passkey.wanted->csv) {
        status = file_write(passkey.wanted->csv, passkey.csv.bytes, passkey.csv.length, err);
    }
    if (status == HEARTH_OK) {
        status = passkey_print(&passkey, results, err);
    }
    free(passkey.logits);
    hearth_sampler_free(passkey.sampler);
    passkey_source_close(&passkey.source);
    hearth_engine_close(passkey.engine);
    text_free(&passkey.csv);
    return status;
}

const struct command command_eval_passkey = {
    .name = "eval passkey",
    .summary = "Measure how often the model finds a value by its key in a long context.",
    .notes = "Each context is exactly N tokens of filler text with lines \"word-word: six digits\" "
             "at random depths. For each "
             "query a copy of the session is given the key and answers greedily; it is right if it "
             "continues with the value "
             "and then ends the line or the answer.",
    .options = passkey_options,
    .n_options = sizeof passkey_options / sizeof passkey_options[0],
    .values_size = sizeof(struct passkey_values),
    .run = passkey_run,
};
