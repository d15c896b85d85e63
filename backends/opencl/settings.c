/* settings.c - the plugin's options.
 *
 * `cache`: folder of compiled programs, `no` for none.  `copies`: `pinned`, `direct` or `shared`, where the device
 * itself would choose otherwise.  `int_dot`: `yes` or `no`, whether e2m1 weights are multiplied as bytes, likewise;
 * `mma`, `subgroups`: whether matrix instructions and sub-groups are used, which `yes` emulates where there are none.
 * `max_alloc`: bytes the device is to allocate at once, where that is less than it can; `memory`: bytes that a device
 * offers in all, likewise.  `timeout`: seconds after which a copy that waits for earlier work gives up.  `trace`: file
 * for a Chrome/Perfetto trace.  `fault`: what shall go wrong, for tests (fault.c). */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/internal.h"

#define MIN_ALLOC_BYTES 4096u
#define MAX_TIMEOUT_S 1e9

struct ocl_settings ocl_settings;

void
ocl_log(int level, const char *format, ...)
{
    const struct hearth_host *host = ocl_settings.host;
    char text[512];
    va_list arguments;
    if (host == NULL || host->log == NULL) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    host->log(host->context, level, text);
}

static const char *
option(const char *key)
{
    const struct hearth_host *host = ocl_settings.host;
    const char *text = host->option == NULL ? NULL : host->option(host->context, key);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* A whole number of at least min; untouched if the option is absent. */
static int
read_number(const char *key, uint64_t min, uint64_t *ret_value, struct hearth_error *err)
{
    const char *text = option(key);
    char *end = NULL;
    if (text == NULL) {
        return 0;
    }
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || text[0] < '0' || text[0] > '9' || *end != '\0' || value < min) {
        return host_error(err, HEARTH_ECONFIG, 0, "option %s: a number from %llu wanted, \"%s\" found", key,
                          (unsigned long long)min, text);
    }
    *ret_value = value;
    return 0;
}

static int
read_timeout(struct hearth_error *err)
{
    const char *text = option("timeout");
    char *end = NULL;
    if (text == NULL) {
        return 0;
    }
    const double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || !(seconds > 0.0)) {
        return host_error(err, HEARTH_ECONFIG, 0, "option timeout: seconds wanted, \"%s\" found", text);
    }
    if (seconds < MAX_TIMEOUT_S) {
        ocl_settings.timeout_ns = (uint64_t)(seconds * 1e9);
    }
    return 0;
}

static const char *const yes_or_no[] = {"yes", "no", NULL};
static const char *const kinds_of_copies[] = {"pinned", "direct", "shared", NULL};

/* Which of the words the option is, from 1 on; 0 if it is absent. */
static int
read_choice(const char *key, const char *const *words, int *ret_choice, struct hearth_error *err)
{
    const char *text = option(key);
    int choice = 0;
    char all[64] = "";
    while (text != NULL && words[choice] != NULL && strcmp(text, words[choice]) != 0) {
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", choice > 0 ? " or " : "", words[choice]);
        choice++;
    }
    if (text != NULL && words[choice] == NULL) {
        return host_error(err, HEARTH_ECONFIG, 0, "option %s: %s wanted, \"%s\" found", key, all, text);
    }
    *ret_choice = text == NULL ? 0 : choice + 1;
    return 0;
}

int
ocl_settings_read(const struct hearth_host *host, struct hearth_error *err)
{
    ocl_settings = (struct ocl_settings){.host = host, .timeout_ns = UINT64_MAX};
    ocl_settings.cache = option("cache");
    ocl_settings.trace = option("trace");
    ocl_settings.fault = option("fault");
    if (ocl_settings.cache != NULL && strcmp(ocl_settings.cache, "no") == 0) {
        ocl_settings.cache = NULL;
    }
    int copies = OCL_COPIES_BY_DEVICE, bytes = OCL_BY_DEVICE, mma = OCL_BY_DEVICE;
    int subgroups = OCL_BY_DEVICE;
    int status = read_number("max_alloc", MIN_ALLOC_BYTES, &ocl_settings.max_alloc_bytes, err);
    if (status == 0) {
        status = read_number("memory", MIN_ALLOC_BYTES, &ocl_settings.memory_bytes, err);
    }
    if (status == 0) {
        status = read_choice("copies", kinds_of_copies, &copies, err);
    }
    if (status == 0) {
        status = read_choice("int_dot", yes_or_no, &bytes, err);
    }
    if (status == 0) {
        status = read_choice("mma", yes_or_no, &mma, err);
    }
    if (status == 0) {
        status = read_choice("subgroups", yes_or_no, &subgroups, err);
    }
    ocl_settings.copies = (enum ocl_copies)copies;
    ocl_settings.bytes = (enum ocl_choice)bytes;
    ocl_settings.mma = (enum ocl_choice)mma;
    ocl_settings.subgroups = (enum ocl_choice)subgroups;
    return status < 0 ? status : read_timeout(err);
}
