/* takeover_case.c - see takeover_case.h. */
#include <config.h>

#include "tests/plugins/takeover_case.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hearth/plugin.h>

#define BOTH "[" PARTIAL_FOLDER ", " PLUGIN_FOLDER "]"

struct golden_case golden;
float *wanted[2];
char said[65536];

static char calls[256]; /* what the plugin says of how often it was called */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static void
take_log(void *context, int level, const char *text)
{
    (void)context;
    pthread_mutex_lock(&log_lock);
    const size_t length = strlen(said);
    if (level <= HEARTH_LOG_WARNING) {
        snprintf(said + length, sizeof said - length, "%s\n", text);
    } else if (strstr(text, "calls:")) {
        snprintf(calls, sizeof calls, "%s ", text);
    }
    pthread_mutex_unlock(&log_lock);
}

size_t
count_lines(const char *text)
{
    size_t n = 0;
    for (; *text; text++) {
        n += *text == '\n';
    }
    return n;
}

unsigned long
count_calls(const char *call)
{
    char key[24];
    snprintf(key, sizeof key, " %s=", call);
    const char *at = strstr(calls, key);
    ck_assert_msg(at != NULL, "%s in: %s", key, calls);
    return strtoul(at + strlen(key), NULL, 10);
}

void
talk_begin(struct talk *talk, struct hearth_engine *engine, size_t prompt)
{
    struct hearth_error err = {0};
    *talk =
        (struct talk){.ids = golden.prompts[prompt].ids, .logits = calloc(N_TOKENS * golden.vocab_size, sizeof(float))};
    ck_assert_ptr_nonnull(talk->logits);
    ck_assert_msg(hearth_session_new(engine, 64, &talk->session, &err) == HEARTH_OK, "%s", err.text);
}

void
talk_feed(struct talk *talk, size_t n)
{
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_feed(talk->session, talk->ids + talk->done, n,
                                      talk->logits + talk->done * golden.vocab_size, n, NULL, &err) == HEARTH_OK,
                  "token %zu: %s", talk->done, err.text);
    talk->done += n;
    ck_assert_uint_eq(hearth_session_length(talk->session), talk->done);
    ck_assert_mem_eq(hearth_session_ids(talk->session), talk->ids, talk->done * sizeof *talk->ids);
}

void
talk_end(struct talk *talk, size_t prompt, const char *what)
{
    ck_assert_msg(memcmp(talk->logits, wanted[prompt], talk->done * golden.vocab_size * sizeof(float)) == 0,
                  "other logits with %s", what);
    hearth_session_free(talk->session);
    free(talk->logits);
}

void
converse(struct hearth_engine *engine, const char *what)
{
    struct talk talk;
    talk_begin(&talk, engine, 0);
    talk_feed(&talk, N_PROMPT);
    while (talk.done < N_TOKENS) {
        talk_feed(&talk, 1);
    }
    talk_end(&talk, 0, what);
}

void
takeover_set_up(void)
{
    golden_open("flash", &golden); /* every layer kind, hash layers, four streams */
    hearth_log_set(take_log, NULL);
    const char *const options[] = {"context.prefill_chunk", CHUNK, NULL};
    struct hearth_config *config = golden_config(golden.folder, options);
    struct hearth_engine *engine = golden_engine(config);
    for (size_t i = 0; i < 2; i++) {
        wanted[i] = calloc(N_TOKENS * golden.vocab_size, sizeof(float));
        ck_assert_ptr_nonnull(wanted[i]);
        hearth_session_free(
            golden_feed(engine, golden.prompts[i].ids, N_TOKENS, N_TOKENS, wanted[i], golden.vocab_size));
    }
    hearth_engine_close(engine);
    hearth_config_free(config);
    said[0] = '\0';
}

void
takeover_tear_down(void)
{
    free(wanted[0]);
    free(wanted[1]);
    golden_close(&golden);
}

const char *borrow_tokens = "0";

struct hearth_config *
configure(const char *lacks, const char *memory, const char *fault)
{
    const char *const options[] = {"plugins.path",
                                   BOTH,
                                   "plugins.load",
                                   "[partial, ref]",
                                   "context.prefill_chunk",
                                   CHUNK,
                                   "context.length",
                                   "64",
                                   "device.borrow_tokens",
                                   borrow_tokens,
                                   "plugins.options.partial.lacks",
                                   lacks ? lacks : "none",
                                   "plugins.options.partial.memory_bytes",
                                   memory ? memory : "0",
                                   fault ? "plugins.options.partial.fault" : NULL,
                                   fault,
                                   NULL};
    said[0] = '\0';
    return golden_config(golden.folder, options);
}

void
check_line(struct hearth_engine *engine, bool reached, const char *fault)
{
    const char *line = hearth_engine_takeover(engine, 0);
    ck_assert_msg(!strstr(said, "asked again"), "%s: %s", fault, said);
    ck_assert_msg(count_lines(said) == reached, "%s: %s", fault, said);
    ck_assert_msg((line != NULL) == reached, "%s: %s", fault, line ? line : "no line");
    ck_assert_ptr_null(hearth_engine_takeover(engine, 1));
    if (reached) {
        ck_assert_msg(strstr(line, "device partial device (partial): ") == line, "%s", line);
        ck_assert_msg(strstr(line, " moves to device ") && strstr(line, " (ref)"), "%s", line);
        ck_assert_msg(strncmp(said, line, strlen(line)) == 0, "%s and %s", said, line);
    }
}
