/* torture_test.c - every request for memory, a file, a mapping or a thread refused in turn.
 *
 * Each task is run again and again, the next request failing each time, until it asks for nothing more.  A task that
 * was refused memory ends with EMEMORY; one that was refused something else ends with an error or did without it.
 * Either way there is one line that says so, results are untouched, nothing stays held and no file stays behind. */
#include <config.h>

#include <check.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hearth/engine.h>

#include "core/model/model.h"
#include "core/model/tokenizer.h"
#include "tests/torture/scarce.h"

#define CHECKPOINT SOURCE_FOLDER "/tests/golden/data/mtp"
#define TOKENIZER SOURCE_FOLDER "/tests/data/tokenizer/small.json"
#define CONFIG SOURCE_FOLDER "/conf/hearth.yaml"
#define N_TOKENS 21u /* more than a chunk of 16, less than two */

/* What a task finds prepared, in plenty. */
struct world {
    struct hearth_config *config;
    struct hearth_engine *engine;
    struct hearth_session *session; /* N_TOKENS long */
    char file[160];                 /* of that session */
    uint32_t vocab_size;
    float *logits;                  /* [N_TOKENS][vocab_size] */
};

struct task {
    const char *name;
    int (*run)(struct world *world, struct hearth_error *err);
    bool needs_engine;
    bool may_do_without; /* some memory is for a part that may be missing: the task may end well */
    long at_least;       /* requests; fewer: the task no longer does what it is for */
};

static char scratch[128];

/* A promise that a task found broken.  Not ck_assert: Check asks for memory too, and may be linked the same way. */
static const char *broken;
#define KEEP(promise) (broken = (promise) ? broken : #promise)

/* ---- the world -----------------------------------------------------------------------------------------------------
 */

static void
set(struct hearth_config *config, const char *key, const char *value)
{
    struct hearth_error err = {0};
    ck_assert_msg(hearth_config_set(config, key, value, "test", &err) == HEARTH_OK, "%s", err.text);
}

static void
world_open(struct world *world, bool with_engine)
{
    struct hearth_error err = {0};
    struct hearth_model_facts facts;
    int32_t ids[N_TOKENS];
    *world = (struct world){0};
    ck_assert_msg(hearth_config_new(&world->config, &err) == HEARTH_OK, "%s", err.text);
    set(world->config, "model.path", CHECKPOINT);
    set(world->config, "plugins.path", PLUGIN_FOLDER);
    set(world->config, "plugins.load", "ref");
    set(world->config, "plugins.options.ref.threads", "2");
    set(world->config, "context.prefill_chunk", "16");
    if (!with_engine) {
        return;
    }
    ck_assert_msg(hearth_engine_open(world->config, NULL, &world->engine, &err) == HEARTH_OK, "%s", err.text);
    hearth_engine_facts(world->engine, &facts);
    world->vocab_size = facts.vocab_size;
    world->logits = malloc(sizeof(float) * N_TOKENS * facts.vocab_size);
    ck_assert_ptr_nonnull(world->logits);
    ck_assert_msg(hearth_session_new(world->engine, 64, &world->session, &err) == HEARTH_OK, "%s", err.text);
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        ids[i] = (int32_t)(i * 7 % facts.vocab_size);
    }
    ck_assert_msg(hearth_session_feed(world->session, ids, N_TOKENS, NULL, 0, NULL, &err) == HEARTH_OK, "%s", err.text);
    snprintf(world->file, sizeof world->file, "%s/session", scratch);
    ck_assert_msg(hearth_session_save(world->session, world->file, &err) == HEARTH_OK, "%s", err.text);
}

static void
world_close(struct world *world)
{
    if (world->file[0]) {
        ck_assert_int_eq(remove(world->file), 0);
    }
    free(world->logits);
    hearth_session_free(world->session);
    hearth_engine_close(world->engine);
    hearth_config_free(world->config);
}

/* ---- tasks ---------------------------------------------------------------------------------------------------------
 */

