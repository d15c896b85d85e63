/* passkey.c - see passkey.h.  Pieces are encoded one by one and joined; that equals the encoding of
 * the joined text because each ends with a line feed and none begins with a blank line: V4's
 * pre-tokenisation always cuts there. */
#include "core/front/passkey.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/error.h"

/* Used when the model folder brings no passkey-words.txt. */
static const char passkey_builtin_words[] =
    "amber anchor apple arrow autumn badge banner barrel basket beacon birch blossom bridge bronze "
    "candle canyon castle cedar circle clover cobalt compass copper coral crystal dagger "
    "desert dragon eagle ember falcon feather forest fountain garden garnet glacier granite "
    "hammer harbor harvest hazel heron hollow island ivory jasmine jungle kettle ladder "
    "lantern laurel lemon lily lotus maple marble meadow mirror";

uint64_t
passkey_random(uint64_t *state, uint64_t n)
{
    /* splitmix64; the highest partial range is refused so that every number is equally likely */
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    for (;;) {
        *state += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t z = *state;
        z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
        z ^= z >> 31;
        if (z < limit) {
            return z % n;
        }
    }
}

static bool
is_space(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r' || byte == '\v'
           || byte == '\f';
}

static int
source_read_words(struct passkey_source *source, const char *bytes, size_t length,
                  struct hearth_error *err)
{
    text_append(&source->word_text, bytes, length);
    text_append(&source->word_text, "\n", 1);
    if (source->word_text.failed) {
        return error_no_memory(err, "the words");
    }
    bool inside = false;
    for (size_t i = 0; i < source->word_text.length; i++) {
        char *at = source->word_text.bytes + i;
        if (is_space(*at)) {
            *at = '\0';
            inside = false;
        } else if (!inside && source->n_words < PASSKEY_MAX_WORDS) {
            source->words[source->n_words++] = at;
            inside = true;
        }
    }
    for (size_t i = 0; i < source->n_words; i++) {
        if (strlen(source->words[i]) > 40) {
            return error_set(err, HEARTH_EFORMAT,
                             "the passkey words: at most 40 letters wanted, \"%.48s\" found",
                             source->words[i]);
        }
    }
    return source->n_words >= 2 ? HEARTH_OK
                                : error_set(err, HEARTH_EFORMAT, "at least 2 passkey words wanted");
}

/* The end of the piece that begins at `from`: after a line feed that no blank line follows. */
static size_t
line_end(const char *bytes, size_t length, size_t from)
{
    for (size_t i = from; i + 1 < length; i++) {
        size_t next = i + 1;
        while (bytes[i] == '\n' && next < length && is_space(bytes[next]) && bytes[next] != '\n'
               && bytes[next] != '\r') {
            next++;
        }
        if (bytes[i] == '\n' && next < length && !is_space(bytes[next])) {
            return i + 1;
        }
    }
    return length;
}

static int
source_add_line(struct passkey_source *source, const char *bytes, size_t length, size_t *capacity,
                struct hearth_error *err)
{
    int32_t *ids;
    size_t n;
    const int status = hearth_encode(source->engine, bytes, length, false, &ids, &n, err);
    if (status < 0) {
        return status;
    }
    if (source->n_ids + n > *capacity) {
        const size_t wanted = 2 * (source->n_ids + n) + 1024;
        int32_t *more = realloc(source->ids, wanted * sizeof more[0]);
        if (!more) {
            free(ids);
            return error_no_memory(err, "the filler");
        }
        source->ids = more;
        *capacity = wanted;
    }
    memcpy(source->ids + source->n_ids, ids, n * sizeof ids[0]);
    source->lines[source->n_lines++] = source->n_ids;
    source->n_ids += n;
    free(ids);
    return HEARTH_OK;
}

