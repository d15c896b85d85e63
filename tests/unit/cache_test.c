/* cache_test.c - files of packed weights: one that is not what this start would write is never mapped, whatever went
 * wrong with it, and every way of not being able to write one leaves a process that runs, with the same logits. */
#include <config.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint.h"
#include "core/weights/cache.h"
#include "tests/golden/golden_case.h"

#define PATH_BYTES (CHECKPOINT_PATH_BYTES + 64)

static char folder[CHECKPOINT_PATH_BYTES];
static char path[PATH_BYTES], beside[PATH_BYTES + 8];
static const struct cache_content content = {
    .size_bytes = CACHE_HEAD_BYTES + 3 * CACHE_ALIGN, .n_weights = 2, .layout = "test-1", .key = {1, 2, 3}};

static void
set_up(void)
{
    checkpoint_make_folder(folder);
    snprintf(path, sizeof path, "%s/weights", folder);
    snprintf(beside, sizeof beside, "%s.new", path);
}

static void
tear_down(void)
{
    checkpoint_remove_folder(folder);
}

static bool
is_there(const char *file)
{
    return access(file, F_OK) == 0;
}

/* Writes a whole file whose weights are bytes of `value`. */
static void
write_cache(unsigned char value)
{
    struct cache_draft draft;
    struct hearth_error err = {0};
    ck_assert_msg(cache_begin(path, &content, &draft, &err) == HEARTH_OK, "%s", err.text);
    ck_assert(is_there(beside) && !is_there(path));
    memset(draft.bytes + CACHE_HEAD_BYTES, value, content.size_bytes - CACHE_HEAD_BYTES);
    cache_written(&draft, CACHE_HEAD_BYTES, content.size_bytes - CACHE_HEAD_BYTES);
    ck_assert_msg(cache_finish(&draft, &content, NULL, &err) == HEARTH_OK, "%s", err.text);
    ck_assert(is_there(path) && !is_there(beside));
}

