/* core/base/log.h - log lines of the core, handed to the sink that hearth_log_set chose.  Thread: any. */
#ifndef CORE_BASE_LOG_H
#define CORE_BASE_LOG_H

#include <hearth/plugin.h>

void log_text(int level, const char *text);
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