static int
load_config(struct world *world, struct hearth_error *err)
{
    struct hearth_config *config = NULL;
    char *text = NULL;
    (void)world;
    int status = hearth_config_new(&config, err);
    if (status == HEARTH_OK) {
        status = hearth_config_load(config, CONFIG, err);
    }
    if (status == HEARTH_OK) {
        status = hearth_config_set(config, "plugins.options.ref.threads", "3", "test", err);
    }
    if (status == HEARTH_OK) {
        status = hearth_config_set(config, "plugins.path", "[a, b]", "test", err);
    }
    if (status == HEARTH_OK) {
        status = hearth_config_dump(config, false, &text, err);
    }
    KEEP(status == HEARTH_OK || text == NULL);
    free(text);
    hearth_config_free(config);
    return status;
}

static int
open_model(struct world *world, struct hearth_error *err)
{
    struct model *model = NULL;
    (void)world;
    const int status = model_open(CHECKPOINT, 0, &model, err);
    KEEP((status == HEARTH_OK) == (model != NULL));
    model_close(model);
    return status;
}

static int
make_synthetic(struct world *world, struct hearth_error *err)
{
    const struct hearth_synthetic request = {.preset = "tiny", .seed = 1};
    struct model *model = NULL;
    (void)world;
    const int status = model_synthetic(&request, &model, err);
    KEEP((status == HEARTH_OK) == (model != NULL));
    model_close(model);
    return status;
}

static int
use_tokenizer(struct world *world, struct hearth_error *err)
{
    static const char text[] = "((((((((((((((((((((((((((((((((((((((((( <think>\U0001FAE8 the end";
    struct tokenizer *tokenizer = NULL;
    struct text_stream *stream = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    const char *piece;
    (void)world;
    int status = tokenizer_open(TOKENIZER, &tokenizer, err);
    if (status == HEARTH_OK) {
        status = tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &n, err);
    }
    if (status == HEARTH_OK) {
        status = text_stream_new(tokenizer, &stream, err);
    }
    for (size_t i = 0; i < n && status == HEARTH_OK; i++) {
        status = text_stream_push(stream, ids[i], &piece, err);
    }
    text_stream_free(stream);
    free(ids);
    tokenizer_free(tokenizer);
    return status;
}

static int
open_engine(struct world *world, struct hearth_error *err)
{
    const int status = hearth_engine_open(world->config, NULL, &world->engine, err);
    KEEP((status == HEARTH_OK) == (world->engine != NULL));
    return status;
}

static int
inspect(struct world *world, struct hearth_error *err)
{
    char *text = NULL;
    (void)world;
    const int status = hearth_inspect(CHECKPOINT, &text, err);
    KEEP((status == HEARTH_OK) == (text != NULL));
    free(text);
    return status;
}

/* A device that cannot be opened is part of the report. */
static int
list_devices(struct world *world, struct hearth_error *err)
{
    char *text = NULL;
    const int status = hearth_devices(world->config, false, &text, err);
    KEEP((status == HEARTH_OK) == (text != NULL));
    free(text);
    return status;
}

/* The memory's speed may stay unknown. */
static int
plan(struct world *world, struct hearth_error *err)
{
    char *text = NULL;
    const int status = hearth_plan(world->config, &text, err);
    KEEP((status == HEARTH_OK) == (text != NULL));
    free(text);
    return status;
}

/* A second session, whose first step is the largest so far: exec, graph and backend grow. */
static int
feed(struct world *world, struct hearth_error *err)
{
    struct hearth_session *session = NULL;
    int status = hearth_session_new(world->engine, 64, &session, err);
    KEEP((status == HEARTH_OK) == (session != NULL));
    if (status == HEARTH_OK) {
        status = hearth_session_feed(session, hearth_session_ids(world->session), N_TOKENS, world->logits, N_TOKENS,
                                     NULL, err);
        KEEP((status == HEARTH_OK) == (hearth_session_length(session) == N_TOKENS));
    }
    hearth_session_free(session);
    return status;
}

static int
fork_session(struct world *world, struct hearth_error *err)
{
    struct hearth_session *copy = NULL;
    const int status = hearth_session_fork(world->session, &copy, err);
    KEEP((status == HEARTH_OK) == (copy != NULL));
    hearth_session_free(copy);
    return status;
}

