/* core/front/human.h - numbers as people read them, and the clock. */
#ifndef CORE_FRONT_HUMAN_H
#define CORE_FRONT_HUMAN_H

#include <stddef.h>

#define HUMAN_BYTES 48u /* enough for any text of these functions */

/* "512 B", "1.5 KiB", "24.3 MiB".  Each returns text. */
const char *human_bytes(double n, char text[HUMAN_BYTES]);
/* "12.3 GB/s": bandwidth in powers of ten, as memory is sold. */
const char *human_bandwidth(double bytes_per_second, char text[HUMAN_BYTES]);
/* "950", "12.4 k", "284.3 G". */
const char *human_count(double n, char text[HUMAN_BYTES]);
/* "0.42 s", "12 s", "3:07", "1:02:45". */
const char *human_duration(double seconds, char text[HUMAN_BYTES]);

/* Seconds of a clock that only goes forward. */
double clock_seconds(void);
/* The middle of n values (the mean of the two middle ones); sorts them. */
double median(double *values, size_t n);

#endif
