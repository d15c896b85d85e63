/* session_test.c - what a session refuses, and files of sessions that are damaged, foreign or cut
 * short.
 *
 * Whole engines on a golden checkpoint: through the public header alone.  properties_test.c holds
 * what must stay the same. */
#include <config.h>

#include <check.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/golden/golden_case.h"

#define N_TOKENS 150u

static struct golden_case golden;
static struct hearth_config *config;
static struct hearth_engine *engine;
static struct hearth_session *session;
static char folder[] = "session-test-XXXXXX";
static char path[64];

static void
set_up(void)
{
    struct hearth_error err = {0};
    golden_open("sparse", &golden);
    config = golden_config(golden.folder, NULL);
    engine = golden_engine(config);
    ck_assert_msg(hearth_session_new(engine, 0, &session, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(hearth_session_feed(session, golden.prompts[1].ids, N_TOKENS, NULL, 0, NULL, &err) == HEARTH_OK, "%s",
                  err.text);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/saved", folder);
}

static void
tear_down(void)
{
    unlink(path);
    rmdir(folder);
    hearth_session_free(session);
    hearth_engine_close(engine);
    hearth_config_free(config);
    golden_close(&golden);
}

static void
save(void)
{
    struct hearth_error err = {0};
    ck_assert_msg(hearth_session_save(session, path, &err) == HEARTH_OK, "%s", err.text);
}

/* Loading must fail with that status and a text that holds `word`. */
static void
refuse(struct hearth_engine *by, int status, const char *word, uint64_t max_tokens)
{
    struct hearth_session *loaded = NULL;
    struct hearth_error err = {0};
    ck_assert_int_eq(hearth_session_load(by, path, max_tokens, &loaded, &err), status);
    ck_assert_ptr_null(loaded);
    ck_assert_msg(strstr(err.text, word) != NULL, "\"%s\" wanted in: %s", word, err.text);
    ck_assert_msg(strstr(err.text, path) != NULL, "the path wanted in: %s", err.text);
}

static size_t
count_files(void)
{
    size_t n = 0;
    DIR *opened = opendir(folder);
    ck_assert_ptr_nonnull(opened);
    while (readdir(opened)) {
        n++;
    }
    closedir(opened);
    return n - 2; /* . and .. */
}

static unsigned char *
read_file(long *ret_size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    fseek(file, 0, SEEK_END);
    *ret_size = ftell(file);
    rewind(file);
    unsigned char *bytes = malloc((size_t)*ret_size);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, (size_t)*ret_size, file), (size_t)*ret_size);
    fclose(file);
    return bytes;
}

static void
write_file(const unsigned char *bytes, long size)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes, 1, (size_t)size, file), (size_t)size);
    fclose(file);
}

START_TEST(a_damaged_byte_anywhere)
{
    long size = 0;
    save();
    unsigned char *bytes = read_file(&size);
    for (long at = 0; at < size; at += at < 200 ? 1 : 997) {
        struct hearth_session *loaded = NULL;
        struct hearth_error err = {0};
        bytes[at] ^= 0x40;
        write_file(bytes, size);
        const int status = hearth_session_load(engine, path, 0, &loaded, &err);
        ck_assert_msg(status == HEARTH_EFORMAT, "byte %ld: status %d, %s", at, status, err.text);
        bytes[at] ^= 0x40;
    }
    free(bytes);
}
END_TEST

START_TEST(a_file_cut_short_or_too_long)
{
    long size = 0;
    save();
    unsigned char *bytes = read_file(&size);
    for (long n = 0; n < size; n += n < 200 ? 7 : 4999) {
        write_file(bytes, n);
        refuse(engine, HEARTH_EFORMAT, "wanted", 0);
    }
    unsigned char *longer = calloc(1, (size_t)size + 1);
    ck_assert_ptr_nonnull(longer);
    memcpy(longer, bytes, (size_t)size);
    write_file(longer, size + 1);
    refuse(engine, HEARTH_EFORMAT, "file size", 0);
    free(longer);
    free(bytes);
}
END_TEST

START_TEST(an_absurd_length)
{
    long size = 0;
    save();
    unsigned char *bytes = read_file(&size);
    memset(bytes + 8 + 5 * 8, 0xFF, 8); /* the header's length field */
    write_file(bytes, size);
    refuse(engine, HEARTH_EFORMAT, "length", 0);
    free(bytes);
}
END_TEST

START_TEST(another_numerics_another_model)
{
    static const char *const exact[] = {"model.numerics", "exact", NULL};
    save();
    hearth_session_free(session);
    hearth_engine_close(engine);
    hearth_config_free(config);

    config = golden_config(golden.folder, exact);
    engine = golden_engine(config);
    refuse(engine, HEARTH_EFORMAT, "numerics", 0);
    hearth_engine_close(engine);
    hearth_config_free(config);

    struct golden_case other;
    golden_open("mtp", &other);
    config = golden_config(other.folder, NULL);
    engine = golden_engine(config);
    refuse(engine, HEARTH_EFORMAT, "wanted", 0);
    golden_close(&other);
    session = NULL;
}
END_TEST

