/* eval_ppl.c - hearth eval ppl: how well the model predicts a text.  The text is read in windows of
 * --context tokens, each begun with the begin-of-sentence token; a window starts --stride tokens
 * after the one before and scores only what that left. */
#include <math.h>
#include <stdlib.h>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/front/eval.h"
#include "core/front/human.h"
#include "core/front/out.h"

#define PPL_LOGIT_BYTES (UINT64_C(64) << 20) /* of one step; bounds the tokens fed at once */

struct ppl_values {
    const char *file;
    uint64_t context, stride, tokens;
};

#define PPL(field) offsetof(struct ppl_values, field)

static const struct args_option ppl_options[] = {
    {.name = "file", .letter = 'f', .kind = ARGS_TEXT, .value = "FILE", .offset = PPL(file),
     .help = "the text; by default heldout.txt of the model folder"},
    {.name = "context", .letter = 'C', .kind = ARGS_U64, .value = "N", .offset = PPL(context),
     .min = 2,
     .max = UINT64_C(1) << 40, .fallback = "2048",
     .help = "tokens of a window, at most the model's context"},
    {.name = "stride", .letter = 's', .kind = ARGS_U64, .value = "N", .offset = PPL(stride),
     .max = UINT64_C(1) << 40,
     .fallback = "0",
     .help = "tokens from one window to the next; fewer than a window gives every token more "
             "context and takes longer; 0: a whole window"},
    {.name = "tokens", .letter = 'n', .kind = ARGS_U64, .value = "N", .offset = PPL(tokens),
     .max = UINT64_C(1) << 40,
     .fallback = "0", .help = "score only the first N tokens of the text; 0: all"},
};

struct ppl {
    struct front *front;
    struct hearth_engine *engine;
    struct hearth_model_facts facts;
    const int32_t *ids; /* the text */
    size_t n_ids;
    size_t window, stride; /* in tokens of the text, the begin-of-sentence token not counted */
    size_t n_rows;         /* tokens fed at once */
    float *logits;         /* [n_rows][vocab_size] */
    double nats;
    uint64_t n_scored, n_fed, n_to_feed;
};

/* -log of the probability that logits, [n], give to id; NaN if they hold one. */
static double
surprise(const float *logits, size_t n, int32_t id)
{
    double most = logits[0];
    for (size_t i = 1; i < n; i++) {
        most = logits[i] > most ? logits[i] : most;
    }
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(logits[i] - most);
    }
    return log(sum) + most - logits[id];
}

/* Feeds n rows, the last logits of which predict next[0..n-1]; scores those from first on. */
static int
ppl_feed(struct ppl *ppl, struct hearth_session *session, const int32_t *rows, size_t n,
         const int32_t *next, size_t n_next, size_t first, struct hearth_error *err)
{
    struct progress *progress = &ppl->front->progress;
    progress_part(progress, ppl->n_fed, n);
    const int status =
        hearth_session_feed(session, rows, n, ppl->logits, n, &progress->callback, err);
    if (status < 0) {
        return status;
    }
    ppl->n_fed += n;
    for (size_t i = first; i < n_next; i++) {
        const double nats =
            surprise(ppl->logits + i * ppl->facts.vocab_size, ppl->facts.vocab_size, next[i]);
        if (!isfinite(nats)) {
            return error_set(
                err, HEARTH_EINTERNAL,
                "logits of finite numbers wanted, another found at token %llu of the text",
                (unsigned long long)ppl->n_scored);
        }
        ppl->nats += nats;
        ppl->n_scored++;
    }
    return HEARTH_OK;
}