static void
expect_mapped(unsigned char value)
{
    struct mapped_file file;
    struct hearth_error err = {0};
    ck_assert_msg(cache_map(path, &content, &file, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_uint_eq(file.size, content.size_bytes);
    for (uint64_t i = CACHE_HEAD_BYTES; i < file.size; i++) {
        ck_assert_uint_eq(file.bytes[i], value);
    }
    file_unmap(&file);
}

static void
refuse_map(const struct cache_content *wanted, int status)
{
    struct mapped_file file = {0};
    struct hearth_error err = {0};
    ck_assert_int_eq(cache_map(path, wanted, &file, &err), status);
    ck_assert_ptr_null(file.bytes);
    ck_assert_msg(strstr(err.text, path) != NULL, "the path wanted in: %s", err.text);
}

START_TEST(what_was_written_is_mapped)
{
    struct hearth_error err = {0};
    struct mapped_file file;
    ck_assert_int_eq(cache_map(path, &content, &file, &err), HEARTH_EIO);
    ck_assert_int_eq(err.native, ENOENT);
    write_cache(7);
    expect_mapped(7);
    struct cache_draft draft;
    ck_assert_int_eq(cache_begin(path, &content, &draft, &err), HEARTH_EIO); /* nothing to do */
    ck_assert_int_eq(err.native, EWOULDBLOCK);
    ck_assert(!is_there(beside));
    expect_mapped(7);
    checkpoint_write_file(folder, "weights", "out of date", 11);
    write_cache(9);
    expect_mapped(9);
}
END_TEST

/* Every byte of the head, and every length but the right one. */
START_TEST(another_head_is_refused)
{
    unsigned char byte;
    write_cache(7);
    const int descriptor = open(path, O_RDWR);
    ck_assert_int_ge(descriptor, 0);
    for (off_t at = 0; at < (off_t)CACHE_HEAD_BYTES; at++) {
        ck_assert_int_eq(pread(descriptor, &byte, 1, at), 1);
        byte ^= 1u;
        ck_assert_int_eq(pwrite(descriptor, &byte, 1, at), 1);
        refuse_map(&content, HEARTH_EFORMAT);
        byte ^= 1u;
        ck_assert_int_eq(pwrite(descriptor, &byte, 1, at), 1);
    }
    expect_mapped(7);
    static const off_t lengths[] = {0,
                                    1,
                                    8,
                                    CACHE_HEAD_BYTES - 1,
                                    CACHE_HEAD_BYTES,
                                    CACHE_HEAD_BYTES + 3 * CACHE_ALIGN - 1,
                                    CACHE_HEAD_BYTES + 3 * CACHE_ALIGN + 1};
    for (size_t i = sizeof lengths / sizeof lengths[0]; i-- > 0;) {
        ck_assert_int_eq(ftruncate(descriptor, lengths[i]), 0);
        refuse_map(&content, HEARTH_EFORMAT);
    }
    close(descriptor);
}
END_TEST

START_TEST(other_contents_are_refused)
{
    write_cache(7);
    for (int i = 0; i < 4; i++) {
        struct cache_content other = content;
        other.size_bytes += i == 0 ? CACHE_ALIGN : 0;
        other.n_weights += i == 1;
        other.layout[5] = i == 2 ? '2' : other.layout[5];
        other.key[31] ^= i == 3;
        refuse_map(&other, HEARTH_EFORMAT);
    }
    expect_mapped(7);
}
END_TEST

/* One at a time; what a killed process left is no hindrance. */
START_TEST(one_process_writes)
{
    struct cache_draft first, second;
    struct hearth_error err = {0};
    ck_assert_int_eq(cache_begin(path, &content, &first, &err), HEARTH_OK);
    ck_assert_int_eq(cache_begin(path, &content, &second, &err), HEARTH_EIO);
    ck_assert_int_eq(err.native, EWOULDBLOCK);
    ck_assert(is_there(beside));
    cache_drop(&first);
    ck_assert(!is_there(beside));
    checkpoint_write_file(folder, "weights.new", "left behind", 11);
    write_cache(3);
    expect_mapped(3);
}
END_TEST

static void
refuse_begin(const char *where, int native)
{
    struct cache_draft draft;
    struct hearth_error err = {0};
    ck_assert_int_eq(cache_begin(where, &content, &draft, &err), HEARTH_EIO);
    ck_assert_msg(err.native == native, "errno %d wanted, %d found: %s", native, err.native, err.text);
}

START_TEST(no_room_no_folder)
{
    struct rlimit limit, small;
    char inside[PATH_BYTES + 16];
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = CACHE_HEAD_BYTES;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    refuse_begin(path, EFBIG);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert(!is_there(beside) && !is_there(path));
    checkpoint_write_file(folder, "file", "", 0);
    snprintf(inside, sizeof inside, "%s/file/weights", folder);
    refuse_begin(inside, ENOTDIR);
    ck_assert_int_eq(symlink("/dev/null", beside), 0); /* never through a link that somebody laid there */
    refuse_begin(path, ELOOP);
}
END_TEST

static bool
stop_at_once(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
    (void)context;
    (void)phase;
    (void)done;
    (void)total;
    (void)unit;
    return false;
}

START_TEST(interrupted_leaves_nothing)
{
    const struct hearth_progress progress = {.step = stop_at_once};
    struct cache_draft draft;
    struct hearth_error err = {0};
    ck_assert_int_eq(cache_begin(path, &content, &draft, &err), HEARTH_OK);
    ck_assert_int_eq(cache_finish(&draft, &content, &progress, &err), HEARTH_EINTERRUPTED);
    ck_assert(!is_there(beside) && !is_there(path));
}
END_TEST

#ifdef TEST_CPU
/* ---- whole engines ----------------------------------------------------------------------------------------------- */

#define N_TOKENS 20u
#define VOCAB 96u

static float wanted[N_TOKENS * VOCAB]; /* logits without any file */
static char model[PATH_BYTES];

/* Opens the model, feeds tokens, and compares the logits with those wanted, or makes them those. */
static struct hearth_load
run(const char *option, const char *value, bool is_first)
{
    const char *const options[] = {"plugins.load", "[cpu]",         "cache.directory",
                                   folder,         "cache.weights", is_first ? "false" : "true",
                                   option,         value,           NULL};
    struct hearth_config *config = golden_config(model, options);
    struct hearth_engine *engine = golden_engine(config);
    struct hearth_load load;
    static float logits[N_TOKENS * VOCAB];
    int32_t ids[N_TOKENS];
    for (uint32_t i = 0; i < N_TOKENS; i++) {
        ids[i] = (int32_t)(i * 37 % VOCAB);
    }
    hearth_engine_load(engine, &load);
    hearth_session_free(golden_feed(engine, ids, N_TOKENS, 7, is_first ? wanted : logits, VOCAB));
    hearth_engine_close(engine);
    hearth_config_free(config);
    ck_assert_uint_gt(load.bytes, 0);
    if (!is_first && !(option && strstr(option, "options.cpu"))) { /* other heads and tiers have other bits */
        ck_assert_msg(memcmp(logits, wanted, sizeof wanted) == 0, "other logits with cache.weights");
    }
    return load;
}

static void
expect(struct hearth_load load, bool packed, bool mapped)
{
    ck_assert_msg((load.packed_bytes > 0) == packed, "%spacked wanted", packed ? "" : "not ");
    ck_assert_msg((load.mapped_bytes > 0) == mapped, "%smapped wanted", mapped ? "" : "not ");
}

/* The one file in the folder. */
static void
find_file(char found[PATH_BYTES])
{
    char command[2 * PATH_BYTES];
    snprintf(command, sizeof command, "ls %s/weights-*.packed", folder);
    FILE *list = popen(command, "r");
    ck_assert_ptr_nonnull(list);
    ck_assert_ptr_nonnull(fgets(found, PATH_BYTES, list));
    found[strcspn(found, "\n")] = '\0';
    ck_assert_int_eq(fgetc(list), EOF);
    pclose(list);
}

static void
make_model(void)
{
    const struct model_shape shape = checkpoint_tiny_shape();
    struct checkpoint *checkpoint = checkpoint_new(&shape, HEARTH_E2M1X2, 2, 1, false);
    checkpoint_make_folder(model);
    checkpoint_save(checkpoint, model);
    checkpoint_free(checkpoint);
    expect(run(NULL, NULL, true), false, false);
    ck_assert_uint_eq(shape.vocab_size, VOCAB);
}

START_TEST(second_start_maps)
{
    char file[PATH_BYTES];
    make_model();
    expect(run(NULL, NULL, false), true, false);
    expect(run(NULL, NULL, false), false, true);
    expect(run("plugins.options.cpu.tier", "avx2", false), false, true);
    expect(run("cpu.threads", "1", false), false, true);
    find_file(file);
    ck_assert_int_eq(truncate(file, 5000), 0);
    expect(run(NULL, NULL, false), true, false);
    expect(run(NULL, NULL, false), false, true);
    expect(run("plugins.options.cpu.head", "e4m3", false), true, false); /* another layout, in the same place */
    expect(run("plugins.options.cpu.head", "e4m3", false), false, true);
    expect(run(NULL, NULL, false), true, false);
    find_file(file);
    checkpoint_remove_folder(model);
}
END_TEST

START_TEST(source_that_changed_is_packed_anew)
{
    char shard[PATH_BYTES];
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000000}};
    char moved[PATH_BYTES];
    make_model();
    expect(run(NULL, NULL, false), true, false);
    snprintf(moved, sizeof moved, "%.500s-moved", model);
    ck_assert_int_eq(rename(model, moved), 0);
    memcpy(model, moved, sizeof moved);
    expect(run(NULL, NULL, false), false, true); /* where it lies does not matter */
    snprintf(shard, sizeof shard, "%s/model-00002-of-00002.safetensors", model);
    ck_assert_int_eq(utimensat(AT_FDCWD, shard, times, 0), 0);
    expect(run(NULL, NULL, false), true, false);
    expect(run(NULL, NULL, false), false, true);
    checkpoint_remove_folder(model);
}
END_TEST