static int
source_read_filler(struct passkey_source *source, const struct text *filler,
                   struct hearth_error *err)
{
    size_t n_feeds = 0, capacity = 0, at = 0;
    for (size_t i = 0; i < filler->length; i++) {
        n_feeds += filler->bytes[i] == '\n';
    }
    source->lines = calloc(n_feeds + 2, sizeof source->lines[0]);
    if (!source->lines) {
        return error_no_memory(err, "the filler");
    }
    while (at < filler->length && is_space(filler->bytes[at])) {
        at++;
    }
    while (at < filler->length) {
        const size_t end = line_end(filler->bytes, filler->length, at);
        /* a last line without its line feed could not be followed by another */
        if (filler->bytes[end - 1] == '\n') {
            const int status =
                source_add_line(source, filler->bytes + at, end - at, &capacity, err);
            if (status < 0) {
                return status;
            }
        }
        at = end;
    }
    source->lines[source->n_lines] = source->n_ids;
    return source->n_ids
               ? HEARTH_OK
               : error_set(err, HEARTH_EFORMAT, "a filler text of at least one whole line wanted");
}

int
passkey_source_open(const struct hearth_engine *engine, int32_t bos_id, const struct text *filler,
                    const struct text *words, struct passkey_source *ret_source,
                    struct hearth_error *err)
{
    *ret_source = (struct passkey_source){.engine = engine, .bos_id = bos_id};
    int status = words ? source_read_words(ret_source, words->bytes, words->length, err)
                       : source_read_words(ret_source, passkey_builtin_words,
                                           strlen(passkey_builtin_words), err);
    if (status == HEARTH_OK) {
        status = source_read_filler(ret_source, filler, err);
    }
    if (status < 0) {
        passkey_source_close(ret_source);
    }
    return status;
}

void
passkey_source_close(struct passkey_source *source)
{
    text_free(&source->word_text);
    free(source->ids);
    free(source->lines);
    *source = (struct passkey_source){0};
}

/* ---- one context ---------------------------------------------------------------------- */

