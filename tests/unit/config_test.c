/* config_test.c - defaults, YAML, overrides, and the lines that wrong input gets. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config/schema.h"

static struct hearth_config *config;
static struct hearth_error err;

static void
setup(void)
{
    unsetenv("HEARTH_MODEL");
    unsetenv("HEARTH_PLUGIN_PATH");
    err = (struct hearth_error){0};
    ck_assert_int_eq(hearth_config_new(&config, &err), HEARTH_OK);
}

static void
teardown(void)
{
    hearth_config_free(config);
}

static int
load(const char *yaml)
{
    const int status = config_yaml_load(config, "t.yaml", yaml, strlen(yaml), &err);
    return status < 0 ? status : config_refresh(config, &err);
}

START_TEST(defaults_are_usable)
{
    const struct config_values *values = config_values(config);
    ck_assert_str_eq(values->model.numerics, "native");
    ck_assert_uint_eq(values->context.prefill_chunk, 0);
    ck_assert_uint_ge(values->plugins.load.n, 1);
    ck_assert_str_eq(values->plugins.load.items[values->plugins.load.n - 1], "ref");
    ck_assert_str_eq(hearth_config_get(config, "plugins.load"), HEARTH_DEFAULT_PLUGINS);
    ck_assert_ptr_null(values->chat.effort);
    ck_assert(values->sampling.temperature == 1.0f);
    ck_assert(!values->chat.thinking);
}
END_TEST

START_TEST(the_cache_is_in_the_users_folder)
{
    struct hearth_config *other = NULL;
    setenv("HOME", "/home/one", 1);
    setenv("XDG_CACHE_HOME", "/fast", 1);
    ck_assert_int_eq(hearth_config_new(&other, &err), HEARTH_OK);
    ck_assert_str_eq(config_values(other)->cache.directory, "/fast/hearth");
    hearth_config_free(other);
    unsetenv("XDG_CACHE_HOME");
    ck_assert_int_eq(hearth_config_new(&other, &err), HEARTH_OK);
    ck_assert_str_eq(config_values(other)->cache.directory, "/home/one/.cache/hearth");
    hearth_config_free(other);
}
END_TEST

START_TEST(yaml_sets_every_type)
{
    ck_assert_int_eq(load("model:\n  path: /m\n  numerics: exact\n"
                          "context: {length: 128k}\n"
                          "memory:\n  limit: 1.5 GiB\n"
                          "sampling:\n  temperature: 0.5\n  seed: 7\n"
                          "chat:\n  thinking: yes\n  effort: high\n"
                          "plugins:\n  load: [opencl, ref]\n  options:\n    ref:\n      threads: 3\n"),
                     HEARTH_OK);
    const struct config_values *values = config_values(config);
    ck_assert_str_eq(values->model.path, "/m");
    ck_assert_uint_eq(values->context.length, 131072);
    ck_assert_str_eq(hearth_config_get(config, "context.length"), "131072");
    ck_assert(!config_is_default(config, "context.length"));
    ck_assert(config_is_default(config, "context.prefill_chunk"));
    ck_assert_uint_eq(values->memory.memory_bytes, 1610612736u);
    ck_assert(values->sampling.temperature == 0.5f);
    ck_assert_uint_eq(values->sampling.seed, 7);
    ck_assert(values->chat.thinking);
    ck_assert_uint_eq(values->plugins.load.n, 2);
    ck_assert_str_eq(values->plugins.load.items[0], "opencl");
    ck_assert_str_eq(config_plugin_option(config, "ref", "threads"), "3");
    ck_assert_ptr_null(config_plugin_option(config, "ref", "thread"));
}
END_TEST

static const struct {
    const char *yaml, *line;
} wrong[] = {
    {"sampling:\n  temprature: 1\n", "t.yaml:2:3: unknown key sampling.temprature; did you mean sampling.temperature?"},
    {"sampler:\n  seed: 1\n", "t.yaml:1:1: unknown section sampler"},
    {"sampling:\n  temperature: hot\n",
     "t.yaml:2:16: sampling.temperature: a number in [0, 100] wanted, \"hot\" found"},
    {"sampling: {top_p: 1.5}\n", "t.yaml:1:19: sampling.top_p: a number in [1e-06, 1] wanted, \"1.5\" found"},
    {"context:\n  length: -4\n",
     "t.yaml:2:11: context.length: an integer in [0, 9.00719925474099e+15] tokens wanted, \"-4\" found"},
    {"context:\n  length: 1.5\n",
     "t.yaml:2:11: context.length: an integer in [0, 9.00719925474099e+15] tokens wanted, \"1.5\" found"},
    {"context:\n  prefill_chunk: 12 apples\n",
     "t.yaml:2:18: context.prefill_chunk: an integer in [0, 65536] tokens wanted, \"12 apples\" found"},
    {"model:\n  numerics: fast\n", "t.yaml:2:13: model.numerics: one of native|exact wanted, \"fast\" found"},
    {"model:\n  numerics: nat\n", "t.yaml:2:13: model.numerics: one of native|exact wanted, \"nat\" found"},
    {"chat:\n  thinking: maybe\n", "t.yaml:2:13: chat.thinking: true or false wanted, \"maybe\" found"},
    {"plugins:\n  load: ref\n", "t.yaml:2:9: plugins.load: a list wanted, a value found"},
    {"plugins:\n  load: [[a]]\n", "t.yaml:2:10: plugins.load: one line of text wanted, a list found"},
    {"model: [1]\n", "t.yaml:1:8: model: a mapping wanted, a list found"},
    {"model:\n  path: {a: b}\n", "t.yaml:2:9: model.path: a value wanted, a mapping found"},
    {"- a\n", "t.yaml:1:1: the file: a mapping wanted, a list found"},
    {"model:\n  path: a\n  path: b\n", "t.yaml:3:3: key path: once wanted, found again (first in line 2)"},
    {"model:\n  path: \"a\n", "t.yaml:3:1: valid YAML wanted: found unexpected end of stream"},
    {"path: x\n", "t.yaml:1:1: unknown section path; did you mean model.path?"},
    {"plugins:\n  options:\n    ref:\n      threads: [1]\n",
     "t.yaml:4:16: plugins.options.ref.threads: a value wanted, a list found"},
};

START_TEST(wrong_yaml_gets_its_line)
{
    ck_assert_int_eq(load(wrong[_i].yaml), HEARTH_ECONFIG);
    ck_assert_str_eq(err.text, wrong[_i].line);
}
END_TEST

START_TEST(later_sources_win_whatever_the_order)
{
    ck_assert_int_eq(hearth_config_set(config, "sampling.seed", "9", "command line", &err), HEARTH_OK);
    ck_assert_int_eq(load("sampling:\n  seed: 7\n  top_k: 4\n"), HEARTH_OK);
    ck_assert_uint_eq(config_values(config)->sampling.seed, 9);
    ck_assert_uint_eq(config_values(config)->sampling.top_k, 4);
    ck_assert_str_eq(hearth_config_get(config, "sampling.top_k"), "4");
}
END_TEST

START_TEST(set_names_the_nearest_key)
{
    ck_assert_int_eq(hearth_config_set(config, "sampling.sed", "9", "command line", &err), HEARTH_ECONFIG);
    ck_assert_str_eq(err.text, "command line: unknown key sampling.sed; did you mean sampling.seed?");
    ck_assert_int_eq(hearth_config_set(config, "xyzzy", "9", "command line", &err), HEARTH_ECONFIG);
    ck_assert_str_eq(err.text, "command line: unknown key xyzzy");
}
END_TEST

START_TEST(set_takes_lists_options_and_raw_text)
{
    ck_assert_int_eq(hearth_config_set(config, "plugins.load", "a, b,c", "command line", &err), HEARTH_OK);
    ck_assert_uint_eq(config_values(config)->plugins.load.n, 3);
    ck_assert_str_eq(config_values(config)->plugins.load.items[1], "b");
    ck_assert_int_eq(hearth_config_set(config, "plugins.options.ref.threads", "2", "command line", &err), HEARTH_OK);
    ck_assert_str_eq(config_plugin_option(config, "ref", "threads"), "2");
    ck_assert_int_eq(hearth_config_set(config, "chat.system", "be: brief # now", "command line", &err), HEARTH_OK);
    ck_assert_str_eq(config_values(config)->chat.system, "be: brief # now");
}
END_TEST

START_TEST(environment_is_over_files_and_under_settings)
{
    hearth_config_free(config);
    setenv("HEARTH_MODEL", "/env", 1);
    setenv("HEARTH_PLUGIN_PATH", "/a::/b", 1);
    ck_assert_int_eq(hearth_config_new(&config, &err), HEARTH_OK);
    ck_assert_int_eq(load("model:\n  path: /file\n"), HEARTH_OK);
    ck_assert_str_eq(config_values(config)->model.path, "/env");
    ck_assert_uint_eq(config_values(config)->plugins.path.n, 2);
    ck_assert_str_eq(config_values(config)->plugins.path.items[1], "/b");
    ck_assert_int_eq(hearth_config_set(config, "model.path", "/set", "command line", &err), HEARTH_OK);
    ck_assert_str_eq(config_values(config)->model.path, "/set");
    unsetenv("HEARTH_MODEL");
    unsetenv("HEARTH_PLUGIN_PATH");
}
END_TEST

START_TEST(dump_loads_again)
{
    char *first, *second;
    struct hearth_config *again;
    ck_assert_int_eq(load("model:\n  path: \"/a \\\"b\\\"\"\ncontext:\n  length: 4k\n"
                          "plugins:\n  path: [/p, /q]\n  options:\n    ref:\n      threads: 3\n"
                          "chat:\n  thinking: on\n  system: \"two\\nlines: # yes\"\n"),
                     HEARTH_OK);
    ck_assert_int_eq(hearth_config_dump(config, false, &first, &err), HEARTH_OK);
    ck_assert_int_eq(hearth_config_new(&again, &err), HEARTH_OK);
    ck_assert_msg(config_yaml_load(again, "dump", first, strlen(first), &err) == HEARTH_OK, "%s\n%s", err.text, first);
    ck_assert_int_eq(config_refresh(again, &err), HEARTH_OK);
    ck_assert_str_eq(config_values(again)->model.path, "/a \"b\"");
    ck_assert_str_eq(config_values(again)->chat.system, "two\nlines: # yes");
    ck_assert_uint_eq(config_values(again)->context.length, 4096);
    ck_assert_uint_eq(config_values(again)->plugins.path.n, 2);
    ck_assert_str_eq(config_plugin_option(again, "ref", "threads"), "3");
    ck_assert_int_eq(hearth_config_dump(again, true, &second, &err), HEARTH_OK);
    ck_assert_ptr_nonnull(strstr(second, "\"model.path\": {\"value\": \"/a \\\"b\\\"\""));
    free(first);
    free(second);
    hearth_config_free(again);
}
END_TEST

START_TEST(missing_file_is_named)
{
    ck_assert_int_eq(hearth_config_load(config, "/nowhere/x.yaml", &err), HEARTH_EIO);
    ck_assert_str_eq(err.text, "/nowhere/x.yaml: No such file or directory");
}
END_TEST

START_TEST(every_key_has_its_words)
{
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        ck_assert_ptr_nonnull(config_keys[i].name);
        ck_assert_ptr_nonnull(config_keys[i].help);
        ck_assert_ptr_nonnull(strchr(config_keys[i].name, '.'));
    }
}
END_TEST

START_TEST(shipped_examples_load)
{
    static const char *const names[] = {"hearth.yaml", "machines/laptop.yaml", "machines/workstation.yaml",
                                        "machines/server.yaml"};
    char path[1024];
    snprintf(path, sizeof path, "%s/conf/%s", SOURCE_FOLDER, names[_i]);
    ck_assert_msg(hearth_config_load(config, path, &err) == HEARTH_OK, "%s", err.text);
}
END_TEST

/* conf/hearth.yaml promises every key at its default. */
START_TEST(shipped_reference_is_complete)
{
    char *yaml = calloc(1, 1 << 16), key[80];
    FILE *file = fopen(SOURCE_FOLDER "/conf/hearth.yaml", "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_gt(fread(yaml, 1, (1 << 16) - 1, file), 0);
    fclose(file);
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        snprintf(key, sizeof key, "\n  %s:", strchr(config_keys[i].name, '.') + 1);
        ck_assert_msg(strstr(yaml, key) != NULL, "%s", config_keys[i].name);
    }
    free(yaml);
    ck_assert_int_eq(hearth_config_load(config, SOURCE_FOLDER "/conf/hearth.yaml", &err), HEARTH_OK);
    for (size_t i = 0; i < CONFIG_N_KEYS; i++) {
        const char *fallback = config_keys[i].fallback;
        if (fallback) {
            ck_assert_msg(strcmp(hearth_config_get(config, config_keys[i].name), fallback) == 0, "%s",
                          config_keys[i].name);
        }
    }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("config");
    TCase *tcase = tcase_create("config");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, defaults_are_usable);
    tcase_add_test(tcase, the_cache_is_in_the_users_folder);
    tcase_add_test(tcase, yaml_sets_every_type);
    tcase_add_loop_test(tcase, wrong_yaml_gets_its_line, 0, (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_test(tcase, later_sources_win_whatever_the_order);
    tcase_add_test(tcase, set_names_the_nearest_key);
    tcase_add_test(tcase, set_takes_lists_options_and_raw_text);
    tcase_add_test(tcase, environment_is_over_files_and_under_settings);
    tcase_add_test(tcase, dump_loads_again);
    tcase_add_test(tcase, missing_file_is_named);
    tcase_add_test(tcase, every_key_has_its_words);
    tcase_add_loop_test(tcase, shipped_examples_load, 0, 4);
    tcase_add_test(tcase, shipped_reference_is_complete);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}