START_TEST(longer_than_the_context_asked_for)
{
    struct hearth_session *loaded = NULL;
    struct hearth_error err = {0};
    save();
    refuse(engine, HEARTH_ECONTEXT, "150", N_TOKENS - 1);
    ck_assert_msg(hearth_session_load(engine, path, N_TOKENS, &loaded, &err) == HEARTH_OK, "%s", err.text);
    ck_assert_int_eq(hearth_session_feed(loaded, golden.prompts[1].ids, 1, NULL, 0, NULL, &err), HEARTH_ECONTEXT);
    ck_assert_uint_eq(hearth_session_length(loaded), N_TOKENS);
    hearth_session_free(loaded);
}
END_TEST

START_TEST(no_such_file)
{
    refuse(engine, HEARTH_EIO, "No such file", 0);
}
END_TEST

START_TEST(the_disk_is_full)
{
    struct hearth_error err = {0};
    struct rlimit limit;
    long before = 0, after = 0;
    save();
    unsigned char *old = read_file(&before);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    /* a file may not grow beyond half of what is needed, which to the writer is a full disk */
    const struct rlimit small = {(rlim_t)before / 2, limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    const int status = hearth_session_save(session, path, &err);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(status, HEARTH_EIO);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    ck_assert_uint_eq(count_files(), 1); /* the old file and no remains */
    unsigned char *still = read_file(&after);
    ck_assert_int_eq(before, after);
    ck_assert_mem_eq(old, still, (size_t)before);
    free(old);
    free(still);
}
END_TEST

START_TEST(a_folder_that_is_not_there)
{
    struct hearth_error err = {0};
    ck_assert_int_eq(hearth_session_save(session, "no/such/folder/file", &err), HEARTH_EIO);
    ck_assert_ptr_nonnull(strstr(err.text, "no/such/folder/file"));
}
END_TEST

START_TEST(a_full_context_takes_nothing)
{
    struct hearth_error err = {0};
    struct hearth_session *small = NULL;
    ck_assert_int_eq(hearth_session_new(engine, 10, &small, &err), HEARTH_OK);
    ck_assert_int_eq(hearth_session_feed(small, golden.prompts[1].ids, 11, NULL, 0, NULL, &err), HEARTH_ECONTEXT);
    ck_assert_uint_eq(hearth_session_length(small), 0);
    ck_assert_int_eq(hearth_session_feed(small, golden.prompts[1].ids, 10, NULL, 0, NULL, &err), HEARTH_OK);
    ck_assert_int_eq(hearth_session_feed(small, golden.prompts[1].ids, 1, NULL, 0, NULL, &err), HEARTH_ECONTEXT);
    hearth_session_free(small);
}
END_TEST

START_TEST(wrong_arguments)
{
    const int32_t ids[] = {1, (int32_t)golden.vocab_size, -1};
    struct hearth_error err = {0};
    struct hearth_session *other = NULL;
    float logits[1];
    ck_assert_int_eq(hearth_session_feed(session, ids, 2, NULL, 0, NULL, &err), HEARTH_EUSAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "token 1"));
    ck_assert_int_eq(hearth_session_feed(session, ids + 2, 1, NULL, 0, NULL, &err), HEARTH_EUSAGE);
    ck_assert_int_eq(hearth_session_feed(session, ids, 1, logits, 2, NULL, &err), HEARTH_EUSAGE);
    ck_assert_uint_eq(hearth_session_length(session), N_TOKENS);
    ck_assert_int_eq(hearth_session_new(engine, UINT64_C(1) << 40, &other, &err), HEARTH_EUSAGE);
    ck_assert_ptr_null(other);
}
END_TEST

START_TEST(facts_of_the_engine)
{
    struct hearth_model_facts facts;
    hearth_engine_facts(engine, &facts);
    ck_assert_uint_eq(facts.vocab_size, golden.vocab_size);
    ck_assert_str_eq(facts.name, "sparse");
    ck_assert_uint_gt(facts.session_bytes, 0);
    ck_assert_uint_gt(facts.weight_bytes, facts.active_bytes);
}
END_TEST

static bool
stop_at_half(void *context, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
    *(uint64_t *)context = done;
    ck_assert_str_eq(phase, "loading");
    ck_assert_str_eq(unit, "bytes");
    ck_assert_uint_le(done, total);
    return done < total / 2;
}

START_TEST(an_interrupted_load_of_the_engine)
{
    struct hearth_engine *other = NULL;
    struct hearth_error err = {0};
    uint64_t done = 0;
    const struct hearth_progress progress = {stop_at_half, &done};
    hearth_session_free(session);
    hearth_engine_close(engine);
    session = NULL;
    engine = NULL;
    ck_assert_int_eq(hearth_engine_open(config, &progress, &other, &err), HEARTH_EINTERRUPTED);
    ck_assert_ptr_null(other);
    ck_assert_uint_gt(done, 0);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("session");
    TCase *all = tcase_create("session");
    tcase_set_timeout(all, 900);
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, a_damaged_byte_anywhere);
    tcase_add_test(all, a_file_cut_short_or_too_long);
    tcase_add_test(all, an_absurd_length);
    tcase_add_test(all, another_numerics_another_model);
    tcase_add_test(all, longer_than_the_context_asked_for);
    tcase_add_test(all, no_such_file);
    tcase_add_test(all, the_disk_is_full);
    tcase_add_test(all, a_folder_that_is_not_there);
    tcase_add_test(all, a_full_context_takes_nothing);
    tcase_add_test(all, wrong_arguments);
    tcase_add_test(all, facts_of_the_engine);
    tcase_add_test(all, an_interrupted_load_of_the_engine);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