static bool
key_is_taken(const struct passkey_record *records, size_t n, const char *key)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(records[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* Different keys, values of six digits. */
static int
records_draw(const struct passkey_source *source, struct passkey_record *records, size_t n,
             uint64_t *state, struct hearth_error *err)
{
    if (n > source->n_words * (source->n_words - 1) / 4) {
        return error_set(err, HEARTH_EUSAGE, "%zu records wanted, %zu words make too few keys", n,
                         source->n_words);
    }
    for (size_t i = 0; i < n;) {
        struct passkey_record *record = &records[i];
        snprintf(record->key, sizeof record->key, "%s-%s",
                 source->words[passkey_random(state, source->n_words)],
                 source->words[passkey_random(state, source->n_words)]);
        snprintf(record->value, sizeof record->value, "%06u",
                 (unsigned)passkey_random(state, 1000000));
        i += !key_is_taken(records, i, record->key);
    }
    return HEARTH_OK;
}

/* A context being written: the records' lines come where their depth is reached, at the nearest
 * beginning of a line. */
struct passkey_writer {
    const struct passkey_source *source;
    struct passkey_context *context;
    int32_t **line_ids; /* tokens of each record's line */
    size_t *line_n;
    size_t *depths;     /* ascending: how much filler is to stand before each record */
    size_t n_written;   /* records */
};

static void
writer_records(struct passkey_writer *writer, size_t filler_before)
{
    struct passkey_context *context = writer->context;
    while (writer->n_written < context->n_records
           && writer->depths[writer->n_written] <= filler_before) {
        const size_t i = writer->n_written++;
        context->records[i].at = context->n;
        memcpy(context->ids + context->n, writer->line_ids[i],
               writer->line_n[i] * sizeof context->ids[0]);
        context->n += writer->line_n[i];
    }
}

/* Filler lines from `line` on, around the end of the text, until n_filler tokens are there; the
 * last line is cut. */
static void
writer_fill(struct passkey_writer *writer, size_t n_filler, size_t line)
{
    const struct passkey_source *source = writer->source;
    struct passkey_context *context = writer->context;
    for (size_t filled = 0; filled < n_filler; line = (line + 1) % source->n_lines) {
        const size_t whole = source->lines[line + 1] - source->lines[line];
        const size_t n = whole < n_filler - filled ? whole : n_filler - filled;
        /* the nearer end of the line; before the last one, all that is left: the line is cut */
        writer_records(writer, filled + n == n_filler ? n_filler : filled + n / 2);
        memcpy(context->ids + context->n, source->ids + source->lines[line],
               n * sizeof context->ids[0]);
        context->n += n;
        filled += n;
    }
}

static int
compare_sizes(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static int
writer_encode_records(struct passkey_writer *writer, size_t *ret_n, struct hearth_error *err)
{
    *ret_n = 0;
    for (size_t i = 0; i < writer->context->n_records; i++) {
        char line[128];
        const struct passkey_record *record = &writer->context->records[i];
        const int length = snprintf(line, sizeof line, "%s: %s\n", record->key, record->value);
        const int status = hearth_encode(writer->source->engine, line, (size_t)length, false,
                                         &writer->line_ids[i], &writer->line_n[i], err);
        if (status < 0) {
            return status;
        }
        *ret_n += writer->line_n[i];
    }
    return HEARTH_OK;
}

static int
writer_write(struct passkey_writer *writer, size_t n, uint64_t *state, struct hearth_error *err)
{
    struct passkey_context *context = writer->context;
    const size_t has_bos = writer->source->bos_id >= 0;
    size_t n_lines = 0;
    int status = records_draw(writer->source, context->records, context->n_records, state, err);
    if (status == HEARTH_OK) {
        status = writer_encode_records(writer, &n_lines, err);
    }
    if (status < 0) {
        return status;
    }
    if (n_lines + has_bos >= n) {
        return error_set(
            err, HEARTH_EUSAGE,
            "a context of more than %zu tokens wanted for %zu records, %zu found; --records "
            "makes them fewer",
            n_lines + has_bos, context->n_records, n);
    }
    const size_t n_filler = n - n_lines - has_bos;
    for (size_t i = 0; i < context->n_records; i++) {
        writer->depths[i] = (size_t)passkey_random(state, n_filler);
    }
    qsort(writer->depths, context->n_records, sizeof writer->depths[0], compare_sizes);
    if (has_bos) {
        context->ids[context->n++] = writer->source->bos_id;
    }
    writer_fill(writer, n_filler, (size_t)passkey_random(state, writer->source->n_lines));
    return HEARTH_OK;
}

int
passkey_context_make(const struct passkey_source *source, size_t n, size_t n_records,
                     uint64_t *state, struct passkey_context *ret_context, struct hearth_error *err)
{
    struct passkey_context context = {.n_records = n_records};
    context.ids = calloc(n, sizeof context.ids[0]);
    context.records = calloc(n_records, sizeof context.records[0]);
    struct passkey_writer writer = {
        .source = source,
        .context = &context,
        .line_ids = calloc(n_records, sizeof writer.line_ids[0]),
        .line_n = calloc(n_records, sizeof writer.line_n[0]),
        .depths = calloc(n_records, sizeof writer.depths[0]),
    };
    int status = HEARTH_OK;
    if (!context.ids || !context.records || !writer.line_ids || !writer.line_n || !writer.depths) {
        status = error_no_memory(err, "a context");
    } else {
        status = writer_write(&writer, n, state, err);
    }
    for (size_t i = 0; writer.line_ids && i < n_records; i++) {
        free(writer.line_ids[i]);
    }
    free(writer.line_ids);
    free(writer.line_n);
    free(writer.depths);
    if (status < 0) {
        passkey_context_done(&context);
        return status;
    }
    *ret_context = context;
    return HEARTH_OK;
}

void
passkey_context_done(struct passkey_context *context)
{
    free(context->ids);
    free(context->records);
    *context = (struct passkey_context){0};
}