/* The window over ids[begin, end); tokens before scored_from were scored by the window before. */
static int
ppl_window(struct ppl *ppl, size_t begin, size_t end, size_t scored_from, struct hearth_error *err)
{
    struct hearth_session *session;
    const bool has_bos = ppl->facts.bos_id >= 0;
    int32_t *rows = malloc((end - begin + 1) * sizeof rows[0]);
    if (!rows) {
        return error_no_memory(err, "a window");
    }
    int status = hearth_session_new(ppl->engine, end - begin + has_bos, &session, err);
    if (status < 0) {
        goto fail_session;
    }
    /* row i predicts next[i]; the last token of the window predicts nothing that is scored */
    size_t n_rows = 0;
    if (has_bos) {
        rows[n_rows++] = ppl->facts.bos_id;
    }
    for (size_t i = begin; i + 1 < end; i++) {
        rows[n_rows++] = ppl->ids[i];
    }
    const int32_t *next = ppl->ids + begin + (has_bos ? 0 : 1);
    const size_t skipped = scored_from > begin + !has_bos ? scored_from - begin - !has_bos : 0;
    for (size_t at = 0; at < n_rows && status == HEARTH_OK; at += ppl->n_rows) {
        const size_t n = n_rows - at < ppl->n_rows ? n_rows - at : ppl->n_rows;
        const size_t first = skipped > at ? skipped - at : 0;
        status = ppl_feed(ppl, session, rows + at, n, next + at, n, first < n ? first : n, err);
    }
    hearth_session_free(session);
fail_session:
    free(rows);
    return status;
}

/* Where the window that begins at `begin` ends; *ret_last: no window follows it. */
static size_t
ppl_window_end(const struct ppl *ppl, size_t begin, bool *ret_last)
{
    *ret_last = ppl->n_ids - begin <= ppl->window;
    return *ret_last ? ppl->n_ids : begin + ppl->window;
}

static int
ppl_score(struct ppl *ppl, struct hearth_error *err)
{
    bool last = false;
    int status = HEARTH_OK;
    ppl->n_to_feed = 0;
    for (size_t begin = 0; !last; begin += ppl->stride) {
        ppl->n_to_feed += ppl_window_end(ppl, begin, &last) - begin;
    }
    progress_task(&ppl->front->progress, "perplexity", ppl->n_to_feed, "tokens");
    last = false;
    for (size_t begin = 0, scored = 0; !last && status == HEARTH_OK; begin += ppl->stride) {
        const size_t end = ppl_window_end(ppl, begin, &last);
        status = ppl_window(ppl, begin, end, scored, err);
        scored = end;
    }
    progress_task_end(&ppl->front->progress);
    return status;
}

static int
ppl_print(const struct ppl *ppl, const struct ppl_values *wanted, uint64_t n_bytes, double seconds,
          struct hearth_error *err)
{
    const double nats = ppl->nats / (double)ppl->n_scored;
    const double bits_per_byte = n_bytes ? ppl->nats / log(2) / (double)n_bytes : 0;
    if (!ppl->front->json) {
        struct text text = {0};
        char human[HUMAN_BYTES];
        text_printf(&text, "perplexity      %.4f\nnats per token  %.5f\nbits per byte   %.5f\n",
                    exp(nats), nats, bits_per_byte);
        text_printf(&text, "tokens scored   %llu (%llu bytes)\n", (unsigned long long)ppl->n_scored,
                    (unsigned long long)n_bytes);
        text_printf(&text, "window, stride  %llu, %llu tokens\n",
                    (unsigned long long)wanted->context, (unsigned long long)ppl->stride);
        text_printf(&text, "time            %s\n", human_duration(seconds, human));
        return out_text(&text, err);
    }
    struct json_object *object = json_object_new_object();
    json_object_object_add(object, "model", json_object_new_string(ppl->facts.name));
    json_object_object_add(object, "perplexity", json_object_new_double(exp(nats)));
    json_object_object_add(object, "nats_per_token", json_object_new_double(nats));
    json_object_object_add(object, "bits_per_byte", json_object_new_double(bits_per_byte));
    json_object_object_add(object, "tokens", json_object_new_uint64(ppl->n_scored));
    json_object_object_add(object, "bytes", json_object_new_uint64(n_bytes));
    json_object_object_add(object, "context", json_object_new_uint64(wanted->context));
    json_object_object_add(object, "stride", json_object_new_uint64(ppl->stride));
    json_object_object_add(object, "seconds", json_object_new_double(seconds));
    return out_json(object, err);
}

