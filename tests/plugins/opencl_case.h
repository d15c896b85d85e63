/* opencl_case.h - what the tests of the OpenCL backend through its plugin table share: a plugin with options, its first
 * device, and what it logs. */
#ifndef TESTS_PLUGINS_OPENCL_CASE_H
#define TESTS_PLUGINS_OPENCL_CASE_H

#include <check.h>

#include <hearth/plugin.h>

#define OPENCL_MAX_LOG 65536

extern const struct hearth_plugin *const plugin;
extern struct hearth_device *device; /* open between opencl_open and opencl_close */
extern char log_text[OPENCL_MAX_LOG]; /* lines since opencl_start */
extern struct hearth_error err;

/* Starts the plugin with two options, "key=value" (NULL: none). */
int opencl_start(const char *first, const char *second, uint32_t *ret_n);
/* The same, and opens its first device.  Aborts the test on failure. */
void opencl_open(const char *first, const char *second);
void opencl_close(void);

/* main's answer: the tests in this process, or a skip where no platform has a device. */
int opencl_run_all(const char *name, TCase *tests);

#endif