static int
pretend(struct world *world, struct hearth_error *err)
{
    struct hearth_session *session = NULL;
    int status = hearth_session_new(world->engine, 1024, &session, err);
    if (status == HEARTH_OK) {
        status = hearth_session_pretend(session, 900, err);
        KEEP((status == HEARTH_OK) == (hearth_session_length(session) == 900));
    }
    hearth_session_free(session);
    return status;
}

static int
save_session(struct world *world, struct hearth_error *err)
{
    return hearth_session_save(world->session, world->file, err);
}

static int
load_session(struct world *world, struct hearth_error *err)
{
    struct hearth_session *session = NULL;
    const int status = hearth_session_load(world->engine, world->file, 64, &session, err);
    KEEP((status == HEARTH_OK) == (session != NULL));
    hearth_session_free(session);
    return status;
}

static int
sample(struct world *world, struct hearth_error *err)
{
    const struct hearth_sampling sampling = {.temperature = 1, .top_p = 0.9f, .top_k = 5, .seed = 1};
    const float logits[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct hearth_sampler *sampler = NULL;
    int32_t id = -1;
    (void)world;
    int status = hearth_sampler_new(&sampling, &sampler, err);
    if (status == HEARTH_OK) {
        status = hearth_sampler_pick(sampler, logits, sizeof logits / sizeof *logits, &id, err);
    }
    KEEP((status == HEARTH_OK) == (id >= 0));
    hearth_sampler_free(sampler);
    return status;
}

static int
encode_chat(struct world *world, struct hearth_error *err)
{
    static const char messages[] =
        "[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Read \\u00e9.\",\"tools\":"
        "[{\"type\":\"function\",\"function\":{\"name\":\"read\",\"description\":\"Reads.\",\"parameters\":{}}}]},"
        "{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":"
        "{\"name\":\"read\",\"arguments\":\"{\\\"n\\\": 1.5, \\\"path\\\": \\\"a\\\"}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"text\"}]";
    const struct hearth_chat_options options = {.revision = HEARTH_CHAT_0731, .thinking = true};
    char *text = NULL;
    const int status = hearth_chat_encode(world->engine, messages, &options, &text, NULL, err);
    KEEP((status == HEARTH_OK) == (text != NULL));
    free(text);
    return status;
}

static void
ignore_event(void *context, enum hearth_chat_event_kind kind, uint32_t call, const char *text, size_t length)
{
    (void)context, (void)kind, (void)call, (void)text, (void)length;
}

static int
parse_chat(struct world *world, struct hearth_error *err)
{
    static const char completion[] =
        "Why not.</think>So be it.\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"read\">\n"
        "<｜DSML｜parameter name=\"path\" string=\"true\">a</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
        "</｜DSML｜tool_calls><｜end▁of▁sentence｜>";
    const struct hearth_chat_options options = {.revision = HEARTH_CHAT_0731, .thinking = true};
    const struct hearth_chat_sink sink = {.event = ignore_event};
    struct hearth_chat_stream *stream = NULL;
    char *json = NULL;
    (void)world;
    int status = hearth_chat_parse(completion, sizeof completion - 1, &options, &json, err);
    KEEP((status == HEARTH_OK) == (json != NULL));
    if (status == HEARTH_OK) {
        status = hearth_chat_stream_new(&options, &sink, &stream, err);
    }
    for (size_t i = 0; i < sizeof completion - 1 && status == HEARTH_OK; i++) {
        status = hearth_chat_stream_push(stream, completion + i, 1, err);
    }
    if (status == HEARTH_OK) {
        status = hearth_chat_stream_finish(stream, err);
    }
    hearth_chat_stream_free(stream);
    free(json);
    return status;
}

static const struct task tasks[] = {
    {.name = "load_config", .run = load_config, .at_least = 100},
    {.name = "open_model", .run = open_model, .at_least = 20},
    {.name = "make_synthetic", .run = make_synthetic, .at_least = 15},
    {.name = "use_tokenizer", .run = use_tokenizer, .at_least = 20},
    {.name = "open_engine", .run = open_engine, .at_least = 50},
    {.name = "inspect", .run = inspect, .at_least = 20},
    {.name = "list_devices", .run = list_devices, .may_do_without = true, .at_least = 10},
    {.name = "plan", .run = plan, .may_do_without = true, .at_least = 50},
    {.name = "feed", .run = feed, .needs_engine = true, .at_least = 20},
    {.name = "fork_session", .run = fork_session, .needs_engine = true, .at_least = 20},
    {.name = "pretend", .run = pretend, .needs_engine = true, .at_least = 20},
    {.name = "save_session", .run = save_session, .needs_engine = true, .at_least = 3},
    {.name = "load_session", .run = load_session, .needs_engine = true, .at_least = 20},
    {.name = "sample", .run = sample, .at_least = 2},
    {.name = "encode_chat", .run = encode_chat, .needs_engine = true, .at_least = 5},
    {.name = "parse_chat", .run = parse_chat, .at_least = 5},
};

/* ---- the torture ---------------------------------------------------------------------------------------------------
 */

static size_t
count_entries(const char *path)
{
    size_t n = 0;
    DIR *folder = opendir(path);
    ck_assert_msg(folder != NULL, "%s", path);
    while (readdir(folder)) {
        n++;
    }
    closedir(folder);
    return n;
}

static void
check_error(const struct task *task, long n, const char *call, int status, const struct hearth_error *err)
{
    ck_assert_msg(status < 0 && err->status == status, "%s: %s %ld: status %d, %d in the error", task->name, call, n,
                  status, err->status);
    ck_assert_msg(err->text[0] != '\0' && strchr(err->text, '\n') == NULL, "%s: %s %ld: one line wanted, \"%s\" found",
                  task->name, call, n, err->text);
}

/* Runs the task with request n refused; false if it needs no more than n. */
static bool
run_refused(const struct task *task, long n)
{
    struct world world;
    struct hearth_error err = {0};
    const char *call;
    const long held_before = scarce_held();
    const size_t n_open_before = count_entries("/proc/self/fd");
    world_open(&world, task->needs_engine);
    scarce_begin(n);
    const int status = task->run(&world, &err);
    const enum scarce_kind refused = scarce_end(&call);
    world_close(&world);
    ck_assert_msg(broken == NULL, "%s: %s %ld refused: %s wanted", task->name, call, n, broken);
    if (refused == SCARCE_NOTHING) {
        ck_assert_msg(status == HEARTH_OK, "%s: %s", task->name, err.text);
    } else if (status < 0) {
        check_error(task, n, call, status, &err);
    }
    if (refused == SCARCE_MEMORY) {
        ck_assert_msg(status == HEARTH_EMEMORY || (task->may_do_without && status == HEARTH_OK),
                      "%s: %s %ld refused: EMEMORY wanted, %s (%s) found", task->name, call, n,
                      hearth_status_name(status), err.text);
    }
    ck_assert_msg(scarce_held() == held_before, "%s: %s %ld refused (%s): %ld things are still held", task->name, call,
                  n, err.text, scarce_held() - held_before);
    ck_assert_msg(count_entries("/proc/self/fd") == n_open_before, "%s: %s %ld refused: a file is still open",
                  task->name, call, n);
    ck_assert_msg(count_entries(scratch) == 2, "%s: %s %ld refused: a file stays behind", task->name, call, n);
    return refused != SCARCE_NOTHING;
}

START_TEST(refused)
{
    const struct task *task = &tasks[_i];
    long n = 0;
    while (run_refused(task, n)) {
        n++;
    }
    ck_assert_msg(n >= task->at_least, "%s: at least %ld requests wanted, %ld found", task->name, task->at_least, n);
    printf("%s: %ld requests\n", task->name, n);
}
END_TEST

static void
ignore_log(void *context, int level, const char *text)
{
    (void)context, (void)level, (void)text;
}

int
main(void)
{
    const char *folder = getenv("TMPDIR");
    snprintf(scratch, sizeof scratch, "%s/hearth-torture.XXXXXX", folder ? folder : "/tmp");
    if (!mkdtemp(scratch)) {
        perror(scratch);
        return EXIT_FAILURE;
    }
    hearth_log_set(ignore_log, NULL); /* what a plugin says while it is refused something is no concern here */
    Suite *suite = suite_create("torture");
    TCase *all = tcase_create("requests");
    tcase_set_timeout(all, 300);
    tcase_add_loop_test(all, refused, 0, (int)(sizeof tasks / sizeof tasks[0]));
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    rmdir(scratch);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
