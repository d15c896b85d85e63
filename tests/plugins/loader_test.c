/* loader_test.c - plugins that are wrong in each way a plugin can be wrong, and what is said of them. */
#include <config.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/config.h"
#include "core/plugin/loader.h"
#include "core/plugin/plugin_set.h"

static struct hearth_error err;
static struct hearth_config *config;

static void
setup(void)
{
    err = (struct hearth_error){0};
    ck_assert_int_eq(hearth_config_new(&config, &err), HEARTH_OK);
    ck_assert_int_eq(hearth_config_set(config, "plugins.path", FAKE_FOLDER, "test", &err), HEARTH_OK);
}

static void
teardown(void)
{
    hearth_config_free(config);
}

static int
set_load(const char *names, struct plugin_set **ret_set)
{
    ck_assert_int_eq(hearth_config_set(config, "plugins.load", names, "test", &err), HEARTH_OK);
    return plugin_set_load(config, ret_set, &err);
}

START_TEST(right_plugins_load)
{
    struct plugin_set *set;
    struct plugin_device *chosen;
    size_t n;
    ck_assert_msg(set_load("fake, fake-newer", &set) == HEARTH_OK, "%s", err.text);
    struct plugin_device *devices = plugin_set_devices(set, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(devices[0].info.name, "a fake device");
    ck_assert_str_eq(devices[1].plugin->name, "fake-newer");
    const struct config_device by_plugin = {.plugin = "fake-newer", .select = "0"};
    ck_assert_int_eq(plugin_set_choose(set, &by_plugin, &chosen, &err), HEARTH_OK);
    ck_assert_ptr_eq(chosen, &devices[1]);
    ck_assert_ptr_null(chosen->device);
    ck_assert_int_eq(plugin_device_open(chosen, &err), HEARTH_OK);
    ck_assert_ptr_nonnull(chosen->device);
    ck_assert(!chosen->supports[HEARTH_NATIVE][HEARTH_OP_LINEAR]);
    const struct config_device by_address = {.select = "0000:0f:00.0"}, by_name = {.select = "fake dev"};
    ck_assert_int_eq(plugin_set_choose(set, &by_address, &chosen, &err), HEARTH_OK);
    ck_assert_int_eq(plugin_set_choose(set, &by_name, &chosen, &err), HEARTH_OK);
    const struct config_device absent = {.select = "7"};
    ck_assert_int_eq(plugin_set_choose(set, &absent, &chosen, &err), HEARTH_EPLUGIN);
    ck_assert_str_eq(err.text, "device: any plugin, device 7 wanted, none found among 2 device(s) of 2 plugin(s)");
    plugin_set_free(set);
}
END_TEST

/* The fake plugin bears neither a second start nor a device opened while it is stopped. */
START_TEST(engines_share_a_plugin)
{
    struct plugin_set *first, *second, *third = NULL;
    size_t n;
    ck_assert_msg(set_load("fake", &first) == HEARTH_OK, "%s", err.text);
    ck_assert_msg(set_load("fake, fake-newer", &second) == HEARTH_OK, "%s", err.text);
    plugin_set_free(first);
    hearth_config_free(config); /* what the plugin was lent stays */
    ck_assert_msg(plugin_device_open(plugin_set_devices(second, &n), &err) == HEARTH_OK, "%s", err.text);
    setup();
    ck_assert_int_eq(hearth_config_set(config, "plugins.options.fake.depth", "3", "test", &err), HEARTH_OK);
    ck_assert_int_eq(set_load("fake", &third), HEARTH_ECONFIG);
    ck_assert_ptr_null(third);
    ck_assert_str_eq(err.text, "plugin fake: runs in this process with depth unset, another engine wanted 3; "
                               "a process starts a plugin once");
    plugin_set_free(second);
    ck_assert_msg(set_load("fake", &third) == HEARTH_OK, "%s", err.text);
    plugin_set_free(third);
}
END_TEST

static const struct {
    const char *name, *line;
} wrong[] = {
    {"fake-major", FAKE_FOLDER "/hearth-fake-major.so: plugin ABI 1.x wanted, 2.0 found"},
    {"fake-short", FAKE_FOLDER "/hearth-fake-short.so: a plugin table of at least "},
    {"fake-misnamed", FAKE_FOLDER "/hearth-fake-misnamed.so: a plugin named fake-misnamed wanted, other found"},
    {"fake-silent", FAKE_FOLDER "/hearth-fake-silent.so: the symbol hearth_plugin_fake_silent wanted, none found"},
    {"fake-lame", FAKE_FOLDER "/hearth-fake-lame.so: the call submit wanted, none found"},
    {"fake-garbage", FAKE_FOLDER "/hearth-fake-garbage.so: a loadable plugin wanted: "},
    {"absent", "plugin absent: hearth-absent.so wanted in " FAKE_FOLDER " or "},
    {"../etc/x", "plugins.load: a name of letters, digits, - and _ wanted, \"../etc/x\" found"},
};

START_TEST(wrong_plugins_are_named)
{
    struct plugin_set *set = NULL;
    const int status = set_load(wrong[_i].name, &set);
    ck_assert(status == HEARTH_EPLUGIN || status == HEARTH_ECONFIG);
    ck_assert_ptr_null(set);
    ck_assert_msg(strncmp(err.text, wrong[_i].line, strlen(wrong[_i].line)) == 0, "%s", err.text);
}
END_TEST

START_TEST(unreadable_plugin_is_named)
{
    struct plugin_set *set = NULL;
    ck_assert_int_eq(hearth_config_set(config, "plugins.path", "/nonexistent", "test", &err), HEARTH_OK);
    ck_assert_int_eq(set_load("fake", &set), HEARTH_EPLUGIN);
    ck_assert_ptr_nonnull(strstr(err.text, "hearth-fake.so wanted in /nonexistent or "));
}
END_TEST

START_TEST(failing_start_says_why)
{
    struct plugin_set *set = NULL;
    ck_assert_int_eq(hearth_config_set(config, "plugins.options.fake.fail", "no driver", "test", &err), HEARTH_OK);
    ck_assert_int_eq(set_load("fake-newer, fake", &set), HEARTH_EDEVICE);
    ck_assert_str_eq(err.text, "plugin fake: no driver");
}
END_TEST

START_TEST(file_names_tell_the_plugin)
{
    struct plugin_library library;
    ck_assert_int_eq(plugin_library_open_file(FAKE_FOLDER "/hearth-fake.so", &library, &err), HEARTH_OK);
    ck_assert_str_eq(library.table.name, "fake");
    plugin_library_close(&library);
    ck_assert_int_eq(plugin_library_open_file("/tmp/libfake.so", &library, &err), HEARTH_EPLUGIN);
    ck_assert_str_eq(err.text, "/tmp/libfake.so: a file named hearth-NAME.so wanted");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, right_plugins_load);
    tcase_add_test(tcase, engines_share_a_plugin);
    tcase_add_loop_test(tcase, wrong_plugins_are_named, 0, (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_test(tcase, unreadable_plugin_is_named);
    tcase_add_test(tcase, failing_start_says_why);
    tcase_add_test(tcase, file_names_tell_the_plugin);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}