START_TEST(what_cannot_be_kept_is_packed_into_memory)
{
    char file[PATH_BYTES], locked[PATH_BYTES + 8];
    struct rlimit limit, small;
    make_model();
    expect(run(NULL, NULL, false), true, false);
    find_file(file);
    ck_assert_int_eq(unlink(file), 0);
    ck_assert_int_eq(mkdir(file, 0700), 0);
    expect(run(NULL, NULL, false), false, false); /* something else has its name */
    ck_assert_int_eq(rmdir(file), 0);
    snprintf(locked, sizeof locked, "%s.new", file);
    const int descriptor = open(locked, O_RDWR | O_CREAT, 0600);
    ck_assert_int_eq(flock(descriptor, LOCK_EX), 0);
    expect(run(NULL, NULL, false), false, false); /* another process packs */
    close(descriptor);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 10000;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect(run(NULL, NULL, false), false, false); /* no room */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    checkpoint_write_file(folder, "file", "", 0);
    snprintf(file, sizeof file, "%s/file/x", folder);
    expect(run("cache.directory", file, false), false, false); /* no folder */
    expect(run("cache.directory", "", false), false, false);
    checkpoint_remove_folder(model);
}
END_TEST

/* A file that an open engine reads may go, and another take its name. */
START_TEST(two_at_once)
{
    make_model();
    const char *const options[] = {"plugins.load", "[cpu]", "cache.directory", folder, "cache.weights", "true", NULL};
    static float logits[2][VOCAB];
    struct hearth_config *config = golden_config(model, options);
    struct hearth_engine *engines[2];
    for (int i = 0; i < 2; i++) {
        char file[PATH_BYTES];
        const int32_t id = 5;
        engines[i] = golden_engine(config);
        hearth_session_free(golden_feed(engines[i], &id, 1, 1, logits[i], VOCAB));
        find_file(file);
        ck_assert_int_eq(unlink(file), 0);
    }
    ck_assert_int_eq(memcmp(logits[0], logits[1], sizeof logits[0]), 0);
    const int32_t id = 5;
    hearth_session_free(golden_feed(engines[0], &id, 1, 1, logits[1], VOCAB));
    ck_assert_int_eq(memcmp(logits[0], logits[1], sizeof logits[0]), 0);
    hearth_engine_close(engines[0]);
    hearth_engine_close(engines[1]);
    hearth_config_free(config);
    checkpoint_remove_folder(model);
}
END_TEST
#endif

int
main(void)
{
    Suite *suite = suite_create("cache");
    TCase *files = tcase_create("files");
    tcase_add_checked_fixture(files, set_up, tear_down);
    tcase_set_timeout(files, 300);
    tcase_add_test(files, what_was_written_is_mapped);
    tcase_add_test(files, another_head_is_refused);
    tcase_add_test(files, other_contents_are_refused);
    tcase_add_test(files, one_process_writes);
    tcase_add_test(files, no_room_no_folder);
    tcase_add_test(files, interrupted_leaves_nothing);
#ifdef TEST_CPU
    tcase_add_test(files, second_start_maps);
    tcase_add_test(files, source_that_changed_is_packed_anew);
    tcase_add_test(files, what_cannot_be_kept_is_packed_into_memory);
    tcase_add_test(files, two_at_once);
#endif
    suite_add_tcase(suite, files);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