/* Bytes of the tokens that are scored: all but the first when nothing stands before it. */
static int
ppl_bytes(const struct ppl *ppl, uint64_t *ret_bytes, struct hearth_error *err)
{
    char *text;
    size_t length;
    const size_t first = ppl->facts.bos_id < 0;
    const int status =
        hearth_decode(ppl->engine, ppl->ids + first, ppl->n_ids - first, &text, &length, err);
    if (status == HEARTH_OK) {
        *ret_bytes = length;
        free(text);
    }
    return status;
}

static int
ppl_with_ids(struct ppl *ppl, const struct ppl_values *wanted, struct hearth_error *err)
{
    const size_t has_bos = ppl->facts.bos_id >= 0;
    if (ppl->n_ids < 2) {
        return error_set(err, HEARTH_EFORMAT, "a text of at least 2 tokens wanted, %zu found",
                         ppl->n_ids);
    }
    ppl->window = (size_t)wanted->context - has_bos;
    /* without a begin-of-sentence token a window cannot score its first token: the one before has
     * to */
    const size_t most = ppl->window - !has_bos;
    ppl->stride = wanted->stride && wanted->stride < most ? (size_t)wanted->stride : most;
    const uint64_t fitting = PPL_LOGIT_BYTES / (sizeof(float) * (uint64_t)ppl->facts.vocab_size);
    ppl->n_rows = fitting < 1 ? 1 : fitting > 512 ? 512 : (size_t)fitting;
    ppl->logits = calloc(ppl->n_rows, sizeof(float) * ppl->facts.vocab_size);
    if (!ppl->logits) {
        return error_no_memory(err, "the logits");
    }
    uint64_t n_bytes = 0;
    const double start = clock_seconds();
    int status = ppl_score(ppl, err);
    const double seconds = clock_seconds() - start;
    if (status == HEARTH_OK) {
        status = ppl_bytes(ppl, &n_bytes, err);
    }
    if (status == HEARTH_OK) {
        status = ppl_print(ppl, wanted, n_bytes, seconds, err);
    }
    free(ppl->logits);
    return status;
}

static int
ppl_run(struct front *front, const void *values, const struct args_operands *operands,
        struct hearth_error *err)
{
    (void)operands;
    const struct ppl_values *wanted = values;
    struct ppl ppl = {.front = front};
    struct text text = {0};
    int32_t *ids = NULL;
    int status = eval_set_context(front, wanted->context, err);
    if (status == HEARTH_OK) {
        status = eval_read_text(front, wanted->file, &text, err);
    }
    if (status == HEARTH_OK) {
        status = front_engine_open(front, &ppl.engine, &ppl.facts, err);
    }
    if (status < 0) {
        goto fail_engine;
    }
    status = hearth_encode(ppl.engine, text.bytes, text.length, false, &ids, &ppl.n_ids, err);
    if (status == HEARTH_OK) {
        ppl.n_ids =
            wanted->tokens && wanted->tokens < ppl.n_ids ? (size_t)wanted->tokens : ppl.n_ids;
        ppl.ids = ids;
        status = ppl_with_ids(&ppl, wanted, err);
    }
    free(ids);
    hearth_engine_close(ppl.engine);
fail_engine:
    text_free(&text);
    return status;
}

const struct command command_eval_ppl = {
    .name = "eval ppl",
    .summary = "Measure the perplexity of a text.",
    .notes = "Prints perplexity, nats per token and bits per byte; the last does not depend on the "
             "tokenizer.",
    .options = ppl_options,
    .n_options = sizeof ppl_options / sizeof ppl_options[0],
    .values_size = sizeof(struct ppl_values),
    .run = ppl_run,
};
