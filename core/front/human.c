/* human.c - see human.h. */
#include <config.h>

#include "core/front/human.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *
human_scaled(double n, double base, const char *const *units, size_t n_units,
             char text[HUMAN_BYTES])
{
    size_t unit = 0;
    while (n >= base && unit + 1 < n_units) {
        n /= base;
        unit++;
    }
    const int digits = unit == 0 ? 0 : n < 10 ? 2 : 1;
    snprintf(text, HUMAN_BYTES, "%.*f%s", digits, n, units[unit]);
    return text;
}

const char *
human_bytes(double n, char text[HUMAN_BYTES])
{
    static const char *const units[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
    return human_scaled(n, 1024, units, sizeof units / sizeof units[0], text);
}

const char *
human_bandwidth(double bytes_per_second, char text[HUMAN_BYTES])
{
    static const char *const units[] = {" B/s", " kB/s", " MB/s", " GB/s", " TB/s"};
    return human_scaled(bytes_per_second, 1000, units, sizeof units / sizeof units[0], text);
}

const char *
human_count(double n, char text[HUMAN_BYTES])
{
    static const char *const units[] = {"", " k", " M", " G", " T", " P"};
    return human_scaled(n, 1000, units, sizeof units / sizeof units[0], text);
}

const char *
human_duration(double seconds, char text[HUMAN_BYTES])
{
    if (seconds < 60) {
        snprintf(text, HUMAN_BYTES, "%.*f s", seconds < 10 ? 2 : 0, seconds);
        return text;
    }
    const unsigned long whole = seconds < 1e9 ? (unsigned long)seconds : 1000000000ul;
    const unsigned long hours = whole / 3600, minutes = whole / 60 % 60;
    if (hours) {
        snprintf(text, HUMAN_BYTES, "%lu:%02lu:%02lu", hours, minutes, whole % 60);
    } else {
        snprintf(text, HUMAN_BYTES, "%lu:%02lu", minutes, whole % 60);
    }
    return text;
}

double
clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int
compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double
median(double *values, size_t n)
{
    if (n == 0) {
        return 0;
    }
    qsort(values, n, sizeof values[0], compare_doubles);
    return n % 2 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}
