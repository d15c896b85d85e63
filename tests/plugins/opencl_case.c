/* opencl_case.c - what the tests of the OpenCL backend through its plugin table share. */
#include <config.h>

#include "tests/plugins/opencl_case.h"

#include <stdio.h>
#include <string.h>

#define SKIPPED 77

extern const struct hearth_plugin hearth_plugin_opencl;

const struct hearth_plugin *const plugin = &hearth_plugin_opencl;
char log_text[OPENCL_MAX_LOG];
struct hearth_device *device;
struct hearth_error err;
static const char *options[8]; /* "key=value", then NULL */

/* Of leak checkers: a device that hung keeps what it used, on purpose. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libpocl\n";
}

static const char *
give_option(void *context, const char *key)
{
    (void)context;
    const size_t length = strlen(key);
    for (size_t i = 0; options[i] != NULL; i++) {
        if (strncmp(options[i], key, length) == 0 && options[i][length] == '=') {
            return options[i] + length + 1;
        }
    }
    return NULL;
}

static void
take_log(void *context, int level, const char *text)
{
    (void)context;
    (void)level;
    const size_t length = strlen(log_text);
    snprintf(log_text + length, sizeof log_text - length, "%s\n", text);
}

static const struct hearth_host host = {
    .struct_size = sizeof host, .log = take_log, .option = give_option};

int
opencl_start(const char *first, const char *second, uint32_t *ret_n)
{
    err = (struct hearth_error){0};
    log_text[0] = '\0';
    options[0] = first;
    options[1] = first == NULL ? NULL : second;
    options[2] = NULL;
    return plugin->start(&host, ret_n, &err);
}

void
opencl_open(const char *first, const char *second)
{
    uint32_t n = 0;
    ck_assert_msg(opencl_start(first, second, &n) == 0, "%s", err.text);
    ck_assert_uint_gt(n, 0);
    ck_assert_msg(plugin->open(0, &device, &err) == 0, "%s", err.text);
}

void
opencl_close(void)
{
    plugin->close(device);
    plugin->stop();
    device = NULL;
}

int
opencl_run_all(const char *name, TCase *tests)
{
    uint32_t n = 0;
    if (opencl_start(NULL, NULL, &n) < 0 || n == 0) {
        printf("%s: no OpenCL device: skipped\n", name);
        return SKIPPED;
    }
    plugin->stop();
    Suite *suite = suite_create(name);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK); /* a driver's threads do not follow into a child */
    srunner_run_all(runner, CK_NORMAL);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
